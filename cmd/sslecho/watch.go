package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/metrics"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
)

// watch is what operators see of the daemon.
type watch struct {
	metrics *metrics.Metrics
	admin   *metrics.Admin // nil without --admin
	started atomic.Bool
	ending  atomic.Bool

	mu     sync.Mutex
	certs  []metrics.Certificate
	limits config.Limits
	times  config.Timeouts
}

// adminClose is how long a scrape that is under way has at the end.
const adminClose = time.Second

// watchOn begins to show how the daemon is, on the admin listener if there is one.
func (d *process) watchOn() error {
	w := &watch{}
	d.watch = w
	w.show(d.cfg, d.built.Certificates)
	built := build()
	w.metrics = metrics.New(metrics.Source{
		Stats: d.srv.Stats, Loops: d.srv.Loops,
		Build:        metrics.Build{Version: built.Version, Revision: built.Commit, Go: built.Go, OpenSSL: built.OpenSSL.Run},
		Certificates: func() []metrics.Certificate { w.mu.Lock(); defer w.mu.Unlock(); return w.certs },
		Limits:       func() (config.Limits, config.Timeouts) { w.mu.Lock(); defer w.mu.Unlock(); return w.limits, w.times },
		Draining:     w.ending.Load,
		Dropped:      d.dropped(),
	})
	if d.cfg.Admin == "" {
		return nil
	}
	w.admin = &metrics.Admin{Addr: d.cfg.Admin, Pprof: d.cfg.Pprof, Metrics: w.metrics, Alive: d.srv.Ping, Ready: w.readiness, Log: d.log}
	ls, err := d.sockets.Listen("admin "+d.cfg.Admin, d.cfg.Admin, func() ([]net.Listener, error) {
		l, err := w.admin.Listen()
		return []net.Listener{l}, err
	})
	if err != nil {
		return err
	}
	d.output.say("admin on "+addressOf(ls[0]), slog.String("address", addressOf(ls[0])))
	go func() {
		if err := w.admin.Serve(ls[0]); !errors.Is(err, http.ErrServerClosed) {
			d.log.Error("the admin listener has ended", "error", err)
		}
	}()
	return nil
}

// dropped returns what tells how many lines were dropped, by output.
func (d *process) dropped() func() map[string]uint64 {
	keyLog := d.tls.KeyLogDropped()
	return func() map[string]uint64 {
		m := d.output.dropped()
		m["keylog"] = 0
		if keyLog != nil {
			m["keylog"] = keyLog()
		}
		return m
	}
}

func (w *watch) readiness() error {
	switch {
	case w.ending.Load():
		return metrics.ErrDraining
	case !w.started.Load():
		return metrics.ErrStarting
	}
	return nil
}

// show makes these the certificates and limits that are shown.
func (w *watch) show(c *config.Config, certs []tlsconf.Certificate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limits, w.times, w.certs = c.Limits, c.Timeouts, nil
	for _, x := range certs {
		w.certs = append(w.certs, metrics.Certificate{Name: x.Name, SerialHex: x.Serial, NotAfter: x.NotAfter})
	}
}

// close ends the admin listener.
func (w *watch) close() {
	if w.admin == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), adminClose)
	defer cancel()
	_ = w.admin.Shutdown(ctx) // what it does not wait for is cut off
}
