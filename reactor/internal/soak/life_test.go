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
	of map[*reactor.Conn]*life
}

// life is what a handler has heard of one connection.
type life struct {
	side           string
	opened, closed bool
}

func newLives(t *testing.T) *lives { return &lives{t: t, of: make(map[*reactor.Conn]*life)} }

// get is called with the lock held.
func (l *lives) get(c *reactor.Conn, side string) *life {
	x := l.of[c]
	if x == nil {
		x = &life{side: side}
		l.of[c] = x
	}
	return x
}

// opens takes note of OnOpen.
func (l *lives) opens(c *reactor.Conn, side string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.get(c, side)
	if x.opened || x.closed {
		l.t.Errorf("%s: OnOpen, with %+v before", side, *x)
	}
	x.opened = true
}

// hears takes note of OnData or what else comes between OnOpen and OnClose.
func (l *lives) hears(c *reactor.Conn, side, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := l.get(c, side); !x.opened || x.closed {
		l.t.Errorf("%s: %s, with %+v before", side, what, *x)
	}
}

// closes takes note of OnClose.
func (l *lives) closes(c *reactor.Conn, side string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.get(c, side)
	if x.closed {
		l.t.Errorf("%s: a second OnClose, with %v", side, err)
	}
	if errors.Is(err, reactor.ErrPanic) {
		l.t.Errorf("%s: %v", side, err)
	}
	x.closed = true
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
