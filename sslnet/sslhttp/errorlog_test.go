package sslhttp

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// stuck is a log that blocks until it is freed.
type stuck struct {
	*logBuffer
	entered chan struct{} // gets something once a line has come
	freed   chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.freed
	return s.logBuffer.Write(p)
}

// TestStuckErrorLog (P55): while the ErrorLog blocks, failed handshakes end all
// the same, and Shutdown waits for none of them.
func TestStuckErrorLog(t *testing.T) {
	s := serve(t, &http.Server{Handler: never(t)}, serverContext(t))
	b := &stuck{s.log, make(chan struct{}, 1), make(chan struct{})}
	free := sync.OnceFunc(func() { close(b.freed) })
	t.Cleanup(free) // before the server's own
	s.ErrorLog.SetOutput(b)
	var from []string
	for range 10 {
		c := rawTCP(t, s.addr)
		tlstest.Value(c.Write([]byte("EHLO example.test\r\n")))(t)
		rest(t, c) // the server has closed it
		from = append(from, c.LocalAddr().String())
	}
	tlstest.Receive(t, b.entered, "the first line")
	s.shutdown(t)
	free()
	for _, addr := range from {
		s.log.expect(t, "http: TLS handshake error from "+addr)
	}
}

// TestLinesLost: the ErrorLog is told how many lines are missing.
func TestLinesLost(t *testing.T) {
	out := newLog()
	l := &listener{srv: &http.Server{ErrorLog: log.New(out, "", 0)}}
	l.linesLost(7)
	if got := out.String(); !strings.Contains(got, "7 lines were dropped") {
		t.Errorf("logged: %q", got)
	}
}

// TestEvictionsLogged: evictions are logged once in a while, with their number, and all else is always logged.
func TestEvictionsLogged(t *testing.T) {
	x := serverContext(t)
	a, b := net.Pipe()
	defer a.Close()
	c := tlstest.Value(sslnet.Server(b, x))(t)
	defer c.Close()
	var text bytes.Buffer
	l := newListener(&http.Server{ErrorLog: log.New(&text, "", 0)}, nil, true, -1)
	evicted := func(times int) {
		for range times {
			l.complain(c, sslnet.ErrHandshakeEvicted)
		}
	}
	evicted(1)
	l.evictedAt = time.Now().Add(tlstest.Hang) // no time passes
	evicted(5)
	l.complain(c, io.ErrUnexpectedEOF)
	l.evictedAt = time.Now().Add(-evictionInterval)
	evicted(1)
	ctx, cancel := context.WithTimeout(t.Context(), tlstest.Hang)
	defer cancel()
	tlstest.Must(t, l.lines.Flush(ctx))
	lines := strings.Split(text.String(), "\n")
	for i, want := range []string{"handshake evicted: too slow while MaxHandshakes was reached (1 since", io.ErrUnexpectedEOF.Error(), "(6 since", ""} {
		if i >= len(lines) || !strings.Contains(lines[i], want) || len(lines) != 4 {
			t.Errorf("line %d is not %q in %q", i, want, lines)
		}
	}
}
