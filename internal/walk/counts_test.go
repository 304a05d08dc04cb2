package walk

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/spacemonad/go-openssl/tlsio"
)

// counts is what walks have done, to show that they reach what they are to test.
type counts struct {
	mu                                  sync.Mutex // of the total
	walks, steps, bytes, ciphertext     uint64
	handshakes, resumptions             uint64
	keyUpdates, renegotiations          uint64
	clean, cuts, rests, drains, refused uint64
	combos                              [combos]uint64
	acts                                map[string]uint64
	results                             [tlsio.OpRenegotiate + 1][tlsio.WantAppRead + 1]uint64
}

func newCounts() *counts { return &counts{acts: map[string]uint64{}} }

// locked runs f alone.
func (c *counts) locked(f func() uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f()
}

func (c *counts) add(o *counts) {
	for _, p := range [][2]*uint64{
		{&c.walks, &o.walks}, {&c.steps, &o.steps}, {&c.bytes, &o.bytes}, {&c.ciphertext, &o.ciphertext}, {&c.handshakes, &o.handshakes},
		{&c.resumptions, &o.resumptions}, {&c.keyUpdates, &o.keyUpdates}, {&c.renegotiations, &o.renegotiations},
		{&c.clean, &o.clean}, {&c.cuts, &o.cuts}, {&c.rests, &o.rests}, {&c.drains, &o.drains}, {&c.refused, &o.refused},
	} {
		*p[0] += *p[1]
	}
	for i := range c.combos {
		c.combos[i] += o.combos[i]
	}
	for k, n := range o.acts {
		c.acts[k] += n
	}
	for i := range c.results {
		for j := range c.results[i] {
			c.results[i][j] += o.results[i][j]
		}
	}
}

// mustAct are the acts of the applications and of the network.
var mustAct = []string{
	"Write", "Write inside a handler", "Pause", "Resume", "KeyUpdate", "KeyUpdate asked of both", "Renegotiate", "CloseWrite", "Close", "Abort",
	"Ready inside a handler", "event for nothing", "starve", "stream", "cut: FIN", "cut: FIN one way", "cut: reset", "cut: silence",
}

// mustAnswer are wants that the engine must have answered, the crossings among them.
var mustAnswer = map[tlsio.Op][]tlsio.Want{
	tlsio.OpHandshake: {tlsio.WantNone, tlsio.WantRead, tlsio.WantWrite, tlsio.WantAppRead},
	tlsio.OpRead:      {tlsio.WantNone, tlsio.WantRead, tlsio.WantWrite},
	tlsio.OpWrite:     {tlsio.WantNone, tlsio.WantRead, tlsio.WantWrite, tlsio.WantAppRead},
	tlsio.OpFlush:     {tlsio.WantNone, tlsio.WantWrite},
	tlsio.OpShutdown:  {tlsio.WantNone},
}

// missing says what did not occur.
func (c *counts) missing() (out []string) {
	for i, n := range c.combos {
		if n == 0 {
			out = append(out, fmt.Sprintf("no walk with %v", comboOf(uint64(i))))
		}
	}
	for _, a := range mustAct {
		if c.acts[a] == 0 {
			out = append(out, "never: "+a)
		}
	}
	for op, wants := range mustAnswer {
		for _, w := range wants {
			if c.results[op][w] == 0 {
				out = append(out, fmt.Sprintf("%v never answered %v", op, w))
			}
		}
	}
	for name, n := range map[string]uint64{
		"KeyUpdates": c.keyUpdates, "renegotiations": c.renegotiations, "resumptions": c.resumptions, "OnDrain": c.drains, "full queues": c.refused,
	} {
		if n == 0 {
			out = append(out, "no "+name)
		}
	}
	if c.clean < c.walks/10 {
		out = append(out, fmt.Sprintf("only %d clean ends", c.clean))
	}
	return out
}

// String is for people who read the log.
func (c *counts) String() string {
	s := fmt.Sprintf("%d walks, %d steps, %d bytes of data and %d on the wire\n%d clean ends, %d cuts, %d rests, %d OnDrain, %d full queues, %d resumptions",
		c.walks, c.steps, c.bytes, c.ciphertext, c.clean, c.cuts, c.rests, c.drains, c.refused, c.resumptions)
	for _, a := range slices.Sorted(maps.Keys(c.acts)) {
		s += fmt.Sprintf("\n%9d  %s", c.acts[a], a)
	}
	for op := range c.results {
		s += fmt.Sprintf("\n%v:", tlsio.Op(op))
		for w, n := range c.results[op] {
			if n > 0 {
				s += fmt.Sprintf(" %v %d", tlsio.Want(w), n)
			}
		}
	}
	return s
}
