package walk

import (
	"io"

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
	// told: the session was told of these directions, or an operation has found no more input.
	told(session.Event)
	// reap is for when the session has ended: it frees the connection.
	reap()
	// cut breaks the transport, if it is a socket.
	cut()
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

func (b *bytesPort) reap() {
	buf := make([]byte, b.e.Unsent())
	b.rest = buf[:b.e.Take(buf)]
	b.e.Close()
	b.freed = true
}

func (b *bytesPort) cut()   {}
func (b *bytesPort) close() {}

// socketPort is a socket of which the walk holds the far end.
type socketPort struct {
	e       *engine
	fd, far int
}

// newSocketPort makes a socket with the smallest buffers that the kernel allows.
func newSocketPort(e *engine) *socketPort {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	mustBe(err)
	for _, fd := range fds {
		mustBe(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1))
		mustBe(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1))
	}
	return &socketPort{e: e, fd: fds[0], far: fds[1]}
}

func (s *socketPort) collect(p []byte) (int, error) {
	if s.far < 0 {
		return 0, io.EOF
	}
	n, err := unix.Read(s.far, p)
	switch {
	case err == unix.EAGAIN:
		return 0, nil
	case err == nil && n == 0:
		err = io.EOF
	}
	return max(n, 0), err
}

func (s *socketPort) deliver(p []byte) int {
	if s.far < 0 {
		return len(p)
	}
	n, err := unix.SendmsgN(s.far, p, nil, nil, unix.MSG_NOSIGNAL)
	switch {
	case err == unix.EAGAIN:
		return 0
	case err != nil:
		return len(p) // nobody is there to take it
	}
	return n
}

func (s *socketPort) end() {
	if s.far >= 0 {
		_ = unix.Shutdown(s.far, unix.SHUT_WR)
	}
}

func (s *socketPort) truth() (e session.Event) {
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN | unix.POLLOUT}}
	for err := error(unix.EINTR); err == unix.EINTR; {
		_, err = unix.Poll(p, 0)
	}
	const over = unix.POLLHUP | unix.POLLERR
	if p[0].Revents&(unix.POLLIN|over) != 0 {
		e |= session.Readable
	}
	if p[0].Revents&(unix.POLLOUT|over) != 0 {
		e |= session.Writable
	}
	return e
}

func (s *socketPort) told(session.Event) {}

func (s *socketPort) reap() {
	s.e.Close()
	unix.Close(s.fd)
	s.fd = -1
}

func (s *socketPort) cut() {
	unix.Close(s.far)
	s.far = -1
}

func (s *socketPort) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
	if s.far >= 0 {
		unix.Close(s.far)
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
		return n > 0
	}
	if l.ended && !l.told {
		l.told = true
		l.to.port.end()
		return true
	}
	return false
}
