package metrics

import (
	"maps"
	"math/bits"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestLint: names and help of everything that is shown, of Go and the process too, are as Prometheus wants them.
func TestLint(t *testing.T) {
	m := New(full())
	scrape(t, m.Handler(quiet)) // the handler has metrics of its own
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestDescribed: each metric that is described is there when everything has a value. That no other is there, the registry
// of collect checks.
func TestDescribed(t *testing.T) {
	got := collect(t, full())
	for _, d := range all {
		name := strings.Split(d.String(), `"`)[1]
		if len(got.with(name)) == 0 {
			t.Errorf("%s is described and never shown", name)
		}
	}
}

// TestEveryField: each field of reactor.Stats changes what is shown, and each in its own way.
func TestEveryField(t *testing.T) {
	before := collect(t, of(reactor.Stats{}))
	var s reactor.Stats
	effects := map[string]string{}
	fields(reflect.ValueOf(&s).Elem(), "", func(path string, set func(int64)) {
		s = reactor.Stats{}
		set(7)
		after := collect(t, of(s))
		var changed []string
		for k, v := range after {
			if before[k] != v {
				changed = append(changed, k+" "+v)
			}
		}
		slices.Sort(changed)
		effect := strings.Join(changed, "\n")
		if effect == "" {
			t.Errorf("Stats.%s changes nothing", path)
		} else if other, ok := effects[effect]; ok {
			t.Errorf("Stats.%s and Stats.%s change the same: %s", path, other, effect)
		}
		effects[effect] = path
	})
}

// TestValues: fields that could be taken for each other have their own metrics.
func TestValues(t *testing.T) {
	s := reactor.Stats{
		Turns: 1, EpollCtls: 3, Conns: 10, Handshaking: 4, Accepted: 20, Handshakes: 9, Resumed: 5, Queued: 6, Panics: 7,
		AcceptErrors:      map[string]uint64{"EMFILE": 11},
		Versions:          map[string]uint64{"v": 12},
		Ciphers:           map[string]uint64{"c": 13},
		Groups:            map[string]uint64{"g": 14},
		Records:           map[string]uint64{"r": 28},
		Refusals:          map[string]uint64{refusals[0]: 15, "new": 16},
		Closes:            map[string]uint64{"clean": 17},
		HandshakeFailures: map[string]uint64{"a": 18, "b": 19},
	}
	s.Sessions.BytesRead, s.Sessions.BytesWritten, s.Sessions.Sends = 21, 22, 23
	s.Sessions.Results[tlsio.OpRead][tlsio.WantNone] = 24
	s.Sessions.Results[tlsio.OpRead][tlsio.WantWrite] = 25
	s.Sessions.Errors[tlsio.OpRead] = 26
	source := of(s)
	source.Loops, source.Build, source.Draining = 27, Build{"1", "2", "3", "4"}, func() bool { return false }
	collect(t, source).expect(t, samples{
		`sslecho_loop_turns_total`:                                           "1",
		`sslecho_loop_epoll_ctl_calls_total`:                                 "3",
		`sslecho_connections{state="handshake"}`:                             "4",
		`sslecho_connections{state="established"}`:                           "6",
		`sslecho_connections_accepted_total`:                                 "20",
		`sslecho_handshakes_total{result="ok"}`:                              "9",
		`sslecho_handshakes_total{result="failed"}`:                          "37",
		`sslecho_handshakes_resumed_total`:                                   "5",
		`sslecho_queued_bytes`:                                               "6",
		`sslecho_handler_panics_total`:                                       "7",
		`sslecho_accept_errors_total{errno="EMFILE"}`:                        "11",
		`sslecho_accept_errors_total{errno="ENFILE"}`:                        "0",
		`sslecho_handshake_versions_total{version="v"}`:                      "12",
		`sslecho_handshake_ciphers_total{cipher="c"}`:                        "13",
		`sslecho_handshake_groups_total{group="g"}`:                          "14",
		`sslecho_handshake_records_total{records="r"}`:                       "28",
		`sslecho_connections_refused_total{reason="` + refusals[0] + `"}`:    "15",
		`sslecho_connections_refused_total{reason="` + refusals[1] + `"}`:    "0",
		`sslecho_connections_refused_total{reason="new"}`:                    "16",
		`sslecho_connections_closed_total{outcome="clean"}`:                  "17",
		`sslecho_connections_closed_total{outcome="other"}`:                  "0",
		`sslecho_handshake_failures_total{reason="b"}`:                       "19",
		`sslecho_plaintext_received_bytes_total`:                             "21",
		`sslecho_plaintext_sent_bytes_total`:                                 "22",
		`sslecho_ciphertext_sends_total`:                                     "23",
		`sslecho_tls_operations_total{operation="read",result="ok"}`:         "24",
		`sslecho_tls_operations_total{operation="read",result="WANT_WRITE"}`: "25",
		`sslecho_tls_operation_errors_total{operation="read"}`:               "26",
		`sslecho_loops`:    "27",
		`sslecho_draining`: "0",
		`sslecho_build_info{goversion="3",openssl="4",revision="2",version="1"}`: "1",
	})
}

// TestHistogram: a bucket of the conversion counts exactly the values that are no greater than its bound. A time was cut
// to whole microseconds, so one of v was less than v+1.
func TestHistogram(t *testing.T) {
	values := []uint64{0, 0, 1, 2, 3, 3, 4, 7, 8, 1023, 1024, 1025, 1<<22 - 1, 1 << 22, 1 << 23, 1 << 40}
	var h reactor.Histogram
	for _, v := range values {
		i := 0
		for i < len(h.Buckets)-1 && v >= 1<<i {
			i++
		}
		if want := min(bits.Len64(v), len(h.Buckets)-1); i != want {
			t.Fatalf("%d is in bucket %d, want %d", v, i, want)
		}
		h.Buckets[i]++
		h.Sum += v
	}
	got := collect(t, of(reactor.Stats{TurnMicroseconds: h, TurnEvents: h}))
	for _, x := range []struct {
		name  string
		scale float64
		above uint64 // how much more than v a value of v can be
	}{
		{"sslecho_loop_turn_duration_seconds", 1e6, 1},
		{"sslecho_loop_turn_events", 1, 0},
	} {
		want := samples{
			x.name + "_count":             strconv.Itoa(len(values)),
			x.name + `_bucket{le="+Inf"}`: strconv.Itoa(len(values)),
			x.name + "_sum":               strconv.FormatFloat(float64(h.Sum)/x.scale, 'g', -1, 64),
		}
		for i := range len(h.Buckets) - 1 {
			bound := uint64(1)<<i - 1 + x.above
			n := 0
			for _, v := range values {
				if v+x.above <= bound {
					n++
				}
			}
			le := strconv.FormatFloat(float64(bound)/x.scale, 'g', -1, 64)
			want[x.name+`_bucket{le="`+le+`"}`] = strconv.Itoa(n)
		}
		if n := len(got.with(x.name)); n != len(want) {
			t.Errorf("%s has %d samples, want %d", x.name, n, len(want))
		}
		got.expect(t, want)
	}
}

// TestInvalidUTF8: what is no UTF-8 is replaced, and what becomes the same thereby is added up.
func TestInvalidUTF8(t *testing.T) {
	source := of(reactor.Stats{
		HandshakeFailures: map[string]uint64{"a\xff": 1, "a\xfe": 2, "a\uFFFD": 4, "b": 8},
		Closes:            map[string]uint64{"\xc3": 3},
	})
	source.Build.Version = "v\xff"
	source.Certificates = func() []Certificate {
		return []Certificate{{"c\xfe", "01", time.Unix(2000, 0)}, {"c\xff", "01", time.Unix(1000, 0)}}
	}
	collect(t, source).expect(t, samples{
		"sslecho_handshake_failures_total{reason=\"a\uFFFD\"}":                              "7",
		`sslecho_handshake_failures_total{reason="b"}`:                                      "8",
		`sslecho_handshakes_total{result="failed"}`:                                         "15",
		"sslecho_connections_closed_total{outcome=\"\uFFFD\"}":                              "3",
		"sslecho_build_info{goversion=\"\",openssl=\"\",revision=\"\",version=\"v\uFFFD\"}": "1",
		"sslecho_certificate_not_after_timestamp_seconds{name=\"c\uFFFD\",serial=\"01\"}":   "1000",
	})
}

// TestCertificates: of those that are twice there the first to expire is shown, and none without a date.
func TestCertificates(t *testing.T) {
	source := of(reactor.Stats{})
	if got := collect(t, source).with("sslecho_certificate"); len(got) != 0 {
		t.Errorf("certificates without a function for them: %v", got)
	}
	source.Certificates = func() []Certificate {
		return []Certificate{
			{"a", "01", time.Unix(3000, 0)},
			{"a", "01", time.Unix(2000, 0)},
			{"a", "01", time.Time{}},
			{"a", "01", time.Unix(2500, 0)},
			{"a", "02", time.Unix(4000, 0)},
			{"b", "01", time.Unix(5000, 0)},
			{"unknown", "03", time.Time{}},
		}
	}
	got := collect(t, source).with("sslecho_certificate")
	want := samples{
		`sslecho_certificate_not_after_timestamp_seconds{name="a",serial="01"}`: "2000",
		`sslecho_certificate_not_after_timestamp_seconds{name="a",serial="02"}`: "4000",
		`sslecho_certificate_not_after_timestamp_seconds{name="b",serial="01"}`: "5000",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// shown are the limits and timeouts that a scrape shows.
func shown(t *testing.T, l config.Limits, d config.Timeouts) samples {
	t.Helper()
	source := of(reactor.Stats{})
	source.Limits = func() (config.Limits, config.Timeouts) { return l, d }
	got := collect(t, source)
	some := got.with("sslecho_limit_")
	maps.Copy(some, got.with("sslecho_timeout_"))
	return some
}

// TestLimits: limits and timeouts of 0 are absent, each other one is shown, and the burst is shown with a rate alone.
func TestLimits(t *testing.T) {
	if got := shown(t, config.Limits{}, config.Timeouts{}); len(got) != 0 {
		t.Errorf("without limits: %v", got)
	}
	if got := collect(t, of(reactor.Stats{})).with("sslecho_limit_"); len(got) != 0 {
		t.Errorf("without a function for limits: %v", got)
	}
	var l config.Limits
	var d config.Timeouts
	for _, p := range []any{&l, &d} {
		fields(reflect.ValueOf(p).Elem(), "", func(path string, set func(int64)) {
			l, d = config.Limits{}, config.Timeouts{}
			set(3)
			got := shown(t, l, d)
			if alone := path == "NewConnsBurst"; alone != (len(got) == 0) {
				t.Errorf("with %s alone: %v", path, got)
			}
		})
	}
	got := shown(t, config.Limits{
		MaxConns: 1, MaxConnsPerAddr: 2, MaxHandshakes: 3, NewConnsRate: 4.5, MaxQueue: 6, MaxQueued: 7,
	}, config.Timeouts{Handshake: time.Second, Idle: time.Minute, Write: 1500 * time.Millisecond, Close: 2 * time.Second, Drain: time.Hour,
		DrainDelay: 5 * time.Second, DrainWait: 6 * time.Second, Reload: 8 * time.Second, KeepAlive: 9 * time.Second})
	want := samples{
		"sslecho_limit_connections":                   "1",
		"sslecho_limit_connections_per_address":       "2",
		"sslecho_limit_handshakes":                    "3",
		"sslecho_limit_new_connections_per_second":    "4.5",
		"sslecho_limit_new_connections_burst":         "5",
		"sslecho_limit_connection_queued_bytes":       "6",
		"sslecho_limit_queued_bytes":                  "7",
		`sslecho_timeout_seconds{kind="handshake"}`:   "1",
		`sslecho_timeout_seconds{kind="idle"}`:        "60",
		`sslecho_timeout_seconds{kind="write"}`:       "1.5",
		`sslecho_timeout_seconds{kind="close"}`:       "2",
		`sslecho_timeout_seconds{kind="drain"}`:       "3600",
		`sslecho_timeout_seconds{kind="drain_delay"}`: "5",
		`sslecho_timeout_seconds{kind="drain_wait"}`:  "6",
		`sslecho_timeout_seconds{kind="reload"}`:      "8",
		`sslecho_timeout_seconds{kind="keep_alive"}`:  "9",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
