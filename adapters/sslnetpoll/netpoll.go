package sslnetpoll

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"github.com/cloudwego/netpoll"
	"golang.org/x/sys/unix"
)

// This file has the methods of netpoll.Connection, Reader and Writer.

// Reader returns c.
func (c *Conn) Reader() netpoll.Reader { return c }

// Writer returns c.
func (c *Conn) Writer() netpoll.Writer { return c }

// IsActive reports whether neither side has begun to close the connection, and
// no Flush has failed.
func (c *Conn) IsActive() bool {
	return !c.closed.Load() && !c.inactive.Load() && c.raw.IsActive()
}

// SetIdleTimeout sets the interval of TCP keep-alive, as in netpoll.
func (c *Conn) SetIdleTimeout(d time.Duration) error { return c.raw.SetIdleTimeout(d) }

// LocalAddr returns the socket's address.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetReadTimeout limits each read from now on, and ends SetReadDeadline. 0 is no
// limit.
func (c *Conn) SetReadTimeout(d time.Duration) error {
	c.reads = limit{timeout: d}
	return nil
}

// SetWriteTimeout limits each Flush from now on, and ends SetWriteDeadline. 0 is
// no limit.
func (c *Conn) SetWriteTimeout(d time.Duration) error {
	c.writes = limit{timeout: d, set: true}
	return nil
}

// SetReadDeadline sets the deadline of reads, instead of the timeout.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.reads.deadline = t
	return nil
}

// SetWriteDeadline sets the deadline of Flush, instead of the timeout.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writes.deadline = t
	return nil
}

// SetDeadline is SetReadDeadline and SetWriteDeadline.
func (c *Conn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetOnRequest sets or replaces what is called while there is plaintext to read.
// On a Conn of a Dialer that has some already, f is first called on a goroutine
// that is not of netpoll's pool, which would recover a panic.
func (c *Conn) SetOnRequest(f netpoll.OnRequest) error {
	if f == nil {
		return nil
	}
	c.onRequest.Store(&f)
	if !c.served.Load() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.serve()
	}
	return nil
}

// serve makes netpoll call run. What came before is in raw, or in c.
func (c *Conn) serve() {
	c.served.Store(true)
	c.unlocked(func() {
		c.raw.SetOnRequest(func(context.Context, netpoll.Connection) error {
			c.run(true)
			return nil
		})
	})
	if c.in.Len() > 0 {
		go c.run(false)
	}
}

// SetOnDisconnect sets or replaces what is called when the peer has closed the
// connection.
func (c *Conn) SetOnDisconnect(f netpoll.OnDisconnect) error {
	if f != nil {
		c.onDisconnect.Store(&f)
	}
	return nil
}

// AddCloseCallback adds f to what is called when the socket is about to be
// closed.
func (c *Conn) AddCloseCallback(f netpoll.CloseCallback) error {
	if f == nil {
		return nil
	}
	return c.raw.AddCloseCallback(func(netpoll.Connection) error { return f(c) })
}

// await waits until n bytes can be read.
func (c *Conn) await(n int) error {
	if c.in.Len() >= n {
		return nil
	}
	deadline := c.reads.end()
	c.need = n
	defer func() { c.need = 0 }()
	for c.in.Len() < n {
		if c.eof && !c.closed.Load() {
			return netpoll.Exception(netpoll.ErrEOF, "")
		}
		if err := c.over(); err != nil {
			return err
		}
		if c.wait(deadline, true) != nil {
			return netpoll.Exception(netpoll.ErrReadTimeout, c.raw.RemoteAddr().String())
		}
	}
	return nil
}

// read calls f when n bytes can be read.
func read[T any](c *Conn, n int, f func(int) (T, error)) (v T, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err = c.await(n); err == nil {
		v, err = f(n)
	}
	return v, err
}

// Next implements netpoll.Reader.
func (c *Conn) Next(n int) ([]byte, error) { return read(c, n, c.in.Next) }

// Peek implements netpoll.Reader.
func (c *Conn) Peek(n int) ([]byte, error) { return read(c, n, c.in.Peek) }

