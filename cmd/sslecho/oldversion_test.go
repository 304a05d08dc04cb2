package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestOldVersionNamed: metrics and the JSON log name an old version, and --min-version alone is refused with what it needs.
func TestOldVersionNamed(t *testing.T) {
	admin := freePort(t)
	d := runDaemon(t, append(pair("rsa"), "--min-version=1.0", "--ciphers=DEFAULT:@SECLEVEL=0", "--log-format=json", "--log-level=debug", "--admin="+admin)...)
	served(t, d.addr(), &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10})
	d.err.expect(t, `"version":"TLSv1","cipher":"ECDHE-RSA-AES`)
	c := http.Client{Timeout: tlstest.Hang, Transport: &http.Transport{DisableKeepAlives: true}}
	r := tlstest.Value(c.Get("http://" + admin + "/metrics"))(t)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || !strings.Contains(string(text), `sslecho_handshake_versions_total{version="TLSv1"} 1`) {
		t.Errorf("%v\n%s", err, text)
	}
	status, _, stderr := refused(t, append(pair("rsa"), "--check", "--min-version=1.1")...)
	if status == 0 || !strings.Contains(stderr, "--min-version") || !strings.Contains(stderr, "@SECLEVEL=0") {
		t.Errorf("status %d: %s", status, stderr)
	}
}
