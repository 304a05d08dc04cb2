package tlstest

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

// ErrWrong is what Stream.Bad is.
var ErrWrong = errors.New("wrong data")

// Stream makes the bytes of an endless stream in which no stretch looks like
// another, or checks them.
type Stream struct {
	N   int   // bytes so far
	Bad error // the first byte that was not as it must be
}

func byteAt(i int) byte { return byte(uint32(i) * 2654435761 >> 23) }

// Next returns the next n bytes.
func (s *Stream) Next(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byteAt(s.N + i)
	}
	s.N += n
	return p
}

// Check compares p with what comes next.
func (s *Stream) Check(p []byte) {
	for i, b := range p {
		if b != byteAt(s.N+i) && s.Bad == nil {
			s.Bad = fmt.Errorf("%w: byte %d is %#x, want %#x", ErrWrong, s.N+i, b, byteAt(s.N+i))
		}
	}
	s.N += len(p)
}

// Echo streams n bytes to an echo server and back, at once, and checks them.
func Echo(c io.ReadWriter, n int) error {
	wrote := Later(func() error {
		var s Stream
		for sent := 0; sent < n; {
			k, err := c.Write(s.Next(min(10_000, n-sent)))
			if sent += k; err != nil {
				return err
			}
		}
		return nil
	})
	var s Stream
	buf := make([]byte, 30_000)
	for s.N < n && s.Bad == nil {
		k, err := c.Read(buf[:min(len(buf), n-s.N)])
		s.Check(buf[:k])
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", s.N, err)
		}
	}
	return errors.Join(s.Bad, <-wrote)
}

// Rekeyer is a *sslnet.Conn.
type Rekeyer interface {
	io.ReadWriter
	KeyUpdate(request bool) error
	Renegotiate() error
}

// RekeyInStreams makes 64 connections to an echo server, half of them with TLS
// 1.3 and half with 1.2. Each streams both ways, with five KeyUpdates or
// renegotiations in the midst.
func RekeyInStreams(t *testing.T, dial func(tls13 bool) Rekeyer) {
	t.Helper()
	results := make(chan error)
	for i := range 64 {
		tls13 := i%2 == 0
		c := dial(tls13)
		go func() {
			streamed := Later(func() error { return Echo(c, 1_000_000/Scale+i) })
			var err error
			for range 5 {
				if tls13 {
					err = errors.Join(err, c.KeyUpdate(true))
				} else {
					err = errors.Join(err, c.Renegotiate())
				}
			}
			results <- errors.Join(err, <-streamed)
		}()
	}
	for range 64 {
		Must(t, Receive(t, results, "the end of a client"))
	}
}
