package soak

import (
	"errors"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/reactor"
)

// lives are the connections since the last quiet point, on both sides, with what their handlers have heard.
type lives struct {
	t  *testing.T
	mu sync.Mutex
	of map[*reactor.Conn]life
}

// life is what a handler has heard of one connection.
type life struct {
	side           string
	opened, closed bool
}

func newLives(t *testing.T) *lives { return &lives{t: t, of: make(map[*reactor.Conn]life)} }

// hears takes note of a call of a handler: OnOpen comes first and once, OnClose last and once, with err.
func (l *lives) hears(c *reactor.Conn, side, method string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.of[c]
	now := before
	now.side = side
	wrong := before.closed || errors.Is(err, reactor.ErrPanic)
	switch method {
	case "OnOpen":
		wrong = wrong || before.opened
		now.opened = true
	case "OnClose":
		now.closed = true
	default:
		wrong = wrong || !before.opened
	}
	if l.of[c] = now; wrong {
		l.t.Errorf("%s: %s (%v), with %+v before", side, method, err, before)
	}
}

// end is for when all is closed: each life that began has ended. It forgets them.
func (l *lives) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.of {
		if !x.closed {
			l.t.Errorf("%s: no OnClose, though all is closed", x.side)
		}
	}
	clear(l.of)
}
