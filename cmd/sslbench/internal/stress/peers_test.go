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
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
)

// settings are those of a server child that sslecho has no flag for, or whose counters the test wants.
type settings struct {
	reactor.Limits
	Renegotiation bool
}

// report is what a server child answers.
type report struct {
	Live  int64 // SSL objects
	Stats reactor.Stats
	Ended map[string]int // how connections ended, and handshakes failed
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
func serverMain(text []byte) {
	var o settings
	noError(json.Unmarshal(text, &o))
	debug.SetGCPercent(25)
	x := must(cssl.NewServerContext(cssl.Config{
		Certificates:  []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
		CipherList:    "ECDHE-ECDSA-AES128-GCM-SHA256",
		CipherSuites:  "TLS_AES_128_GCM_SHA256",
		Renegotiation: o.Renegotiation,
	}))
	h := &echoServer{ended: map[string]int{}}
	s := &reactor.Server{Addr: "127.0.0.1:0", Handler: h, Context: x, Loops: 2, Limits: o.Limits,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	s.Session.HighWater = 128 << 10
	ls := must(s.Listen())
	term, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	served := tlstest.Later(func() error { return s.Serve(ls...) })
	fmt.Printf("listening on %s\n", ls[0].Addr())
	go func() { // a line is answered by a report
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			h.mu.Lock()
			_ = json.NewEncoder(os.Stdout).Encode(report{Live: live.Conns(), Stats: s.Stats(), Ended: h.ended})
			h.mu.Unlock()
		}
	}()
	<-term.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	noError(s.Shutdown(ctx))
	if err := <-served; err != reactor.ErrServerClosed {
		noError(err)
	}
	x.Close()
	if n := live.Conns(); n != 0 {
		noError(fmt.Errorf("%d SSL objects are left", n))
	}
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

// loadConfig is a load of honest clients.
func loadConfig(target string, kind load.Kind, conns int) load.Config {
	return load.Config{Target: target, Kind: kind, Conns: conns, Timeout: hang, ServerName: "localhost",
		TLS: cssl.Config{CAFile: testcerts.Path("root.pem")}}
}

// messages is a load of requests in an open loop.
func messages(target string, conns int, rate float64) load.Config {
	cfg := loadConfig(target, load.Request, conns)
	cfg.Size, cfg.Rate = 256, rate
	return cfg
}

// clients are honest ones, whose connections are open.
func clients(t *testing.T, cfg load.Config) *load.Load {
	t.Helper()
	l := tlstest.Value(load.New(cfg))(t)
	t.Cleanup(l.Close)
	err := l.Open(t.Context(), cfg.Conns)
	tlstest.Value(good(l.Collect(), err))(t)
	return l
}

// good is what went wrong with honest clients. That the machine is too slow for a rate is none of that.
func good(r load.Result, err error) (load.Result, error) {
	delete(r.Failures, load.TooSlow)
	return r, errors.Join(err, r.Err())
}

// beside lets n clients echo beside whatever a test does. The function that it returns ends that, and wants
// all to have gone well.
func beside(t *testing.T, target string, n int, rate float64) (end func()) {
	t.Helper()
	l := clients(t, messages(target, n, rate))
	slice := scaled(time.Second, 100*time.Millisecond)
	enough := make(chan struct{})
	var units uint64
	done := tlstest.Later(func() error {
		for {
			r, err := good(l.Run(context.Background(), slice))
			if err == nil && r.Open != n {
				err = fmt.Errorf("%d of %d are left", r.Open, n)
			}
			if err != nil {
				return err
			}
			units += r.Units
			select {
			case <-enough:
				return nil
			default:
			}
		}
	})
	return func() {
		t.Helper()
		close(enough)
		if err := <-done; err != nil {
			t.Errorf("honest clients: %v", err)
		}
		if units == 0 {
			t.Error("no honest client got an echo, so this proves nothing")
		}
		l.Close()
	}
}

// idleSettings are those of an idle child.
type idleSettings struct {
	Target string
	Conns  int
}

// idleMain is the process of an idle child: it opens its connections, says so, and holds them until SIGTERM.
func idleMain(text []byte) {
	var s idleSettings
	noError(json.Unmarshal(text, &s))
	term, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l := must(load.New(loadConfig(s.Target, load.Idle, s.Conns)))
	defer l.Close()
	noError(errors.Join(l.Open(term, s.Conns), l.Collect().Err()))
	fmt.Println("open")
	<-term.Done()
	if p := l.Progress(); p.Open != s.Conns {
		noError(fmt.Errorf("%d of %d connections are left", p.Open, s.Conns))
	}
}
