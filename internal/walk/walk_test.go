package walk

import (
	"cmp"
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
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

// TestWalk leads pairs of real connections through random lives, see the package comment (P01 to P04, P06 to P09,
// P11 to P18, P23, P34, P35). Each run has some seeds that are always the same, and some new ones. As many walks
// as there are processors go on at a time.
func TestWalk(t *testing.T) {
	tlstest.NoneLeft(t)
	contextsBefore := live.Contexts()
	x := &contexts{made: map[setting]*cssl.Context{}}
	total := newCounts()
	seeds := make(chan uint64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := range seeds {
				c := newCounts()
				if what := run(x, seed, c); what != "" {
					t.Errorf("%s\nto repeat: go test ./internal/walk -run '^TestWalk$' -seed=%d", what, seed)
				}
				total.add(c)
			}
		})
	}
	const fixed, fresh = uint64(2 * combos), uint64(combos)
	base := cmp.Or(*firstFlag, rand.Uint64()>>20<<10)
	more := func(i uint64) bool { return i < fixed+fresh && !t.Failed() }
	switch {
	case *seedFlag != 0:
		seeds <- *seedFlag
		more = func(uint64) bool { return false }
	case *stepsFlag != 0:
		more = func(uint64) bool { return total.get("step") < *stepsFlag && !t.Failed() }
	}
	for i := uint64(0); more(i); i++ {
		if *stepsFlag == 0 && i < fixed {
			seeds <- fixed + i
		} else {
			seeds <- base + i
		}
	}
	close(seeds)
	wg.Wait()
	x.close()
	if *seedFlag == 0 && !t.Failed() {
		for _, m := range total.missing() {
			t.Error(m)
		}
	}
	tlstest.Equal(t, "connections that are left", live.Conns(), 0)
	tlstest.Equal(t, "contexts", live.Contexts(), contextsBefore)
	if *stepsFlag != 0 {
		figures.Record(t, "walk", "%.1f million steps in %d walks, %.1f GB of data, %d KeyUpdates, %d renegotiations, %d cuts",
			float64(total.of["step"])/1e6, total.of["walk"], float64(total.of["byte"])/1e9, total.of[tlsio.OpKeyUpdate.String()],
			total.of[tlsio.OpRenegotiate.String()], total.of["cut"])
	}
}
