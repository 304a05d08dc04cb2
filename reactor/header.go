package reactor

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// maxHeader is the greatest length of what stands in front of TLS.
const maxHeader = 64 << 10

// ErrHeader is found by errors.Is in what OnClose gets when a connection ended because of what stands in front of TLS.
var ErrHeader = errors.New("reactor: bad header in front of TLS")

// header is the beginning of what stands in front of TLS.
type header struct{ got []byte }

// SetRemote makes a the peer's address, as RemoteAddr tells it. It is for Server.Header alone.
func (c *Conn) SetRemote(a netip.AddrPort) { c.remote = a }

// readHeader reads what stands in front of TLS, and answers whether that is done. Bytes that may belong to TLS are looked at
// but left in the socket, where TLS finds them.
func (l *Loop) readHeader(c *Conn) bool {
	n, _, err := unix.Recvfrom(c.fd, l.sessions.Buffer, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return false
	case err != nil:
		l.endHeader(c, os.NewSyscallError("recvfrom", err))
		return false
	case n == 0 && len(c.header.got) == 0:
		l.endHeader(c, io.ErrUnexpectedEOF) // it has said nothing at all, like who vanishes before a hello
		return false
	case n == 0:
		l.endHeader(c, fmt.Errorf("%w: %w", ErrHeader, io.ErrUnexpectedEOF))
		return false
	}
	had := len(c.header.got)
	got := append(c.header.got, l.sessions.Buffer[:n]...)
	used, done, err := c.readHeader(got)
	if !done {
		used = len(got)
	}
	switch {
	case err != nil:
	case used < had || used > len(got):
		err = fmt.Errorf("of %d bytes, of which %d were taken before, it takes %d", len(got), had, used)
	case used > maxHeader:
		err = fmt.Errorf("longer than %d bytes", maxHeader)
	}
	if err != nil {
		l.endHeader(c, fmt.Errorf("%w: %w", ErrHeader, err))
		return false
	}
	if k := used - had; k > 0 {
		_, _, _ = unix.Recvfrom(c.fd, l.sessions.Buffer[:k], unix.MSG_DONTWAIT) // what was just looked at
	}
	if !done {
		c.header.got = got
		return false
	}
	c.header = nil
	if err := l.mayEnter(c.server, c.remote); err != nil {
		l.countRefusal(err.Error())
		l.endHeader(c, fmt.Errorf("%w: %w", errRefused, err))
		return false
	}
	c.counted = c.server.Admit != nil
	return true
}

// readHeader asks Server.Header. A panic there ends the connection like one of the handler.
func (c *Conn) readHeader(p []byte) (n int, done bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.loop.panicked(c, v)
			err = ErrPanic
		}
	}()
	return c.server.Header(c, p)
}

func (l *Loop) endHeader(c *Conn, err error) {
	c.session.Abort(err)
	l.turn(c, 0)
}
