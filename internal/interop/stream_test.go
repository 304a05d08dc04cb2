package interop

import (
	"fmt"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// Where in tlstest's stream the two directions begin. Two bytes at the same place differ, with and without their top bits.
const (
	up   = 0           // from the client
	down = 600_000_001 // from the server
)

// stream is the bytes of one direction. Both sides make it: one to send it, the other to check what came.
type stream struct {
	all tlstest.Stream
	pos int64
	// high sets the top bit of each byte. The openssl command mixes its own messages and the data of the peer, and takes
	// lines that begin with certain letters for commands; both are ASCII, so such data can be told apart from either.
	high bool
}

func newStream(start int, high bool) *stream {
	return &stream{all: tlstest.Stream{N: start}, high: high}
}

// take returns the next n bytes.
func (s *stream) take(n int) []byte {
	p := s.all.Next(n)
	for i := 0; s.high && i < n; i++ {
		p[i] |= 0x80
	}
	s.pos += int64(n)
	return p
}

// check compares p with the next bytes.
func (s *stream) check(p []byte) error {
	at := s.pos
	want := s.take(len(p))
	for i := range p {
		if p[i] != want[i] {
			return fmt.Errorf("byte %d is wrong: got %x, want %x", at+int64(i), p[i:min(i+8, len(p))], want[i:min(i+8, len(p))])
		}
	}
	return nil
}

// onlyHigh takes out the bytes below 0x80, in place.
func onlyHigh(b []byte) []byte {
	out := b[:0]
	for _, c := range b {
		if c >= 0x80 {
			out = append(out, c)
		}
	}
	return out
}

// sizes are those that writes have: around the record size, tiny and in between.
var sizes = []int{1, 16383, 7, 1400, 16385, 333, 40001, 16384, 2, 5000, 16411, 8191}

// sender cuts a stream of a given length into writes of odd sizes.
type sender struct {
	*stream
	left, turn int
}

func newSender(start int, high bool, n int) *sender {
	return &sender{stream: newStream(start, high), left: n}
}

// next is the next piece to write; nil at the end.
func (s *sender) next() []byte {
	n := min(sizes[s.turn%len(sizes)], s.left)
	if n == 0 {
		return nil
	}
	s.turn++
	s.left -= n
	return s.take(n)
}
