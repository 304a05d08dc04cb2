package walk

import (
	"errors"
	"io"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
)

// engine is the connection as its session sees it. In engine mode the FIN is the owner's to carry.
type engine struct {
	*cssl.Conn
	fin bool
}

func (e *engine) CloseWrite() error {
	e.fin = true
	return e.Conn.CloseWrite()
}

// port is where one side's ciphertext leaves the connection and comes in.
type port interface {
	// collect takes up to len(p) bytes that the connection has sent. The error is io.EOF after its FIN, or
	// what a broken socket says.
	collect(p []byte) (int, error)
	// deliver hands bytes to the connection and answers how many it took.
	deliver(p []byte) int
	// end says that no more will be delivered.
	end()
	// truth is in which directions the connection's transport is ready.
	truth() session.Event
	// told: the session was told of these directions.
	told(session.Event)
	// drained: an operation has found no more input.
	drained()
	// reap is for when the session has ended: it frees the connection.
	reap()
	// cut breaks the transport. It reports whether the connection finds out by itself.
	cut() bool
	close()
}

// bytesPort is engine mode.
type bytesPort struct {
	e     *engine
	news  bool // input, or its end, of which the session was not told
	rest  []byte
	freed bool
}

func (b *bytesPort) collect(p []byte) (int, error) {
	if b.freed {
		n := copy(p, b.rest)
		if b.rest = b.rest[n:]; n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
	n := b.e.Take(p)
	if n == 0 && b.e.fin {
		return 0, io.EOF
	}
	return n, nil
}

func (b *bytesPort) deliver(p []byte) int {
	if b.freed {
		return len(p)
	}
	n := b.e.Feed(p)
	b.news = b.news || n > 0
	return n
}

func (b *bytesPort) end() {
	if !b.freed {
		b.e.FeedEOF()
		b.news = true
	}
}

func (b *bytesPort) truth() (e session.Event) {
	if b.news {
		e |= session.Readable
	}
	if b.e.Unsent() == 0 {
		e |= session.Writable
	}
	return e
}

func (b *bytesPort) told(e session.Event) {
	if e&session.Readable != 0 {
		b.news = false
	}
}

func (b *bytesPort) drained() { b.news = false }

func (b *bytesPort) reap() {
	buf := make([]byte, b.e.Unsent())
	b.rest = buf[:b.e.Take(buf)]
	b.e.Close()
	b.freed = true
}

func (b *bytesPort) cut() bool { return false }
func (b *bytesPort) close()    {}

// socketPort is a socket of which the walk holds the far end.
type socketPort struct {
	e       *engine
	fd, far int
}

// newSocketPort makes a socket with the smallest buffers that the kernel allows.
func newSocketPort() (*socketPort, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		if err := errors.Join(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_SNDBUF, 1),
			syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)); err != nil {
			return nil, err
		}
	}
	return &socketPort{fd: fds[0], far: fds[1]}, nil
}

func (s *socketPort) collect(p []byte) (int, error) {
	if s.far < 0 {
		return 0, io.EOF
	}
	n, err := syscall.Read(s.far, p)
	switch {
	case err == syscall.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func (s *socketPort) deliver(p []byte) int {
	if s.far < 0 {
		return len(p)
	}
	n, err := syscall.SendmsgN(s.far, p, nil, nil, syscall.MSG_NOSIGNAL)
	switch {
	case err == syscall.EAGAIN:
		return 0
	case err != nil:
		return len(p) // nobody is there to take it
	}
	return n
}

func (s *socketPort) end() {
	if s.far >= 0 {
		_ = syscall.Shutdown(s.far, syscall.SHUT_WR)
	}
}

func (s *socketPort) truth() (e session.Event) {
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN | unix.POLLOUT}}
	for {
		if _, err := unix.Poll(p, 0); err != unix.EINTR {
			break
		}
	}
	if p[0].Revents&(unix.POLLIN|unix.POLLHUP|unix.POLLERR) != 0 {
		e |= session.Readable
	}
	if p[0].Revents&(unix.POLLOUT|unix.POLLHUP|unix.POLLERR) != 0 {
		e |= session.Writable
	}
	return e
}

func (s *socketPort) told(session.Event) {}
func (s *socketPort) drained()           {}

func (s *socketPort) reap() {
	s.e.Close()
	syscall.Close(s.fd)
	s.fd = -1
}

func (s *socketPort) cut() bool {
	syscall.Close(s.far)
	s.far = -1
	return true
}

func (s *socketPort) close() {
	if s.fd >= 0 {
		syscall.Close(s.fd)
	}
	if s.far >= 0 {
		syscall.Close(s.far)
	}
}

// lane carries what one side sends to the other.
type lane struct {
	from, to *end
	data     []byte // collected and not delivered
	room     int    // the greatest length of data
	dry      bool   // the sender's FIN was seen
	ended    bool   // nothing comes after data: for that reason, or because the lane was cut
	told     bool   // and passed on
	starved  int    // nothing passes for so many steps
	bytes    uint64
}

// collect takes up to n bytes from the sender. It reports whether something moved.
func (l *lane) collect(n int) bool {
	if !l.ended {
		n = min(n, l.room-len(l.data))
	}
	if l.dry || n <= 0 {
		return false
	}
	var buf [4096]byte
	moved := false
	for n > 0 {
		k, err := l.from.port.collect(buf[:min(n, len(buf))])
		if err != nil {
			l.dry, l.ended = true, true
			return true
		}
		if k == 0 {
			break
		}
		if !l.ended { // otherwise the network takes it, and it is lost
			l.data = append(l.data, buf[:k]...)
		}
		n -= k
		moved = true
	}
	return moved
}

// deliver hands up to n bytes to the receiver. It reports whether something moved.
func (l *lane) deliver(n int) bool {
	if n = min(n, len(l.data)); n > 0 {
		n = l.to.port.deliver(l.data[:n])
		l.data = l.data[:copy(l.data, l.data[n:])]
		l.bytes += uint64(n)
		return n > 0
	}
	if l.ended && !l.told {
		l.told = true
		l.to.port.end()
		return true
	}
	return false
}
