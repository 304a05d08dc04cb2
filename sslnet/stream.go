package sslnet

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// A stream is the transport of a Conn over any other net.Conn: two goroutines
// carry the ciphertext. They start with the first operation and end when the
// connection is closed. Deadlines are timers here, so that a Read that times
// out does not disturb the goroutines.
type stream struct {
	c      *Conn
	conn   net.Conn
	once   sync.Once
	closed chan struct{}
	out    chan struct{} // there may be ciphertext to Take
	room   chan struct{} // there may be room to Feed
	// discard tells readLoop to discard input. drained is closed when readLoop
	// ends.
	discard, drained chan struct{}
	half             [2]struct {
		again chan struct{} // wakes the half
		timer timer
	}

	// Guarded by c.mu.
	inErr, outErr error // errors of conn.Read and conn.Write
	writing       bool  // conn has not yet accepted what was taken
	full          bool  // readLoop waits for room
}

func (c *Conn) overStream(x *cssl.Context, cfg cssl.ConnConfig) (err error) {
	t := &stream{c: c, conn: c.conn, closed: make(chan struct{}), out: make(chan struct{}, 1), room: make(chan struct{}, 1),
		discard: make(chan struct{}), drained: make(chan struct{})}
	for i := range t.half {
		t.half[i].again = make(chan struct{}, 1)
		t.half[i].timer.init()
	}
	c.transport = t
	c.tls, err = x.NewEngineConn(cfg)
	return err
}

// signal sends to ch, which has room for one, unless it is full.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (t *stream) run(s *half) error {
	t.once.Do(func() {
		go t.readLoop()
		go t.writeLoop()
	})
	h := &t.half[s.natural]
	for {
		timeout := h.timer.wait()
		select {
		case <-t.closed:
			return net.ErrClosed
		case <-timeout:
			return os.ErrDeadlineExceeded
		default:
		}
		if s.try() {
			return nil
		}
		select {
		case <-h.again:
		case <-h.timer.wait():
			// The next round checks again: the deadline may have changed.
		case <-t.closed:
		}
	}
}

func (t *stream) wake(s *half)          { signal(t.half[s.natural].again) }
func (t *stream) restoreDeadline(*half) {}

func (t *stream) setDeadline(s *half, d time.Time) error {
	s.deadline = d
	t.half[s.natural].timer.set(d)
	signal(t.half[s.natural].again) // ends a wait for the old deadline
	return nil
}

func (t *stream) use(f func() error) error { return f() }

// start returns false: run looks at the timer.
func (t *stream) start(*half) bool { return false }

// watch does nothing: the goroutines carry both directions at all times.
func (t *stream) watch(direction) error { return nil }

func (t *stream) moved(r tlsio.Result) {
	if r.Unsent {
		signal(t.out)
	}
	if r.In {
		signal(t.room)
	}
}

func (t *stream) blocked(w tlsio.Want) error {
	switch {
	case w == tlsio.WantRead:
		return t.inErr
	case w == tlsio.WantWrite:
		return t.outErr
	}
	return nil
}

func (t *stream) flushed() bool { return !t.writing }

// again makes both halves try again. c.mu is held.
func (t *stream) again() {
	for i := range t.half {
		signal(t.half[i].again)
	}
	_ = t.c.checkReadable() // watch does not fail
}

// readLoop feeds cssl what conn receives.
func (t *stream) readLoop() {
	defer close(t.drained)
	buf := make([]byte, 16<<10)
	for {
		n, err := t.conn.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			t.c.mu.Lock()
			k := t.c.tls.Feed(p)
			t.full = k == 0
			t.again()
			t.c.mu.Unlock()
			if p = p[k:]; k > 0 {
				continue
			}
			select {
			case <-t.room:
			case <-t.discard:
				t.discardInput(buf)
				return
			case <-t.closed:
				return
			}
		}
		if err != nil {
			t.c.mu.Lock()
			if err == io.EOF {
				t.c.tls.FeedEOF()
			} else {
				t.inErr = err
			}
			t.again()
			t.c.mu.Unlock()
			return
		}
	}
}

// writeLoop writes to conn what cssl has to send.
func (t *stream) writeLoop() {
	buf := make([]byte, 32<<10)
	for {
		t.c.mu.Lock()
		n := t.c.tls.Take(buf)
		t.writing = n > 0
		t.again()
		t.c.mu.Unlock()
		if n == 0 {
			select {
			case <-t.out:
				continue
			case <-t.closed:
				return
			}
		}
		if _, err := t.conn.Write(buf[:n]); err != nil {
			t.c.mu.Lock()
			t.outErr = err
			t.again()
			t.c.mu.Unlock()
			return
		}
	}
}

func (t *stream) closeWrite() {
	t.c.mu.Lock()
	_ = t.c.tls.CloseWrite() // so that cssl produces no more output
	t.c.mu.Unlock()
	if w, ok := t.conn.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // Read returns the same failure
	}
}

// drainTime is how long finish discards input.
const drainTime = 20 * time.Millisecond

// finish sends no FIN, because conn.CloseWrite might block; close will send it.
// readLoop takes all input, unless it waits for room. Then a socket below may
// hold more input, and would send RST when closed.
func (t *stream) finish() {
	t.c.mu.Lock()
	full := t.full
	t.c.mu.Unlock()
	if !full || t.conn.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return
	}
	close(t.discard)
	select {
	case <-t.drained:
	case <-time.After(10 * drainTime): // conn ignores its deadline
	}
}

// discardInput discards input until a Read fails, normally because drainTime is
// over.
func (t *stream) discardInput(buf []byte) {
	for n := 0; n < drainLimit; {
		k, err := t.conn.Read(buf)
		if n += k; err != nil {
			return
		}
	}
}

func (t *stream) close() error {
	close(t.closed)
	for i := range t.half {
		t.half[i].timer.set(time.Time{})
	}
	return t.conn.Close()
}

// A timer is a deadline that can be changed at any time.
type timer struct {
	mu    sync.Mutex
	timer *time.Timer
	ch    chan struct{} // closed when the deadline has passed
}

func (d *timer) init() { d.ch = make(chan struct{}) }

// wait returns a channel that is closed when the deadline passes, unless it is
// changed before.
func (d *timer) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ch
}

func (d *timer) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.ch // the timer's function closes it
	}
	d.timer = nil
	select {
	case <-d.ch:
		d.ch = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	if wait := time.Until(t); wait > 0 {
		ch := d.ch
		d.timer = time.AfterFunc(wait, func() { close(ch) })
		return
	}
	close(d.ch)
}