// ReadString implements netpoll.Reader.
func (c *Conn) ReadString(n int) (string, error) { return read(c, n, c.in.ReadString) }

// ReadBinary implements netpoll.Reader.
func (c *Conn) ReadBinary(n int) ([]byte, error) { return read(c, n, c.in.ReadBinary) }

// Slice implements netpoll.Reader.
func (c *Conn) Slice(n int) (netpoll.Reader, error) { return read(c, n, c.in.Slice) }

// ReadByte implements netpoll.Reader.
func (c *Conn) ReadByte() (byte, error) {
	return read(c, 1, func(int) (byte, error) { return c.in.ReadByte() })
}

// Skip implements netpoll.Reader.
func (c *Conn) Skip(n int) error {
	_, err := read(c, n, func(n int) (any, error) { return nil, c.in.Skip(n) })
	return err
}

// Until implements netpoll.Reader.
func (c *Conn) Until(delim byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line, err := c.in.Until(delim)
	if err == nil {
		return line, nil
	}
	d := delim
	c.delim = &d
	defer func() { c.delim = nil }()
	for c.delim != nil {
		if err = c.await(c.in.Len() + 1); err != nil {
			line, _ = c.in.Next(c.in.Len())
			return line, err
		}
	}
	return c.in.Until(delim)
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	return read(c, min(1, len(p)), func(int) (int, error) {
		q, err := c.in.Next(min(len(p), c.in.Len()))
		n := copy(p, q)
		return n, errors.Join(err, c.in.Release())
	})
}

// Len returns the number of bytes that can be read without waiting.
func (c *Conn) Len() int { return c.in.Len() }

// Release implements netpoll.Reader.
func (c *Conn) Release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in.Release()
}

// Flush encrypts what was written, and returns when the socket has taken all of
// it. If it fails, nothing more can be written, unless the error is
// ErrConcurrentAccess; what has come from the peer can be read, unless the error
// is ErrWriteTimeout.
func (c *Conn) Flush() error {
	_, err := c.flush(nil)
	return err
}

// encrypting reports whether a Flush has begun and does not wait for the peer.
func (c *Conn) encrypting() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.freed || !c.flushing || c.session.Queued() > 0 {
		return false
	}
	room, _ := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, 0)
	return !c.sending || room > 0
}

// Write is Flush, with p behind what was written. It does not keep p.
func (c *Conn) Write(p []byte) (int, error) { return c.flush(p) }

func (c *Conn) flush(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flushing {
		return 0, netpoll.Exception(netpoll.ErrConcurrentAccess, "when flush")
	}
	if err := c.unable(); err != nil {
		return 0, err
	}
	c.flushing = true
	defer func() {
		c.flushing = false
		c.cond.Broadcast()
	}()
	c.out.WriteBinary(p)
	c.out.Flush()
	// netpoll's Shutdown closes a connection that has nothing to send. So all is
	// encrypted before it is sent, and our Shutdown waits meanwhile.
	for deadline := c.writes.end(); c.ended() == nil && c.broken == nil; {
		n := min(c.out.Len(), window)
		switch renegotiating := c.session.Queued() > 0; {
		case c.sending || renegotiating && !c.unflushed:
			if c.wait(deadline, !c.sending); passed(deadline) {
				c.end(netpoll.Exception(netpoll.ErrWriteTimeout, c.raw.RemoteAddr().String()))
			}
		case n > 0 && !renegotiating:
			q, _ := c.out.Peek(n)
			c.session.Write(q) // it has room
			c.out.Skip(n)
			c.out.Release()
			if c.exchange(); n == window {
				c.unlocked(func() {}) // others do not wait for all of it
			}
		case c.unflushed:
			if c.writes.set {
				c.raw.SetWriteTimeout(0) // of an option
			}
			c.raw.SetWriteDeadline(deadline)
			c.drain()
			c.raw.SetWriteDeadline(time.Time{})
		default:
			return len(p), nil
		}
	}
	c.reply() // what the Session says last
	return 0, cmp.Or(c.ended(), c.broken)
}
