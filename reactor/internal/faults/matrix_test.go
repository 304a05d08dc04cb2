package faults

import (
	"io"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// full is set for the whole matrix: each answer at each call, for both versions. Without it the answers that
// have code of their own are tried at every other call, the others at the first, the last and one in the middle.
var full = os.Getenv("FAULTS") == "full"

// answer is what a call is made to answer, with what follows.
type answer struct {
	code int
	// fate is what becomes of the connection.
	fate fate
	// each: it has code of its own.
	each bool
}

type fate int

const (
	ends     fate = iota // with that errno
	survives             // nothing is lost
)

func (a answer) String() string {
	switch a.code {
	case End:
		return "end"
	case Short:
		return "short"
	}
	return unix.ErrnoName(syscall.Errno(a.code))
}

// err is what the side whose call it was must hear.
func (a answer) err() error {
	if a.code == End {
		return io.ErrUnexpectedEOF
	}
	return syscall.Errno(a.code)
}

// numbers are the calls to try an answer at, of about n. The last is one more than was counted: how many there are
// differs by a few, and a fault at a call that does not come must do nothing.
func (a answer) numbers(n int) []int {
	var out []int
	for i := 1; i <= n+1; i++ {
		if full || a.each && i%(2*tlstest.Scale) == 1 || i == 1 || i == n/2+1 || i == n+1 {
			out = append(out, i)
		}
	}
	return out
}

// calls counts the calls of a few lives without a fault.
func (w *world) calls(t *testing.T, f Fault, prepare func(f *Fault, client int)) (n int) {
	for range 4 {
		l, r := w.run(t, f, prepare)
		l.survived(t)
		n = max(n, r.Calls)
	}
	return n
}

// tally says how much of a matrix there was.
type tally struct{ faults, hits int }

func (y *tally) add(r Report) {
	y.faults++
	if r.Hit {
		y.hits++
	}
}

func (y *tally) log(t testing.TB, what string) {
	t.Helper()
	t.Logf("%s: %d faults, of which %d came", what, y.faults, y.hits)
	if y.hits == 0 {
		t.Errorf("%s: no fault came, so this proves nothing", what)
	}
	all.faults += y.faults
	all.hits += y.hits
}

// all is the tally of all matrices of this run.
var all tally
