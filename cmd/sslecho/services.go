package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/spacemonad/go-openssl/reactor"
)

// service is what the daemon does with its connections. Each has all methods, so that
// one that wraps another, as the tracer does, changes nothing.
type service interface {
	reactor.Handler
	reactor.DrainHandler
	reactor.EOFHandler
}

// services are the values of --service, the default first.
var services = []struct {
	name    string
	service service
}{
	{"echo", echo{}},
	{"discard", discard{}},
	{"chargen", chargen{}},
	{"reverse", reverse{}},
}

func serviceNamed(name string) (service, error) {
	var names []string
	for _, s := range services {
		if s.name == name {
			return s.service, nil
		}
		names = append(names, s.name)
	}
	last := len(names) - 1
	return nil, fmt.Errorf("no such service: use %s or %s", strings.Join(names[:last], ", "), names[last])
}

// highWater is how much is queued for a peer that does not read before nothing more is
// read from it, and how much chargen queues.
const highWater = 128 << 10

// send queues p. A connection whose answer is lost must not look as if it went on.
func send(c *reactor.Conn, p []byte) {
	if _, err := c.Write(p); err != nil {
		c.Abort(err)
	}
}

// discard reads, says nothing, and closes when the peer has. It is the base of the others.
type discard struct{}

// OnOpen implements reactor.Handler.
func (discard) OnOpen(*reactor.Conn) {}

// OnData implements reactor.Handler.
func (discard) OnData(*reactor.Conn, []byte) {}

// OnDrain implements reactor.DrainHandler.
func (discard) OnDrain(*reactor.Conn) {}

// OnEOF implements reactor.EOFHandler.
func (discard) OnEOF(c *reactor.Conn) { c.Close() }

// OnClose implements reactor.Handler.
func (discard) OnClose(*reactor.Conn, error) {}

// echo answers what one read delivers by one write.
type echo struct{ discard }

// OnData implements reactor.Handler.
func (echo) OnData(c *reactor.Conn, p []byte) { send(c, p) }

// chargen sends the pattern of RFC 864 without end. It keeps the queue between the two
// watermarks: the peer sets the pace. A connection's Data is where in the pattern it is.
type chargen struct{ discard }

// The pattern of RFC 864: lines of 72 characters, each beginning one further in the ring of the 95 that
// can be printed.
const (
	printable     = '~' - ' ' + 1
	lineLength    = 72 + len("\r\n")
	patternLength = printable * lineLength
	// chargenWrite is how much goes into one Write: a full record.
	chargenWrite = 16 << 10
)

// pattern is long enough that a Write can begin anywhere in the first turn of the ring.
var pattern = sync.OnceValue(func() []byte {
	var b []byte
	for line := 0; len(b) < patternLength+chargenWrite; line++ {
		for i := range lineLength - len("\r\n") {
			b = append(b, byte(' '+(line+i)%printable))
		}
		b = append(b, "\r\n"...)
	}
	return b
})

// OnOpen implements reactor.Handler.
func (s chargen) OnOpen(c *reactor.Conn) {
	c.Data = new(int)
	s.OnDrain(c)
}

// OnDrain implements reactor.DrainHandler: it fills the queue up to the high watermark, above which
// it will be called again.
func (chargen) OnDrain(c *reactor.Conn) {
	at := c.Data.(*int)
	for c.Queued() < highWater {
		if _, err := c.Write(pattern()[*at:][:chargenWrite]); err != nil {
			return // it is being closed
		}
		*at = (*at + chargenWrite) % patternLength
	}
}

// reverse answers each line with the same line backwards, as openssl s_server -rev does: what
// ends the line, any number of CR and LF, is answered by one LF; what stands before the peer's end counts as a
// line; the line CLOSE closes. Where s_server cuts a line that is too long into pieces and
// reverses each, reverse resets the connection.
type reverse struct{ discard }

// maxLine is the greatest length of a line with its end.
const maxLine = 16 << 10

var errLineTooLong = errors.New("reverse: line longer than 16384 bytes")

// unfinished is the Data of a connection of reverse: the beginning of a line whose end has not come.
type unfinished struct{ line []byte }

// answers has room for what one read is answered with: an unfinished line and a record.
var answers = sync.Pool{New: func() any { b := make([]byte, 0, maxLine+16<<10); return &b }}

// OnOpen implements reactor.Handler.
func (reverse) OnOpen(c *reactor.Conn) { c.Data = new(unfinished) }

// OnData implements reactor.Handler.
func (reverse) OnData(c *reactor.Conn, p []byte) {
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
		if len(u.line)+n > maxLine {
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

// OnEOF implements reactor.EOFHandler.
func (reverse) OnEOF(c *reactor.Conn) {
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
