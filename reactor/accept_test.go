package reactor

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// TestMaxConns: above the cap a connection is closed at once, and its place is
// free again when another one ends.
func TestMaxConns(t *testing.T) {
	s := &Server{Handler: echo(), Limits: Limits{MaxConns: 2}}
	addr := start(t, s)
	a, b := goDial(t, addr), goDial(t, addr)
	roundTrip(t, a, "a")
	wantEnd(t, rawDial(t, addr))
	tlstest.Until(t, "the count", func() bool { return s.Stats().Refusals[refusedFull] == 1 })
	roundTrip(t, b, "b")
	a.Close()
	tlstest.Until(t, "a place", func() bool { return s.Conns() == 1 })
	roundTrip(t, goDial(t, addr), "c")
	assertQuiet(t, s.Stats)
}

// TestMaxHandshakes (P17): with so many silent peers in their handshake, others wait in the
// backlog, without a spin, and have their turn when one of the silent goes.
func TestMaxHandshakes(t *testing.T) {
	s := &Server{Handler: echo(), Limits: Limits{MaxHandshakes: 3, HandshakeTimeout: 2 * patienceShare * tlstest.Hang}}
	addr := start(t, s)
	var silent []net.Conn
	for range 3 {
		silent = append(silent, rawDial(t, addr))
	}
	tlstest.Until(t, "three handshakes", func() bool { return s.Stats().Handshaking == 3 })
	done := dialLater(t, addr)
	assertQuiet(t, s.Stats)
	tlstest.Equal(t, "accepted", s.Stats().Accepted, 3)
	tlstest.Equal(t, "reasons to refuse one", len(s.Stats().Refusals), 0)
	silent[0].Close()
	tlstest.Must(t, tlstest.Receive(t, done, "the one in the backlog"))
}

// TestAcceptBatch (P17): a burst is taken in batches, so that an established connection has
// its turn in between.
func TestAcceptBatch(t *testing.T) {
	s := &Server{Handler: echo()}
	addr := start(t, s)
	l := s.loops[0]
	release := hold(l)
	const burst = acceptBatch*2 + 10
	for range burst {
		rawDial(t, addr)
	}
	// The listener is asked by hand, with what a turn would do in between left out. The turn that was held may
	// have taken a batch before.
	counts := make(chan uint64, 4)
	l.Do(func() {
		ln := l.slots[slices.IndexFunc(l.slots, func(s slot) bool { return s.listener != nil })].listener
		for range 3 {
			before := l.stats.Accepted
			l.accept(ln)
			counts <- l.stats.Accepted - before
		}
	})
	release()
	total := uint64(0)
	for range 3 {
		n := tlstest.Receive(t, counts, "a batch")
		total += n
		atMost(t, "accepted at once", n, acceptBatch)
	}
	if total < acceptBatch {
		t.Errorf("%d accepted in three batches", total)
	}
	tlstest.Until(t, "all to be accepted", func() bool { return s.Stats().Accepted == burst })
}

// TestFairness (P17): while one connection sends without end and never waits, another one has
// each of its echoes within a few turns of the loop.
func TestFairness(t *testing.T) {
	const rounds, budget, high = 50, 32 << 10, 256 << 10
	s := &Server{Handler: &hooks{data: func(c *Conn, p []byte) {
		if string(p) == "hello" {
			c.Write(p)
		}
	}}, Session: session.Config{TurnBytes: budget}}
	addr := start(t, s)
	greedy := goDial(t, addr)
	for range 2 {
		go func() {
			for err := error(nil); err == nil; { // until the end of the test closes it
				_, err = greedy.Write(make([]byte, 16<<10))
			}
		}()
	}
	modest := goDial(t, addr)
	tlstest.Until(t, "a flood", func() bool { return s.Stats().Sessions.BytesRead > 1<<20 })
	before := s.Stats()
	var turns, flood uint64
	for i := 0; i < rounds || flood < high; i++ {
		roundTrip(t, modest, "hello")
		after := s.Stats()
		turns, flood = after.Turns-before.Turns, after.Sessions.BytesRead-before.Sessions.BytesRead
	}
	// One turn moves a budget for an event and another for the ready list, each exceeded by a part of one read.
	read := uint64(tlsio.MaxPlaintext)
	if testmain.Direct() {
		read = readBuffer
	}
	atMost(t, "bytes that a turn read from one connection", flood/max(turns, 1), 2*(budget+read))
}

