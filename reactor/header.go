package reactor

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// maxHeader is the maximum length of a header that precedes TLS.
const maxHeader = 64 << 10

// ErrHeader is what errors.Is finds in OnClose's error if the header that
// precedes TLS was bad or incomplete.
var ErrHeader = errors.New("reactor: bad header in front of TLS")

// header is the part of a header that was received so far.
type header struct{ got []byte }

// SetRemote sets the address that RemoteAddr returns. Only Server.Header may
// call it.
func (c *Conn) SetRemote(a netip.AddrPort) { c.remote = a }

// readHeader reads the header that precedes TLS, and reports whether it is
// complete. Bytes that may belong to TLS are peeked at and stay in the socket,
// where OpenSSL reads them.
func (l *Loop) readHeader(c *Conn) bool {
	n, _, err := unix.Recvfrom(c.fd, l.sessions.Buffer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false
	case err != nil:
		err = os.NewSyscallError("recvfrom", err)
	case n == 0 && len(c.header.got) == 0:
		err = io.ErrUnexpectedEOF // no header at all: like a peer that ends before its ClientHello
	case n == 0:
		err = fmt.Errorf("%w: %w", ErrHeader, io.ErrUnexpectedEOF)
	default:
		err = l.parseHeader(c, l.sessions.Buffer[:n])
	}
	if err != nil {
		c.session.Abort(err)
		l.turn(c, 0)
	}
	return err == nil && c.header == nil
}

// parseHeader passes to Server.Header what it has got before and in, which was
// peeked at. If that is the whole header, c.header becomes nil.
func (l *Loop) parseHeader(c *Conn, in []byte) error {
	had := len(c.header.got)
	got := append(c.header.got, in...)
	used, done, err := c.readHeader(got)
	if !done {
		used = len(got)
	}
	switch {
	case err != nil:
	case used < had || used > len(got):
		err = fmt.Errorf("the length that Header returned is %d and must be from %d to %d", used, had, len(got))
	case used > maxHeader:
		err = fmt.Errorf("the header is longer than %d bytes", maxHeader)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHeader, err)
	}
	if k := used - had; k > 0 {
		_, _, _ = unix.Recvfrom(c.fd, l.sessions.Buffer[:k], unix.MSG_DONTWAIT) // removes the bytes that were peeked at
	}
	if !done {
		c.header.got = got
		return nil
	}
	c.header = nil
	if err := l.mayEnter(c.server, c.remote); err != nil {
		l.countRefusal(err.Error())
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	c.counted = c.server.Admit != nil
	return nil
}

// readHeader calls Server.Header. A panic ends the connection like a panic of
// the handler.
func (c *Conn) readHeader(p []byte) (n int, done bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.loop.panicked(c, v)
			err = ErrPanic
		}
	}()
	return c.server.Header(c, p)
}
