package soak

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// sessions are those that clients of crypto/tls may resume.
var sessions = tls.NewLRUClientSessionCache(64)

// talk has one conversation with one of the servers.
func (s *soak) talk() {
	v := s.servers[mrand.IntN(len(s.servers))]
	addr, gen := v.where()
	began := time.Now()
	kind, err := "", error(nil)
	switch n := mrand.IntN(20); {
	case n == 0:
		kind, err = "half a handshake", halfOpen(addr)
	case n == 1:
		kind, err = "garbage", garbage(addr)
	case n < 8 && (v.name == "echo" || v.renegotiates):
		kind, err = "a loop's client", s.clients.converse(s, v, addr)
	default:
		kind, err = "a client of crypto/tls", s.goClient(v, addr)
	}
	s.judged(kind, v, gen, began, err)
}

// dial is a TCP connection with a deadline, and a small buffer now and then. Segments must be smaller than the window,
// or the kernel sends one a second.
func dial(addr netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: tlstest.Hang}
	if mrand.IntN(8) == 0 {
		d.Control = func(_, _ string, rc syscall.RawConn) error {
			return rc.Control(func(fd uintptr) {
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
			})
		}
	}
	c, err := d.Dial("tcp", addr.String())
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c.(*net.TCPConn), nil
}

// halfOpen says nothing, or less than a ClientHello, and goes after a while.
func halfOpen(addr netip.AddrPort) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	hello := []byte{22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3}
	if _, err := c.Write(hello[:mrand.IntN(len(hello)+1)]); err != nil {
		return err
	}
	time.Sleep(time.Duration(mrand.IntN(20)) * time.Millisecond)
	return c.SetLinger(-mrand.IntN(2)) // 0 is a reset
}

// garbage is no TLS, and the server ends the connection.
func garbage(addr netip.AddrPort) error {
	c, err := dial(addr)
	if err != nil {
		return err
	}
	defer c.Close()
	b := bytes.Repeat([]byte("GET / HTTP/1.0\r\n\r\n"), 1+mrand.IntN(100))
	b[0] = byte('A' + mrand.IntN(26))
	c.Write(b)
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	return nil
}

// handshake is a client of crypto/tls.
func handshake(addr netip.AddrPort, cfg *tls.Config) (*tls.Conn, *net.TCPConn, error) {
	raw, err := dial(addr)
	if err != nil {
		return nil, nil, err
	}
	c := tls.Client(raw, cfg)
	if err := c.Handshake(); err != nil {
		raw.Close()
		return nil, nil, fmt.Errorf("handshake: %w", err)
	}
	return c, raw, nil
}

// chance is a version and resumption by chance.
func chance() *tls.Config {
	cfg := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	if mrand.IntN(2) == 0 {
		cfg.ClientSessionCache = sessions
	}
	if mrand.IntN(3) == 0 {
		cfg.MaxVersion = tls.VersionTLS12
	}
	return cfg
}

