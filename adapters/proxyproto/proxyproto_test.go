package proxyproto

import (
	"bufio"
	"cmp"
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

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

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
	x := tlstest.Value(cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}))(t)
	h := named{ended: make(chan error, 100)}
	s := &reactor.Server{Addr: addr, Handler: h, Context: x, Loops: 1, Limits: reactor.Limits{HandshakeTimeout: tlstest.Hang},
		Logger: slog.New(slog.DiscardHandler), Header: Header(netip.MustParsePrefix(trusted))}
	ls := tlstest.Value(s.Listen())(t)
	ended := tlstest.Later(func() error { return s.Serve(ls...) })
	t.Cleanup(func() { s.Close(); <-ended; x.Close() })
	return ls[0].Addr(), h
}

// ask sends head in pieces, makes a handshake, and answers what the server says, and our own address.
func ask(t *testing.T, addr net.Addr, pieces ...[]byte) (said, own string, err error) {
	t.Helper()
	raw := tlstest.Value(net.DialTimeout(addr.Network(), addr.String(), tlstest.Hang))(t)
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(tlstest.Hang))
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

// The headers of the specification's section 2, made by hand.
const (
	v1IPv4 = "PROXY TCP4 192.0.2.7 192.0.2.8 4711 443\r\n"
	v1IPv6 = "PROXY TCP6 2001:db8::7 2001:db8::8 4712 443\r\n"
	v2IPv4 = signatureV2 + "\x21\x11\x00\x0c" + "\xc0\x00\x02\x07" + "\xc0\x00\x02\x08" + "\x12\x67" + "\x01\xbb"
	ip6    = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	v2IPv6 = signatureV2 + "\x21\x21\x00\x24" + ip6 + "\x07" + ip6 + "\x08" + "\x12\x68" + "\x01\xbb"
)

// TestHeader: both versions and families, with extensions, and those that name nobody.
func TestHeader(t *testing.T) {
	addr, _ := serve(t, "127.0.0.1:0", "127.0.0.0/8")
	// An extension of 2000 bytes: PP2_TYPE_NOOP.
	long := signatureV2 + "\x21\x11\x07\xdf" + v2IPv4[fixedV2:] + "\x04\x07\xd0" + strings.Repeat("\x00", 2000)
	for name, tt := range map[string]struct{ send, want string }{ // no want: the address of the proxy
		"v1 IPv4":          {v1IPv4, "192.0.2.7:4711"},
		"v1 IPv6":          {v1IPv6, "[2001:db8::7]:4712"},
		"v2 IPv4":          {v2IPv4, "192.0.2.7:4711"},
		"v2 IPv6":          {v2IPv6, "[2001:db8::7]:4712"},
		"v2 long":          {long, "192.0.2.7:4711"},
		"v1 unknown":       {"PROXY UNKNOWN\r\n", ""},
		"v1 unknown, more": {"PROXY UNKNOWN ff:: ff:: 1 1\r\n", ""},
		"v2 local":         {signatureV2 + "\x20\x00\x00\x00", ""},
		"v2 UDP":           {signatureV2 + "\x21\x12" + v2IPv4[fixedV2-2:], ""},
	} {
		for what, pieces := range map[string][][]byte{"whole": {[]byte(tt.send)}, "in pieces": split([]byte(tt.send)[:min(len(tt.send), 100)], tt.send)} {
			said, own, err := ask(t, addr, pieces...)
			want := tt.want
			if want == "" {
				want = own
			}
			if err != nil || said != want {
				t.Errorf("%s, %s: %q, %v, want %s", name, what, said, err, want)
			}
		}
	}
}

// split returns the bytes of head one by one, and what follows it in all.
func split(head []byte, all string) (pieces [][]byte) {
	for i := range head {
		pieces = append(pieces, head[i:i+1])
	}
	if rest := all[len(head):]; rest != "" {
		pieces = append(pieces, []byte(rest))
	}
	return pieces
}

