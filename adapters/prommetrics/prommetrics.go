// Package prommetrics collects the statistics of a reactor.Server for
// Prometheus.
//
//	registry.MustRegister(prommetrics.New("myserver", server))
//
// Names have base units, seconds and bytes. A label that a peer can influence,
// such as the reason for a failure, has at most as many values as reactor.Stats
// keeps. No label is the address of a peer.
package prommetrics

import (
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/connlimit"
	"github.com/spacemonad/go-openssl/tlsio"
)

// metrics are the names, without the namespace.
var metrics = []struct{ name, label, help string }{
	{"connections", "state", "Connections now, by state: plain, handshake, which begins with the accept or with STARTTLS, or established."},
	{"connections_accepted_total", "", "Connections that were accepted and not refused at once."},
	{"connections_closed_total", "outcome", "Connections that have ended, also those whose handshake was not done, by outcome."},
	{"connections_refused_total", "reason", "Connections that were refused, by reason."},
	{"accept_errors_total", "errno", "Failed calls of accept, by errno."},
	{"handshakes_total", "result", "Handshakes that have ended, by result: ok or failed."},
	{"handshake_failures_total", "reason", "Handshakes that failed, by reason."},
	{"handshakes_resumed_total", "", "Handshakes that resumed a session."},
	{"handshake_versions_total", "version", "Handshakes that succeeded, by TLS version."},
	{"handshake_ciphers_total", "cipher", "Handshakes that succeeded, by cipher."},
	{"handshake_groups_total", "group", "Handshakes that succeeded, by key exchange group."},
	{"handshake_records_total", "records", "Handshakes that succeeded, by who seals the records: openssl, direct or kernel, " +
		"with the reason if it is not what was configured."},
	{"plaintext_received_bytes_total", "", "Bytes of plaintext read from peers."},
	{"plaintext_sent_bytes_total", "", "Bytes of plaintext written to peers."},
	{"ciphertext_sends_total", "", "TLS operations that handed ciphertext to the socket."},
	{"queued_bytes", "", "Bytes that wait to be written now, over all connections."},
	{"tls_operations_total", "operation,result", "TLS operations by result: ok, or what they waited for, as SSL_get_error names it."},
	{"tls_operation_errors_total", "operation", "TLS operations that failed; the end of the input is no failure."},
	{"handler_panics_total", "", "Panics of the handler, each of which ended its connection."},
	{"server_log_lines_dropped_total", "", "Lines of the server's log that were dropped because its Logger was too slow."},
	{"loops", "", "Epoll loops."},
	{"loop_turns_total", "", "Turns of the loops."},
	{"loop_epoll_ctl_calls_total", "", "Calls of epoll_ctl."},
	{"loop_turn_duration_seconds", "", "How long a turn of a loop took, without its wait for events; the sum is in whole microseconds a turn."},
	{"loop_turn_events", "", "How many events a turn of a loop had."},
}

// Label values that are shown as 0 until they occur: the rate of a counter that
// begins with 1 is not known.
var (
	outcomes = []string{
		"clean", "refused", "header", "plaintext after STARTTLS", "handler panicked", "closed by us", "handshake evicted", "timeout: handshake", "timeout: idle",
		"timeout: write", "timeout: close", "closed without close_notify", "reset by peer", "tls error", "other",
	}
	refusals = []string{
		connlimit.ErrMaxConns.Error(), connlimit.ErrMaxConnsPerAddr.Error(), connlimit.ErrRate.Error(), "no file descriptors",
	}
	acceptErrors = []string{"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"}
)

type collector struct {
	descs map[string]*prometheus.Desc // by name without namespace
	stats func() reactor.Stats
	loops func() int
}

// New returns a collector of the statistics of server. The names of its metrics
// begin with the namespace, such as myserver_connections.
func New(namespace string, server *reactor.Server) prometheus.Collector {
	return newCollector(namespace, server.Stats, func() int {
		if server.Loops == 0 {
			return runtime.GOMAXPROCS(0)
		}
		return server.Loops
	})
}

