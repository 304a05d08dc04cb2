package sslnet

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
)

// SetCloseTimeout sets how long Close waits until close_notify is sent. 0 or less: as long as it takes without waiting.
func (c *Conn) SetCloseTimeout(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeTimeout = d
}

// CloseWrite ends our direction: close_notify, and a FIN where the transport has one. Reading goes on. It waits for a Write that is under
// way, and is bounded by the write deadline. Before the handshake is done it is an error.
func (c *Conn) CloseWrite() error {
	if err := c.sendCloseNotify(); err != nil {
		return err
	}
	c.transport.closeWrite()
	return nil
}

// sendCloseNotify sends close_notify.
func (c *Conn) sendCloseNotify() error {
	s := &c.writer
	s.sem <- struct{}{}
	defer func() { <-s.sem }()
	c.mu.Lock()
	switch {
	case c.closing:
		defer c.mu.Unlock()
		return c.closedError("close")
	case !c.ready:
		defer c.mu.Unlock()
		return &cssl.Error{Op: cssl.OpShutdown, Class: cssl.ClassState, Err: cssl.ErrState}
	}
	c.shut = true
	c.mu.Unlock()
	_, err := s.do("close", taskShutdown, nil)
	return err
}

// Close ends the connection. Reads and Writes that are under way answer net.ErrClosed. It sends close_notify if the
// handshake is done, or the rest of the alert if it failed, and waits for that no longer than SetCloseTimeout says; if the peer
// does not take it by then, the error says so, and the connection is closed all the same.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closing {
		defer c.mu.Unlock()
		return c.closedError("close")
	}
	c.closing = true
	say := c.ready || c.failed != nil
	c.shut = true
	c.end() // wakes the halves too
	timeout := c.closeTimeout
	c.mu.Unlock()

	// Both are told to stop, so the sems are free soon.
	c.reader.sem <- struct{}{}
	c.writer.sem <- struct{}{}
	defer func() { <-c.reader.sem; <-c.writer.sem }()
	var err error
	if say {
		err = c.sayGoodbye(timeout)
	}
	c.mu.Lock()
	c.tls.Close()
	c.mu.Unlock()
	if cerr := c.transport.close(); err == nil && cerr != nil {
		err = c.opError("close", cerr)
	}
	return err
}

// sayGoodbye sends close_notify and FIN. Both halves' sems are the caller's.
func (c *Conn) sayGoodbye(timeout time.Duration) error {
	var deadline time.Time // none where try does not wait anyway
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	c.mu.Lock()
	err := c.transport.setDeadline(&c.writer, deadline)
	c.mu.Unlock()
	if err != nil {
		return c.opError("close", err)
	}
	if _, err = c.writer.do("close", taskClose, nil); errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	// Another error was a Read's or a Write's to answer, or the peer has gone.
	c.transport.finish()
	return nil
}

// tryClose sends close_notify, or what is left of the alert of a failure, as far as that goes without waiting. c.mu is held.
func (s *half) tryClose() (r cssl.Result, finished bool) {
	c := s.c
	c.sendRest(s)
	if c.ready {
		if r = c.tls.ShutdownMore(); r.Want == cssl.WantAppRead {
			// A renegotiation is under way, behind data that nobody will read.
			r = s.throwAway()
		}
		if r.Want != cssl.WantNone {
			return r, false
		}
	}
	return s.flush(r)
}

// drainLimit is how many bytes of a peer that goes on sending are thrown away at the most.
const drainLimit = 1 << 20

// throwAway reads what stands in the way of close_notify, and asks for that again. c.mu is held.
func (s *half) throwAway() (r cssl.Result) {
	buf := recordBuffers.Get().(*[cssl.MaxPlaintext]byte)
	defer recordBuffers.Put(buf)
	for n := 0; n < drainLimit; n += max(r.N, 1) {
		r = s.c.tls.Read(buf[:])
		s.c.note(s, r)
		if more := s.c.tls.ShutdownMore(); more.Want != cssl.WantAppRead {
			return more
		}
	}
	return cssl.Result{Want: cssl.WantAppRead, Unsent: s.c.unsent}
}

// abort closes the connection at once, without close_notify, for cause.
func (c *Conn) abort(cause error) {
	c.mu.Lock()
	if c.closing || c.ready {
		c.mu.Unlock()
		return
	}
	c.closing, c.shut, c.cause = true, true, cause
	c.end()
	c.mu.Unlock()
	c.reader.sem <- struct{}{}
	c.writer.sem <- struct{}{}
	defer func() { <-c.reader.sem; <-c.writer.sem }()
	c.mu.Lock()
	c.tls.Close()
	c.mu.Unlock()
	_ = c.transport.close()
}

// SetDeadline sets the read and the write deadline. Zero is none. One that has passed ends what is blocked at once.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read and Handshake.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.reader, t) }

// SetWriteDeadline sets the deadline of Write and CloseWrite.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writer, t) }

func (c *Conn) setDeadline(s *half, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return c.closedError("set")
	}
	return c.transport.setDeadline(s, t)
}

// LocalAddr is the address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr is the address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// NetConn is the connection below. Reading or writing there, or setting deadlines, disturbs TLS.
func (c *Conn) NetConn() net.Conn { return c.conn }
