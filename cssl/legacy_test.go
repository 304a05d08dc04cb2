package cssl

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestDHE: TLS 1.2's suites with finite field Diffie-Hellman agree where CipherList names them, and only there: by default a
// client cannot make a server work that much.
func TestDHE(t *testing.T) {
	const dhe = "DHE-RSA-AES128-GCM-SHA256"
	for _, list := range []string{dhe, "kDHE+AESGCM", "DEFAULT", ""} {
		c, s := clientConfig(), serverConfig("rsa")
		c.CipherList, c.MaxVersion, s.CipherList = dhe, TLS12, list
		p := pairOf(t, c, s)
		if err := handshakeError(p); (err == nil) != (list != "") {
			t.Errorf("%q: %v", list, err)
		}
		if n := p.server.State(); list != "" && (n.Cipher != dhe || n.Group != "" || n.Version != TLS12) {
			t.Errorf("%q: %+v", list, n)
		}
	}
}

// TestDHEBehindName: so too where the suite is that of a Context behind a server name.
func TestDHEBehindName(t *testing.T) {
	c, s, named := clientConfig(), serverConfig("ecdsa"), serverConfig("rsa")
	c.CipherList, c.MaxVersion, named.CipherList = "DHE-RSA-CHACHA20-POLY1305", TLS12, "DHE-RSA-CHACHA20-POLY1305"
	s.SNI = map[string]*Context{"localhost": mustServer(t, named)}
	pairOf(t, c, s).handshake()
}

// old is what lets OpenSSL speak TLS 1.0 and 1.1.
const old = "DEFAULT:@SECLEVEL=0"

// TestOldVersions: TLS 1.0 and 1.1 are spoken where both sides allow them, with resumption, and named in what was negotiated;
// data passes. Nobody gets them without asking.
func TestOldVersions(t *testing.T) {
	for v, name := range map[TLSVersion]string{TLS10: "TLSv1", TLS11: "TLSv1.1"} {
		for _, cert := range []string{"rsa", "ecdsa"} {
			c, s := clientConfig(), serverConfig(cert)
			c.MinVersion, c.MaxVersion, c.CipherList = v, v, old
			s.MinVersion, s.CipherList = TLS10, old
			client, server := mustClient(t, c), mustServer(t, s)
			p := newPair(t, client, server).opened()
			for _, conn := range []*Conn{p.client, p.server} {
				n := conn.State()
				if n.Version != v || n.Version.String() != name || n.Group != "x25519" || n.CipherID == 0 || !strings.HasSuffix(n.Cipher, "-SHA") {
					t.Errorf("%v, %s: %+v", v, cert, n)
				}
			}
			sent := strings.Repeat("old ", 5000)
			for _, way := range [][2]*Conn{{p.client, p.server}, {p.server, p.client}} {
				if r := way[0].Write([]byte(sent)); r.Err != nil || r.N == 0 {
					t.Fatalf("%+v", r)
				}
				got := ""
				for p.move(way[0], way[1]) > 0 {
					r := way[1].Read(p.buf)
					for ; r.N > 0; r = way[1].Read(p.buf) {
						got += string(p.buf[:r.N])
					}
					if r.Err != nil {
						t.Fatal(r.Err)
					}
				}
				if got == "" || !strings.HasPrefix(sent, got) {
					t.Errorf("%v, %s: %d bytes came", v, cert, len(got))
				}
			}
			p = p.again(client, server, "localhost")
			p.handshake()
			if !p.client.State().Resumed {
				t.Errorf("%v, %s: not resumed", v, cert)
			}

			// A side that does not ask for the version refuses it.
			only := s
			only.MaxVersion = v
			for _, sides := range [][2]*Context{{client, mustServer(t, serverConfig(cert))}, {mustClient(t, clientConfig()), mustServer(t, only)}} {
				err := handshakeError(newPair(t, sides[0], sides[1]))
				if !errors.Is(err, tlsio.AlertProtocolVersion) {
					t.Errorf("%v, %s: %v", v, cert, err)
				}
			}
			// One that does gets the newest of both.
			c.MaxVersion = 0
			p = newPair(t, mustClient(t, c), server)
			p.handshake()
			if n := p.server.State(); n.Version != TLS13 {
				t.Errorf("%v, %s: %+v where TLS 1.3 is possible", v, cert, n)
			}
		}
	}
}

// TestOldVersionBehindName: the versions are those of the Context behind the server name.
func TestOldVersionBehindName(t *testing.T) {
	c, s, named := clientConfig(), serverConfig("rsa"), serverConfig("ecdsa")
	c.MinVersion, c.MaxVersion, c.CipherList = TLS10, TLS10, old
	named.MinVersion, named.CipherList = TLS10, old
	var seen []TLSVersion
	for _, cfg := range []*Config{&s, &named} {
		cfg.ClientHello = func(h *ClientHello) {
			seen = append(seen, h.Versions...)
			h.Accept(nil)
		}
	}
	s.SNI = map[string]*Context{"localhost": mustServer(t, named)}
	p := pairOf(t, c, s).shaken()
	if n := p.server.State(); n.Version != TLS10 || !slices.Equal(seen, []TLSVersion{TLS10}) {
		t.Errorf("%+v, the hello says %v", n, seen)
	}
}