func newCollector(namespace string, stats func() reactor.Stats, loops func() int) collector {
	c := collector{map[string]*prometheus.Desc{}, stats, loops}
	for _, m := range metrics {
		var labels []string
		if m.label != "" {
			labels = strings.Split(m.label, ",")
		}
		c.descs[m.name] = prometheus.NewDesc(prometheus.BuildFQName(namespace, "", m.name), m.help, labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector. All metrics are of one snapshot.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.stats()
	gauge := func(name string, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[name], prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(name string, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(c.descs[name], prometheus.CounterValue, float64(v), labels...)
	}
	counters := func(name string, byLabel map[string]uint64, known ...string) {
		sums := map[string]uint64{}
		for _, label := range known {
			sums[label] = 0
		}
		for label, v := range byLabel {
			sums[strings.ToValidUTF8(label, "\uFFFD")] += v // two may have become one
		}
		for label, v := range sums {
			counter(name, v, label)
		}
	}
	gauge("connections", int64(s.Handshaking), "handshake")
	gauge("connections", int64(s.Plain), "plain")
	gauge("connections", int64(s.Conns-s.Handshaking-s.Plain), "established")
	gauge("queued_bytes", s.Queued)
	gauge("loops", int64(c.loops()))

	var failed uint64
	for _, n := range s.HandshakeFailures {
		failed += n
	}
	counter("handshakes_total", s.Handshakes, "ok")
	counter("handshakes_total", failed, "failed")
	for name, v := range map[string]uint64{
		"connections_accepted_total": s.Accepted, "handshakes_resumed_total": s.Resumed,
		"plaintext_received_bytes_total": s.Sessions.BytesRead, "plaintext_sent_bytes_total": s.Sessions.BytesWritten,
		"ciphertext_sends_total": s.Sessions.Sends, "handler_panics_total": s.Panics, "server_log_lines_dropped_total": s.LogDropped,
		"loop_turns_total": s.Turns, "loop_epoll_ctl_calls_total": s.EpollCtls,
	} {
		counter(name, v)
	}
	counters("connections_closed_total", s.Closes, outcomes...)
	counters("connections_refused_total", s.Refusals, refusals...)
	counters("accept_errors_total", s.AcceptErrors, acceptErrors...)
	counters("handshake_failures_total", s.HandshakeFailures)
	counters("handshake_versions_total", s.Versions)
	counters("handshake_ciphers_total", s.Ciphers)
	counters("handshake_groups_total", s.Groups)
	counters("handshake_records_total", s.Records)
	for op, results := range s.Sessions.Results {
		name := tlsio.Op(op).String()
		for want, n := range results {
			result := "ok"
			if w := tlsio.Want(want); w != tlsio.WantNone {
				result = w.String()
			}
			counter("tls_operations_total", n, name, result)
		}
		counter("tls_operation_errors_total", s.Sessions.Errors[op], name)
	}
	// A turn of less than 1<<i microseconds takes no longer than that, and a
	// number below 1<<i is at most one less.
	ch <- c.histogram("loop_turn_duration_seconds", &s.TurnMicroseconds, 1e6, 0)
	ch <- c.histogram("loop_turn_events", &s.TurnEvents, 1, 1)
}

// histogram converts h, whose unit is that of the metric divided by scale. The
// greatest value of a bucket is its bound minus less.
func (c collector) histogram(name string, h *reactor.Histogram, scale float64, less uint64) prometheus.Metric {
	buckets := map[float64]uint64{}
	var count uint64
	for i, n := range h.Buckets {
		count += n
		if i < len(h.Buckets)-1 { // the last one has no bound
			buckets[float64(1<<i-less)/scale] = count
		}
	}
	return prometheus.MustNewConstHistogram(c.descs[name], count, float64(h.Sum)/scale, buckets)
}
