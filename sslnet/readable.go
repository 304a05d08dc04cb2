package sslnet

import (
	"io"

	"github.com/spacemonad/go-openssl/tlsio"
)

// NotifyReadable arranges one call of f, on its own goroutine, when the peer
// has sent something: until then an idle connection needs no goroutine that
// blocks in Read. err is nil if there is data to read, and in rare cases where
// Read must wait for something else, such as room to send. Otherwise err is what
// Read would return, io.EOF for example. Messages of TLS, such as a KeyUpdate,
// are handled without a call.
//
// NotifyReadable waits for a Read in progress. It returns an error if it cannot
// watch the connection, or if the handshake is not done; then f is not called.
// After Close, f is not called unless its goroutine has started. The read
// deadline does not apply. A later call replaces f.
func (c *Conn) NotifyReadable(f func(err error)) error {
	s := &c.reader
	s.sem <- struct{}{}
	defer func() { <-s.sem }()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		return c.closedError("read")
	case !c.ready:
		return &tlsio.Error{Op: tlsio.OpRead, Err: tlsio.ErrState}
	}
	s.task, c.notify = taskRead, f
	if err := c.transport.use(c.checkReadable); err != nil {
		c.notify = nil
		return err
	}
	return nil
}

// checkReadable calls notify if a Read would return, and otherwise watches the
// transport. c.mu is held.
func (c *Conn) checkReadable() error {
	f := c.notify
	if f == nil {
		return nil
	}
	r := c.tls.Peek(c.peeked[:])
	c.note(&c.reader, r)
	err := r.Err
	if err == nil && r.Want == tlsio.WantRead {
		if err = c.transport.blocked(r.Want); err == nil {
			if r.Held {
				c.note(&c.reader, c.tls.Flush()) // as wait does
			}
			c.tls.FreeBuffers()
			c.keepSending()
			return c.transport.watch(readable)
		}
	}
	if err != nil && err != io.EOF {
		err = c.opError("read", err)
	}
	c.notify = nil
	go f(err)
	return nil
}