// TestUntrusted: who is not a trusted proxy comes directly, and cannot pretend to be somebody else.
func TestUntrusted(t *testing.T) {
	addr, _ := serve(t, "127.0.0.1:0", "192.0.2.0/24")
	if said, own, err := ask(t, addr); err != nil || said != own {
		t.Errorf("%q, %v, want %s", said, err, own)
	}
	if said, _, err := ask(t, addr, []byte(v2IPv4)); err == nil {
		t.Errorf("a header from nowhere was taken: %q", said)
	}
}

// greeter speaks first, to the address that it sees.
type greeter struct{}

func (greeter) OnConnect(c *reactor.Conn)             { fmt.Fprintf(c, "%v\n", c.RemoteAddr()) }
func (greeter) OnPlain(_ *reactor.Conn, p []byte) int { return len(p) }

// TestPlain: in plain text, a direct client is greeted before it has sent anything, and a proxy's after its header.
func TestPlain(t *testing.T) {
	for _, tt := range []struct {
		trusted string
		pieces  [][]byte
		want    string // "": our own address
	}{
		{"192.0.2.0/24", nil, ""},
		{"127.0.0.0/8", [][]byte{[]byte(v1IPv4)}, "192.0.2.7:4711"},
		{"127.0.0.0/8", split([]byte(v2IPv4), v2IPv4), "192.0.2.7:4711"},
	} {
		s := &reactor.Server{Addr: "127.0.0.1:0", Handler: reactor.BaseHandler{}, Plain: greeter{}, Loops: 1,
			Limits: reactor.Limits{HandshakeTimeout: tlstest.Hang}, Logger: slog.New(slog.DiscardHandler),
			Header: Header(netip.MustParsePrefix(tt.trusted))}
		ls := tlstest.Value(s.Listen())(t)
		ended := tlstest.Later(func() error { return s.Serve(ls...) })
		t.Cleanup(func() { s.Close(); <-ended })
		raw := tlstest.Value(net.DialTimeout("tcp", ls[0].Addr().String(), tlstest.Hang))(t)
		t.Cleanup(func() { raw.Close() })
		raw.SetDeadline(time.Now().Add(tlstest.Hang / 2)) // before HandshakeTimeout
		for _, p := range tt.pieces {
			tlstest.Value(raw.Write(p))(t)
		}
		said := tlstest.Value(bufio.NewReader(raw).ReadString('\n'))(t)
		tlstest.Equal(t, "the greeting", said, cmp.Or(tt.want, raw.LocalAddr().String())+"\n")
	}
}

// TestUnix: over a unix socket the header says who it is.
func TestUnix(t *testing.T) {
	addr, _ := serve(t, "unix:"+filepath.Join(t.TempDir(), "s"), "192.0.2.0/24")
	if said, _, err := ask(t, addr, []byte(v2IPv4)); err != nil || said != "192.0.2.7:4711" {
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
		"v1 zone":         {"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n", "PROXY header: "},
		"v1 port":         {"PROXY TCP4 192.0.2.7 192.0.2.7 65536 2\r\n", "PROXY header: "},
		"v1 family":       {"PROXY TCP4 2001:db8::7 2001:db8::8 1 2\r\n", "PROXY header: "},
		"v2 family":       {signatureV2 + "\x21\x41\x00\x00", "PROXY header: "},
		"v2 unspecified":  {signatureV2 + "\x21\x00\x00\x00", "PROXY header: "}, // section 2.2 lets a receiver choose
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
		if err := tlstest.Receive(t, h.ended, "the end of "+name); !errors.Is(err, reactor.ErrHeader) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParse: a header lies within what is there, and is the same without what
// follows it. No part of it is a header or an error.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"PROXY UNKNOWN\r\nmore", v1IPv4, v1IPv6, v2IPv4 + "more", v2IPv6} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		n, source, err := parse(p)
		if n < 0 || n > len(p) || err != nil && n != 0 {
			t.Fatalf("length %d of %d, %v", n, len(p), err)
		}
		if n > 0 {
			if m, again, err := parse(p[:n]); m != n || again != source || err != nil {
				t.Fatalf("%d of %v, and %d of %v, %v without what follows", n, source, m, again, err)
			}
		}
		for i := range min(n, 200) {
			if m, _, err := parse(p[:i]); m != 0 || err != nil {
				t.Fatalf("%d, and %d, %v with %d bytes", n, m, err, i)
			}
		}
	})
}
