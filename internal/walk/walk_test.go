package walk

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

var (
	seedFlag  = flag.Uint64("seed", 0, "lead the walk with this seed alone")
	stepsFlag = flag.Uint64("steps", 0, "go on with new seeds for so many steps: the long form")
	firstFlag = flag.Uint64("first", 0, "with -steps, begin with this seed instead of one that is drawn")
)

// tables are what the two sides send, again and again. The lengths are prime, so that no record and no buffer is a
// whole number of them: bytes that are lost, doubled or moved do not fit.
var tables = [2][]byte{tlstest.Bytes(99_991, 1), tlstest.Bytes(100_003, 2)}

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// TestWalk leads pairs of real connections through random lives, see the package comment (P01 to P04, P06 to P09, P11 to P18, P23,
// P34, P35). Each run has some seeds that are always the same, and some new ones.
func TestWalk(t *testing.T) {
	tlstest.NoneLeft(t)
	contextsBefore := live.Contexts()
	x := &contexts{made: map[setting]*cssl.Context{}}
	total := newCounts()
	base := rand.Uint64() >> 20 << 10
	if *firstFlag != 0 {
		base = *firstFlag
	}
	switch {
	case *seedFlag != 0:
		lead(t, x, total, func(i uint64) (uint64, bool) { return *seedFlag, i == 0 })
	case *stepsFlag != 0:
		var steps atomic.Uint64
		enough := func() bool { return steps.Load() >= *stepsFlag }
		lead(t, x, total, func(i uint64) (uint64, bool) {
			steps.Store(total.locked(func() uint64 { return total.steps }))
			return base + i, !enough()
		})
	default:
		const fixed, fresh = uint64(2 * combos), uint64(combos)
		lead(t, x, total, func(i uint64) (uint64, bool) {
			if i < fixed {
				return fixed + i, true
			}
			return base + i, i < fixed+fresh
		})
	}
	x.close()
	t.Logf("%v", total)
	if *seedFlag == 0 && !t.Failed() {
		for _, m := range total.missing() {
			t.Error(m)
		}
	}
	if n := live.Conns(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if n := live.Contexts(); n != contextsBefore {
		t.Errorf("%d contexts, %d before", n, contextsBefore)
	}
	if *stepsFlag != 0 {
		figures.Record(t, "walk", "%.1f million steps in %d walks, %.1f GB of data, %d KeyUpdates, %d renegotiations, %d cuts",
			float64(total.steps)/1e6, total.walks, float64(total.bytes)/1e9, total.keyUpdates, total.renegotiations, total.cuts)
	}
}

// lead leads the walks with the seeds that next answers, on as many goroutines as there are processors.
func lead(t *testing.T, x *contexts, total *counts, next func(i uint64) (uint64, bool)) {
	var at atomic.Uint64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !failed.Load() {
				seed, ok := next(at.Add(1) - 1)
				if !ok {
					return
				}
				c := newCounts()
				if what := run(x, seed, c); what != "" {
					failed.Store(true)
					t.Errorf("%s\nto repeat: go test ./internal/walk -run '^TestWalk$' -seed=%d", what, seed)
				}
				total.locked(func() uint64 { total.add(c); return 0 })
			}
		})
	}
	wg.Wait()
}
