package cssl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// ticketKey is a key of n bytes.
func ticketKey(seed byte, n int) []byte { return bytes.Repeat([]byte{seed}, n) }

// TestTicketKeys: servers that share keys resume each other's sessions, also behind a change by server name; an older key still
// decrypts, a foreign one leads to a full handshake.
func TestTicketKeys(t *testing.T) {
	a, b, c := byte(1), byte(2), byte(3)
	for _, tt := range []struct {
		name          string
		issuer, later []byte
		resumed       bool
	}{
		{"shared", []byte{a}, []byte{a}, true},
		{"announced", []byte{a}, []byte{a, b}, true},
		{"rotated", []byte{a}, []byte{b, a}, true},
		{"rotated out", []byte{a}, []byte{c, b}, false},
	} {
		for _, version := range versions {
			for _, size := range []int{48, 80} {
				for _, name := range []string{"localhost", "sni.test"} {
					server := func(seeds []byte) *Context {
						s := serverConfig("ecdsa")
						for _, seed := range seeds {
							s.TicketKeys = append(s.TicketKeys, ticketKey(seed, size))
						}
						s.SNI = map[string]*Context{"sni.test": mustServer(t, serverConfig("ecdsa"))}
						return mustServer(t, s)
					}
					client := clientConfig()
					client.MaxVersion, client.Verify = version, VerifyNone
					cx := mustClient(t, client)
					p := newPair(t, cx, server(tt.issuer), ConnConfig{ServerName: name}).opened()
					q := p.again(cx, server(tt.later), name)
					if r := q.server.State().Resumed; r != tt.resumed || q.client.State().Resumed != r {
						t.Errorf("%s, %v, %d bytes, %s: resumed %v", tt.name, version, size, name, r)
					}
				}
			}
		}
	}
}

// TestTicketsOfOneContext: without keys a ticket is good for the Context that made it, and no other.
func TestTicketsOfOneContext(t *testing.T) {
	cx := mustClient(t, clientConfig())
	p := newPair(t, cx, mustServer(t, serverConfig("ecdsa"))).opened()
	if p.again(cx, mustServer(t, serverConfig("ecdsa")), "localhost").server.State().Resumed {
		t.Error("resumed")
	}
}

// ocspResponse is the outside of an OCSP response with the given status.
func ocspResponse(t *testing.T, status asn1.Enumerated) []byte {
	t.Helper()
	type body struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	der, err := asn1.Marshal(struct {
		Status asn1.Enumerated
		Body   body `asn1:"explicit,tag:0"`
	}{status, body{asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}, []byte("signed by nobody")}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestStaple: a client gets the response that belongs to the certificate that it gets, and none where there is none.
func TestStaple(t *testing.T) {
	withOCSP := serverConfig("ecdsa").Certificates[0]
	withOCSP.OCSP = ocspResponse(t, 0)
	s := Config{Certificates: []Certificate{serverConfig("rsa").Certificates[0], withOCSP}}
	s.SNI = map[string]*Context{"sni.test": mustServer(t, serverConfig("ecdsa"))}
	sx := mustServer(t, s)
	for _, tt := range []struct {
		name  string
		suite uint16
		want  bool
	}{
		{"localhost", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true},
		{"localhost", tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, false},
		{"sni.test", tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false},
	} {
		c := &tls.Config{InsecureSkipVerify: true, ServerName: tt.name, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tt.suite}}
		var want []byte
		if tt.want {
			want = withOCSP.OCSP
		}
		if got := readWithGo(t, sx, c).OCSPResponse; !bytes.Equal(got, want) {
			t.Errorf("%s, %s: stapled %x, want %x", tt.name, tls.CipherSuiteName(tt.suite), got, want)
		}
	}
}

// TestTicketsAndStaplesRefused: what cannot be used is refused with the setting's name, and no key is in the message.
func TestTicketsAndStaplesRefused(t *testing.T) {
	staple := func(der []byte) Config {
		c := serverConfig("ecdsa")
		c.Certificates[0].OCSP = der
		return c
	}
	keys := func(keys ...[]byte) Config {
		c := serverConfig("ecdsa")
		c.TicketKeys = keys
		return c
	}
	missing := serverConfig("ecdsa")
	missing.Certificates[0].OCSPFile = testcerts.Path("no-such-file.der")
	for name, tt := range map[string]struct {
		c       Config
		setting string
	}{
		"short key":      {keys([]byte("SECRET")), "TicketKeys[0]"},
		"mixed lengths":  {keys(ticketKey('S', 48), ticketKey('S', 80)), "TicketKeys[1]"},
		"not DER":        {staple([]byte("nonsense")), "Certificates[0].OCSP"},
		"try later":      {staple(ocspResponse(t, 3)), "Certificates[0].OCSP"},
		"more behind it": {staple(append(ocspResponse(t, 0), 0)), "Certificates[0].OCSP"},
		"no such file":   {missing, "Certificates[0].OCSPFile"},
		"file and memory": {func() Config {
			c := missing
			c.Certificates = []Certificate{missing.Certificates[0]}
			c.Certificates[0].OCSP = []byte{1}
			return c
		}(), "Certificates[0].OCSPFile"},
	} {
		checkRefused(t, name, true, tt.c, tt.setting)
		if _, err := NewServerContext(tt.c); err != nil && (strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "SSSS")) {
			t.Errorf("%s: a key is in %v", name, err)
		}
	}
	for setting, c := range map[string]Config{"TicketKeys": keys(ticketKey(1, 48)), "Certificates[0].OCSP": staple(ocspResponse(t, 0))} {
		checkRefused(t, "a client's "+setting, false, c, setting)
	}
}
