package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/guard"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
)

const prefix = "sslecho_"

// Results of handshakes, operations and reloads.
const (
	resultOK     = "ok"
	resultFailed = "failed"
)

// all are the descriptions of what a collector collects.
var all []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(prefix+name, help, labels, nil)
	all = append(all, d)
	return d
}

var (
	conns = describe("connections",
		"Connections now, by state: handshake, which begins with the accept, or established.", "state")
	accepted = describe("connections_accepted_total", "Connections that were accepted and not refused at once.")
	closed   = describe("connections_closed_total",
		"Connections that have ended, also those whose handshake was not done, by outcome.", "outcome")
	refused      = describe("connections_refused_total", "Connections that were refused, by reason.", "reason")
	acceptErrors = describe("accept_errors_total", "Failed calls of accept, by errno.", "errno")

	handshakes = describe("handshakes_total", "Handshakes that have ended, by result: ok or failed.", "result")
	failures   = describe("handshake_failures_total", "Handshakes that failed, by reason.", "reason")
	resumed    = describe("handshakes_resumed_total", "Handshakes that resumed a session.")
	versions   = describe("handshake_versions_total", "Handshakes that succeeded, by TLS version.", "version")
	ciphers    = describe("handshake_ciphers_total", "Handshakes that succeeded, by cipher.", "cipher")
	records    = describe("handshake_records_total", "Handshakes that succeeded, by who seals the records: openssl, direct or kernel, with the reason if --records says otherwise.", "records")
	groups     = describe("handshake_groups_total", "Handshakes that succeeded, by key exchange group.", "group")

	received = describe("plaintext_received_bytes_total", "Bytes of plaintext read from peers.")
	sent     = describe("plaintext_sent_bytes_total", "Bytes of plaintext written to peers.")
	sends    = describe("ciphertext_sends_total", "TLS operations that handed ciphertext to the socket.")
	queued   = describe("queued_bytes", "Bytes that wait to be written now, over all connections.")

	operations = describe("tls_operations_total",
		"TLS operations by result: ok, or what they waited for, as SSL_get_error names it.", "operation", "result")
	operationErrors = describe("tls_operation_errors_total",
		"TLS operations that failed; the end of the input is no failure.", "operation")
	panics = describe("handler_panics_total", "Panics of the service, each of which ended its connection.")

	loops     = describe("loops", "Epoll loops.")
	turns     = describe("loop_turns_total", "Turns of the loops.")
	epollCtls = describe("loop_epoll_ctl_calls_total", "Calls of epoll_ctl.")
	turnTime  = describe("loop_turn_duration_seconds",
		"How long a turn of a loop took, without its wait for events; the sum is in whole microseconds a turn.")
	turnEvents = describe("loop_turn_events", "How many events a turn of a loop had.")

	notAfter = describe("certificate_not_after_timestamp_seconds",
		"When a certificate in use expires, in Unix time.", "name", "serial")
	buildInfo = describe("build_info", "What the program was made of and runs with; the value is always 1.",
		"version", "revision", "goversion", "openssl")
	dropped = describe("log_lines_dropped_total",
		"Lines that were dropped because an output did not take them in time, by output: stderr, stdout or keylog.", "output")
	draining = describe("draining", "Whether the daemon drains: it is not ready, and ends when its connections have (1) or not (0).")

	limitConns        = describe("limit_connections", "Limit of connections in all; absent without one.")
	limitConnsPerAddr = describe("limit_connections_per_address", "Limit of connections from one address; absent without one.")
	limitHandshakes   = describe("limit_handshakes", "Limit of handshakes at once; absent when it is 1024 for each loop.")
	limitRate         = describe("limit_new_connections_per_second",
		"Limit of new connections a second from one address; absent without one.")
	limitBurst  = describe("limit_new_connections_burst", "New connections that one address may make at once; absent without a rate.")
	limitQueue  = describe("limit_connection_queued_bytes", "Limit of bytes queued for one connection.")
	limitQueued = describe("limit_queued_bytes", "Limit of bytes queued over all connections; absent without one.")
	timeouts    = describe("timeout_seconds", "Timeouts, by kind; absent without one.", "kind")
)

// outcomes are those of connections, refusals the reasons why there is none, and shortages the errors of accept when the
// system has run out of something. They are shown as 0 until they occur: a counter that begins with 1 has no rate.
var (
	outcomes = []string{
		"clean", "refused", "header", "handler panicked", "closed by us", "handshake evicted", "timeout: handshake", "timeout: idle",
		"timeout: write", "timeout: close", "closed without close_notify", "reset by peer", "tls error", "other",
	}
	refusals = []string{
		guard.ErrMaxConns.Error(), guard.ErrMaxConnsPerAddr.Error(), guard.ErrRate.Error(), "no file descriptors",
	}
	shortages = []string{"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"}
)

// collector makes metrics of one snapshot for each scrape.
type collector struct{ from Source }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range all {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	out, s := sink(ch), c.from.Stats()
	out.connections(&s)
	out.tls(&s)
	out.loops(&s, c.from.Loops)
	b := &c.from.Build
	out.gauge(buildInfo, 1, b.Version, b.Revision, b.Go, b.OpenSSL)
	if f := c.from.Draining; f != nil {
		value := 0.0
		if f() {
			value = 1
		}
		out.gauge(draining, value)
	}
	lines := map[string]uint64{"stderr": s.LogDropped}
	if f := c.from.Dropped; f != nil {
		for output, n := range f() {
			lines[output] += n
		}
	}
	out.counters(dropped, lines)
	if f := c.from.Certificates; f != nil {
		out.certificates(f())
	}
	if f := c.from.Limits; f != nil {
		out.limits(f())
	}
}

