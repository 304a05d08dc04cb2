package metrics

import (
	"bytes"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spacemonad/go-openssl/reactor"
)

// TestReloads: each reload is counted by its result, and a failed one leaves the time of the configuration in force.
func TestReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(of(reactor.Stats{}))
		loaded := time.Now()
		check := func(ok, failed, last string) {
			t.Helper()
			got := scrape(t, m.Handler(quiet))
			got.expect(t, samples{
				`sslecho_config_reloads_total{result="ok"}`:     ok,
				`sslecho_config_reloads_total{result="failed"}`: failed,
				"sslecho_config_last_reload_successful":         last,
			})
			const stamp = "sslecho_config_last_reload_success_timestamp_seconds"
			if v, err := strconv.ParseFloat(got[stamp], 64); err != nil || v != float64(loaded.Unix()) {
				t.Errorf("%s is %s, want %d", stamp, got[stamp], loaded.Unix())
			}
		}
		check("0", "0", "1")
		time.Sleep(time.Hour)
		m.ReloadFailed()
		check("0", "1", "0")
		time.Sleep(time.Hour)
		m.ReloadOK()
		loaded = time.Now()
		check("1", "1", "1")
		time.Sleep(time.Hour)
		m.ReloadFailed()
		m.ReloadFailed()
		check("1", "3", "0")
	})
}

// TestRegister: what is registered is shown with the rest, and a name that is taken is refused.
func TestRegister(t *testing.T) {
	m := New(of(reactor.Stats{}))
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "sslecho_extra", Help: "Extra."})
	g.Set(5)
	if err := m.Register(g); err != nil {
		t.Fatal(err)
	}
	if err := m.Register(g); err == nil {
		t.Error("a metric was registered twice")
	}
	got := scrape(t, m.Handler(quiet))
	got.expect(t, samples{"sslecho_extra": "5", "sslecho_loops": "0"})
	for _, start := range []string{"go_goroutines", "process_cpu_seconds_total"} {
		if len(got.with(start)) == 0 {
			t.Errorf("%s is missing", start)
		}
	}
}

// broken is a collector that cannot collect.
type broken struct{ d *prometheus.Desc }

func (b broken) Describe(ch chan<- *prometheus.Desc) { ch <- b.d }
func (b broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(b.d, errors.New("no reading today"))
}

// TestGatherError: what cannot be gathered is left out, logged and counted; the rest is shown.
func TestGatherError(t *testing.T) {
	m := New(of(reactor.Stats{Panics: 3}))
	if err := m.Register(broken{prometheus.NewDesc("sslecho_broken", "Broken.", nil, nil)}); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	h := m.Handler(slog.New(slog.NewTextHandler(&log, nil)))
	got := scrape(t, h)
	got.expect(t, samples{"sslecho_handler_panics_total": "3"})
	if len(got.with("sslecho_broken")) != 0 {
		t.Errorf("got %v", got.with("sslecho_broken"))
	}
	if s := log.String(); !strings.Contains(s, "no reading today") || !strings.Contains(s, "level=ERROR") {
		t.Errorf("the log says %q", s)
	}
	// The second scrape was gathered before its own error was counted.
	scrape(t, h).expect(t, samples{`promhttp_metric_handler_errors_total{cause="gathering"}`: "1"})
}