// leaf is the certificate that the server shows.
func leaf(v *server) ([]byte, error) {
	addr, _ := v.where()
	c, _, err := handshake(addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Raw, nil
}

// goClient has the conversation that the service is for, or a part of it, and ends in one of several ways.
func (s *soak) goClient(v *server, addr netip.AddrPort) error {
	c, raw, err := handshake(addr, chance())
	if err != nil {
		return err
	}
	defer raw.Close()
	switch v.name {
	case "discard":
		err = s.discarded(c)
	case "chargen":
		return s.generated(c, raw) // it has no end
	case "reverse":
		err = s.reversed(c)
	default:
		for out, in, n := (tlstest.Stream{}), (tlstest.Stream{}), 1+mrand.IntN(8); n > 0 && err == nil; n-- {
			err = s.echoed(c, &out, &in, size(), mrand.IntN(40) == 0)
		}
	}
	switch err {
	case errLeft:
		return nil
	case nil:
		return leave(c, raw)
	}
	return err
}

// leave ends a conversation in which nothing is outstanding: cleanly, both ways, or as leaveEarly does.
func leave(c *tls.Conn, raw *net.TCPConn) error {
	if mrand.IntN(4) > 0 {
		return leaveEarly(c, raw)
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, c)
	if n > 0 {
		err = fmt.Errorf("%w: %d bytes too many", errWrong, n)
	}
	if err != nil {
		return fmt.Errorf("after our end: %w", err)
	}
	return nil
}

// leaveEarly ends with a reset, close_notify or a bare FIN.
func leaveEarly(c *tls.Conn, raw *net.TCPConn) error {
	switch mrand.IntN(3) {
	case 0:
		raw.SetLinger(0)
	case 1:
		c.Close()
	}
	return nil
}

// size is any up to 64 KiB; small ones are as likely as large ones. Go's client must not have more under way: it
// answers a KeyUpdate from within Read, and waits there for a Write that waits for Read.
func size() int { return 1 + mrand.IntN(1<<mrand.IntN(17)) }

// echoed sends the next n bytes and wants them back, or leaves with its echo unread.
func (s *soak) echoed(c *tls.Conn, out, in *tlstest.Stream, n int, leaves bool) error {
	if _, err := c.Write(out.Next(n)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if leaves {
		return errLeft
	}
	buf := make([]byte, n)
	n, err := io.ReadFull(c, buf)
	if in.Check(buf[:n]); in.Bad != nil {
		return in.Bad
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	s.bytes.Add(int64(n))
	return nil
}

func (s *soak) discarded(c *tls.Conn) error {
	var out tlstest.Stream
	for range mrand.IntN(20) {
		if _, err := c.Write(out.Next(size())); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

func (s *soak) reversed(c *tls.Conn) error {
	for range 1 + mrand.IntN(10) {
		line := make([]byte, mrand.IntN(2000))
		for i := range line {
			line[i] = byte(' ' + mrand.IntN(95))
		}
		if _, err := c.Write(append(line, "\r\n"...)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		got := make([]byte, len(line)+1)
		if _, err := io.ReadFull(c, got); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if slices.Reverse(line); !bytes.Equal(got, append(line, '\n')) {
			return fmt.Errorf("%w: %.60q is answered by %.60q", errWrong, line, got)
		}
		s.bytes.Add(int64(len(got)))
	}
	return nil
}

// generated reads a part of what chargen sends, now and then slowly.
func (s *soak) generated(c *tls.Conn, raw *net.TCPConn) error {
	slow := mrand.IntN(3) == 0
	buf := make([]byte, 16<<10)
	for at, end := 0, mrand.IntN(1<<mrand.IntN(21)); at < end; {
		n, err := c.Read(buf[:min(len(buf), end-at)])
		for i, b := range buf[:n] {
			if want := chargen(at + i); b != want {
				return fmt.Errorf("%w: byte %d of chargen is %q, want %q", errWrong, at+i, b, want)
			}
		}
		if at += n; err != nil {
			return fmt.Errorf("read: %w", err)
		}
		s.bytes.Add(int64(n))
		if slow {
			time.Sleep(time.Millisecond)
		}
	}
	return leaveEarly(c, raw)
}

// chargen is the byte at a place of RFC 864's pattern.
func chargen(at int) byte {
	line, column := at/74, at%74
	switch column {
	case 72:
		return '\r'
	case 73:
		return '\n'
	}
	return byte(' ' + (line+column)%95)
}

// resident is a connection that lives as long as there is load, through all reloads.
func (s *soak) resident(stop <-chan struct{}) {
	v := s.servers[0]
	addr, gen := v.where()
	began := time.Now()
	s.judged("the resident", v, gen, began, func() error {
		c, raw, err := handshake(addr, chance())
		if err != nil {
			return err
		}
		defer raw.Close()
		for out, in := (tlstest.Stream{}), (tlstest.Stream{}); !over(stop); time.Sleep(2 * time.Millisecond) {
			if err := cmp.Or(c.SetDeadline(time.Now().Add(tlstest.Hang)), s.echoed(c, &out, &in, 100, false)); err != nil {
				return err
			}
		}
		return c.Close()
	}())
}
