package soak

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor/internal/faults"
)

// exact is what must be the same at each quiet point.
type exact struct {
	conns                 int // on all loops
	ssl, contexts         int64
	files, goroutines     int
	csslBlocks, csslBytes int
}

// sample is what a quiet point shows. Sizes are in bytes.
type sample struct {
	exact
	threads, openssl, heap, rss int
}

// now takes the exact part.
func (s *soak) now() (e exact) {
	for _, v := range s.servers {
		e.conns += v.now.Conns()
	}
	e.conns += s.clients.loop.Stats().Conns
	e.ssl, e.contexts = live.Conns(), live.Contexts()
	e.goroutines = runtime.NumGoroutine()
	e.csslBlocks, e.csslBytes = faults.Use(faults.CSSLAlloc)
	e.files = len(tlstest.Value(os.ReadDir("/proc/self/fd"))(s.t)) - 1 // that of the listing
	return e
}

// spare is by how much the size of one block of malloc can differ from the last
// time: what is left behind a block and too small for another one belongs to it.
const spare = 16

// same reports whether nothing has grown or shrunk.
func (e exact) same(base exact) bool {
	d := e.csslBytes - base.csslBytes
	if max(d, -d) <= spare*base.csslBlocks {
		e.csslBytes = base.csslBytes
	}
	return e == base
}

// quiet waits until everything is closed, and as it was at the base, and takes a sample. A nil base is the first
// quiet point: then it waits for what is known in advance.
func (s *soak) quiet(base *sample) sample {
	var p sample
	for end := time.Now().Add(tlstest.Hang); ; time.Sleep(10 * time.Millisecond) {
		// The second one frees what finalizers and pools held.
		runtime.GC()
		runtime.GC()
		p.exact = s.now()
		settled := p.conns == 0 && p.ssl == 0 && p.contexts == int64(len(s.servers))+1
		if base != nil {
			settled = p.exact.same(base.exact)
		} else if settled {
			// Goroutines that are about to end do so soon.
			time.Sleep(100 * time.Millisecond)
			again := s.now()
			settled = again == p.exact
		}
		if settled {
			break
		}
		if time.Now().After(end) {
			want := fmt.Sprintf("no connections, no SSLs and %d contexts", len(s.servers)+1)
			if base != nil {
				want = fmt.Sprintf("%+v", base.exact)
			}
			s.t.Errorf("all is closed, but there is %+v, want %s\n%s", p.exact, want, tlstest.Stacks())
			break
		}
	}
	s.lives.end()
	faults.Trim()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.heap = int(m.HeapAlloc)
	_, p.openssl = faults.Use(faults.OpenSSLAlloc)
	p.rss, p.threads = int(tlstest.RSS(s.t)), len(tlstest.Value(os.ReadDir("/proc/self/task"))(s.t))
	return p
}

// Bounds of growth. OpenSSL keeps random generators and an error queue for each thread; Go keeps threads.
const (
	moreThreads   = 20
	moreHeap      = 4 << 20
	moreRSS       = 24 << 20
	moreOpenSSL   = 128 << 10
	eachThreadHas = 32 << 10
)

// judge compares the last third of the samples with the first. The medians of thirds let a single sample be as it
// likes, and a leak of any size passes any bound in time.
func (s *soak) judge(all []sample) {
	third := max(1, len(all)/3)
	growth := func(of func(sample) int) int { return median(all[len(all)-third:], of) - median(all[:third], of) }
	threads := growth(func(p sample) int { return p.threads })
	for _, g := range []struct {
		what string
		n    int
		most int
	}{
		{"threads", threads, moreThreads},
		{"bytes of OpenSSL", growth(func(p sample) int { return p.openssl }), moreOpenSSL + eachThreadHas*max(0, threads)},
		{"bytes of Go's heap", growth(func(p sample) int { return p.heap }), moreHeap},
		{"bytes of RSS", growth(func(p sample) int { return p.rss }), moreRSS},
	} {
		if g.n > g.most && !(g.most == moreRSS && tlstest.Sanitized) {
			s.t.Errorf("%d more %s in the last third than in the first, want at most %d", g.n, g.what, g.most)
		}
	}
}

func median(all []sample, of func(sample) int) int {
	values := make([]int, len(all))
	for i, p := range all {
		values[i] = of(p)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
