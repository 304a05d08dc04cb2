package soak

import (
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/internal/faults"
	"golang.org/x/sys/unix"
)

// An answer of recv or send that a connection survives, or not.
type answer struct {
	code     int
	survived bool
}

var (
	transient = []answer{{int(unix.EAGAIN), true}, {int(unix.EINTR), true}, {faults.Short, true}}
	ofRecv    = append([]answer{{faults.End, false}, {int(unix.ECONNRESET), false}, {int(unix.ETIMEDOUT), false}}, transient...)
	ofSend    = append([]answer{{int(unix.EPIPE), false}, {int(unix.ECONNRESET), false}, {int(unix.ENOBUFS), false}}, transient...)
	ofAccept  = []unix.Errno{unix.ECONNABORTED, unix.EINTR, unix.EPROTO, unix.ENOBUFS}
)

// sabotage makes one thing after the other go wrong. OpenSSL's own allocations are not among them: package faults
// refuses each of them in the life of a connection, but OpenSSL 3.0.19 frees twice after some that came here, with
// many lives on several threads: the OSSL_STORE loader that looks for a CA in the system's folder, and sessions in a
// server's cache. From then on memory is in disorder, and nothing that follows would prove anything.
func (s *soak) sabotage(stop <-chan struct{}) {
	for !over(stop) {
		switch mrand.IntN(5) {
		case 0: // this and the next cost nobody a connection
			s.during(faults.Fault{Kind: faults.Accept, Call: 1 + mrand.IntN(5), Answer: int(ofAccept[mrand.IntN(len(ofAccept))])})
		case 1:
			s.during(faults.Fault{Kind: faults.EpollWait, Call: 1 + mrand.IntN(20), Answer: int(unix.EINTR)})
		case 2:
			s.exhaust()
		default:
			s.victim()
		}
	}
}

// during arms a fault for a while, and reports whether it came.
func (s *soak) during(f faults.Fault) bool {
	faults.Arm(f)
	time.Sleep(10 * time.Millisecond)
	return s.came(faults.Disarm())
}

// exhaust makes an allocation fail that may be anybody's: that excuses one conversation of those that live meanwhile.
func (s *soak) exhaust() {
	s.whole.Lock()
	defer s.whole.Unlock()
	armed := time.Now()
	if s.during(faults.Fault{Kind: faults.CSSLAlloc, Call: 1 + mrand.IntN(50)}) {
		s.verdict.excuse(armed)
	}
}

func (s *soak) came(r faults.Report) bool {
	if r.Hit {
		s.hits.Add(1)
	}
	return r.Hit
}

// victim has a conversation in which a call of its own socket, or of the server's for it, gets an answer of our
// choice. An answer that a connection does not survive excuses one conversation, like an allocation: the server's
// descriptor may have been closed just before, and belong to another. After any other answer nothing may be lost.
func (s *soak) victim() {
	v := s.servers[0]
	addr, gen := v.where()
	fd, port := s.boundSocket()
	f := faults.Fault{Kind: faults.Recv, Call: 1 + mrand.IntN(30)}
	answers := ofRecv
	if mrand.IntN(2) == 0 {
		f.Kind, answers = faults.Send, ofSend
	}
	a := answers[mrand.IntN(len(answers))]
	f.Answer = a.code
	if mrand.IntN(2) == 0 {
		f.FD = fd
	} else {
		f.Accepted, f.Peer = true, port
	}
	h := &marked{caller: newCaller(s)}
	armed := time.Now()
	faults.Arm(f)
	err := func() error {
		err := unix.Connect(fd, &unix.SockaddrInet4{Addr: addr.Addr().As4(), Port: int(addr.Port())})
		if err != nil && err != unix.EINPROGRESS {
			unix.Close(fd)
			return err
		}
		cfg := cssl.ConnConfig{ServerName: "localhost", InsecureSkipNameCheck: true}
		if err := s.clients.loop.Attach(fd, s.clients.context, cfg, h, nil); err != nil {
			return err
		}
		return h.wait()
	}()
	r := faults.Disarm()
	if h.closed {
		r = h.report
	}
	if s.came(r) && !a.survived {
		if errors.Is(err, errEarly) {
			err = nil // the server heard an end that was none, and answered with its own
		} else {
			s.verdict.excuse(armed)
		}
	}
	if err != nil {
		err = fmt.Errorf("%v number %d answers %d, which came: %v: %w", f.Kind, f.Call, a.code, r.Hit, err)
	}
	s.judged("the victim", v, gen, armed, err)
}

// marked ends the fault before the descriptor is closed, so that it hits nobody else who gets the same number.
type marked struct {
	*caller
	closed bool
	report faults.Report
}

func (h *marked) OnClose(c *reactor.Conn, err error) {
	h.closed, h.report = true, faults.Disarm()
	h.caller.OnClose(c, err)
}

// boundSocket is a socket that is not connected yet, with its port.
func (s *soak) boundSocket() (fd, port int) {
	fd = tlstest.Value(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(s.t)
	tlstest.Must(s.t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	return fd, tlstest.Value(unix.Getsockname(fd))(s.t).(*unix.SockaddrInet4).Port
}
