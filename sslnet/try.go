package sslnet

import (
	"errors"
	"net"
	"os"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/negotiated"
	"github.com/spacemonad/go-openssl/tlsio"
)

// try makes one attempt at the task, and whatever can follow without waiting.
// It reports whether the task has ended.
func (s *half) try() bool {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.waits = false
	c.transport.restoreDeadline(s)
	if c.closing && s.task != taskClose {
		s.err = net.ErrClosed
		return true
	}
	for {
		r, finished := s.tryTask()
		c.note(s, r)
		switch {
		case r.Err != nil:
			s.err = r.Err
			return true
		case finished:
			return true
		case r.In && r.Want == tlsio.WantRead:
			// A short recv may precede the peer's FIN. One event reported both
			// and is used up; only an empty recv guarantees another one.
		case r.Want != tlsio.WantNone:
			if !s.wait(r) {
				return true
			}
			if s.task == taskClose && s.deadline.IsZero() { // no waiting
				s.err = os.ErrDeadlineExceeded
				return true
			}
			return false
		}
	}
}

// decided makes the halves that wait for the application try again.
func (c *Conn) decided() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range []*half{&c.reader, &c.writer} {
		if s.waits && s.want.Application() {
			c.transport.wake(s)
		}
	}
}

// tryTask performs the next operation of the task, and reports whether it was
// the last. c.mu is held.
func (s *half) tryTask() (r tlsio.Result, finished bool) {
	c := s.c
	switch {
	case s.task == taskClose:
		return s.tryClose()
	case s.task == taskReadEarly || s.task == taskWriteEarly:
		return s.tryEarly()
	case !c.ready:
		return s.tryHandshake()
	}
	switch s.task {
	case taskHandshake:
		return s.flushUnsent()
	case taskRead:
		r = c.tls.Read(s.p)
		s.n += r.N
		return r, r.Want == tlsio.WantNone
	case taskAwaitCertificate:
		return s.tryCertificate()
	case taskShutdown:
		c.sendRest(s)
		if r = c.tls.ShutdownMore(); r.Err != nil || r.Want != tlsio.WantNone {
			return r, false
		}
		return s.flush(r)
	}
	if s.task != taskWrite && s.task != taskSendFile {
		return s.tryRekey()
	}
	if c.shut {
		return tlsio.Result{Err: &tlsio.Error{Op: tlsio.OpWrite, Err: tlsio.ErrShutdown}}, false
	}
	if s.task == taskSendFile {
		return s.tryFile()
	}
	if len(s.p) == 0 {
		return s.flush(r)
	}
	p := s.p[:min(len(s.p), batch)]
	r = c.tls.WriteBuffers([][]byte{p}, len(p) < len(s.p))
	s.n += r.N
	s.p = s.p[r.N:]
	return r, r.Err == nil && r.Want == tlsio.WantNone && len(s.p) == 0 && !r.Unsent && c.transport.flushed()
}

// tryRekey finishes a handshake in progress, then begins that of the task and
// continues it.
func (s *half) tryRekey() (r tlsio.Result, finished bool) {
	c, t := s.c, s.task
	c.sendRest(s)
	if t != taskCarryOn {
		if r = c.tls.Handshake(); r.Err != nil || r.Want != tlsio.WantNone {
			return r, false
		}
		c.note(s, r)
	}
	s.task = taskCarryOn
	switch t {
	case taskKeyUpdate:
		r = c.tls.KeyUpdate(false)
	case taskKeyUpdateRequest:
		r = c.tls.KeyUpdate(true)
	case taskRenegotiate:
		r = c.tls.Renegotiate()
	case taskRequestCertificate:
		if r = c.tls.RequestCertificate(); r.Err == nil {
			c.certificates++
		}
	default:
		r = c.tls.Handshake()
	}
	if r.Err != nil || r.Want != tlsio.WantNone {
		return r, false
	}
	return s.flush(r)
}

// tryHandshake continues the first handshake.
func (s *half) tryHandshake() (r tlsio.Result, finished bool) {
	c := s.c
	if c.failed != nil {
		return tlsio.Result{Err: c.failed}, false
	}
	r = c.tls.Handshake()
	switch {
	case errors.Is(r.Err, tlsio.ErrState): // early data must be read first
	case r.Err != nil:
		r = c.fail(r)
	case r.Want == tlsio.WantNone:
		facts := negotiated.Of(c.tls)
		if c.http1 && facts.ALPN == "h2" {
			r.Err = errHTTP2
			return c.fail(r), false
		}
		c.ready = true
		version := cssl.TLSVersion(facts.Version)
		c.tickets = c.server && version == cssl.TLS13
		if version < cssl.TLS13 {
			c.keepState(c.tls.State()) // not available during a renegotiation
		}
		c.end()
	}
	return r, false
}

