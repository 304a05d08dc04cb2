package sslnet

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// serve listens and echoes on each connection, until the end of the test.
func serve(t testing.TB, network, address string, x *cssl.Context) *Listener {
	t.Helper()
	l := tlstest.Value(Listen(network, address, x))(t)
	serveOn(t, l)
	return l
}

// serveOn accepts and echoes in the way of net/http's server: an error of Accept that is temporary does not end
// it.
func serveOn(t testing.TB, l net.Listener) (refused *atomic.Int64) {
	refused = new(atomic.Int64)
	ended := tlstest.Later(func() error {
		for {
			c, err := l.Accept()
			var ne interface{ Temporary() bool }
			if errors.As(err, &ne) && ne.Temporary() {
				refused.Add(1)
				continue
			}
			if err != nil {
				return err
			}
			go func() {
				defer c.Close()
				io.Copy(c, struct{ io.Reader }{c})
			}()
		}
	})
	t.Cleanup(func() {
		l.Close()
		fails(t, ended, "Accept", net.ErrClosed)
	})
	return refused
}

// echoes fails unless c gives back what is sent.
func echoes(t testing.TB, c net.Conn) {
	t.Helper()
	flows(t, c, c, 1000, 100)
}

// TestDial: names and addresses of servers are checked, and what is dialled is what is checked where nothing else
// is said.
func TestDial(t *testing.T) {
	sx, cx := contexts(t)
	wrong, _ := contexts(t, func(server, _ *cssl.Config) {
		server.Certificates = certificate("wrongname")
	})
	good, bad := serve(t, "tcp", "127.0.0.1:0", sx).Addr().String(), serve(t, "tcp", "127.0.0.1:0", wrong).Addr().String()
	_, port, err := net.SplitHostPort(good)
	tlstest.Must(t, err)
	unix := serve(t, "unix", socketPath(t), sx).Addr().String()
	for name, tc := range map[string]struct {
		network, address string
		cfg              cssl.ConnConfig
		want             string // of the error
	}{
		"an address":                 {"tcp", good, cssl.ConnConfig{}, ""},
		"a name":                     {"tcp", "localhost:" + port, cssl.ConnConfig{}, ""},
		"a name that was given":      {"tcp", good, cssl.ConnConfig{ServerName: "example.test"}, ""},
		"another name":               {"tcp", good, cssl.ConnConfig{ServerName: "other.test"}, "hostname mismatch"},
		"a server of another name":   {"tcp", bad, cssl.ConnConfig{}, "IP address mismatch"},
		"no check":                   {"tcp", bad, cssl.ConnConfig{InsecureSkipNameCheck: true}, ""},
		"a unix socket":              {"unix", unix, cssl.ConnConfig{ServerName: "localhost"}, ""},
		"a unix socket, no name":     {"unix", unix, cssl.ConnConfig{}, "ServerName"},
		"a unix socket, no check":    {"unix", unix, cssl.ConnConfig{InsecureSkipNameCheck: true}, ""},
		"nobody there":               {"unix", unix + "x", cssl.ConnConfig{ServerName: "localhost"}, "no such file"},
		"an address that is no good": {"tcp", "127.0.0.1", cssl.ConnConfig{}, "missing port"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, nd := range []*net.Dialer{nil, new(net.Dialer)} {
				d := Dialer{Net: nd, Context: cx, Config: tc.cfg}
				c, err := d.Dial(tc.network, tc.address)
				if tc.want != "" {
					if c != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
						t.Errorf("got %v and %v, want an error with %q", c, err, tc.want)
					}
					continue
				}
				tlstest.Must(t, err)
				if s := c.(*Conn).State(); s.Version == 0 {
					t.Error("the handshake is not done")
				}
				echoes(t, c)
				tlstest.Must(t, c.Close())
				if !reflect.DeepEqual(d.Config, tc.cfg) {
					t.Errorf("Dial has changed its Config: %+v", d.Config)
				}
			}
		})
	}
}

