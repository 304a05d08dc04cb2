package stress

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// loadConfig is a load of honest clients.
func loadConfig(target string, kind load.Kind, conns int) load.Config {
	return load.Config{Target: target, Kind: kind, Conns: conns, Loops: 2, Timeout: hang, ServerName: "localhost",
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
func idleMain() error {
	var s idleSettings
	if err := readSettings(&s); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := load.New(loadConfig(s.Target, load.Idle, s.Conns))
	if err != nil {
		return err
	}
	defer l.Close()
	if err := errors.Join(l.Open(ctx, s.Conns), l.Collect().Err()); err != nil {
		return err
	}
	fmt.Println("open")
	<-ctx.Done()
	if p := l.Progress(); p.Open != s.Conns {
		return fmt.Errorf("%d of %d connections are left", p.Open, s.Conns)
	}
	return nil
}
