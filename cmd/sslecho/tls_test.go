package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// ocspResponse is a response that says so much and is signed by nobody.
func ocspResponse(t *testing.T, text string) string {
	t.Helper()
	type body struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	return string(tlstest.Value(asn1.Marshal(struct {
		Status asn1.Enumerated
		Body   body `asn1:"explicit,tag:0"`
	}{Body: body{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}, []byte(text)}}))(t))
}

// TestCertificates: RSA and ECDSA side by side for the same name, another certificate for another name, and a stapled OCSP response for
// the one that it belongs to.
func TestCertificates(t *testing.T) {
	ocsp := ocspResponse(t, "signed by nobody")
	staple := writeFile(t, "ocsp.der", ocsp)
	args := append(append(pair("ecdsa"), pair("rsa")...), "--ocsp-file", staple, "--ocsp-file=",
		"--sni", "*.example="+testcerts.Path("ed25519.pem")+","+testcerts.Path("ed25519.key"))
	d := runDaemon(t, args...)
	for _, tt := range []struct {
		name   string
		suite  uint16
		want   x509.PublicKeyAlgorithm
		staple bool
	}{
		{"localhost", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, x509.ECDSA, true},
		{"localhost", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, x509.RSA, false},
		{"www.example", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, x509.Ed25519, false},
	} {
		s := served(t, d.addr(), &tls.Config{ServerName: tt.name, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tt.suite}})
		if got := s.PeerCertificates[0].PublicKeyAlgorithm; got != tt.want || (string(s.OCSPResponse) == ocsp) != tt.staple {
			t.Errorf("%s with %s: %v, stapled %d bytes", tt.name, tls.CipherSuiteName(tt.suite), got, len(s.OCSPResponse))
		}
	}
}

// TestChainStaples: a file has a response about each certificate of the chain, beside another certificate's with one, and a reload takes new
// ones. An OpenSSL that is too old is named, with the flag.
func TestChainStaples(t *testing.T) {
	dir, responses := t.TempDir(), []string{}
	for _, text := range []string{"leaf", "intermediate", "new leaf", "new intermediate", "RSA leaf"} {
		responses = append(responses, ocspResponse(t, text))
	}
	file := replaceFile(t, dir, "chain.der", responses[0]+responses[1])
	args := append(append(pair("ecdsa"), pair("rsa")...), "--ocsp-file", file, "--ocsp-file", writeFile(t, "rsa.der", responses[4]))
	if cssl.Version().Run.Number < 0x30600000 {
		_, _, stderr := refused(t, append(args, "--check")...)
		contains(t, stderr, "--ocsp-file", file, "OpenSSL 3.6")
		return
	}
	d := runDaemon(t, args...)
	stapled := func(signature string, want ...string) {
		t.Helper()
		x := tlstest.Value(cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem"), Staples: true, SignatureAlgorithms: signature}))(t)
		defer x.Close()
		c := tlstest.Value(sslnet.Client(tlstest.Value(net.Dial("tcp", d.addr()))(t), x, cssl.ConnConfig{ServerName: "localhost"}))(t)
		defer c.Close()
		roundTrip(t, c, []byte("hello"))
		got := []string{string(c.State().OCSP)}
		for _, r := range c.State().ChainOCSP {
			if r != nil {
				got = append(got, string(r))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", signature, got, want)
		}
	}
	const ecdsa, rsa = "ecdsa_secp256r1_sha256", "rsa_pss_rsae_sha256"
	stapled(ecdsa, responses[:2]...)
	stapled(rsa, responses[4])
	replaceFile(t, dir, "chain.der", responses[2]+responses[3])
	d.signal(syscall.SIGHUP)
	tlstest.Until(t, "it has reloaded", func() bool { return strings.Contains(d.err.String(), "reloaded") })
	stapled(ecdsa, responses[2:4]...)
}

// TestClientCertificates: none, optional and require, with CA and revocation list.
func TestClientCertificates(t *testing.T) {
	root := testcerts.Path("root.pem")
	for _, tt := range []struct {
		mode    string
		args    []string
		client  string
		refused bool
	}{
		{"none", nil, "client", false},
		{"optional", []string{"--client-ca", root}, "", false},
		{"optional", []string{"--client-ca", root}, "client", false},
		{"optional", []string{"--client-ca", testcerts.Path("other-root.pem")}, "client", true},
		{"require", []string{"--client-ca", root}, "", true},
		{"require", []string{"--client-ca", root}, "client", false},
		{"require", []string{"--client-ca", root, "--client-crl", testcerts.Path("crl.pem")}, "client", false},
	} {
		d := runDaemon(t, append(append(pair("ecdsa"), "--client-auth", tt.mode), tt.args...)...)
		cfg := &tls.Config{}
		if tt.client != "" {
			// Certificates would be left out where the server names another CA.
			cert := clientCertificate(t, tt.client)
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
		}
		c, err := tryTLS("tcp", d.addr(), cfg)
		if err == nil { // in TLS 1.3 the server's answer comes with the first read
			io.WriteString(c, "hello")
			_, err = io.ReadFull(c, make([]byte, 5))
			c.Close()
		}
		if (err != nil) != tt.refused {
			t.Errorf("%s %v, client %q: %v", tt.mode, tt.args, tt.client, err)
		}
	}
}

// TestRawPublicKeys: the daemon and a client know each other by their keys alone. An OpenSSL that is too old is named, with the flag.
func TestRawPublicKeys(t *testing.T) {
	publicKey := func(name string) string {
		key := tlstest.Value(x509.MarshalPKIXPublicKey(clientCertificate(t, name).Leaf.PublicKey))(t)
		return writeFile(t, name+".pub", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key})))
	}
	args := append(pair("ecdsa"), "--raw-public-key", "--client-keys", publicKey("client"), "--client-auth=require", "--cert-compression=zlib")
	if cssl.Version().Run.Number < 0x30200000 {
		_, _, stderr := refused(t, append(args, "--check")...)
		contains(t, stderr, "--cert-compression", "OpenSSL 3.2")
		return
	}
	d := runDaemon(t, args...)
	x := tlstest.Value(cssl.NewClientContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("client.pem"), KeyFile: testcerts.Path("client.key")}},
		RawPublicKey: true, PeerKeysFile: publicKey("ecdsa"),
	}))(t)
	defer x.Close()
	c := tlstest.Value(sslnet.Client(tlstest.Value(net.Dial("tcp", d.addr()))(t), x, cssl.ConnConfig{}))(t)
	defer c.Close()
	roundTrip(t, c, []byte("hello"))
	if st := c.State(); st.PeerPublicKey == nil || st.VerifyError != nil {
		t.Errorf("key %x, %v", st.PeerPublicKey, st.VerifyError)
	}
}

