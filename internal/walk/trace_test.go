package walk

import (
	"fmt"
	"strings"

	"github.com/spacemonad/go-openssl/tlsio"
)

// violation is what a walk panics with when a rule was broken.
type violation string

// mustBe ends the walk if there is an error.
func mustBe(err error) {
	if err != nil {
		panic(violation(err.Error()))
	}
}

// step is an entry of the trace. It becomes text only if the walk fails.
type step struct {
	who  string
	what string
	n    int
	op   tlsio.Op
	res  *tlsio.Result
}

func (s step) String() string {
	if s.res == nil {
		return fmt.Sprintf("%s %s %d", s.who, s.what, s.n)
	}
	return fmt.Sprintf("%s   %v: %+v", s.who, s.op, *s.res)
}

// trace keeps the last steps of a walk.
type trace struct {
	last [120]step
	n    int
}

func (t *trace) add(s step) {
	t.last[t.n%len(t.last)] = s
	t.n++
}

func (t *trace) String() string {
	var b strings.Builder
	for i := max(0, t.n-len(t.last)); i < t.n; i++ {
		fmt.Fprintf(&b, "\n%6d  %v", i, t.last[i%len(t.last)])
	}
	return b.String()
}
