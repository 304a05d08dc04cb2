package sslhttp

import (
	"container/heap"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/sslnet"
)

// DefaultParkAfter is used if Server.ParkAfter is 0.
const DefaultParkAfter = time.Second

// errParked tells net/http that the connection has ended. Nobody sees it.
var errParked = errors.New("sslhttp: parked")

// parking has the HTTP/1 connections of a listener. net/http needs a goroutine
// and two buffers for each connection that waits for a request. So a connection
// that has waited for some time is parked: its Read returns errParked, and
// net/http forgets it. When it has something to read, Accept returns it again.
//
//	Accept ──► net/http: StateIdle, Read ──ParkAfter──► errParked, Close
//	   ▲                                                          │
//	   └────────────────── data ◄── NotifyReadable ◄── parked ◄───┘
type parking struct {
	after time.Duration      // negative: never
	pass  func(*http1Conn)   // to Accept
	end   func(*sslnet.Conn) // closes it, as net/http would
	work  *sync.WaitGroup    // of the listener

	mu      sync.Mutex
	closed  bool
	serving map[*http1Conn]struct{}
	sweeper *time.Timer // runs while anything is in serving
	sweeps  atomic.Uint32
	parked  byDeadline
	expiry  *time.Timer // of the first in parked
}

// A parkState says where an http1Conn is.
type parkState uint8

const (
	served  parkState = iota // net/http uses it
	waiting                  // in a Read for the next request, with no part of it read
	leaving                  // sweep has ended that Read
	left                     // the Read has returned errParked
	gone                     // Close was called after that
)

// An http1Conn is a connection as net/http sees it, from an Accept to the end
// or until it is parked.
type http1Conn struct {
	*sslnet.Conn
	p      *parking
	ctx    context.Context // what ConnContext returned for the connection
	again  bool            // it was parked before
	buffer int             // the size of net/http's buffer
	phase  atomic.Int32    // see parkable

	mu       sync.Mutex
	state    parkState
	since    uint32    // what sweeps was when the Read began
	deadline time.Time // net/http's, for reading

	index int // in parked, or -1; guarded by p.mu
}

// add returns c for net/http.
func (p *parking) add(c *sslnet.Conn) *http1Conn {
	h := &http1Conn{Conn: c, p: p, index: -1}
	p.serve(h)
	return h
}

// serve enters h in serving.
func (p *parking) serve(h *http1Conn) {
	if p.after < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serving == nil {
		p.serving = map[*http1Conn]struct{}{}
	}
	if p.serving[h] = struct{}{}; p.sweeper == nil {
		p.sweeper = time.AfterFunc(p.interval(), p.sweep)
	} else if len(p.serving) == 1 {
		p.sweeper.Reset(p.interval())
	}
}

// leave removes h from serving.
func (p *parking) leave(h *http1Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.serving, h)
}

// sweepsUntilParked is how often sweep runs in the time of after. The clock is
// not read for each Read.
const sweepsUntilParked = 2

func (p *parking) interval() time.Duration {
	return max(p.after/sweepsUntilParked, time.Millisecond)
}

// sweep ends the Reads of the connections that have waited for long enough.
func (p *parking) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.sweeps.Add(1)
	for h := range p.serving {
		h.mu.Lock()
		// The Read of a connection that is leaving may not have begun when its
		// deadline was set.
		if h.state == waiting && now-h.since > sweepsUntilParked || h.state == leaving {
			h.state = leaving
			_ = h.Conn.SetReadDeadline(time.Unix(1, 0)) // an error ends Read too
		}
		h.mu.Unlock()
	}
	if len(p.serving) > 0 && !p.closed {
		p.sweeper.Reset(p.interval())
	}
}

// net/http sets a read deadline after StateIdle, then reads until it has the
// begin of a request, and sets another one. Only the first Read between the two
// can be parked, and only if nothing is in net/http's buffer.
const (
	notParkable = iota
	parkable
	becomesParkable
)

// Read implements net.Conn.
func (h *http1Conn) Read(b []byte) (int, error) {
	if h.buffer == 0 {
		h.buffer = len(b) // the first Read of all has an empty buffer
	}
	if h.phase.Swap(notParkable) != parkable || len(b) < h.buffer {
		return h.Conn.Read(b)
	}
	h.mu.Lock()
	h.state, h.since = waiting, h.p.sweeps.Load()
	h.mu.Unlock()
	n, err := h.Conn.Read(b)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.state != leaving:
		h.state = served
	case n == 0 && errors.Is(err, os.ErrDeadlineExceeded):
		h.state, err = left, errParked
	default:
		h.state = served
		_ = h.Conn.SetReadDeadline(h.deadline) // the next Read fails too
	}
	return n, err
}

