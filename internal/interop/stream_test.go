package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"
)

// limit is how long one connection may take. It is far more than it needs, for
// machines that are busy with something else.
const limit = 60 * time.Second * slowdown

// stream is an endless sequence of bytes that follows from a seed. Both sides make
// it: one to send it, the other to check what came.
type stream struct {
	rng *rand.ChaCha8
	// high sets the top bit of each byte. The openssl command mixes its own messages
	// and the data of the peer, and takes lines that begin with certain letters for
	// commands; both are ASCII, so such data can be told apart from either.
	high bool
	pos  int64
	buf  []byte
}

func newStream(seed uint64, high bool) *stream {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return &stream{rng: rand.NewChaCha8(s), high: high}
}

// fill gives the next len(p) bytes.
func (s *stream) fill(p []byte) {
	s.rng.Read(p) // never fails
	if s.high {
		for i := range p {
			p[i] |= 0x80
		}
	}
	s.pos += int64(len(p))
}

// check compares p with the next bytes.
func (s *stream) check(p []byte) error {
	if len(s.buf) < len(p) {
		s.buf = make([]byte, len(p))
	}
	at, want := s.pos, s.buf[:len(p)]
	s.fill(want)
	if bytes.Equal(p, want) {
		return nil
	}
	for i := range p {
		if p[i] != want[i] {
			return fmt.Errorf("byte %d is wrong: got %x, want %x", at+int64(i), p[i:min(i+8, len(p))], want[i:min(i+8, len(p))])
		}
	}
	return nil
}

// sizes are those that writes have: around the record size, tiny and in between.
var sizes = []int{1, 16383, 7, 1400, 16385, 333, 40001, 16384, 2, 5000, 16411, 8191}

// sender cuts a stream of a given length into writes of odd sizes.
type sender struct {
	stream *stream
	left   int
	turn   int
	buf    []byte
}

func newSender(seed uint64, high bool, n int) *sender {
	return &sender{stream: newStream(seed, high), left: n, buf: make([]byte, 40001)}
}

// next is the next piece to write, valid until the next call; nil at the end.
func (s *sender) next() []byte {
	n := min(sizes[s.turn%len(sizes)], s.left)
	if n == 0 {
		return nil
	}
	s.turn++
	s.left -= n
	s.stream.fill(s.buf[:n])
	return s.buf[:n]
}
