package stress

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
)

// settings are those of a server child that sslecho has no flag for, or whose counters the test wants.
type settings struct {
	MaxHandshakes    int
	HandshakeTimeout time.Duration
	Renegotiation    bool
}

// report is what a server child answers.
type report struct {
	Live  int64 // SSL objects
	Stats reactor.Stats
	Ended map[string]int // how connections ended, and handshakes failed
	Go    int64          // bytes that the Go runtime has from the system and has not given back
}

// echoServer echoes, and remembers how connections ended.
type echoServer struct {
	reactor.BaseHandler
	mu    sync.Mutex
	ended map[string]int
}

func (*echoServer) OnData(c *reactor.Conn, p []byte) {
	if _, err := c.Write(p); err != nil {
		c.Abort(err)
	}
}

func (s *echoServer) OnClose(_ *reactor.Conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[endOf(err)]++
}

// endOf says in a few words how a connection ended.
func endOf(err error) string {
	var e *tlsio.Error
	switch {
	case err == nil:
		return "clean"
	case errors.Is(err, tlsio.ErrLimit):
		return "limit"
	case errors.As(err, &e) && len(e.Reasons) > 0:
		return e.Reasons[len(e.Reasons)-1].Text
	}
	return err.Error()
}

// serverMain is the process of a server child: sslecho's settings but for those that it is given, and one cipher
// for each version, so that the flooder need not know more.
func serverMain() error {
	var o settings
	if err := readSettings(&o); err != nil {
		return err
	}
	debug.SetGCPercent(25)
	x, err := cssl.NewServerContext(cssl.Config{
		Certificates:  []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
		CipherList:    "ECDHE-ECDSA-AES128-GCM-SHA256",
		CipherSuites:  "TLS_AES_128_GCM_SHA256",
		Renegotiation: o.Renegotiation,
	})
	if err != nil {
		return err
	}
	h := &echoServer{ended: map[string]int{}}
	s := &reactor.Server{Addr: "127.0.0.1:0", Handler: h, Context: x, Loops: 2,
		Limits: reactor.Limits{HandshakeTimeout: o.HandshakeTimeout, MaxHandshakes: o.MaxHandshakes},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	s.Session.HighWater = 128 << 10
	ls, err := s.Listen()
	if err != nil {
		return err
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	served := tlstest.Later(func() error { return s.Serve(ls...) })
	fmt.Printf("listening on %s\n", ls[0].Addr())
	go func() { // a line is answered by a report
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			h.mu.Lock()
			_ = json.NewEncoder(os.Stdout).Encode(report{Live: live.Conns(), Stats: s.Stats(), Ended: h.ended, Go: goMemory()})
			h.mu.Unlock()
		}
	}()
	<-term
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-served; err != reactor.ErrServerClosed {
		return err
	}
	x.Close()
	if n := live.Conns(); n != 0 {
		return fmt.Errorf("%d SSL objects are left", n)
	}
	return nil
}

// goMemory is what the Go runtime has of the system's memory.
func goMemory() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}

func server(t *testing.T, o settings) *process { t.Helper(); return child(t, "server", o).listening() }

func (p *process) report() (r report) {
	p.t.Helper()
	tlstest.Value(fmt.Fprintln(p.in))(p.t)
	tlstest.Must(p.t, json.Unmarshal([]byte(p.line()), &r))
	return r
}

// allGone waits until the server has no connection any more.
func (p *process) allGone() {
	p.t.Helper()
	waitFor(p.t, "all connections to go", func() bool { r := p.report(); return r.Live == 0 && r.Stats.Conns == 0 })
}
