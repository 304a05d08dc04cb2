package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
)

// Bounds of the admin listener.
const (
	pingTimeout     = 2 * time.Second
	scrapeTimeout   = 10 * time.Second
	maxScrapes      = 4
	maxAdminClients = 64 // others wait in the backlog
	adminClose      = time.Second
)

// admin shows operators how the daemon is, over plain HTTP and without
// authentication:
//
//	/metrics        metrics for Prometheus
//	/healthz        200 if every loop takes its turns, else 503 with the reason
//	/readyz         200 if it wants connections, else 503 with the reason
//	/debug/pprof/   Go's profiles, with --pprof
type admin struct {
	registry         *prometheus.Registry
	reloads          *prometheus.CounterVec
	succeeded, since prometheus.Gauge
	settings         atomic.Pointer[[]prometheus.Metric] // of the configuration in force
	started, ending  atomic.Bool
	server           http.Server
}

// newAdmin makes the metrics. dropped counts the lines that were dropped, by
// output.
func newAdmin(dropped map[string]func() uint64, more ...prometheus.Collector) *admin {
	a := &admin{registry: prometheus.NewRegistry()}
	a.registry.MustRegister(append(more, a, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))...)
	f := promauto.With(a.registry)
	a.reloads = f.NewCounterVec(prometheus.CounterOpts{Name: "sslecho_config_reloads_total",
		Help: "Reloads of the configuration, by result: ok, or failed when all stayed as it was."}, []string{"result"})
	a.succeeded = f.NewGauge(prometheus.GaugeOpts{Name: "sslecho_config_last_reload_successful",
		Help: "Whether the last reload succeeded (1) or failed (0); 1 before the first."})
	a.since = f.NewGauge(prometheus.GaugeOpts{Name: "sslecho_config_last_reload_success_timestamp_seconds",
		Help: "When the configuration in force was loaded, at the start or by a reload, in Unix time."})
	f.NewGaugeFunc(prometheus.GaugeOpts{Name: "sslecho_draining",
		Help: "Whether the daemon drains: it is not ready, and ends when its connections have (1) or not (0)."}, func() float64 {
		if a.ending.Load() {
			return 1
		}
		return 0
	})
	b := thisBuild()
	f.NewGauge(prometheus.GaugeOpts{Name: "sslecho_build_info",
		Help:        "What the program was made of and runs with; the value is always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Commit, "goversion": b.Go, "openssl": b.OpenSSL.Run}}).Set(1)
	for output, count := range dropped {
		f.NewCounterFunc(prometheus.CounterOpts{Name: "sslecho_log_lines_dropped_total",
			Help:        "Lines that were dropped because an output did not take them in time, by output: stderr, stdout or keylog.",
			ConstLabels: prometheus.Labels{"output": output}}, func() float64 { return float64(count()) })
	}
	a.reloads.WithLabelValues("ok")
	a.reloads.WithLabelValues("failed")
	a.succeeded.Set(1)
	a.since.SetToCurrentTime()
	return a
}

// reloaded counts a reload.
func (a *admin) reloaded(ok bool) {
	if !ok {
		a.reloads.WithLabelValues("failed").Inc()
		a.succeeded.Set(0)
		return
	}
	a.reloads.WithLabelValues("ok").Inc()
	a.succeeded.Set(1)
	a.since.SetToCurrentTime()
}

// show makes these the settings that are shown. A limit or a timeout of 0,
// which is none or a default, is left out.
func (a *admin) show(c *config.Config, certs []tlsconf.Certificate) {
	var all []prometheus.Metric
	labelled := func(name, help string, v float64, labels prometheus.Labels) {
		if v > 0 {
			all = append(all, prometheus.MustNewConstMetric(prometheus.NewDesc("sslecho_"+name, help, nil, labels), prometheus.GaugeValue, v))
		}
	}
	gauge := func(name, help string, v float64) { labelled(name, help, v, nil) }
	l, s := c.ConnLimits(), &c.Server
	gauge("limit_connections", "Limit of connections in all; absent without one.", float64(l.MaxConns))
	gauge("limit_connections_per_address", "Limit of connections from one address; absent without one.", float64(l.MaxConnsPerAddr))
	gauge("limit_handshakes", "Limit of handshakes at once; absent when it is 1024 for each loop.", float64(s.MaxHandshakes))
	gauge("limit_new_connections_per_second", "Limit of new connections a second from one address; absent without one.", l.Rate)
	if l.Rate > 0 {
		gauge("limit_new_connections_burst", "New connections that one address may make at once; absent without a rate.", float64(l.Burst))
	}
	gauge("limit_connection_queued_bytes", "Limit of bytes queued for one connection.", float64(s.MaxQueue))
	gauge("limit_queued_bytes", "Limit of bytes queued over all connections; absent without one.", float64(s.MaxQueued))
	for kind, d := range map[string]time.Duration{"handshake": s.HandshakeTimeout, "idle": s.IdleTimeout, "write": s.WriteTimeout,
		"close": s.CloseTimeout, "drain": c.DrainTimeout, "drain_delay": c.DrainDelay, "drain_wait": c.DrainWait, "reload": c.ReloadTimeout,
		"keep_alive": c.KeepAlive} {
		labelled("timeout_seconds", "Timeouts, by kind; absent without one.", d.Seconds(), prometheus.Labels{"kind": kind})
	}
	first := map[[2]string]float64{} // of two with the same name and serial number
	for _, x := range certs {
		key, end := [2]string{strings.ToValidUTF8(x.Name, "\uFFFD"), x.Serial}, float64(x.NotAfter.Unix())
		if was, ok := first[key]; !x.NotAfter.IsZero() && (!ok || end < was) {
			first[key] = end
		}
	}
	for key, end := range first {
		labelled("certificate_not_after_timestamp_seconds", "When a certificate in use expires, in Unix time.", end,
			prometheus.Labels{"name": key[0], "serial": key[1]})
	}
	a.settings.Store(&all)
}

// Describe implements prometheus.Collector. Which settings are shown changes.
func (a *admin) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (a *admin) Collect(ch chan<- prometheus.Metric) {
	for _, m := range *a.settings.Load() {
		ch <- m
	}
}

var errDraining = errors.New("draining: send new connections elsewhere")

func (a *admin) ready(context.Context) (string, error) {
	switch {
	case a.ending.Load():
		return "", errDraining
	case !a.started.Load():
		return "", errors.New("starting")
	}
	return "ok", nil
}

// handler serves GET and HEAD. ping returns nil if the daemon works.
func (a *admin) handler(log *slog.Logger, profiles bool, ping func(context.Context) error) http.Handler {
	mux := http.NewServeMux()
	page := func(path string, text func(context.Context) (string, error)) {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			w.Header().Set("Cache-Control", "no-store")
			s, err := text(r.Context())
			if err != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
				s = err.Error()
			}
			fmt.Fprintln(w, s)
		})
	}
	index := "sslecho\n\n/metrics\n/healthz\n/readyz"
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError), ErrorHandling: promhttp.ContinueOnError, Registry: a.registry,
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout,
	}))
	page("/healthz", func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, pingTimeout)
		defer cancel()
		return "ok", ping(ctx)
	})
	page("/readyz", a.ready)
	if profiles {
		index += "\n/debug/pprof/"
		for path, h := range map[string]http.HandlerFunc{"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile,
			"symbol": pprof.Symbol, "trace": pprof.Trace} {
			mux.HandleFunc("GET /debug/pprof/"+path, h)
		}
	}
	page("/{$}", func(context.Context) (string, error) { return index, nil })
	return mux
}

// serve serves l until close.
func (a *admin) serve(l net.Listener, log *slog.Logger, profiles bool, ping func(context.Context) error) {
	log = log.With("listener", "admin")
	// A profile may take longer than a response by as much as its request asks
	// for.
	a.server.ReadHeaderTimeout, a.server.ReadTimeout = 5*time.Second, 10*time.Second
	a.server.WriteTimeout, a.server.IdleTimeout = 30*time.Second, 2*time.Minute
	a.server.MaxHeaderBytes = 16 << 10
	a.server.Handler, a.server.ErrorLog = a.handler(log, profiles, ping), slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	go func() {
		if err := a.server.Serve(netutil.LimitListener(l, maxAdminClients)); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin listener has ended", "error", err)
		}
	}()
}

// close ends the admin listener. It cuts off requests that take too long.
func (a *admin) close() {
	ctx, cancel := context.WithTimeout(context.Background(), adminClose)
	defer cancel()
	if a.server.Shutdown(ctx) != nil {
		a.server.Close()
	}
}
