package sslnet

import (
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/tlsio"
)

// idleAfter is how long a Read waits, at least, until the buffers of its
// connection are freed. To free them at once would cost each Read that waits an
// allocation and a key schedule.
const idleAfter = time.Second

// idleConns has the connections that may have buffers to free: those with a Read
// that has waited since their buffers were freed.
var idleConns struct {
	mu    sync.Mutex
	conns []*Conn
}

// mayIdle enters c in idleConns. c.mu is held.
func (c *Conn) mayIdle() {
	c.used = true
	if c.listed {
		return
	}
	c.listed = true
	idleConns.mu.Lock()
	defer idleConns.mu.Unlock()
	if idleConns.conns = append(idleConns.conns, c); len(idleConns.conns) == 1 {
		time.AfterFunc(idleAfter, sweepIdle)
	}
}

// sweepIdle frees the buffers of those connections whose Read has waited since
// the last call, and removes them from idleConns.
func sweepIdle() {
	idleConns.mu.Lock()
	conns := idleConns.conns
	idleConns.conns = nil // mayIdle locks c.mu first
	idleConns.mu.Unlock()
	n := 0
	for _, c := range conns {
		if c.freeIdle() {
			continue
		}
		conns[n] = c
		n++
	}
	clear(conns[n:])
	idleConns.mu.Lock()
	defer idleConns.mu.Unlock()
	again := len(idleConns.conns) == 0 // otherwise mayIdle has started a timer
	if idleConns.conns = append(conns[:n], idleConns.conns...); again && n > 0 {
		time.AfterFunc(idleAfter, sweepIdle)
	}
}

// freeIdle frees the buffers of c if its Read has waited since the last call.
// It reports whether c need not be in idleConns any longer.
func (c *Conn) freeIdle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	used := c.used
	c.used = false
	// A Read that does not wait will enter c again when it does.
	if !c.closing && c.reader.waits && c.reader.want == tlsio.WantRead {
		if used {
			return false
		}
		c.tls.FreeBuffers()
	}
	c.listed = false
	return true
}
