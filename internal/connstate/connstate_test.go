package connstate

import (
	"encoding/binary"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// groups of TLS 1.3 and of TLS 1.2 that OpenSSL may have. Each library lacks some of them, but none lacks those before the empty name.
var (
	groups13 = []string{"x25519", "x448", "secp256r1", "secp384r1", "secp521r1", "ffdhe2048", "ffdhe3072", "ffdhe4096", "ffdhe6144", "ffdhe8192", "",
		"brainpoolP256r1tls13", "brainpoolP384r1tls13", "brainpoolP512r1tls13", "curveSM2", "MLKEM512", "MLKEM768", "MLKEM1024",
		"SecP256r1MLKEM768", "X25519MLKEM768", "SecP384r1MLKEM1024", "curveSM2MLKEM768"}
	groups12 = []string{"x25519", "x448", "secp256r1", "secp384r1", "secp521r1", "", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1",
		"sect163k1", "sect163r1", "sect163r2", "sect193r1", "sect193r2", "sect233k1", "sect233r1", "sect239k1", "sect283k1", "sect283r1",
		"sect409k1", "sect409r1", "sect571k1", "sect571r1", "secp160k1", "secp160r1", "secp160r2", "secp192k1", "secp192r1", "secp224k1",
		"secp224r1", "secp256k1"}
)

// TestGroups: the number of each group that the library has is the one that the server sends.
func TestGroups(t *testing.T) {
	for version, groups := range map[cssl.TLSVersion][]string{cssl.TLS13: groups13, cssl.TLS12: groups12} {
		optional := false
		for _, name := range groups {
			if name == "" {
				optional = true
				continue
			}
			client := cssl.Config{CAFile: testcerts.Path("root.pem"), Groups: name, MaxVersion: version, CipherList: "DEFAULT:@SECLEVEL=0"}
			server := cssl.Config{Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("rsa.pem"), KeyFile: testcerts.Path("rsa.key")}},
				Groups: name, CipherList: client.CipherList}
			cx, err := cssl.NewClientContext(client)
			if err != nil && optional {
				continue
			}
			tlstest.Must(t, err)
			defer cx.Close()
			sx := tlstest.Value(cssl.NewServerContext(server))(t)
			defer sx.Close()
			c := tlstest.Value(cx.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"}))(t)
			defer c.Close()
			s := tlstest.Value(sx.NewEngineConn(cssl.ConnConfig{}))(t)
			defer s.Close()
			var sent []byte
			buf := make([]byte, 1<<16)
			for s.State().Version == 0 || c.State().Version == 0 {
				tlstest.Must(t, c.Handshake().Err)
				s.Feed(buf[:c.Take(buf)])
				tlstest.Must(t, s.Handshake().Err)
				n := s.Take(buf)
				sent = append(sent, buf[:n]...)
				c.Feed(buf[:n])
			}
			want := sentGroup(t, version, sent)
			for _, end := range []*cssl.Conn{c, s} {
				tlstest.Equal(t, name+" in "+version.String(), uint16(Of(end.State()).CurveID), want)
			}
		}
	}
}

// sentGroup finds the number in what a server has sent: in the key_share of its ServerHello, or in its ServerKeyExchange.
func sentGroup(t *testing.T, version cssl.TLSVersion, sent []byte) uint16 {
	t.Helper()
	var messages []byte
	for len(sent) > 5 && sent[0] == 22 { // RFC 8446, section 5.1
		n := int(binary.BigEndian.Uint16(sent[3:]))
		messages = append(messages, sent[5:5+n]...)
		sent = sent[5+n:]
	}
	for len(messages) > 4 {
		n := int(messages[1])<<16 | int(binary.BigEndian.Uint16(messages[2:]))
		body := messages[4 : 4+n]
		switch {
		case version == cssl.TLS12 && messages[0] == 12: // RFC 8422, section 5.4
			return binary.BigEndian.Uint16(body[1:])
		case version == cssl.TLS13 && messages[0] == 2:
			for p := body[35+int(body[34])+5:]; len(p) > 4; p = p[4+binary.BigEndian.Uint16(p[2:]):] {
				if binary.BigEndian.Uint16(p) == 51 {
					return binary.BigEndian.Uint16(p[4:])
				}
			}
		}
		messages = messages[4+n:]
	}
	t.Fatal("the server has named no group")
	return 0
}