// TestSharedTickets: a session of one host resumes on another that has the same ticket keys, in rotation too, and not on one that has others.
func TestSharedTickets(t *testing.T) {
	host := func(seeds ...string) string {
		content := ""
		for _, s := range seeds {
			content += base64.StdEncoding.EncodeToString([]byte(strings.Repeat(s, 48))) + "\n"
		}
		return runDaemon(t, append(pair("ecdsa"), "--ticket-keys", writeFile(t, "keys", content))...).addr()
	}
	first, rotated, foreign := host("a", "b"), host("b", "a"), host("c")
	cfg := &tls.Config{ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i, step := range []struct {
		addr    string
		resumed bool
	}{{first, false}, {first, true}, {rotated, true}, {first, true}, {foreign, false}} {
		tlstest.Equal(t, fmt.Sprint("resumed in step ", i), served(t, step.addr, cfg).DidResume, step.resumed)
	}
}

// TestECHRotation: a reload takes a new key for Encrypted Client Hello, beside the old one or in place of it.
func TestECHRotation(t *testing.T) {
	if v := cssl.Version().Run; v.Number < 0x40000000 {
		t.Skipf("OpenSSL %v has no Encrypted Client Hello: 4.0 does", v)
	}
	dir := t.TempDir()
	key := func(name string) (content string, configs []byte) {
		file := filepath.Join(dir, name)
		if out, err := exec.Command("openssl", "ech", "-public_name", "front.example", "-out", file).CombinedOutput(); err != nil {
			t.Fatalf("openssl ech: %v: %s", err, out)
		}
		p := tlstest.Value(os.ReadFile(file))(t)
		_, rest := pem.Decode(p)
		block, _ := pem.Decode(rest)
		return string(p), block.Bytes
	}
	old, oldConfigs := key("old")
	now, nowConfigs := key("now")
	config := func(configs []byte) *tls.Config {
		return &tls.Config{ServerName: "localhost", EncryptedClientHelloConfigList: configs,
			EncryptedClientHelloRejectionVerify: func(tls.ConnectionState) error { return nil }}
	}
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	replaceFile(t, dir, "first", old)
	replaceFile(t, dir, "second", old)
	d := runDaemon(t, append(pair("ecdsa"), "--ech-key", first, "--ech-key", second, "--log-level=debug")...)
	served(t, d.addr(), nil)
	d.err.expect(t, "connection ended")
	if strings.Contains(d.err.String(), " ech=") {
		t.Error("the log has ech for a client that did not offer it")
	}
	served(t, d.addr(), config(oldConfigs))
	d.err.expect(t, " sni=localhost ech=accepted outer_sni=front.example ")
	for i, x := range []struct {
		second   string
		rejected bool
	}{{old, false}, {now, true}} {
		replaceFile(t, dir, "first", now)
		replaceFile(t, dir, "second", x.second)
		d.signal(syscall.SIGHUP)
		tlstest.Until(t, "it has reloaded", func() bool { return strings.Count(d.err.String(), "reloaded") == i+1 })
		served(t, d.addr(), config(nowConfigs))
		c, err := tryTLS("tcp", d.addr(), config(oldConfigs))
		if err == nil {
			c.Close()
		}
		var rejection *tls.ECHRejectionError
		tlstest.Equal(t, "the old configuration rejected", errors.As(err, &rejection), x.rejected)
		if x.rejected && !bytes.Equal(rejection.RetryConfigList, nowConfigs) {
			t.Errorf("other configurations: %x", rejection.RetryConfigList)
		}
	}
	d.err.expect(t, " sni=front.example ech=rejected in=")
}

// TestSharedKeys: a client with a key of the file gets no certificate, one with another key is refused, and others get the certificate.
// A reload takes another key, also one by --watch. A fault names the line and holds nothing of the key.
func TestSharedKeys(t *testing.T) {
	const one, other = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
	for how, sig := range map[string]syscall.Signal{"--watch=false": syscall.SIGHUP, "--watch": 0} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			file := replaceFile(t, dir, "psk", "# clients\n\nclient:"+one+"\n")
			d := runDaemon(t, append(pair("ecdsa"), "--psk-file", file, how, "--log-level=debug")...)
			// says returns what s_client prints, with the echo if there is one.
			says := func(key string) string {
				cmd := exec.Command("openssl", "s_client", "-connect", d.addr(), "-tls1_3", "-psk_identity", "client", "-psk", key)
				in := tlstest.Value(cmd.StdinPipe())(t)
				r := start(t, cmd)
				io.WriteString(in, "hello\n") // fails if it has ended
				tlstest.Until(t, "there is an echo, or the end", func() bool {
					select {
					case <-r.ended:
						return true
					default:
						return strings.Contains(r.out.String(), "\nhello\n")
					}
				})
				in.Close()
				r.status()
				return r.out.String()
			}
			only := func(key, wrong string) {
				t.Helper()
				contains(t, says(key), "\nhello\n", "no peer certificate available")
				if said := says(wrong); strings.Contains(said, "\nhello\n") || !strings.Contains(said, "alert") {
					t.Errorf("with another key: %s", said)
				}
			}
			change := func(content, want string) {
				replaceFile(t, dir, "psk", content)
				if sig != 0 {
					d.signal(sig)
				}
				d.err.expect(t, want)
			}
			only(one, other)
			d.err.expect(t, "binder does not verify")
			tlstest.Equal(t, "certificates for others", len(served(t, d.addr(), nil).PeerCertificates), 2)
			change("client:"+other, "msg=reloaded")
			only(other, one)
			change("client:"+other+"\nnext:"+one[1:], "--psk-file "+file+": line 2 is no identity:hexkey")
			only(other, one)
			if strings.Contains(d.err.String(), one[1:]) {
				t.Errorf("a key is in the log: %s", d.err.String())
			}
		})
	}
}

