package poller

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor/internal/sys"
	"github.com/spacemonad/go-openssl/session"
	"golang.org/x/sys/unix"
)

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p := tlstest.Value(New(8))(t)
	t.Cleanup(p.Close)
	return p
}

func socketPair(t *testing.T) (a, b int) {
	t.Helper()
	fds := tlstest.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	t.Cleanup(func() { unix.Close(fds[0]) })
	return fds[0], fds[1]
}

// poll takes what has happened, without waiting.
func poll(t *testing.T, p *Poller) []Polled {
	t.Helper()
	n := tlstest.Value(p.Wait(0))(t)
	var out []Polled
	for i := range n {
		out = append(out, p.At(i))
	}
	return out
}

// TestPollerInterest: what is waited for comes, with its key, and nothing else.
func TestPollerInterest(t *testing.T) {
	for _, key := range []Key{0, 1, 1<<31 | 5, 1 << 32, 1<<63 | 1<<31, 1<<64 - 2} {
		p := newPoller(t)
		a, b := socketPair(t)
		defer unix.Close(b)
		want := func(what string, e session.Event) {
			t.Helper()
			got := poll(t, p)
			switch {
			case e == 0 && len(got) == 0:
			case e != 0 && len(got) == 1 && got[0] == Polled{Key: key, Event: e}:
			default:
				t.Fatalf("key %x, %s: got %v, want %v", uint64(key), what, got, e)
			}
		}
		tlstest.Must(t, p.Add(a, key, session.Readable))
		want("nothing to read", 0)
		tlstest.Value(unix.Write(b, []byte("x")))(t)
		want("readable", session.Readable)
		want("still readable, since nobody read", session.Readable)
		tlstest.Must(t, p.Modify(a, key, session.Readable|session.Writable))
		want("both", session.Readable|session.Writable)
		tlstest.Must(t, p.Modify(a, key, session.Writable))
		want("writable alone", session.Writable)
		tlstest.Must(t, p.Modify(a, key, 0))
		want("nothing asked for", 0)
		tlstest.Must(t, p.Remove(a))
		if p.Modify(a, key, session.Readable) == nil {
			t.Fatal("Modify after Remove gave no error")
		}
	}
}

// TestPollerHangUp (P20): a hang-up or an error counts as both directions and says what it
// is, also when nothing is waited for.
func TestPollerHangUp(t *testing.T) {
	p := newPoller(t)
	a, b := socketPair(t)
	tlstest.Must(t, p.Add(a, 7, 0))
	if got := poll(t, p); len(got) != 0 {
		t.Fatalf("before the hang-up: %v", got)
	}
	unix.Close(b)
	want := Polled{Key: 7, Event: session.Readable | session.Writable, HangUp: true}
	if got := poll(t, p); len(got) != 1 || got[0] != want {
		t.Fatalf("got %v, want %v", got, want)
	}
	tlstest.Must(t, p.Remove(a))
	if got := poll(t, p); len(got) != 0 {
		t.Fatalf("after Remove: %v", got)
	}
}

// wakeWrites is how many writes the eventfd has seen since the last call.
func wakeWrites(p *Poller) uint64 {
	var b [8]byte
	if n, err := unix.Read(p.wake, b[:]); n != 8 || err != nil {
		return 0
	}
	return binary.NativeEndian.Uint64(b[:])
}

// TestPollerWakeCoalesced: any number of calls before the loop takes notice costs
// one write and brings one event, and one call after that is not lost.
func TestPollerWakeCoalesced(t *testing.T) {
	p := newPoller(t)
	for round := range 3 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 500 {
					p.Wake()
				}
			})
		}
		wg.Wait()
		if n, err := p.Wait(0); n != 1 || err != nil {
			t.Fatalf("round %d: Wait answered %d, %v", round, n, err)
		}
		p.Wake() // noticed by Wait, but At has not been asked: it joins the first
		if got := p.At(0); got.Key != WakeKey || got.Event != 0 {
			t.Fatalf("round %d: event %v", round, got)
		}
		if got := poll(t, p); len(got) != 0 {
			t.Fatalf("round %d: one more event: %v", round, got)
		}
		if n := wakeWrites(p); n != 1 {
			t.Fatalf("round %d: 4001 calls made %d writes, want 1", round, n)
		}
	}
	p.Wake()
	if n, err := p.Wait(-1); n != 1 || err != nil {
		t.Fatalf("Wait(-1) after Wake answered %d, %v", n, err)
	}
}

// TestPollerInterrupted: a signal in the midst of a wait is neither an error nor an event.
func TestPollerInterrupted(t *testing.T) {
	p, wait := newPoller(t), sys.EpollWait
	defer func() { sys.EpollWait = wait }()
	sys.EpollWait = func(int, []unix.EpollEvent, int) (int, unix.Errno) { return -1, unix.EINTR }
	tlstest.Equal(t, "events", tlstest.Value(p.Wait(-1))(t), 0)
}

// TestPollerClosed: it forgets its descriptors, whose numbers are soon others'.
func TestPollerClosed(t *testing.T) {
	p := newPoller(t)
	p.Close()
	if p.FD() != -1 || p.wake != -1 {
		t.Errorf("descriptors %d and %d, want -1", p.FD(), p.wake)
	}
}