// fail ends the handshake with r.Err. c.mu is held.
func (c *Conn) fail(r tlsio.Result) tlsio.Result {
	if r.Unsent {
		r.Unsent = c.tls.Flush().Unsent // there may be an alert to send
	}
	c.failed = c.opError("handshake", r.Err)
	r.Err = c.failed
	c.end()
	return r
}

// end closes done and wakes both halves. c.mu is held.
func (c *Conn) end() {
	if !c.over {
		c.over = true
		close(c.done)
	}
	for _, s := range []*half{&c.reader, &c.writer} {
		if s.waits {
			c.transport.wake(s)
		}
	}
}

// sendRest offers the transport again what it did not accept. The peer may wait
// for that, while the operation that follows waits for the peer. c.mu is held.
func (c *Conn) sendRest(s *half) {
	if c.unsent {
		c.note(s, c.tls.Flush())
	}
}

// flushUnsent is flush, but does nothing if nothing is unsent, or only tickets:
// nobody waits for those.
func (s *half) flushUnsent() (r tlsio.Result, finished bool) {
	if s.c.tickets || !s.c.unsent && s.c.transport.flushed() {
		return r, true
	}
	return s.flush(r)
}

// flush sends what cssl holds. Its result includes In, Out and Certificate of
// before.
func (s *half) flush(before tlsio.Result) (r tlsio.Result, finished bool) {
	if r = s.c.tls.Flush(); r.Err == nil && r.Want == tlsio.WantNone && !s.c.transport.flushed() {
		r.Want = tlsio.WantWrite
	}
	r.In = r.In || before.In
	r.Out = r.Out || before.Out
	r.Certificate = before.Certificate
	return r, r.Err == nil && r.Want == tlsio.WantNone
}

// note records the result of an operation of s. It wakes the other half if r
// unblocks it. It also wakes the writer if a read has failed, because the whole
// connection may have failed. c.mu is held.
func (c *Conn) note(s *half, r tlsio.Result) {
	if r.Certificate {
		c.answered()
	}
	c.unsent = r.Unsent
	if r.Err != nil { // a repeated error does not set Unsent
		c.unsent = c.tls.Unsent() > 0
	}
	c.transport.moved(r)
	other, failed := &c.reader, false
	if s == other {
		other, failed = &c.writer, r.Err != nil
	}
	op := tlsio.OpHandshake // or any other that reads no data
	if s.task == taskRead {
		op = tlsio.OpRead
	}
	if other.waits && (failed || r.Unblocks(op, other.want)) {
		c.transport.wake(other)
	}
}

// wait prepares s to wait for r.Want. If it returns false, s cannot wait; s.err
// says why. c.mu is held.
func (s *half) wait(r tlsio.Result) bool {
	c := s.c
	if s.err = c.transport.blocked(r.Want); s.err != nil {
		return false
	}
	if s == &c.reader && r.Want == tlsio.WantRead {
		if r.Held {
			c.note(s, c.tls.Flush()) // tickets, held for the next Write
		}
		c.mayIdle()
	}
	s.want, s.waits = r.Want, true
	var err error
	switch {
	case s.natural == readable && r.Want == tlsio.WantWrite:
		err = c.transport.watch(writable)
	case s.natural == writable && r.Want == tlsio.WantRead:
		err = c.transport.watch(readable)
	case s.natural == readable:
		c.keepSending()
	}
	if err != nil {
		s.waits, s.err = false, err
		return false
	}
	return true
}

// onReady is called when the transport is ready in a watched direction. c.mu is
// held.
func (c *Conn) onReady(d direction) {
	if c.closing {
		return
	}
	if d == readable {
		if c.writer.waits && c.writer.want == tlsio.WantRead {
			c.transport.wake(&c.writer)
		}
		if c.checkReadable() != nil { // cannot watch
			f := c.notify
			c.notify = nil
			go f(nil) // Read waits instead
		}
		return
	}
	if c.reader.waits && c.reader.want == tlsio.WantWrite {
		c.transport.wake(&c.reader)
		return
	}
	if c.unsent {
		r := c.tls.Flush() // the next Write returns an error, if any
		c.unsent = r.Unsent
		c.transport.moved(r)
		c.keepSending()
	}
}

// keepSending ensures that unsent ciphertext is sent even though no Write waits
// for it: the reply to a KeyUpdate that a Read received, or what a Write
// accepted before its deadline. c.mu is held.
func (c *Conn) keepSending() {
	if c.unsent && !c.writer.waits && !c.closing {
		// If watch fails (no descriptors left), the next operation sends it.
		_ = c.transport.watch(writable)
	}
}
