package sslnet

import (
	"container/list"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/tlsio"
)

// defaultMaxHandshakes is the number of pending handshakes that a Listener
// allows at once if Listener.MaxHandshakes is 0.
const defaultMaxHandshakes = 4096

// ErrHandshakeEvicted is returned by operations on a Conn whose handshake a
// Listener has evicted; see Listener.MaxHandshakes. It is a net.Error whose
// Timeout is true, and errors.Is finds os.ErrDeadlineExceeded in it. The Conn
// is closed.
var ErrHandshakeEvicted error = evictedError{}

type evictedError struct{}

func (evictedError) Error() string {
	return "sslnet: handshake evicted: too slow while MaxHandshakes was reached"
}
func (evictedError) Unwrap() error   { return os.ErrDeadlineExceeded }
func (evictedError) Timeout() bool   { return true }
func (evictedError) Temporary() bool { return false }

const (
	// silentPatience is how long a peer that has sent nothing keeps its place
	// when other connections wait. A ClientHello normally arrives at once. If
	// it is lost, Linux sends it again after 200 ms and a round trip.
	silentPatience = 250 * time.Millisecond
	// begunPatience is how long a peer that has sent something keeps its place,
	// from its first bytes or our last answer. It suffices for a distant peer,
	// even if a packet is lost. Package reactor has the same default.
	begunPatience = 2 * time.Second
)

// pending has the handshakes of a Listener's connections that have not ended.
type pending struct {
	once   sync.Once
	free   chan struct{} // a place may be free
	closed chan struct{}
	start  time.Time // the origin of all times here

	mu sync.Mutex
	// silent has the peers that have sent nothing, begun all others.
	silent, begun queue
}

// A queue has the handshake that has waited longest at the front.
type queue struct {
	list.List
	patience time.Duration
}

func (p *pending) init() {
	p.once.Do(func() {
		p.start, p.free, p.closed = time.Now(), make(chan struct{}, 1), make(chan struct{})
		p.silent.patience, p.begun.patience = silentPatience, begunPatience
	})
}

// close makes every enter that waits return net.ErrClosed. It is called once.
func (p *pending) close() {
	p.init()
	close(p.closed)
}

// handshaking is the transport of a Listener's Conn. It wraps the real one to
// observe the handshake.
type handshaking struct {
	transport
	c       *Conn
	pending *pending

	// Guarded by pending.mu.
	queue   *queue        // the one it is in, or nil
	element *list.Element // of the queue
	since   time.Duration // when it began to wait
	ours    bool          // it waits for the application, or has not begun
}

// enter gives c one of limit places. If none is free, it evicts a peer that has
// been silent for too long. If there is no such peer, it waits. It returns
// net.ErrClosed after close.
func (p *pending) enter(c *Conn, limit int) error {
	p.init()
	h := &handshaking{transport: c.transport, c: c, pending: p, ours: true}
	c.transport = h // before another Accept can find c
	p.mu.Lock()
	for p.silent.Len()+p.begun.Len() >= limit {
		slow, wait := p.slowest()
		if slow != nil {
			p.remove(slow)
			go slow.c.abort(ErrHandshakeEvicted) // may wait for a callback
			continue
		}
		p.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-p.free:
		case <-timer.C:
		case <-p.closed:
			timer.Stop()
			return net.ErrClosed
		}
		timer.Stop()
		p.mu.Lock()
	}
	p.put(h, &p.silent)
	if p.silent.Len()+p.begun.Len() < limit {
		signal(p.free) // for the next enter that waits
	}
	p.mu.Unlock()
	return nil
}

// slowest returns the handshake to evict, or how long to wait until there may
// be one. p.mu is held.
func (p *pending) slowest() (slow *handshaking, wait time.Duration) {
	now := time.Since(p.start)
	wait = p.begun.patience
	for _, q := range []*queue{&p.silent, &p.begun} {
		for e := q.Front(); e != nil; e = q.Front() {
			h := e.Value.(*handshaking)
			if left := h.since + q.patience - now; left > 0 {
				wait = min(wait, left)
				break
			}
			if !h.late() {
				return h, 0
			}
			// We keep the peer waiting, so its time starts again. That ends the
			// loop, too.
			h.since = now
			q.MoveToBack(e)
		}
	}
	return nil, wait
}

// late reports whether we keep the peer waiting. p.mu is held.
func (h *handshaking) late() bool {
	t, ok := h.transport.(*socket)
	if !ok {
		return h.ours
	}
	n := 0
	// Control fails once the socket is closed.
	_ = t.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n > 0 || h.ours && h.queue == &h.pending.begun
}

// put appends h to q. p.mu is held.
func (p *pending) put(h *handshaking, q *queue) {
	h.queue, h.since = q, time.Since(p.start)
	h.element = q.PushBack(h)
}

// remove removes h from its queue, if it is in one. p.mu is held.
func (p *pending) remove(h *handshaking) {
	if h.queue != nil {
		h.queue.Remove(h.element)
		h.queue = nil
	}
}

// leave gives up h's place.
func (p *pending) leave(h *handshaking) {
	p.mu.Lock()
	p.remove(h)
	p.mu.Unlock()
	signal(p.free)
}

// moved implements transport.
func (h *handshaking) moved(r tlsio.Result) {
	h.transport.moved(r)
	p := h.pending
	if h.c.over {
		p.leave(h)
		h.c.transport = h.transport // there is nothing more to observe
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h.ours = r.Want.Application()
	if h.queue != nil && (r.Out || r.In && h.queue == &p.silent) {
		p.remove(h)
		p.put(h, &p.begun)
	}
}

// close implements transport.
func (h *handshaking) close() error {
	h.pending.leave(h)
	return h.transport.close()
}
