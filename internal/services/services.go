package services

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/session"
)

// All are the services, the default first.
var All = []struct {
	Name    string
	Service reactor.Handler
}{
	{"echo", Echo{}},
	{"discard", Discard{}},
	{"chargen", Chargen{}},
	{"reverse", Reverse{}},
}

// Named is the service of that name.
func Named(name string) (reactor.Handler, error) {
	var names []string
	for _, s := range All {
		if s.Name == name {
			return s.Service, nil
		}
		names = append(names, s.Name)
	}
	last := len(names) - 1
	return nil, fmt.Errorf("no such service: use %s or %s", strings.Join(names[:last], ", "), names[last])
}

// HighWater is how much is queued for a peer that does not read before nothing more is
// read from it, and how much Chargen queues.
const HighWater = 128 << 10

// NewServer makes a server for h, with the watermark and the half-close that the services
// count on.
func NewServer(h reactor.Handler, x *cssl.Context) *reactor.Server {
	return &reactor.Server{Handler: h, Context: x, Session: session.Config{HighWater: HighWater, HalfClose: true}}
}

// send queues p. A connection whose answer is lost must not look as if it went on.
func send(c *reactor.Conn, p []byte) {
	if _, err := c.Write(p); err != nil {
		c.Abort(err)
	}
}

// Discard reads, says nothing, and closes when the peer has. It is the base of the others.
type Discard struct{ reactor.BaseHandler }

// OnEOF implements reactor.Handler.
func (Discard) OnEOF(c *reactor.Conn) { c.Close() }

// Echo answers what one read delivers by one write.
type Echo struct{ Discard }

// OnData implements reactor.Handler.
func (Echo) OnData(c *reactor.Conn, p []byte) { send(c, p) }

// Chargen sends the pattern of RFC 864 without end. It keeps the queue between the two
// watermarks: the peer sets the pace. A connection's Data is where in the pattern it is.
type Chargen struct{ Discard }

// The pattern of RFC 864: lines of 72 characters, each beginning one further in the ring of the 95 that
// can be printed.
const (
	printable     = '~' - ' ' + 1
	lineLength    = 72 + len("\r\n")
	patternLength = printable * lineLength
	// ChargenWrite is how much goes into one Write: a full record.
	ChargenWrite = 16 << 10
)

// pattern is long enough that a Write can begin anywhere in the first turn of the ring.
var pattern = sync.OnceValue(func() []byte {
	var b []byte
	for line := 0; len(b) < patternLength+ChargenWrite; line++ {
		for i := range lineLength - len("\r\n") {
			b = append(b, byte(' '+(line+i)%printable))
		}
		b = append(b, "\r\n"...)
	}
	return b
})

// OnOpen implements reactor.Handler.
func (s Chargen) OnOpen(c *reactor.Conn) {
	c.Data = new(int)
	s.OnDrain(c)
}

// OnDrain implements reactor.Handler: it fills the queue up to the high watermark, above which
// it will be called again.
func (Chargen) OnDrain(c *reactor.Conn) {
	at := c.Data.(*int)
	for c.Queued() < HighWater {
		if _, err := c.Write(pattern()[*at:][:ChargenWrite]); err != nil {
			return // it is being closed
		}
		*at = (*at + ChargenWrite) % patternLength
	}
}

// Reverse answers each line with the same line backwards, as openssl s_server -rev does: what
// ends the line, any number of CR and LF, is answered by one LF; what stands before the peer's end counts as a
// line; the line CLOSE closes. Where s_server cuts a line that is too long into pieces and
// reverses each, Reverse resets the connection.
type Reverse struct{ Discard }

// MaxLine is the greatest length of a line with its end.
const MaxLine = 16 << 10

var errLineTooLong = errors.New("reverse: line longer than 16384 bytes")

// unfinished is the Data of a connection of Reverse: the beginning of a line whose end has not come.
type unfinished struct{ line []byte }

// answers has room for what one read is answered with: an unfinished line and a record.
var answers = sync.Pool{New: func() any { b := make([]byte, 0, MaxLine+16<<10); return &b }}

// OnOpen implements reactor.Handler.
func (Reverse) OnOpen(c *reactor.Conn) { c.Data = new(unfinished) }

// OnData implements reactor.Handler.
func (Reverse) OnData(c *reactor.Conn, p []byte) {
	u := c.Data.(*unfinished)
	out := answers.Get().(*[]byte)
	defer answers.Put(out)
	*out = (*out)[:0]
	for len(p) > 0 {
		n := bytes.IndexByte(p, '\n') + 1
		ended := n > 0
		if !ended {
			n = len(p)
		}
		if len(u.line)+n > MaxLine {
			c.Abort(errLineTooLong)
			return
		}
		line := p[:n]
		p = p[n:]
		if len(u.line) > 0 || !ended {
			u.line = append(u.line, line...)
			line = u.line
		}
		if !ended {
			break
		}
		var closes bool
		*out, closes = reversed(*out, line)
		u.line = u.line[:0]
		if closes {
			send(c, *out)
			c.Close()
			return
		}
	}
	send(c, *out)
}

// OnEOF implements reactor.Handler.
func (Reverse) OnEOF(c *reactor.Conn) {
	if line := c.Data.(*unfinished).line; len(line) > 0 {
		out, _ := reversed(nil, line)
		send(c, out)
	}
	c.Close()
}

// reversed appends the answer to a line to out, or says that the line closes the connection.
func reversed(out, line []byte) (_ []byte, closes bool) {
	line = bytes.TrimRight(line, "\r\n")
	if string(line) == "CLOSE" {
		return out, true
	}
	from := len(out)
	out = append(out, line...)
	slices.Reverse(out[from:])
	return append(out, '\n'), false
}
