package walk

import (
	"fmt"
	"sync"

	"github.com/spacemonad/go-openssl/tlsio"
)

// counts is what walks have done, to show that they reach what they are to test.
type counts struct {
	mu      sync.Mutex // of the total
	of      map[string]uint64
	combos  [combos]uint64
	results [tlsio.OpRenegotiate + 1][tlsio.WantAppRead + 1]uint64
}

func newCounts() *counts { return &counts{of: map[string]uint64{}} }

// get is for the total.
func (c *counts) get(what string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[what]
}

// add is for the total.
func (c *counts) add(o *counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for what, n := range o.of {
		c.of[what] += n
	}
	for i := range c.combos {
		c.combos[i] += o.combos[i]
	}
	for i := range c.results {
		for j := range c.results[i] {
			c.results[i][j] += o.results[i][j]
		}
	}
}

// must are the acts of the applications and of the network, and what they lead to.
var must = []string{
	"Write", "Write inside a handler", "Pause", "Resume", "KeyUpdate", "KeyUpdate asked of both", "Renegotiate", "CloseWrite", "Close",
	"Abort", "Ready inside a handler", "event for nothing", "starve", "stream", "cut: FIN", "cut: FIN one way", "cut: reset", "cut: silence",
	tlsio.OpKeyUpdate.String(), tlsio.OpRenegotiate.String(), "resumption", "OnDrain", "full queue", "Upgrade",
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
	for _, what := range must {
		if c.of[what] == 0 {
			out = append(out, "never: "+what)
		}
	}
	for op, wants := range mustAnswer {
		for _, w := range wants {
			if c.results[op][w] == 0 {
				out = append(out, fmt.Sprintf("%v never answered %v", op, w))
			}
		}
	}
	if clean := c.of["clean end"]; clean < c.of["walk"]/10 {
		out = append(out, fmt.Sprintf("only %d clean ends", clean))
	}
	return out
}
