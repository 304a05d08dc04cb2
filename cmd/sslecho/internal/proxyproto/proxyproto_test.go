package proxyproto

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pires "github.com/pires/go-proxyproto"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

const hang = 30 * time.Second

// named answers each connection with its peer's address.
type named struct {
	reactor.BaseHandler
	ended chan error
}

func (named) OnOpen(c *reactor.Conn)             { fmt.Fprintf(c, "%v", c.RemoteAddr()); c.CloseWrite() }
func (n named) OnClose(_ *reactor.Conn, e error) { n.ended <- e }

// serve starts a server that trusts a network.
func serve(t *testing.T, addr, trusted string) (net.Addr, named) {
	t.Helper()
	x, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}})
	if err != nil {
		t.Fatal(err)
	}
	h := named{ended: make(chan error, 10)}
	s := &reactor.Server{Addr: addr, Handler: h, Context: x, Loops: 1, Limits: reactor.Limits{HandshakeTimeout: hang},
		Logger: slog.New(slog.DiscardHandler), Header: Header([]netip.Prefix{netip.MustParsePrefix(trusted)})}
	ls, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ls...) }()
	t.Cleanup(func() {
		s.Close()
		<-ended
		x.Close()
	})
	return ls[0].Addr(), h
}

// ask sends head in pieces, makes a handshake, and answers what the server says, and our own address.
func ask(t *testing.T, addr net.Addr, pieces ...[]byte) (said, own string, err error) {
	t.Helper()
	raw, err := net.DialTimeout(addr.Network(), addr.String(), hang)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(hang))
	for _, p := range pieces {
		if _, err := raw.Write(p); err != nil {
			return "", "", err
		}
	}
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil { // a Read would take the end of it for io.EOF
		return "", "", err
	}
	b, err := io.ReadAll(c)
	return string(b), raw.LocalAddr().String(), err
}

// header is what a proxy sends.
func header(t *testing.T, version byte, source, destination net.Addr) []byte {
	t.Helper()
	h := pires.HeaderProxyFromAddrs(version, source, destination)
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestHeader: both versions and families, with extensions, and those that name nobody.
func TestHeader(t *testing.T) {
	addr, _ := serve(t, "127.0.0.1:0", "127.0.0.0/8")
	v4 := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	v6 := &net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 4712}
	long := pires.HeaderProxyFromAddrs(2, v4, v4)
	if err := long.SetTLVs([]pires.TLV{{Type: pires.PP2_TYPE_NOOP, Value: make([]byte, 2000)}}); err != nil {
		t.Fatal(err)
	}
	longBytes, err := long.Format()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		pieces [][]byte
		want   string // empty: our own
	}{
		"v1 IPv4":      {[][]byte{header(t, 1, v4, v4)}, "192.0.2.7:4711"},
		"v1 IPv6":      {[][]byte{header(t, 1, v6, v6)}, "[2001:db8::7]:4712"},
		"v2 IPv4":      {[][]byte{header(t, 2, v4, v4)}, "192.0.2.7:4711"},
		"v2 IPv6":      {[][]byte{header(t, 2, v6, v6)}, "[2001:db8::7]:4712"},
		"v2 long":      {[][]byte{longBytes}, "192.0.2.7:4711"},
		"v1 unknown":   {[][]byte{[]byte("PROXY UNKNOWN\r\n")}, ""},
		"v2 local":     {[][]byte{append([]byte(signatureV2), 0x20, 0, 0, 0)}, ""},
		"v1 in pieces": {split(header(t, 1, v4, v4)), "192.0.2.7:4711"},
		"v2 in pieces": {split(header(t, 2, v6, v6)), "[2001:db8::7]:4712"},
	} {
		said, own, err := ask(t, addr, tt.pieces...)
		if tt.want == "" {
			tt.want = own
		}
		if err != nil || said != tt.want {
			t.Errorf("%s: %q, %v, want %s", name, said, err, tt.want)
		}
	}
}

func split(p []byte) (pieces [][]byte) {
	for i := range p {
		pieces = append(pieces, p[i:i+1])
	}
	return pieces
}

// TestUntrusted: who is not a trusted proxy comes directly, and cannot pretend to be somebody else.
func TestUntrusted(t *testing.T) {
	addr, _ := serve(t, "127.0.0.1:0", "192.0.2.0/24")
	if said, own, err := ask(t, addr); err != nil || said != own {
		t.Errorf("%q, %v, want %s", said, err, own)
	}
	v4 := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	if said, _, err := ask(t, addr, header(t, 2, v4, v4)); err == nil {
		t.Errorf("a header from nowhere was taken: %q", said)
	}
}

// TestUnix: over a unix socket the header says who it is.
func TestUnix(t *testing.T) {
	addr, _ := serve(t, "unix:"+filepath.Join(t.TempDir(), "s"), "192.0.2.0/24")
	v4 := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	if said, _, err := ask(t, addr, header(t, 2, v4, v4)); err != nil || said != "192.0.2.7:4711" {
		t.Errorf("%q, %v", said, err)
	}
}

// TestBadHeader: what a trusted proxy must not send ends its connection, with a text that says what it was.
func TestBadHeader(t *testing.T) {
	addr, h := serve(t, "127.0.0.1:0", "127.0.0.0/8")
	for name, tt := range map[string]struct{ send, want string }{
		"none":            {"", "no PROXY header"}, // the hello comes instead
		"HTTP":            {"GET / HTTP/1.1\r\n", "no PROXY header"},
		"v1 without end":  {"PROXY TCP4 " + strings.Repeat("1", 200), "PROXY line of more than 107 bytes"},
		"v1 nonsense":     {"PROXY TCP4 a b c d\r\n", "PROXY header: "},
		"v2 too long":     {signatureV2 + "\x21\x11\xff\xff", "at most 4096"},
		"v2 short":        {signatureV2 + "\x21\x11\x00\x01x", "PROXY header: "},
		"v2 version 3":    {signatureV2 + "\x31\x11\x00\x00", "PROXY header: "},
		"almost v1":       {"PROXX", "no PROXY header"},
		"almost v2":       {"\r\n\r\n\x00\r\nQUIX", "no PROXY header"},
		"v1 bad newlines": {"PROXY TCP4 192.0.2.7 192.0.2.7 1 2\n", "PROXY header: "},
	} {
		if said, _, err := ask(t, addr, []byte(tt.send)); err == nil {
			t.Errorf("%s: it went through: %q", name, said)
		}
		select {
		case err := <-h.ended:
			if !errors.Is(err, reactor.ErrHeader) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(hang):
			t.Fatalf("%s: no end", name)
		}
	}
}

// FuzzLength: whatever comes, a length that is answered lies within what is there and within bounds, and is
// no other when more has come.
func FuzzLength(f *testing.F) {
	f.Add([]byte("PROXY UNKNOWN\r\nmore"))
	f.Add([]byte(signatureV2 + "\x21\x11\x00\x0c0123456789abmore"))
	f.Fuzz(func(t *testing.T, p []byte) {
		n, err := length(p)
		if n < 0 || n > len(p) || err != nil && n != 0 {
			t.Fatalf("length %d of %d, %v", n, len(p), err)
		}
		if n > 0 {
			if m, err := length(p[:n]); m != n || err != nil {
				t.Fatalf("%d, and %d, %v without what follows", n, m, err)
			}
			_, _ = parse(p[:n])
		}
		for i := range min(n, 200) {
			if m, err := length(p[:i]); m != 0 || err != nil {
				t.Fatalf("%d, and %d, %v with %d bytes", n, m, err, i)
			}
		}
	})
}