// SetReadDeadline implements net.Conn.
func (h *http1Conn) SetReadDeadline(t time.Time) error {
	if phase := h.phase.Load(); phase != notParkable {
		h.phase.CompareAndSwap(phase, phase-1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state >= left {
		return net.ErrClosed
	}
	if h.deadline = t; h.state == leaving {
		return nil
	}
	return h.Conn.SetReadDeadline(t)
}

// SetDeadline implements net.Conn.
func (h *http1Conn) SetDeadline(t time.Time) error {
	if err := h.SetReadDeadline(t); err != nil {
		return err
	}
	return h.SetWriteDeadline(t)
}

// Close implements net.Conn. net/http calls it after errParked. A second call
// comes from Shutdown or the like.
func (h *http1Conn) Close() error {
	h.mu.Lock()
	was := h.state
	if was == left {
		h.state = gone
	}
	h.mu.Unlock()
	switch was {
	case left:
		if !h.p.park(h) {
			h.p.end(h.Conn)
		}
	case gone:
		if !h.p.unpark(h) {
			return net.ErrClosed
		}
		h.p.end(h.Conn)
		h.p.work.Done()
	default:
		h.p.leave(h)
		return h.Conn.Close()
	}
	return nil
}

// observe is called with each state that net/http gives h. It reports whether
// the caller's ConnState may see it.
func (h *http1Conn) observe(s http.ConnState) bool {
	switch s {
	case http.StateIdle:
		if h.p.after >= 0 {
			h.phase.Store(becomesParkable)
		}
	case http.StateHijacked:
		h.p.leave(h)
	case http.StateClosed:
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.state != gone
	}
	return true
}

// park parks h. It reports whether it could.
func (p *parking) park(h *http1Conn) bool {
	_ = h.Conn.SetReadDeadline(time.Time{})
	p.mu.Lock()
	delete(p.serving, h)
	closed := p.closed
	if !closed {
		heap.Push(&p.parked, h)
		p.setExpiry()
	}
	p.mu.Unlock()
	if closed {
		return false
	}
	if h.Conn.NotifyReadable(func(err error) { p.wake(h, err) }) != nil && p.unpark(h) {
		p.work.Done()
		return false
	}
	return true
}

// unpark removes h from parked. It reports whether h was there; then the caller
// calls work.Done.
func (p *parking) unpark(h *http1Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h.index < 0 {
		return false
	}
	heap.Remove(&p.parked, h.index)
	p.work.Add(1)
	return true
}

// wake gives h back to net/http, or ends it if there is nothing to read.
func (p *parking) wake(h *http1Conn, err error) {
	if !p.unpark(h) {
		return
	}
	defer p.work.Done()
	if err != nil {
		p.end(h.Conn)
		return
	}
	n := &http1Conn{Conn: h.Conn, p: p, ctx: h.ctx, again: true, index: -1}
	p.serve(n)
	p.pass(n)
}

// expire ends the parked connections whose deadline, which is that of
// Server.IdleTimeout, has passed.
func (p *parking) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for now := time.Now(); len(p.parked) > 0 && p.parked.expires(0) && !p.parked[0].deadline.After(now); {
		p.endFirst()
	}
	p.setExpiry()
}

// setExpiry starts the timer for the first deadline. p.mu is held.
func (p *parking) setExpiry() {
	if len(p.parked) == 0 || !p.parked.expires(0) {
		return
	}
	d := time.Until(p.parked[0].deadline)
	if p.expiry == nil {
		p.expiry = time.AfterFunc(d, p.expire)
	} else {
		p.expiry.Reset(d)
	}
}

// endFirst ends the first in parked. p.mu is held.
func (p *parking) endFirst() {
	h := heap.Pop(&p.parked).(*http1Conn)
	p.work.Go(func() { p.end(h.Conn) })
}

// close ends all parked connections. None is parked from then on.
func (p *parking) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for len(p.parked) > 0 {
		p.endFirst()
	}
	for _, t := range []*time.Timer{p.sweeper, p.expiry} {
		if t != nil {
			t.Stop()
		}
	}
}

// byDeadline is a heap of connections. The next deadline comes first.
type byDeadline []*http1Conn

func (q byDeadline) expires(i int) bool { return !q[i].deadline.IsZero() }

// Len implements heap.Interface.
func (q byDeadline) Len() int { return len(q) }

// Less implements heap.Interface.
func (q byDeadline) Less(i, j int) bool {
	return q.expires(i) && (!q.expires(j) || q[i].deadline.Before(q[j].deadline))
}

// Swap implements heap.Interface.
func (q byDeadline) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *byDeadline) Push(x any) {
	h := x.(*http1Conn)
	h.index = len(*q)
	*q = append(*q, h)
}

// Pop implements heap.Interface.
func (q *byDeadline) Pop() any {
	n := len(*q) - 1
	h := (*q)[n]
	(*q)[n] = nil
	*q, h.index = (*q)[:n], -1
	return h
}
