package main

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// tracer prints what happens on each connection, a line for each operation:
//
//	#1 read        1024 bytes           wait R
//
// the connection, the operation, what it answered, and what is waited for then
// ("go on": nothing, another operation comes first).
type tracer struct{ output *outputs }

func (t tracer) line(c *reactor.Conn, what, answer, then string) {
	text := strings.TrimRight(fmt.Sprintf("#%d %-12s %-22s %s", c.ID(), what, answer, then), " ")
	t.output.notice(slog.LevelDebug, text, what, slog.Uint64("conn", c.ID()), slog.String("result", answer), slog.String("then", then))
}

// operation is for reactor.Server.Trace.
func (t tracer) operation(c *reactor.Conn, op tlsio.Op, r tlsio.Result, wait session.Event) {
	answer := "done"
	switch {
	case r.Err != nil:
		answer = r.Err.Error()
	case r.Want != tlsio.WantNone:
		answer = r.Want.String()
	case r.N > 0:
		answer = fmt.Sprintf("%d bytes", r.N)
	}
	if r.Unsent {
		answer += ", unsent"
	}
	then := "wait " + wait.String()
	if wait == 0 && !r.Want.Application() {
		then = "go on"
	}
	t.line(c, op.String(), answer, then)
}

// traced is a service that also prints what its handler sees.
type traced struct {
	reactor.Handler
	tracer tracer
}

// OnOpen implements reactor.Handler.
func (h traced) OnOpen(c *reactor.Conn) {
	s := c.State()
	h.tracer.line(c, "open", s.Version.String()+" "+s.Cipher, "from "+c.RemoteAddr().String())
	if s.Records != cssl.RecordsOpenSSL || s.RecordsReason != "" {
		h.tracer.line(c, "records", s.Records.String(), s.RecordsReason)
	}
	h.Handler.OnOpen(c)
}

// OnClose implements reactor.Handler.
func (h traced) OnClose(c *reactor.Conn, err error) {
	cause := "clean"
	if err != nil {
		cause = err.Error()
	}
	h.tracer.line(c, "closed", cause, "")
	h.Handler.OnClose(c, err)
}
