package reactor

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/tlsio"
)

// blocking is a client for the test's own goroutine.
func blocking(t *testing.T, s *Server, x *cssl.Context, ticket *cssl.Session) *sslnet.Conn {
	t.Helper()
	c := tlstest.Value(sslnet.Client(rawDial(t, start(t, s)), x, cssl.ConnConfig{ServerName: "localhost", Session: ticket}))(t)
	t.Cleanup(func() { c.Close() })
	tlstest.Must(t, c.SetDeadline(time.Now().Add(tlstest.Hang)))
	return c
}

// TestRequestCertificate: the handler asks when it has read what needs a certificate, and hears of the answer, or why there is none.
func TestRequestCertificate(t *testing.T) {
	for _, offers := range []bool{true, false} {
		heard := make(chan error, 2)
		h := &hooks{}
		h.data = func(c *Conn, p []byte) { c.RequestCertificate() }
		h.certificate = func(c *Conn, err error) {
			if chain, _ := c.State().VerifiedChain(); err == nil && len(chain) == 0 {
				err = errors.New("no certificate")
			}
			heard <- err
			c.Write([]byte("seen"))
		}
		s := &Server{Handler: h, Context: serverContext(t, "ecdsa", func(c *cssl.Config) {
			c.PostHandshakeAuth, c.Verify, c.CAFile = true, cssl.VerifyRequire, testcerts.Path("root.pem")
		})}
		x := clientContext(t, func(c *cssl.Config) {
			c.PostHandshakeAuth = offers
			c.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path("client.pem"), KeyFile: testcerts.Path("client.key")}}
		})
		c := blocking(t, s, x, nil)
		for range 2 {
			tlstest.Value(c.Write([]byte("secret page")))(t)
			p := make([]byte, 4)
			tlstest.Value(io.ReadFull(c, p))(t)
			if err := tlstest.Receive(t, heard, "OnCertificate"); offers && err != nil || !offers && !errors.Is(err, tlsio.ErrState) {
				t.Errorf("offered %v: %v", offers, err)
			}
		}
	}
}

// TestRequestCertificateRefused: an answer that does not pass ends the connection, and OnClose says why.
func TestRequestCertificateRefused(t *testing.T) {
	closed := make(chan error, 1)
	h := &hooks{certificate: func(*Conn, error) { t.Error("OnCertificate") }}
	h.open = func(c *Conn) { c.RequestCertificate() }
	h.closed = func(_ *Conn, err error) { closed <- err }
	s := &Server{Handler: h, Context: serverContext(t, "ecdsa", func(c *cssl.Config) {
		c.PostHandshakeAuth, c.Verify, c.CAFile = true, cssl.VerifyRequire, testcerts.Path("root.pem")
	})}
	c := blocking(t, s, clientContext(t, func(c *cssl.Config) { c.PostHandshakeAuth = true }), nil)
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, tlsio.AlertCertificateRequired) {
		t.Errorf("the client hears %v", err)
	}
	if err := tlstest.Receive(t, closed, "OnClose"); !errors.Is(err, tlsio.AlertCertificateRequired) {
		t.Errorf("OnClose(%v)", err)
	}
}

// TestEarlyData: the handler gets it before OnOpen, and what it writes then is the first thing that the client reads. Without session.Config.EarlyData
// the server rejects it.
func TestEarlyData(t *testing.T) {
	x := clientContext(t, nil)
	sx := serverContext(t, "ecdsa", func(c *cssl.Config) { c.MaxEarlyData = 1 << 20 })
	data := new(stream).next(300000)
	opened, n := make(chan int, 3), 0
	h := &hooks{}
	in := stream{}
	h.early = func(c *Conn, p []byte) {
		if in.check(p); in.n == len(data) {
			c.Write([]byte("got it"))
		}
	}
	h.open = func(c *Conn) { opened <- in.n }
	h.data = func(c *Conn, p []byte) { n += len(p); c.Write(p) }
	s := &Server{Handler: h, Context: sx, Session: session.Config{EarlyData: true}}
	c := blocking(t, s, x, nil)
	roundTrip(t, c, "first")
	tlstest.Receive(t, opened, "OnOpen")
	again, err := sslnet.Client(rawDial(t, c.RemoteAddr()), x, cssl.ConnConfig{ServerName: "localhost", Session: c.Session()})
	tlstest.Must(t, err)
	defer again.Close()
	tlstest.Must(t, again.SetDeadline(time.Now().Add(tlstest.Hang)))
	tlstest.Value(again.WriteEarlyData(data))(t)
	p := make([]byte, 6)
	tlstest.Value(io.ReadFull(again, p))(t)
	if got := tlstest.Receive(t, opened, "OnOpen"); got != len(data) || in.bad != nil || string(p) != "got it" {
		t.Errorf("%d bytes before OnOpen, %v; answer %q", got, in.bad, p)
	}
	if s := again.State(); s.EarlyData != cssl.EarlyDataAccepted {
		t.Errorf("early data %v", s.EarlyData)
	}
	roundTrip(t, again, "after")

	c = blocking(t, &Server{Handler: echo(), Context: sx}, x, again.Session())
	tlstest.Value(c.WriteEarlyData([]byte("hello")))(t)
	tlstest.Must(t, c.Handshake())
	if s := c.State(); s.EarlyData != cssl.EarlyDataRejected {
		t.Errorf("without Config.EarlyData: early data %v", s.EarlyData)
	}
	roundTrip(t, c, "hello")
}
