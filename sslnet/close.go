package sslnet

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/spacemonad/go-openssl/tlsio"
)

// SetCloseTimeout sets how long Close may take to send close_notify: a second
// unless it is called. If d is 0 or less, Close sends only what it can without
// waiting.
func (c *Conn) SetCloseTimeout(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeTimeout = d
}

// CloseWrite sends close_notify, and a FIN if the underlying connection
// supports half-close. Reading goes on. CloseWrite waits for a Write in
// progress; the write deadline applies. Before the handshake is done it returns
// an error that is tlsio.ErrState.
func (c *Conn) CloseWrite() error {
	if err := c.sendCloseNotify(); err != nil {
		return err
	}
	c.transport.closeWrite()
	return nil
}

// sendCloseNotify sends close_notify for CloseWrite.
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
		return &tlsio.Error{Op: tlsio.OpShutdown, Err: tlsio.ErrState}
	}
	c.shut = true
	c.mu.Unlock()
	_, err := s.do("close", taskShutdown, nil)
	return err
}

// Close closes the connection. Reads and Writes in progress return
// net.ErrClosed. Close sends close_notify if the handshake is done, or the rest
// of the alert if it failed. It waits for that no longer than SetCloseTimeout
// allows. If the peer does not accept it in time, Close returns an error that
// is os.ErrDeadlineExceeded, but the connection is closed.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closing {
		defer c.mu.Unlock()
		return c.closedError("close")
	}
	c.closing, c.notify = true, nil
	notify := c.ready || c.failed != nil
	c.shut = true
	c.end() // also wakes both halves
	timeout := c.closeTimeout
	c.mu.Unlock()

	// Both halves have been told to stop, so their sems are free soon.
	c.reader.sem <- struct{}{}
	c.writer.sem <- struct{}{}
	defer func() { <-c.reader.sem; <-c.writer.sem }()
	var err error
	if notify {
		err = c.shutdown(timeout)
	}
	c.mu.Lock()
	c.tls.Close()
	c.mu.Unlock()
	if cerr := c.transport.close(); err == nil && cerr != nil {
		err = c.opError("close", cerr)
	}
	return err
}

// shutdown sends close_notify and a FIN. The caller holds both sems.
func (c *Conn) shutdown(timeout time.Duration) error {
	var deadline time.Time // zero: try does not wait
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
	// Any other error is for a Read or Write to return, or the peer has gone.
	c.transport.finish()
	return nil
}

// tryClose sends close_notify, or the rest of the alert of a failed handshake,
// as far as it can without waiting. c.mu is held.
func (s *half) tryClose() (r tlsio.Result, finished bool) {
	c := s.c
	c.sendRest(s)
	if c.ready {
		if r = c.tls.ShutdownMore(); r.Want == tlsio.WantAppRead {
			// Data that nobody will read precedes a message of a renegotiation.
			r = s.discardInput()
		}
		if r.Want != tlsio.WantNone {
			return r, false
		}
	}
	return s.flush(r)
}

// drainLimit is how many bytes of unread input are discarded at most when a
// connection is closed.
const drainLimit = 1 << 20

// discardInput discards the data that keeps close_notify from being sent, and
// retries close_notify. c.mu is held.
func (s *half) discardInput() (r tlsio.Result) {
	buf := copyBuffers.Get().(*[4 * tlsio.MaxPlaintext]byte)
	defer copyBuffers.Put(buf)
	for n := 0; n < drainLimit; n += max(r.N, 1) {
		r = s.c.tls.Read(buf[:])
		s.c.note(s, r)
		if more := s.c.tls.ShutdownMore(); more.Want != tlsio.WantAppRead {
			return more
		}
	}
	return tlsio.Result{Want: tlsio.WantAppRead, Unsent: s.c.unsent}
}

// abort closes the connection without close_notify, unless its handshake is
// done. All operations return cause from then on.
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

// SetDeadline sets the read and the write deadline. The zero Time means no
// deadline. A deadline in the past ends blocked calls at once.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read, Handshake, ReadEarlyData and
// AwaitCertificate.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadline(&c.reader, t) }

// SetWriteDeadline sets the deadline of Write, CloseWrite, WriteEarlyData,
// KeyUpdate, Renegotiate and RequestCertificate.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadline(&c.writer, t) }

func (c *Conn) setDeadline(s *half, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return c.closedError("set")
	}
	return c.transport.setDeadline(s, t)
}

// LocalAddr returns the local address of the underlying connection.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the remote address of the underlying connection.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// NetConn returns the underlying connection. Do not read, write or set
// deadlines there.
func (c *Conn) NetConn() net.Conn { return c.conn }
