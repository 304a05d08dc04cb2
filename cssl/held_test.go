package cssl

import (
	"errors"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestTicketsGoWithTheAnswer: a TLS 1.3 server's tickets are held after the handshake
// until something is written, which then takes them along, or Flush is called. They are
// held, not unsent (nobody need wait for the socket), and not lost.
func TestTicketsGoWithTheAnswer(t *testing.T) {
	buf := make([]byte, 16384)
	for name, test := range map[string]struct {
		request bool
		then    func(*testing.T, *Conn)
	}{
		"an answer": {true, func(t *testing.T, s *Conn) {
			if r := s.Read(buf); string(buf[:r.N]) != "request" {
				t.Errorf("read: %+v", r)
			}
			if r := s.Write([]byte("answer")); r.N != 6 || !r.Out || r.Unsent {
				t.Errorf("write: %+v", r)
			}
		}},
		"a read that finds nothing, and a flush": {false, func(t *testing.T, s *Conn) {
			if r := s.Read(buf); r.Want != tlsio.WantRead || r.Out || !r.Held {
				t.Errorf("read: %+v", r)
			}
			s.Flush()
		}},
		"a request without an answer": {true, func(t *testing.T, s *Conn) {
			if r := s.Read(buf); r.N != 7 || !r.Held {
				t.Errorf("read: %+v", r)
			}
			if r := s.Flush(); r.Want != tlsio.WantNone || !r.Out || r.Held {
				t.Errorf("flush: %+v", r)
			}
		}},
		"a flush": {false, func(t *testing.T, s *Conn) {
			if r := s.Flush(); r.Want != tlsio.WantNone || !r.Out {
				t.Errorf("flush: %+v", r)
			}
		}},
		"nobody there": {true, func(t *testing.T, s *Conn) {
			// A peer that has gone without its tickets has still sent a request.
			if r := s.Flush(); r.Want != tlsio.WantNone || r.Err != nil {
				t.Errorf("flush: %+v", r)
			}
			if r := s.Read(buf); string(buf[:r.N]) != "request" {
				t.Errorf("read: %+v", r)
			}
			if r := s.Write([]byte("answer")); !errors.Is(r.Err, syscall.EPIPE) {
				t.Errorf("write: %+v", r)
			}
		}},
		"a shutdown": {false, func(t *testing.T, s *Conn) {
			if r := s.Shutdown(); r.Want != tlsio.WantNone || !r.Out {
				t.Errorf("shutdown: %+v", r)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cx, sx := mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa"))
			cfd, sfd := socketPair(t, "unix", false)
			cc, sc := overSockets(t, cx, sx, cfd, sfd)
			cc.Handshake()
			sc.Handshake()
			if r := cc.Handshake(); r.Want != tlsio.WantNone || r.Err != nil {
				t.Fatalf("client: %+v", r)
			}
			if test.request {
				send(t, cc, "request")
			}
			if r := sc.Handshake(); r.Want != tlsio.WantNone || r.Err != nil || r.Unsent || !r.Held {
				t.Fatalf("server: %+v", r)
			}
			if n, _, err := syscall.Recvfrom(cfd, buf, syscall.MSG_PEEK|syscall.MSG_DONTWAIT); err != syscall.EAGAIN {
				t.Fatalf("%d bytes were sent before anything else was tried: %v", n, err)
			}
			if name == "nobody there" {
				syscall.Shutdown(cfd, syscall.SHUT_RD) // the peer's sends fail from here on
			}
			test.then(t, sc)
			if name == "nobody there" {
				return
			}
			r := cc.Read(buf)
			if name == "an answer" && string(buf[:r.N]) != "answer" || !r.In {
				t.Errorf("client's read: %+v", r)
			}
			if cc.Session() == nil {
				t.Error("the client has no ticket")
			}
		})
	}
}
