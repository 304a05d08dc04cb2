package reactor

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// patience is what a handshake has in these tests when the loop is full. Time is what the tests make of it.
const patience = 2 * tlstest.Hang

// TestHandshakeEvicted: a full loop gives the places of peers that keep their handshake waiting to those in the
// backlog, the oldest first and long before HandshakeTimeout has passed.
func TestHandshakeEvicted(t *testing.T) {
	const places, silent = 4, 12
	s := &Server{Handler: echo(), Limits: Limits{MaxHandshakes: places, HandshakeTimeout: patienceShare * patience}}
	addr := start(t, s)
	l := s.loops[0]
	var conns []net.Conn
	for range silent {
		conns = append(conns, rawDial(t, addr))
	}
	tlstest.Until(t, "a full loop", func() bool { return s.Stats().Handshaking == places })
	assertQuiet(t, s.Stats)
	honest := make(chan error, 1)
	cfg := goConfig(t)
	go func() {
		c, err := (&tlsDialer{cfg}).dial(addr)
		if err == nil {
			defer c.Close()
			_, err = io.WriteString(c, "x")
		}
		honest <- err
	}()
	for n := places; n < silent; n += places {
		if got := s.Stats().Accepted; got != uint64(n) {
			t.Fatalf("%d accepted, want %d before their time is over", got, n)
		}
		l.Do(func() { l.start = l.start.Add(-patience) })
		tlstest.Until(t, "all places to change hands", func() bool { return s.Stats().Accepted == uint64(n+places) })
		assertQuiet(t, s.Stats)
	}
	l.Do(func() { l.start = l.start.Add(-patience) })
	tlstest.Must(t, tlstest.Receive(t, honest, "the honest one, behind the last of the silent"))
	// The oldest went first, and one more place was all that the honest one needed.
	const gone = silent - places + 1
	for i, c := range conns[:gone] {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("silent peer %d reads %v", i, err)
		}
	}
	tlstest.Until(t, "the server's side of the handshake", func() bool { return s.Stats().Handshakes == 1 })
	if st := s.Stats(); st.HandshakeFailures["handshake evicted"] != gone || st.Handshaking != places-1 {
		t.Errorf("failures %v, %d handshakes under way", st.HandshakeFailures, st.Handshaking)
	}
}

// TestLateLoop: what a peer has sent and the loop has not read yet is not held against the peer.
func TestLateLoop(t *testing.T) {
	s := &Server{Handler: echo(), Limits: Limits{MaxHandshakes: 2, HandshakeTimeout: patienceShare * patience}}
	addr := start(t, s)
	l := s.loops[0]
	spoke := rawDial(t, addr)
	rawDial(t, addr) // is silent
	tlstest.Until(t, "a full loop", func() bool { return s.Stats().Handshaking == 2 })
	held, release, answers := make(chan struct{}), make(chan struct{}), make(chan *Conn, 2)
	var early time.Duration
	l.Do(func() {
		close(held)
		<-release
		first, second := l.pending.oldest, l.pending.newest
		l.now = first.waiting + patience - 1
		none, due := l.slowest()
		answers <- none
		early = due - l.now
		l.now = second.waiting + patience
		slow, _ := l.slowest()
		if slow != second {
			slow = nil
		}
		answers <- slow
	})
	<-held
	tlstest.Value(spoke.Write([]byte{22}))(t)
	tlstest.Until(t, "the byte", func() bool {
		for i := range l.slots { // the loop's goroutine stands still
			if c := l.slots[i].conn; c != nil {
				if n, err := unix.IoctlGetInt(c.fd, unix.TIOCINQ); n > 0 || err != nil {
					return true
				}
			}
		}
		return false
	})
	close(release)
	if none := tlstest.Receive(t, answers, "an answer"); none != nil {
		t.Error("a place was found before the time")
	}
	if slow := tlstest.Receive(t, answers, "an answer"); slow == nil || early != 1 {
		t.Errorf("the silent peer's place was not found; the first answer was to ask again after %v", early)
	}
}

// TestAnsweredIsNotLate: a peer whose hello the loop has just answered, however late, has time for its own answer, also if
// somebody waits for its place in the same turn.
func TestAnsweredIsNotLate(t *testing.T) {
	s := &Server{Handler: echo(), Limits: Limits{MaxHandshakes: 1, HandshakeTimeout: patienceShare * patience}}
	addr := start(t, s)
	l := s.loops[0]
	c := rawDial(t, addr)
	tlstest.Until(t, "a full loop", func() bool { return s.Stats().Handshaking == 1 })
	held, release := make(chan struct{}), make(chan struct{})
	l.Do(func() { close(held); <-release })
	<-held
	tlstest.Value(c.Write(clientHello(t)))(t)
	rawDial(t, addr) // waits for the place
	l.start = l.start.Add(-patience)
	close(release)
	tlstest.Value(io.ReadFull(c, make([]byte, 100)))(t)
	for range 20 {
		turn := make(chan struct{})
		l.Do(func() { close(turn) })
		<-turn
	}
	if st := s.Stats(); st.Accepted != 1 || st.Handshaking != 1 {
		t.Errorf("%d accepted, %d under way, failures %v", st.Accepted, st.Handshaking, st.HandshakeFailures)
	}
}
