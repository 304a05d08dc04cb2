package stress

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// result is what a load child answers.
type result struct {
	Units, Opened uint64
	Open          int
	P50, P99, Max time.Duration
	Failures      map[load.Failure]uint64
	Examples      map[load.Failure]string
	Err           string
}

func resultOf(r load.Result, err error) result {
	v := result{Units: r.Units, Opened: r.Opened, Open: r.Open, Failures: r.Failures, Examples: r.Examples}
	if r.Latency != nil {
		v.P50, v.P99 = time.Duration(r.Latency.ValueAtQuantile(50)), time.Duration(r.Latency.ValueAtQuantile(99))
		v.Max = time.Duration(r.Latency.Max())
	}
	if err != nil {
		v.Err = err.Error()
	}
	return v
}

// loadConfig is a load of honest clients.
func loadConfig(target string, kind load.Kind, conns int) load.Config {
	return load.Config{Target: target, Kind: kind, Conns: conns, Timeout: hang, ServerName: "localhost", TLS: honestTLS()}
}

func honestTLS() cssl.Config { return cssl.Config{CAFile: testcerts.Path("root.pem")} }

// loadSettings are a load child's: a load.Config without TLS, which has what JSON cannot say.
type loadSettings struct {
	load.Config
	TLS struct{}
}

// loadMain is the process of a load child. Its commands are "open N" and "run DURATION".
func loadMain() error {
	var s loadSettings
	if err := readSettings(&s); err != nil {
		return err
	}
	s.Config.TLS = honestTLS()
	l, err := load.New(s.Config)
	if err != nil {
		return err
	}
	defer l.Close()
	return commands(func(command, argument string) any {
		if command == "open" {
			n, err := strconv.Atoi(argument)
			if err == nil {
				err = l.Open(context.Background(), n)
			}
			runtime.GC()
			return resultOf(l.Collect(), err)
		}
		d, err := time.ParseDuration(argument)
		if err != nil {
			return resultOf(load.Result{}, err)
		}
		return resultOf(l.Run(context.Background(), d))
	})
}

func clients(t *testing.T, cfg load.Config) *process {
	t.Helper()
	return child(t, "load", loadSettings{Config: cfg})
}

// good reads a load child's answer, in which nothing may have gone wrong.
func (p *process) good() result {
	p.t.Helper()
	r := answer[result](p)
	if r.Err != "" {
		p.t.Fatalf("the clients: %s; %v", r.Err, r.Examples)
	}
	noFailures(p.t, "the clients", r.Failures, r.Examples)
	return r
}

// honest is a small load in the test's own process, which goes on beside whatever a test does.
type honest struct {
	cancel chan struct{}
	done   chan error
	units  uint64
}

// beside opens n connections and lets them echo until end is called.
func beside(t *testing.T, target string, n int, rate float64) *honest {
	t.Helper()
	cfg := loadConfig(target, load.Request, n)
	cfg.Rate = rate
	l := tlstest.Value(load.New(cfg))(t)
	if err := l.Open(t.Context(), n); err != nil {
		l.Close()
		t.Fatal(err)
	}
	slice := scaled(time.Second, 100*time.Millisecond)
	h := &honest{cancel: make(chan struct{}), done: make(chan error, 1)}
	go func() {
		defer l.Close()
		for {
			r, err := l.Run(context.Background(), slice)
			h.units += r.Units
			for what, k := range r.Failures {
				if what != load.TooSlow && err == nil {
					err = fmt.Errorf("%d × %s: %s", k, what, r.Examples[what])
				}
			}
			if err == nil && r.Open != n {
				err = fmt.Errorf("%d of %d are left", r.Open, n)
			}
			if err != nil {
				h.done <- err
				return
			}
			select {
			case <-h.cancel:
				h.done <- nil
				return
			default:
			}
		}
	}()
	return h
}

// end wants all to have gone well.
func (h *honest) end(t *testing.T) {
	t.Helper()
	close(h.cancel)
	if err := <-h.done; err != nil {
		t.Errorf("honest clients: %v", err)
	}
	if h.units == 0 {
		t.Error("no honest client got an echo, so this proves nothing")
	}
}
