package reactor

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
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
		if total += n; n > acceptBatch {
			t.Errorf("%d accepted at once, want at most %d", n, acceptBatch)
		}
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
	if perTurn := flood / max(turns, 1); perTurn > 2*(budget+read) {
		t.Errorf("a turn read %d bytes from one connection", perTurn)
	}
}

// starve is set for the process that TestOutOfDescriptors starts.
const starve = "REACTOR_TEST_STARVE"

// TestOutOfDescriptors (P19): a server without descriptors tells the peers that it has no room, one at a
// time, does not spin, and takes connections again when some have gone. The limit is set in a process of its own.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv(starve) != "" {
		starvingServer(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v=false")
	cmd.Env = append(os.Environ(), starve+"=1")
	in := tlstest.Value(cmd.StdinPipe())(t)
	out := tlstest.Value(cmd.StdoutPipe())(t)
	var log bytes.Buffer
	cmd.Stderr = &log
	tlstest.Must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	line := func() string {
		if !lines.Scan() {
			t.Fatalf("the server's process ended: %v", lines.Err())
		}
		return lines.Text()
	}
	stats := func() (st Stats) {
		fmt.Fprintln(in, "stats")
		tlstest.Must(t, json.Unmarshal([]byte(line()), &st))
		return st
	}
	addr := tlstest.Value(net.ResolveTCPAddr("tcp", line()))(t)
	const room, burst = 8, 14
	begin := time.Now()
	cfg := goConfig(t)
	results := make(chan *tls.Conn, burst)
	for range burst {
		go func() { c, _ := tryDial(addr, cfg); results <- c }()
	}
	var conns []net.Conn
	for range burst {
		if c := tlstest.Receive(t, results, "an answer"); c != nil {
			conns = append(conns, c)
		}
	}
	refused := burst - len(conns)
	if len(conns) == 0 || len(conns) > room || refused == 0 {
		t.Fatalf("%d connections were taken and %d told that there is no room; room is for %d", len(conns), refused, room)
	}
	for _, c := range conns {
		roundTrip(t, c, "hello")
	}
	assertQuiet(t, stats)
	st := stats()
	rests := st.AcceptErrors["EMFILE"]
	if rests == 0 || st.Refusals[refusedFiles] != uint64(refused) {
		t.Errorf("%d times EMFILE, %d refused, want %d", rests, st.Refusals[refusedFiles], refused)
	}
	// A slow machine makes fewer rests in this time, never more.
	if most := uint64(time.Since(begin)/acceptPause) + 2; rests > most {
		t.Errorf("%d rests of %v, there was time for %d: the listener does not rest", rests, acceptPause, most)
	}
	// Each rest is a turn to fall and one to rise.
	if st.Turns > st.TurnEvents.Sum+4*rests+20 {
		t.Errorf("%d turns for %d events and %d rests", st.Turns, st.TurnEvents.Sum, rests)
	}
	for _, c := range conns {
		c.Close()
	}
	tlstest.Until(t, "room", func() bool { return stats().Conns == 0 })
	tlstest.Must(t, tryEcho(addr, cfg))
	in.Close()
	tlstest.Must(t, cmd.Wait())
	// It tells so, but not at each rest.
	if told, most := strings.Count(log.String(), "out of file descriptors"), int(time.Since(begin)/acceptLogEvery)+1; told == 0 || told > most {
		t.Errorf("told %d times, want 1 to %d:\n%s", told, most, log.String())
	}
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

// starvingServer serves with room for a few descriptors, and prints its counters
// for each line that it reads.
func starvingServer(t *testing.T) {
	s := &Server{Handler: echo(), Logger: textLogger(os.Stderr)}
	complete(t, s)
	ls := tlstest.Value(s.Listen())(t)
	raw := tlstest.Value(ls[0].(*net.TCPListener).SyscallConn())(t)
	nets := -1
	tlstest.Must(t, raw.Control(func(fd uintptr) { nets = int(fd) }))
	serveOn(t, s, ls...)
	tlstest.Until(t, "package net's descriptor to be given up", func() bool {
		_, err := unix.FcntlInt(uintptr(nets), unix.F_GETFD, 0)
		return err == unix.EBADF
	})
	fd := tlstest.Value(unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0))(t)
	unix.Close(fd)
	tlstest.Must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(fd + 8), Max: uint64(fd + 8)}))
	fmt.Println(ls[0].Addr())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "stats" {
			fmt.Println(string(tlstest.Value(json.Marshal(s.Stats()))(t)))
		}
	}
}
