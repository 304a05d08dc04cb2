package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spacemonad/go-openssl/adapters/prommetrics"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/connlimit"
)

var noLog = slog.New(slog.DiscardHandler)

// newTestAdmin makes an admin without a configuration.
func newTestAdmin(more ...prometheus.Collector) *admin {
	a := newAdmin(map[string]func() uint64{"keylog": func() uint64 { return 3 }}, more...)
	a.show(&config.Config{}, nil)
	return a
}

// ask asks a for a page without a socket.
func ask(a *admin, log *slog.Logger, profiles bool, ping func(context.Context) error, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	a.handler(log, profiles, ping).ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func alive(context.Context) error { return nil }

// TestAdminPages: each page serves GET and HEAD, and no other method; the profiles are there with --pprof alone.
func TestAdminPages(t *testing.T) {
	a := newTestAdmin()
	a.started.Store(true)
	const index = "sslecho\n\n/metrics\n/healthz\n/readyz\n"
	for _, tt := range []struct {
		path     string
		profiles bool
		status   int
		want     string
	}{
		{"/", false, 200, index}, {"/", true, 200, index + "/debug/pprof/\n"}, {"/metrics", false, 200, "sslecho_draining 0\n"},
		{"/healthz", false, 200, "ok\n"}, {"/readyz", false, 200, "ok\n"}, {"/metrics/", false, 404, ""}, {"/nothing", false, 404, ""},
		{"/debug/pprof/", false, 404, ""}, {"/debug/pprof/heap", false, 404, ""},
		{"/debug/pprof/", true, 200, "goroutine"}, {"/debug/pprof/cmdline", true, 200, ""}, {"/debug/pprof/symbol", true, 200, ""},
		{"/debug/pprof/heap", true, 200, ""}, {"/debug/pprof/trace?seconds=0.01", true, 200, ""},
	} {
		w := ask(a, noLog, tt.profiles, alive, http.MethodGet, tt.path)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("GET %s, profiles %v: %d %.200q", tt.path, tt.profiles, w.Code, w.Body)
		}
		if tt.status != 200 {
			continue
		}
		if w := ask(a, noLog, tt.profiles, alive, http.MethodHead, tt.path); w.Code != 200 {
			t.Errorf("HEAD %s: %d", tt.path, w.Code)
		}
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
			if w := ask(a, noLog, tt.profiles, alive, method, tt.path); w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow: %q", method, tt.path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

// TestHealth: a fault is the status and the text, and nobody may keep it. A ping that does not return is cut off.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pinged error
		ping := func(ctx context.Context) error {
			if pinged == context.DeadlineExceeded {
				<-ctx.Done()
				return ctx.Err()
			}
			return pinged
		}
		for _, tt := range []struct {
			path            string
			pinged          error
			started, ending bool
			status          int
			body            string
		}{
			{"/healthz", nil, false, false, 200, "ok"},
			{"/healthz", reactor.ErrServerClosed, false, false, 503, reactor.ErrServerClosed.Error()},
			{"/healthz", context.DeadlineExceeded, false, false, 503, context.DeadlineExceeded.Error()},
			{"/readyz", nil, true, false, 200, "ok"},
			{"/readyz", nil, false, false, 503, "starting"},
			{"/readyz", nil, true, true, 503, errDraining.Error()},
		} {
			a := newTestAdmin()
			a.started.Store(tt.started)
			a.ending.Store(tt.ending)
			pinged = tt.pinged
			begin := time.Now()
			w := ask(a, noLog, false, ping, http.MethodGet, tt.path)
			if w.Code != tt.status || w.Body.String() != tt.body+"\n" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%+v: %d %q", tt, w.Code, w.Body)
			}
			if took := time.Since(begin); took > pingTimeout { // in the time of the bubble
				t.Errorf("%+v: %v", tt, took)
			}
		}
	})
}

// scrape returns the lines of /metrics that begin with one of starts.
func scrape(t *testing.T, a *admin, starts ...string) (got []string) {
	t.Helper()
	w := ask(a, noLog, false, alive, http.MethodGet, "/metrics")
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for line := range strings.Lines(w.Body.String()) {
		for _, start := range starts {
			if strings.HasPrefix(line, start) {
				got = append(got, strings.TrimSpace(line))
			}
		}
	}
	return got
}

// everything is a configuration whose settings are all shown.
func everything() (*config.Config, []tlsconf.Certificate) {
	c := &config.Config{
		Conns: connlimit.Limits{MaxConns: 1, MaxConnsPerAddr: 2, Rate: 4.5},
		Server: reactor.Limits{MaxHandshakes: 3, MaxQueue: 6, MaxQueued: 7, HandshakeTimeout: time.Second, IdleTimeout: time.Minute,
			WriteTimeout: 1500 * time.Millisecond, CloseTimeout: 2 * time.Second},
		DrainTimeout: time.Hour, DrainDelay: 5 * time.Second, DrainWait: 6 * time.Second, ReloadTimeout: 8 * time.Second, KeepAlive: 9 * time.Second,
	}
	return c, []tlsconf.Certificate{{Name: "a\xff", Serial: "01", NotAfter: time.Unix(3000, 0)}, {Name: "a\xfe", Serial: "01", NotAfter: time.Unix(2000, 0)},
		{Name: "a", Serial: "01"}, {Name: "b", Serial: "02", NotAfter: time.Unix(5000, 0)}}
}

