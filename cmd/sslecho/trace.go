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

// tracer is a service that also prints what happens on each connection, a line
// for each operation:
//
//	#1 read        1024 bytes           wait R
//
// the connection, the operation, its result, and what is waited for then
// ("go on": nothing, another operation comes first).
type tracer struct {
	reactor.Handler
	output *outputs
}

func (t tracer) line(c *reactor.Conn, what, result, then string) {
	text := strings.TrimRight(fmt.Sprintf("#%d %-12s %-22s %s", c.ID(), what, result, then), " ")
	t.output.notice(slog.LevelDebug, text, what, slog.Uint64("conn", c.ID()), slog.String("result", result), slog.String("then", then))
}

// operation is for reactor.Server.Trace.
func (t tracer) operation(c *reactor.Conn, op tlsio.Op, r tlsio.Result, wait session.Event) {
	result := "done"
	switch {
	case r.Err != nil:
		result = r.Err.Error()
	case r.Want != tlsio.WantNone:
		result = r.Want.String()
	case r.N > 0:
		result = fmt.Sprintf("%d bytes", r.N)
	}
	if r.Unsent {
		result += ", unsent"
	}
	then := "wait " + wait.String()
	if wait == 0 && !r.Want.Application() {
		then = "go on"
	}
	t.line(c, op.String(), result, then)
}

// OnOpen implements reactor.Handler.
func (t tracer) OnOpen(c *reactor.Conn) {
	s := c.State()
	t.line(c, "open", s.Version.String()+" "+s.Cipher, "from "+c.RemoteAddr().String())
	if s.Records != cssl.RecordsOpenSSL || s.RecordsReason != "" {
		t.line(c, "records", s.Records.String(), s.RecordsReason)
	}
	t.Handler.OnOpen(c)
}

// OnClose implements reactor.Handler.
func (t tracer) OnClose(c *reactor.Conn, err error) {
	cause := "clean"
	if err != nil {
		cause = err.Error()
	}
	t.line(c, "closed", cause, "")
	t.Handler.OnClose(c, err)
}
