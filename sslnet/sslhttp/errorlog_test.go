package sslhttp

import (
	"log"
	"net/http"
	"strings"
	"sync"
	"testing"
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
		_, err := c.Write([]byte("EHLO example.test\r\n"))
		must(t, err)
		rest(t, c) // the server has closed it
		from = append(from, c.LocalAddr().String())
	}
	receive(t, b.entered, "the first line")
	s.shutdown(t)
	free()
	for _, addr := range from {
		s.log.expect(t, "http: TLS handshake error from "+addr)
	}
}

// TestLinesLost: the ErrorLog is told how many lines are missing.

// TestLinesLost: the ErrorLog is told how many lines are missing.
func TestLinesLost(t *testing.T) {
	out := newLog()
	l := &listener{srv: &http.Server{ErrorLog: log.New(out, "", 0)}}
	l.linesLost(7)
	if got := out.String(); !strings.Contains(got, "7 lines were dropped") {
		t.Errorf("logged: %q", got)
	}
}