// TestOldVersionRefused: where an old version could never be agreed on, the error says what is to be set.
func TestOldVersionRefused(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(*Config)
		setting string
		says    []string
	}{
		{"default list", func(c *Config) { c.MinVersion = TLS10 }, "MinVersion", []string{"TLSv1", "security level 0", "the level is 2", "CipherList", "DEFAULT:@SECLEVEL=0"}},
		{"list without level", func(c *Config) { c.MinVersion, c.CipherList = TLS11, "DEFAULT:@SECLEVEL=1" }, "MinVersion", []string{"TLSv1.1", "the level is 1", "@SECLEVEL=0"}},
		{"suites of 1.2 alone", func(c *Config) { c.MinVersion, c.CipherList = TLS11, "ECDHE+AESGCM:@SECLEVEL=0" }, "CipherList", []string{"no suite of TLSv1.1", "DEFAULT:@SECLEVEL=0"}},
		{"max alone", func(c *Config) { c.MaxVersion = TLS11 }, "MaxVersion", []string{"TLSv1.1", "below MinVersion", "TLSv1.2 by default"}},
		{"min above max", func(c *Config) { c.MinVersion, c.MaxVersion = TLS11, TLS10 }, "MinVersion", []string{"above MaxVersion TLSv1"}},
		{"SSL 3", func(c *Config) { c.MinVersion, c.CipherList = 0x0300, old }, "MinVersion", []string{"TLS 1.0 to 1.3"}},
		{"early data", func(c *Config) { c.MinVersion, c.MaxVersion, c.CipherList, c.MaxEarlyData = TLS10, TLS11, old, 100 }, "MaxEarlyData", []string{"needs TLS 1.3"}},
		{"PSKs", func(c *Config) {
			c.MinVersion, c.MaxVersion, c.CipherList, c.PSKs = TLS10, TLS11, old, []PSK{{Identity: []byte("a"), Key: make([]byte, 32)}}
		}, "PSKs", []string{"need TLS 1.3"}},
	} {
		c := serverConfig("ecdsa")
		tt.change(&c)
		checkRefused(t, tt.name, true, c, tt.setting, tt.says...)
	}
}

// TestFIPSOldVersion: no FIPS provider has the digest of TLS 1.0 and 1.1.
func TestFIPSOldVersion(t *testing.T) {
	c := serverConfig("ecdsa")
	c.MinVersion, c.CipherList, c.Library = TLS10, old, fipsLibrary(t)
	checkRefused(t, "FIPS", true, c, "MinVersion", "MD5-SHA1")
}

// TestOldVersionUnderPolicy: MinVersion and CipherList win over the system's policy in openssl.cnf.
func TestOldVersionUnderPolicy(t *testing.T) {
	const is = "CSSL_POLICY"
	if os.Getenv(is) != "" {
		c, s := clientConfig(), serverConfig("rsa")
		c.MinVersion, c.MaxVersion, c.CipherList = TLS10, TLS10, old
		s.MinVersion, s.MaxVersion, s.CipherList = TLS10, TLS11, old
		pairOf(t, c, s).handshake()
		return
	}
	file := writeFile(t, "openssl.cnf", "openssl_conf = i\n[i]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\nMinProtocol = TLSv1.2\nCipherString = DEFAULT:@SECLEVEL=2\n")
	self := exec.Command(os.Args[0], "-test.run=^TestOldVersionUnderPolicy$", "-test.v")
	self.Env = append(os.Environ(), is+"=1", "OPENSSL_CONF="+file)
	if out, err := self.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestParseTLSVersion: both spellings of each version, and nothing else.
func TestParseTLSVersion(t *testing.T) {
	for s, want := range map[string]TLSVersion{"": 0, "1.0": TLS10, "TLSv1": TLS10, "1.1": TLS11, "TLSv1.1": TLS11, "1.2": TLS12, "TLSv1.3": TLS13} {
		if v, err := ParseTLSVersion(s); err != nil || v != want {
			t.Errorf("%q: %v, %v", s, v, err)
		}
		if v, err := ParseTLSVersion(want.String()); want != 0 && (err != nil || v != want) {
			t.Errorf("%v: %v, %v", want, v, err)
		}
	}
	for _, s := range []string{"1", "1.4", "SSLv3", "3.0"} {
		if v, err := ParseTLSVersion(s); err == nil || !strings.Contains(err.Error(), "1.0, 1.1, 1.2 or 1.3") {
			t.Errorf("%q: %v, %v", s, v, err)
		}
	}
}
