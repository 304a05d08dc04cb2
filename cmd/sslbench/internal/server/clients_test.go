package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// errFIN is the end of a connection as finConn sees it.
var errFIN = errors.New("FIN")

// finConn tells a FIN from a close_notify, which crypto/tls makes the same.
type finConn struct{ net.Conn }

func (c finConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF {
		err = errFIN
	}
	return n, err
}

// TestGoodbye: the answer to close_notify is close_notify, with no data before it. nginx sends a FIN alone.
func TestGoodbye(t *testing.T) {
	eachKind(t, func(t *testing.T, k Kind, w Work) {
		for _, version := range []string{"1.2", "1.3"} {
			s := spec(t, w)
			s.MaxVersion = version
			p := start(t, k, s)
			c := tls.Client(finConn{raw(t, p)}, &tls.Config{InsecureSkipVerify: true})
			defer c.Close()
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			n, err := c.Read(make([]byte, 1))
			if n > 0 || err != io.EOF && (err != errFIN || k.Name != Nginx) {
				t.Errorf("TLS %s: %d bytes, %v", version, n, err)
			}
		}
	}, Handshakes)
}

// TestRudeClients: a server outlives clients that leave in any way, also the one that serves one at a time.
func TestRudeClients(t *testing.T) {
	rude := map[string]func(*testing.T, Kind, *Process){
		"FIN before the handshake": func(t *testing.T, _ Kind, p *Process) { raw(t, p).Close() },
		"reset before the handshake": func(t *testing.T, _ Kind, p *Process) {
			c := raw(t, p)
			c.SetLinger(0)
			c.Close()
		},
		"no TLS": func(t *testing.T, _ Kind, p *Process) {
			c := raw(t, p)
			io.WriteString(c, "GET / HTTP/1.0\r\n\r\n")
			c.CloseWrite()
			io.Copy(io.Discard, c) // may end with a reset
			c.Close()
		},
		"FIN after the handshake": func(t *testing.T, k Kind, p *Process) {
			netConn(dial(t, k, p, nil)).Close()
		},
		"reset after the handshake": func(t *testing.T, k Kind, p *Process) {
			c := netConn(dial(t, k, p, nil))
			c.SetLinger(0)
			c.Close()
		},
		"close_notify and gone": func(t *testing.T, k Kind, p *Process) { dial(t, k, p, nil).Close() },
	}
	eachKind(t, func(t *testing.T, k Kind, w Work) {
		p := start(t, k, spec(t, w))
		for range 3 {
			for name, leave := range rude {
				if t.Run(name, func(t *testing.T) { leave(t, k, p) }); t.Failed() {
					return
				}
			}
			shake(t, k, p, nil)
		}
		if _, err := p.CPU(); err != nil {
			t.Error(err)
		}
	}, Handshakes, Reverse, Idle)
	t.Run("openssl s_server -rev", func(t *testing.T) {
		k := kind(t, SServer)
		p := start(t, k, spec(t, Reverse))
		for name, leave := range rude {
			t.Run(name, func(t *testing.T) { leave(t, k, p) })
		}
		shake(t, k, p, nil)
	})
}

func raw(t *testing.T, p *Process) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", p.Addr().String(), limit)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(limit))
	return c.(*net.TCPConn)
}

func netConn(c net.Conn) *net.TCPConn {
	if s, ok := c.(*tls.Conn); ok {
		c = s.NetConn()
	}
	return c.(*net.TCPConn)
}
