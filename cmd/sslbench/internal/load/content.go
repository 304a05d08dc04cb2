package load

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// pattern is what clients send, over and over. It is incompressible, and so long that a block that is lost
// or doubled cannot go unnoticed. The part behind patternSize repeats the beginning, so that any piece
// of up to pieceSize bytes lies in one place.
var pattern = func() []byte {
	p := make([]byte, patternSize+pieceSize)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(p[:patternSize])
	copy(p[patternSize:], p)
	return p
}()

const (
	patternSize = 1<<20 - 3
	pieceSize   = 256 << 10
)

// PatternAt is the pattern's n bytes from position at on, up to pieceSize.
func PatternAt(at uint64, n int) []byte {
	i := int(at % patternSize)
	return pattern[i : i+n]
}

// Lines are cut from printable; reversed has the same bytes from the last to the first, so that a
// line's answer is a piece of it. Capital letters are left out: openssl s_server -rev takes
// the line CLOSE for a command.
var printable, reversed = func() (p, r []byte) {
	const letters = "!#$%&()*+,-./0123456789:;<=>?@[]^_abcdefghijklmnopqrstuvwxyz{|}~"
	p, r = make([]byte, 5*MaxLine), make([]byte, 5*MaxLine)
	random := rand.New(rand.NewPCG(2, 3))
	for i := range p {
		p[i] = letters[random.IntN(len(letters))]
		r[len(r)-1-i] = p[i]
	}
	return p, r
}()

// lineAt is message number m for Reverse, of n bytes without the newline, and its answer.
func lineAt(m uint64, n int) (line, answer []byte) {
	i := int(m * 7919 % uint64(len(printable)-n))
	return printable[i : i+n], reversed[len(reversed)-i-n : len(reversed)-i]
}

// chargen is what the chargen service sends (RFC 864): lines of 72 of the 95 printable characters,
// each line beginning one character later. It repeats after chargenSize bytes, and so does the
// part behind them, long enough for one call of OnData.
var chargen = func() []byte {
	var p []byte
	for line := 0; len(p) < chargenSize+16<<10; line++ {
		for i := range 72 {
			p = append(p, byte(' '+(line+i)%95))
		}
		p = append(p, "\r\n"...)
	}
	return p
}()

const chargenSize = 95 * 74

// difference says where got differs from want, of the same length; at is the position of their first byte.
func difference(got, want []byte, at uint64) error {
	if bytes.Equal(got, want) {
		return nil
	}
	for i := range got {
		if got[i] != want[i] {
			return failed(WrongBytes, fmt.Errorf("byte %d of what the server sent is 0x%02x, want 0x%02x", at+uint64(i), got[i], want[i]))
		}
	}
	return nil
}