// TestCertificateCompression: s_client, which offers all that its OpenSSL has, is sent a compressed certificate where the flag is set.
func TestCertificateCompression(t *testing.T) {
	x, err := cssl.NewClientContext(cssl.Config{CertificateCompression: []string{"zlib"}, CAFile: testcerts.Path("root.pem")})
	if v := (*cssl.VersionError)(nil); errors.As(err, &v) {
		t.Skip(v)
	}
	tlstest.Must(t, err)
	x.Close()
	for args, want := range map[string]bool{"--cert-compression=zlib": true, "--cert-compression=": false} {
		d := runDaemon(t, append(pair("ecdsa"), args)...)
		cmd := exec.Command("openssl", "s_client", "-connect", d.addr(), "-tls1_3", "-msg", "-CAfile", testcerts.Path("root.pem"))
		said := output(t, cmd)
		contains(t, said, "Verify return code: 0 (ok)")
		tlstest.Equal(t, args+": the certificate is compressed", strings.Contains(said, "CompressedCertificate"), want)
	}
}

// TestKeyLog: secrets are written only when asked for, with a warning.
func TestKeyLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	d := runDaemon(t, append(pair("ecdsa"), "--keylog", file)...)
	served(t, d.addr(), nil)
	d.signal(syscall.SIGTERM)
	d.status()
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), "CLIENT_TRAFFIC_SECRET_0 ") {
		t.Errorf("%q, %v", b, err)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	contains(t, d.err.String(), "level=WARN", "keylog")
}

// TestOldVersionNamed: metrics and the JSON log name an old version, and --min-version alone is refused with what it needs.
func TestOldVersionNamed(t *testing.T) {
	admin := freePort(t)
	d := runDaemon(t, append(pair("rsa"), "--min-version=1.0", "--ciphers=DEFAULT:@SECLEVEL=0", "--log-format=json", "--log-level=debug", "--admin="+admin)...)
	served(t, d.addr(), &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10})
	d.err.expect(t, `"version":"TLSv1","cipher":"ECDHE-RSA-AES`)
	if status, text := get(admin, "/metrics"); !strings.Contains(text, `sslecho_handshake_versions_total{version="TLSv1"} 1`) {
		t.Errorf("%d\n%s", status, text)
	}
	status, _, stderr := refused(t, append(pair("rsa"), "--check", "--min-version=1.1")...)
	if status == 0 || !strings.Contains(stderr, "--min-version") || !strings.Contains(stderr, "@SECLEVEL=0") {
		t.Errorf("status %d: %s", status, stderr)
	}
}
