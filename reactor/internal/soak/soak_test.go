package soak

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor/internal/faults"
)

func TestMain(m *testing.M) {
	if !faults.Installed() {
		panic("OpenSSL does not allocate through the shim")
	}
	testmain.Run(m, nil)
}

// workers is how many conversations there are at a time, besides the resident and the victim.
const workers = 24

// plan says how long everything takes.
type plan struct {
	total, load, reload time.Duration
}

// planned is the short form, or the long one that the environment asks for.
func planned(t *testing.T) (p plan, long bool) {
	text := os.Getenv("SOAK")
	if text == "" {
		return plan{total: 4 * time.Second, load: 500 * time.Millisecond, reload: 100 * time.Millisecond}, false
	}
	total := tlstest.Value(time.ParseDuration(text))(t)
	return plan{total: total, load: min(15*time.Second, total/12), reload: time.Second}, true
}

// soak is all that the parts share.
type soak struct {
	t       *testing.T
	servers []*server
	clients *clients
	verdict verdict
	lives   *lives
	// Of all the time: conversations that were begun, bytes that were checked, and faults that came.
	talks, bytes, hits atomic.Int64
	reloads, restarts  atomic.Int64
	// whole is held by who builds a Context, and by who makes allocations fail: OpenSSL builds one without what it
	// has no memory for, such as a cipher, and it would stay like that.
	whole sync.Mutex
}

// TestSoak is the whole. It ends early when something has failed.
func TestSoak(t *testing.T) {
	p, long := planned(t)
	s := &soak{t: t, lives: newLives(t)}
	s.begin()
	defer s.end()
	began := time.Now()
	// Until a part of everything has happened once, and Go and OpenSSL have what they keep.
	s.load(p)
	base := s.quiet(nil)
	var noted []sample
	for !t.Failed() && (time.Since(began) < p.total || len(noted) < 6) {
		s.load(p)
		noted = append(noted, s.quiet(&base))
	}
	if t.Failed() {
		return
	}
	s.judge(noted)
	if long {
		first, last := noted[0], noted[len(noted)-1]
		mb := func(n int) float64 { return float64(n) / 1e6 }
		figures.Record(t, "soak", "%v: %d connections, %d MB checked, %d reloads, %d restarts, %d faults; "+
			"RSS %.0f MB after the warm-up, %.0f at the end, OpenSSL's memory %d and %d kB, Go's heap %.1f and %.1f MB",
			time.Since(began).Round(time.Second), s.talks.Load(), s.bytes.Load()/1e6, s.reloads.Load(), s.restarts.Load(), s.hits.Load(),
			mb(first.rss), mb(last.rss), first.openssl>>10, last.openssl>>10, mb(first.heap), mb(last.heap))
	}
}

// load puts everything on the servers for a while, and ends when the last conversation has.
func (s *soak) load(p plan) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for !over(stop) {
				s.talk()
			}
		})
	}
	wg.Go(func() { s.resident(stop) })
	wg.Go(func() { s.operate(stop, p.reload) })
	wg.Go(func() { s.sabotage(stop) })
	time.Sleep(p.load * (1 + tlstest.Scale/4)) // the sanitizers make everything slower
	close(stop)
	select {
	case <-tlstest.Later(func() any { wg.Wait(); return nil }):
	case <-time.After(2 * tlstest.Hang):
		s.t.Fatalf("a conversation does not end:\n%s", tlstest.Stacks())
	}
	s.account()
}

func over(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return true
	default:
		return false
	}
}
