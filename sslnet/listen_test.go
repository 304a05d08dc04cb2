package sslnet

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestListenBadly: what cannot be listened on.
func TestListenBadly(t *testing.T) {
	sx, _ := contexts(t)
	if l, err := Listen("tcp", "127.0.0.1:-1", sx); err == nil {
		l.Close()
		t.Error("no error")
	}
	_, cx := contexts(t)
	for _, x := range []*cssl.Context{nil, cx} {
		if l, err := Listen("tcp", "127.0.0.1:0", x); err == nil {
			l.Close()
			t.Error("Listen takes a context that no server can have")
		}
		plain := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		defer plain.Close()
		defer tlstest.Value(net.Dial("tcp", plain.Addr().String()))(t).Close()
		_, err := NewListener(plain, x).Accept()
		var temporary interface{ Temporary() bool }
		if err == nil || errors.As(err, &temporary) && temporary.Temporary() {
			t.Errorf("Accept says %v, which a server would wait out", err)
		}
	}
}

// TestSetContext: connections accepted after it have the new Context, those before keep theirs.
func TestSetContext(t *testing.T) {
	first, cx := contexts(t)
	second, _ := contexts(t, v12)
	l := serve(t, "tcp", "127.0.0.1:0", first)
	d := Dialer{Context: cx}
	dial := func(want cssl.TLSVersion) net.Conn {
		t.Helper()
		c := tlstest.Value(d.Dial("tcp", l.Addr().String()))(t)
		tlstest.Equal(t, "version", c.(*Conn).State().Version, want)
		return c
	}
	old := dial(cssl.TLS13)
	l.SetContext(second)
	first.Close()
	c := dial(cssl.TLS12)
	echoes(t, c)
	echoes(t, old)
	tlstest.Must(t, c.Close())
	tlstest.Must(t, old.Close())
}

// TestAcceptFails: with a Context that was closed Accept answers an error that is temporary, closes the
// connection, and serves the next one when there is a good Context.
func TestAcceptFails(t *testing.T) {
	sx, cx := contexts(t)
	bad, _ := contexts(t)
	bad.Close()
	l := listen(t, bad)
	refused := tlstest.Value(net.Dial("tcp", l.Addr().String()))(t)
	defer refused.Close()
	_, err := l.Accept()
	var ne net.Error
	if !errors.As(err, &ne) || !ne.(interface{ Temporary() bool }).Temporary() || ne.Timeout() {
		t.Fatalf("got %v, want a net.Error that is temporary", err)
	}
	if n, err := refused.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came over a connection that was refused", n)
	}
	l.SetContext(sx)
	c := tlstest.Value(net.Dial("tcp", l.Addr().String()))(t)
	s := tlstest.Value(l.Accept())(t)
	client := tlstest.Value(Client(c, cx, cssl.ConnConfig{ServerName: "localhost"}))(t)
	defer client.Close()
	defer s.Close()
	shake(t, client, s.(*Conn))
}

// TestSetContextInUse: Contexts are replaced, and the old ones closed, while connections come in. None of these is
// refused.
func TestSetContextInUse(t *testing.T) {
	const times = 200 / tlstest.Scale
	first, _ := contexts(t)
	l := tlstest.Value(Listen("unix", socketPath(t), first))(t)
	refused := serveOn(t, l)
	stop := make(chan struct{})
	dialling := tlstest.Later(func() error {
		for {
			select {
			case <-stop:
				return nil
			default:
			}
			c, err := net.Dial("unix", l.Addr().String())
			switch {
			case err == nil:
				c.Close()
			case !errors.Is(err, syscall.EAGAIN): // that many wait already
				return err
			}
		}
	})
	for range times {
		next := tlstest.Value(cssl.NewServerContext(serverConfig()))(t)
		t.Cleanup(next.Close)
		old := l.context.Load()
		l.SetContext(next)
		old.Close()
	}
	close(stop)
	done(t, dialling, "the clients")
	tlstest.Equal(t, "connections refused", refused.Load(), 0)
}