// TestOutOfDescriptors (P19): a server without descriptors tells the peers that it has no room, one at a
// time, does not spin, and takes connections again when some have gone.
func TestOutOfDescriptors(t *testing.T) {
	var log tlstest.Buffer
	s := &Server{Handler: echo(), Logger: textLogger(&log)}
	addr := start(t, s)
	release := hold(s.loops[0])
	const room, burst = 8, 14
	cfg := goConfig(t)
	answers := make(chan *tls.Conn, burst)
	for range burst {
		c := tls.Client(rawDial(t, addr), cfg)
		go func() {
			if c.Handshake() != nil {
				c = nil
			}
			answers <- c
		}()
	}
	begin := time.Now()
	leaveDescriptors(t, room)
	release()
	var conns []net.Conn
	for range burst {
		if c := tlstest.Receive(t, answers, "an answer"); c != nil {
			conns = append(conns, c)
		}
	}
	refused := burst - len(conns)
	if len(conns) == 0 || len(conns) > room {
		t.Fatalf("%d connections were taken and %d told that there is no room; room is for %d", len(conns), refused, room)
	}
	for _, c := range conns {
		roundTrip(t, c, "hello")
	}
	assertQuiet(t, s.Stats)
	st := s.Stats()
	rests := st.AcceptErrors["EMFILE"]
	if rests == 0 || st.Refusals[refusedFiles] != uint64(refused) {
		t.Errorf("%d times EMFILE, %d refused, want %d", rests, st.Refusals[refusedFiles], refused)
	}
	// A slow machine makes fewer rests in this time, never more.
	atMost(t, "rests of the listener", rests, uint64(time.Since(begin)/acceptPause)+2)
	// Each rest is a turn to fall and one to rise.
	atMost(t, "turns", st.Turns, st.TurnEvents.Sum+4*rests+20)
	for _, c := range conns {
		c.Close()
	}
	tlstest.Until(t, "room", func() bool { return s.Stats().Conns == 0 })
	tlstest.Must(t, tryEcho(addr, cfg))
	// It tells so, but not at each rest.
	told := func() int { return strings.Count(log.String(), "out of file descriptors") }
	tlstest.Until(t, "it to be told", func() bool { return told() > 0 })
	atMost(t, "times that it is told", told(), int(time.Since(begin)/acceptLogEvery)+1)
}

// leaveDescriptors lets this process have no more than n descriptors besides those that it has, until the test ends.
func leaveDescriptors(t *testing.T, n int) {
	t.Helper()
	var before unix.Rlimit
	tlstest.Must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	limit := before
	for limit.Cur = 0; n > 0; limit.Cur++ {
		if _, err := unix.FcntlInt(uintptr(limit.Cur), unix.F_GETFD, 0); err == unix.EBADF {
			n--
		}
	}
	tlstest.Must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	t.Cleanup(func() { tlstest.Must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before)) })
}

// TestListenerShutDown: when somebody else shuts the listening socket down, no connection can come any more: Serve
// says so instead of trying for ever. Those that live go on.
func TestListenerShutDown(t *testing.T) {
	for _, loops := range []int{1, 2} {
		s := &Server{Handler: echo(), Loops: loops}
		complete(t, s)
		ls := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		f := tlstest.Value(ls.(*net.TCPListener).File())(t)
		defer f.Close()
		served := tlstest.Later(func() error { return s.Serve(ls) })
		c := goDial(t, ls.Addr())
		roundTrip(t, c, "before")
		tlstest.Must(t, unix.Shutdown(int(f.Fd()), unix.SHUT_RD))
		tlstest.IsError(t, "Serve to return", tlstest.Receive(t, served, "Serve to return"), unix.EINVAL)
		roundTrip(t, c, "after")
		assertQuiet(t, s.Stats)
		tlstest.Must(t, s.Close())
	}
}
