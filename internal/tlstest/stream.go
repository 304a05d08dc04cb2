package tlstest

import (
	"errors"
	"fmt"
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
