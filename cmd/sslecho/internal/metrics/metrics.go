package metrics

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/reactor"
)

// Source is where the values come from. The functions are called for each scrape, on any goroutine and several at
// once, and must not block. Metrics of a function that is nil are left out.
type Source struct {
	// Stats is the server's; required.
	Stats func() reactor.Stats
	// Loops is how many the server has.
	Loops int
	// Build is what the binary was made of.
	Build Build
	// Certificates are those in use. Of two with the same name and serial number the first to expire is shown.
	Certificates func() []Certificate
	// Limits are those in force. A limit or timeout of 0, which is none or a default, is left out.
	Limits func() (config.Limits, config.Timeouts)
	// Draining reports whether the daemon drains.
	Draining func() bool
	// Dropped is how many lines were dropped, by output. Those of Stats are added to standard error's.
	Dropped func() map[string]uint64
}

// Build is what a binary was made of.
type Build struct {
	// Version and Revision of the program, the version of Go, and the one of OpenSSL that it runs with.
	Version, Revision, Go, OpenSSL string
}

// Certificate is what is known of one that is in use.
type Certificate struct {
	// Name is one for which it stands, and SerialHex its serial number.
	Name, SerialHex string
	// NotAfter is when it expires; zero if that is not known, and the certificate is left out.
	NotAfter time.Time
}

// Metrics are all metrics of the daemon. Its methods may be called from any goroutine.
type Metrics struct {
	registry  *prometheus.Registry
	reloads   *prometheus.CounterVec
	reloaded  prometheus.Gauge
	succeeded prometheus.Gauge
}

// New makes the metrics of s, of the process and of Go's runtime. The configuration counts as loaded now.
func New(s Source) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: prefix + "config_reloads_total",
			Help: "Reloads of the configuration, by result: ok, or failed when all stayed as it was.",
		}, []string{"result"}),
		reloaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "config_last_reload_successful",
			Help: "Whether the last reload succeeded (1) or failed (0); 1 before the first.",
		}),
		succeeded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: prefix + "config_last_reload_success_timestamp_seconds",
			Help: "When the configuration in force was loaded, at the start or by a reload, in Unix time.",
		}),
	}
	for _, result := range []string{resultOK, resultFailed} {
		m.reloads.WithLabelValues(result)
	}
	m.reloaded.Set(1)
	m.succeeded.SetToCurrentTime()
	m.registry.MustRegister(collector{s}, m.reloads, m.reloaded, m.succeeded,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Register adds the metrics of c, which must have other names.
func (m *Metrics) Register(c prometheus.Collector) error { return m.registry.Register(c) }

// ReloadOK counts a reload that succeeded.
func (m *Metrics) ReloadOK() {
	m.reloads.WithLabelValues(resultOK).Inc()
	m.reloaded.Set(1)
	m.succeeded.SetToCurrentTime()
}

// ReloadFailed counts a reload that failed, and left all as it was.
func (m *Metrics) ReloadFailed() {
	m.reloads.WithLabelValues(resultFailed).Inc()
	m.reloaded.Set(0)
}

// Bounds of a scrape: how many there may be at once, and how long one may take.
const (
	maxScrapes    = 4
	scrapeTimeout = 10 * time.Second
)

// Handler answers scrapes. What cannot be gathered is left out, logged to log and counted.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling:       promhttp.ContinueOnError,
		Registry:            m.registry,
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	})
}