// TestSettingsShown: limits, timeouts and certificates in force are shown, those of 0 are not; of two certificates with the same name
// and number the first to expire is.
func TestSettingsShown(t *testing.T) {
	a := newTestAdmin()
	starts := []string{"sslecho_limit_", "sslecho_timeout_", "sslecho_certificate_", "sslecho_log_lines"}
	tlstest.Equal(t, "lines without settings", len(scrape(t, a, starts...)), 1)
	c, certs := everything()
	a.show(c, certs)
	want := `sslecho_certificate_not_after_timestamp_seconds{name="a�",serial="01"} 2000
sslecho_certificate_not_after_timestamp_seconds{name="b",serial="02"} 5000
sslecho_limit_connection_queued_bytes 6
sslecho_limit_connections 1
sslecho_limit_connections_per_address 2
sslecho_limit_handshakes 3
sslecho_limit_new_connections_burst 5
sslecho_limit_new_connections_per_second 4.5
sslecho_limit_queued_bytes 7
sslecho_log_lines_dropped_total{output="keylog"} 3
sslecho_timeout_seconds{kind="close"} 2
sslecho_timeout_seconds{kind="drain"} 3600
sslecho_timeout_seconds{kind="drain_delay"} 5
sslecho_timeout_seconds{kind="drain_wait"} 6
sslecho_timeout_seconds{kind="handshake"} 1
sslecho_timeout_seconds{kind="idle"} 60
sslecho_timeout_seconds{kind="keep_alive"} 9
sslecho_timeout_seconds{kind="reload"} 8
sslecho_timeout_seconds{kind="write"} 1.5`
	tlstest.Equal(t, "with settings", strings.Join(scrape(t, a, starts...), "\n"), want)
	c.Conns.Rate, c.Conns.Burst = 0, 9
	a.show(c, nil)
	tlstest.Equal(t, "lines of a burst without a rate", len(scrape(t, a, "sslecho_limit_new", "sslecho_certificate")), 0)
}

// TestReloads: each reload is counted by its result, and a failed one leaves the time of the configuration in force.
func TestReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins in the year 2000
		a := newTestAdmin()
		for i, want := range []string{"1 9.466848e+08 0 0", "0 9.466848e+08 1 0", "1 9.466872e+08 1 1", "0 9.466872e+08 2 1"} {
			if i > 0 {
				time.Sleep(20 * time.Minute)
				a.reloaded(i%2 == 0)
			}
			var got []string
			for _, name := range []string{"sslecho_config_last_reload_successful", "sslecho_config_last_reload_success_timestamp_seconds", "sslecho_config_reloads_total"} {
				for _, line := range scrape(t, a, name) {
					got = append(got, line[strings.LastIndexByte(line, ' ')+1:])
				}
			}
			tlstest.Equal(t, fmt.Sprint("after reload ", i), strings.Join(got, " "), want)
		}
	})
}

// broken is a collector that cannot collect.
type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}
func (broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(prometheus.NewDesc("sslecho_broken", "Broken.", nil, nil), errors.New("no reading today"))
}

// TestGatherError: what cannot be gathered is left out, logged and counted; the rest is shown, with Go's and the process's metrics.
func TestGatherError(t *testing.T) {
	a := newTestAdmin(broken{})
	var log bytes.Buffer
	h := a.handler(slog.New(slog.NewTextHandler(&log, nil)), false, alive)
	for i, wants := range [][]string{{"\nsslecho_draining 0\n", "\ngo_goroutines ", "\nprocess_cpu_seconds_total "},
		{`promhttp_metric_handler_errors_total{cause="gathering"} 1`}} { // the first scrape was gathered before its own error was counted
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		for _, want := range wants {
			if !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "sslecho_broken") {
				t.Errorf("scrape %d: not so: %q", i, want)
			}
		}
	}
	if s := log.String(); !strings.Contains(s, "no reading today") || !strings.Contains(s, "level=ERROR") {
		t.Errorf("the log says %q", s)
	}
}

// TestMetricNames: names and help are as Prometheus wants them.
func TestMetricNames(t *testing.T) {
	a := newTestAdmin(prommetrics.New("sslecho", &reactor.Server{}))
	a.show(everything())
	problems, err := testutil.GatherAndLint(a.registry)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// TestAdminClose: a request that is under way gets its answer if it comes in time, and is cut off otherwise.
func TestAdminClose(t *testing.T) {
	for _, inTime := range []bool{true, false} {
		a := newTestAdmin()
		l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		asked, proceed, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
		a.serve(l, noLog, false, func(context.Context) error { close(asked); <-proceed; return nil })
		answer := make(chan error, 1)
		go func() {
			r, err := http.Get("http://" + l.Addr().String() + "/healthz")
			if err == nil {
				r.Body.Close()
			}
			answer <- err
		}()
		<-asked
		go func() { a.close(); close(closed) }()
		tlstest.Until(t, "the listener is closed", func() bool {
			c, err := net.Dial("tcp", l.Addr().String())
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		if inTime {
			close(proceed)
		}
		if err := <-answer; (err == nil) != inTime {
			t.Errorf("in time %v: %v", inTime, err)
		}
		<-closed
		if !inTime {
			close(proceed)
		}
	}
}