// loopback is a resolver to which every name has the address 127.0.0.1. net's own may ask a DNS server for "localhost.".
func loopback() *net.Resolver {
	// RFC 1035: a header of 12 bytes, the name, its type and class. What comes behind them in a query is left out.
	answer := func(query []byte) []byte {
		end := 12 + bytes.IndexByte(query[12:], 0) + 5
		reply := append([]byte(nil), query[:end]...)
		copy(reply[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}) // a response with one question
		if query[end-3] == 1 {                                        // type A
			reply[7] = 1 // one answer: the name at 12, A, IN, no lifetime, 4 bytes
			reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
		}
		return reply
	}
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe() // no packets, so each message has its length in front
		go func() {
			defer far.Close()
			var head [2]byte
			for {
				if _, err := io.ReadFull(far, head[:]); err != nil {
					return
				}
				p := make([]byte, binary.BigEndian.Uint16(head[:]))
				if _, err := io.ReadFull(far, p); err != nil {
					return
				}
				out := answer(p)
				far.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
		}()
		return near, nil
	}}
}

// TestDialHost: what of an address is sent as SNI and checked, and what of a name that is set (P43).
func TestDialHost(t *testing.T) {
	sx, cx := contexts(t)
	l := listen(t, sx)
	heard := make(chan string, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if c.(*Conn).Handshake() == nil {
				heard <- c.(*Conn).State().ServerName
			}
			c.Close()
		}
	}()
	_, port, err := net.SplitHostPort(l.Addr().String())
	tlstest.Must(t, err)
	for _, tt := range []struct{ host, name, sent string }{
		{"localhost", "", "localhost"}, {"localhost.", "", "localhost"}, {"127.0.0.1", "", ""}, {"[::ffff:127.0.0.1]", "", ""},
		{"127.0.0.1", "localhost.", "localhost"}, {"127.0.0.1", "[::1]", ""}, {"127.0.0.1", "[::1%lo]", ""},
	} {
		d := Dialer{Context: cx, Config: cssl.ConnConfig{ServerName: tt.name}, Net: &net.Dialer{Resolver: loopback()}}
		c, err := d.Dial("tcp", tt.host+":"+port)
		if err != nil {
			t.Errorf("%s, %s: %v", tt.host, tt.name, err)
			continue
		}
		tlstest.Equal(t, "SNI for "+tt.host+", "+tt.name, tlstest.Receive(t, heard, "the handshake"), tt.sent)
		c.Close()
	}
}

// TestDialTimeout: the Timeout, or the context's end, ends a handshake with a server that says nothing, as a
// net.Error that is a timeout.
func TestDialTimeout(t *testing.T) {
	_, cx := contexts(t)
	listen := func() net.Listener {
		l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		t.Cleanup(func() { l.Close() })
		return l
	}
	alive := live.Conns()
	var ne net.Error
	for _, nd := range []*net.Dialer{{Timeout: 10 * time.Millisecond}, {Deadline: time.Now().Add(10 * time.Millisecond)}} {
		d := Dialer{Context: cx, Net: nd}
		if _, err := d.Dial("tcp", listen().Addr().String()); !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("with a bound of net.Dialer: %v, want a timeout", err)
		}
	}
	sx, _ := contexts(t)
	for _, x := range []*cssl.Context{nil, sx} {
		if _, err := (&Dialer{Context: x}).Dial("tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "ontext") {
			t.Errorf("with a context that no client can have: %v", err)
		}
	}
	d := Dialer{Context: cx}
	l := listen()
	ctx, cancel := context.WithCancelCause(t.Context())
	dialled := tlstest.Later(func() error { _, err := d.DialContext(ctx, "tcp", l.Addr().String()); return err })
	c := tlstest.Value(l.Accept())(t)
	defer c.Close()
	tlstest.Value(c.Read(make([]byte, 1)))(t) // the handshake has begun
	cancel(errCause)
	fails(t, dialled, "Dial", errCause)
	tlstest.Equal(t, "SSLs", live.Conns(), alive)
}
