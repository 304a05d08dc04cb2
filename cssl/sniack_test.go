package cssl

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// answered are the types of the extensions with which a server has answered the ClientHello. Those of TLS 1.3 it decrypts, from the key log,
// of TLS_AES_128_GCM_SHA256.
func answered(t testing.TB, wire []byte, version TLSVersion, keyLog []byte) (types []uint16) {
	t.Helper()
	// message is the rest of a first handshake message of the type, or nil.
	message := func(p []byte, typ byte) []byte {
		if len(p) < 4 || p[0] != typ {
			return nil
		}
		return p[4 : 4+int(binary.BigEndian.Uint32(p)&0xffffff)]
	}
	var body []byte
	for left := wire; body == nil; {
		if len(left) < 5 {
			t.Fatal("the server has not answered")
		}
		n := 5 + int(binary.BigEndian.Uint16(left[3:]))
		head, p := left[:5], left[5:n]
		left = left[n:]
		switch {
		case version == TLS12 && head[0] == 22:
			hello := message(p, 2)
			if hello == nil {
				t.Fatal("no ServerHello")
			}
			if hello = hello[35+int(hello[34])+3:]; len(hello) == 0 {
				return nil
			}
			body = hello
		case head[0] == 23:
			p = decrypt(t, head, p, keyLog)
			if body = message(p, 8); body == nil {
				t.Fatalf("no EncryptedExtensions: %x", p)
			}
		}
	}
	for body = body[2:]; len(body) > 0; body = body[4+int(binary.BigEndian.Uint16(body[2:])):] {
		types = append(types, binary.BigEndian.Uint16(body))
	}
	return types
}

// decrypt opens the first record of a server's handshake (RFC 8446, sections 5.2 and 7.3).
func decrypt(t testing.TB, head, record, keyLog []byte) []byte {
	t.Helper()
	var secret []byte
	for _, line := range bytes.Split(keyLog, []byte("\n")) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "SERVER_HANDSHAKE_TRAFFIC_SECRET" {
			secret, _ = hex.DecodeString(string(f[2]))
		}
	}
	expand := func(label string, n int) []byte {
		label = "tls13 " + label
		out := tlstest.Value(hkdf.Expand(sha256.New, secret, string([]byte{0, byte(n), byte(len(label))})+label+"\x00", n))(t)
		return out
	}
	block := tlstest.Value(aes.NewCipher(expand("key", 16)))(t)
	gcm := tlstest.Value(cipher.NewGCM(block))(t)
	p := tlstest.Value(gcm.Open(nil, expand("iv", 12), record, head))(t)
	return p
}

// TestServerNameAcknowledged: a server acknowledges a name by which it has chosen, no other, and none when it resumes (RFC 6066, section 3).
// Either way both sides know the name afterwards.
func TestServerNameAcknowledged(t *testing.T) {
	const serverName = 0
	other := mustServer(t, serverConfig("rsa"))
	sni := func(name string) func(*Config) {
		return func(s *Config) { s.SNI = map[string]*Context{name: other} }
	}
	decide := func(x *Context) func(*Config) {
		return func(s *Config) { s.ClientHello = func(h *ClientHello) { h.Accept(x) } }
	}
	// The Context that the connection was accepted on.
	var accepted *Context
	same := func(s *Config) { s.ClientHello = func(h *ClientHello) { h.Accept(accepted) } }
	names := func(name string) func(*Config) {
		return func(s *Config) { s.Names = map[string][]Certificate{name: serverConfig("rsa").Certificates} }
	}
	for _, tt := range []struct {
		what   string
		name   string
		change []func(*Config)
		want   bool
	}{
		{"no choice", "localhost", nil, false},
		{"SNI", "localhost", []func(*Config){sni("localhost")}, true},
		{"a wildcard", "a.wild.test", []func(*Config){sni("*.wild.test")}, true},
		{"another name", "localhost", []func(*Config){sni("other.test")}, false},
		{"no name", "", []func(*Config){sni("localhost")}, false},
		{"ClientHello", "localhost", []func(*Config){decide(other)}, true},
		{"ClientHello, no name", "", []func(*Config){decide(other)}, false},
		{"ClientHello leaves it", "localhost", []func(*Config){decide(nil)}, false},
		{"ClientHello leaves it to SNI", "localhost", []func(*Config){decide(nil), sni("localhost")}, true},
		{"ClientHello accepts the same", "localhost", []func(*Config){same}, false},
		{"Names", "localhost", []func(*Config){names("localhost")}, true},
		{"another of Names", "localhost", []func(*Config){names("other.test")}, false},
		{"ClientHello leaves it to Names", "localhost", []func(*Config){decide(nil), names("localhost")}, true},
	} {
		for _, version := range versions {
			for _, groups := range []string{"", "P-384"} { // P-384 makes a HelloRetryRequest
				s := serverConfig("ecdsa")
				s.Groups = groups
				for _, f := range tt.change {
					f(&s)
				}
				var log bytes.Buffer
				c := Config{CAFile: testcerts.Path("root.pem"), MaxVersion: version, CipherSuites: "TLS_AES_128_GCM_SHA256", KeyLog: &log}
				cx, sx := mustClient(t, c), mustServer(t, s)
				accepted = sx
				var session *Session
				for _, resumed := range []bool{false, true} {
					where := fmt.Sprintf("%s, %v, groups %s, resumed %v", tt.what, version, groups, resumed)
					log.Reset()
					p := newPair(t, cx, sx)
					conn := tlstest.Value(cx.NewEngineConn(ConnConfig{ServerName: tt.name, InsecureSkipNameCheck: tt.name == "", Session: session}))(t)
					t.Cleanup(conn.Close)
					p.client, p.wire = conn, map[*Conn][]byte{}
					p.handshake()
					p.finish()
					if p.server.State().Resumed != resumed {
						t.Fatalf("%s: resumed %v", where, !resumed)
					}
					got := false
					for _, typ := range answered(t, p.wire[p.server], version, log.Bytes()) {
						got = got || typ == serverName
					}
					if got != (tt.want && !resumed) {
						t.Errorf("%s: acknowledged %v", where, got)
					}
					if a, b := p.client.State().ServerName, p.server.State().ServerName; a != tt.name || b != tt.name {
						t.Errorf("%s: the client knows the name %q, the server %q", where, a, b)
					}
					session = p.client.Session()
				}
			}
		}
	}
}