// sink takes metrics.
type sink chan<- prometheus.Metric

func (out sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, valid(labels)...)
}

func (out sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), valid(labels)...)
}

// valid makes what came from outside fit for labels, which are UTF-8.
func valid(labels []string) []string {
	for i, l := range labels {
		labels[i] = strings.ToValidUTF8(l, "\uFFFD")
	}
	return labels
}

// counters has a label for each key; those of known are there from the beginning.
func (out sink) counters(d *prometheus.Desc, m map[string]uint64, known ...string) {
	sums := map[string]uint64{}
	for _, k := range known {
		sums[k] = 0
	}
	for k, v := range m {
		sums[strings.ToValidUTF8(k, "\uFFFD")] += v // two may have become one
	}
	for k, v := range sums {
		out.counter(d, v, k)
	}
}

func (out sink) connections(s *reactor.Stats) {
	out.gauge(conns, float64(s.Handshaking), "handshake")
	out.gauge(conns, float64(s.Conns-s.Handshaking), "established")
	out.counter(accepted, s.Accepted)
	out.counters(closed, s.Closes, outcomes...)
	out.counters(refused, s.Refusals, refusals...)
	out.counters(acceptErrors, s.AcceptErrors, shortages...)
	out.counter(panics, s.Panics)
	out.gauge(queued, float64(s.Queued))
}

func (out sink) tls(s *reactor.Stats) {
	var failed uint64
	for _, n := range s.HandshakeFailures {
		failed += n
	}
	out.counter(handshakes, s.Handshakes, resultOK)
	out.counter(handshakes, failed, resultFailed)
	out.counters(failures, s.HandshakeFailures)
	out.counter(resumed, s.Resumed)
	out.counters(versions, s.Versions)
	out.counters(ciphers, s.Ciphers)
	out.counters(groups, s.Groups)
	out.counters(records, s.Records)

	out.counter(received, s.Sessions.BytesRead)
	out.counter(sent, s.Sessions.BytesWritten)
	out.counter(sends, s.Sessions.Sends)
	for op, results := range s.Sessions.Results {
		name := tlsio.Op(op).String()
		for want, n := range results {
			result := resultOK
			if w := tlsio.Want(want); w != tlsio.WantNone {
				result = w.String()
			}
			out.counter(operations, n, name, result)
		}
		out.counter(operationErrors, s.Sessions.Errors[op], name)
	}
}

func (out sink) loops(s *reactor.Stats, n int) {
	out.gauge(loops, float64(n))
	out.counter(turns, s.Turns)
	out.counter(epollCtls, s.EpollCtls)
	// A turn of less than 1<<i microseconds takes no longer than that, and a number below 1<<i is at most one less.
	out.histogram(turnTime, &s.TurnMicroseconds, 1e6, func(below uint64) uint64 { return below })
	out.histogram(turnEvents, &s.TurnEvents, 1, func(below uint64) uint64 { return below - 1 })
}

// histogram has the counts of h, whose unit is that of d divided by scale. atMost is the greatest value of a bucket
// that holds what is less than below.
func (out sink) histogram(d *prometheus.Desc, h *reactor.Histogram, scale float64, atMost func(below uint64) uint64) {
	buckets := map[float64]uint64{}
	var count uint64
	for i, n := range h.Buckets {
		count += n
		if i < len(h.Buckets)-1 { // the last one has no bound
			buckets[float64(atMost(1<<i))/scale] = count
		}
	}
	out <- prometheus.MustNewConstHistogram(d, count, float64(h.Sum)/scale, buckets)
}

func (out sink) certificates(cs []Certificate) {
	type key struct{ name, serial string }
	first := map[key]time.Time{}
	for _, c := range cs {
		k := key{strings.ToValidUTF8(c.Name, "\uFFFD"), c.SerialHex}
		if t, ok := first[k]; !c.NotAfter.IsZero() && (!ok || c.NotAfter.Before(t)) {
			first[k] = c.NotAfter
		}
	}
	for k, t := range first {
		out.gauge(notAfter, float64(t.Unix()), k.name, k.serial)
	}
}

func (out sink) limits(l config.Limits, t config.Timeouts) {
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		if v > 0 {
			out.gauge(d, v, labels...)
		}
	}
	set(limitConns, float64(l.MaxConns))
	set(limitConnsPerAddr, float64(l.MaxConnsPerAddr))
	set(limitHandshakes, float64(l.MaxHandshakes))
	set(limitRate, l.NewConnsRate)
	if l.NewConnsRate > 0 {
		set(limitBurst, float64(l.Burst()))
	}
	set(limitQueue, float64(l.MaxQueue))
	set(limitQueued, float64(l.MaxQueued))
	for _, k := range []struct {
		kind string
		time time.Duration
	}{{"handshake", t.Handshake}, {"idle", t.Idle}, {"write", t.Write}, {"close", t.Close}, {"drain", t.Drain},
		{"drain_delay", t.DrainDelay}, {"drain_wait", t.DrainWait}, {"reload", t.Reload}, {"keep_alive", t.KeepAlive}} {
		set(timeouts, k.time.Seconds(), k.kind)
	}
}
