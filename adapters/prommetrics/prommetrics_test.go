package prommetrics

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/bits"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/connlimit"
	"github.com/spacemonad/go-openssl/tlsio"
)

// samples are the values of a scrape, by name and labels as the text format has them.
type samples map[string]string

// collect is a scrape of these statistics, in a registry that also checks the collector against its own descriptions.
func collect(t testing.TB, s reactor.Stats) samples {
	t.Helper()
	return scrape(t, newCollector("test", func() reactor.Stats { return s }, func() int { return 27 }))
}

func scrape(t testing.TB, c prometheus.Collector) samples {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	tlstest.Must(t, r.Register(c))
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return parse(w.Body.String())
}

func parse(text string) samples {
	s := samples{}
	for line := range strings.Lines(text) {
		if i := strings.LastIndexByte(line, ' '); !strings.HasPrefix(line, "#") {
			s[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	return s
}

// with are the samples whose names begin with start.
func (s samples) with(start string) samples {
	some := samples{}
	for k, v := range s {
		if strings.HasPrefix(k, start) {
			some[k] = v
		}
	}
	return some
}

// expect fails the test where a value is not the one of want.
func (s samples) expect(t testing.TB, want samples) {
	t.Helper()
	for k, v := range want {
		if got, ok := s[k]; !ok || got != v {
			t.Errorf("%s is %q, want %s", k, got, v)
		}
	}
}

// fields calls visit for each value below v that is no struct and no array, with its path and what sets it to n.
func fields(v reflect.Value, path string, visit func(path string, set func(n int64))) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fields(v.Field(i), strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), visit)
		}
	case reflect.Array:
		for i := range v.Len() {
			fields(v.Index(i), fmt.Sprintf("%s[%d]", path, i), visit)
		}
	default:
		visit(path, func(n int64) { set(v, n) })
	}
}

func set(v reflect.Value, n int64) {
	switch {
	case v.CanInt():
		v.SetInt(n)
	case v.CanUint():
		v.SetUint(uint64(n))
	case v.Kind() == reflect.Map:
		v.Set(reflect.ValueOf(map[string]uint64{"some": uint64(n)}))
	default:
		panic("this test cannot set a " + v.Type().String())
	}
}

// TestNames: each metric is there when everything has a value, with a name and a help as Prometheus wants them.
func TestNames(t *testing.T) {
	var s reactor.Stats
	var n int64
	fields(reflect.ValueOf(&s).Elem(), "", func(_ string, set func(int64)) { n++; set(n) })
	got := collect(t, s)
	for _, m := range metrics {
		if len(got.with("test_"+m.name)) == 0 {
			t.Errorf("%s is described and never shown", m.name)
		}
	}
	problems, err := testutil.CollectAndLint(newCollector("test", func() reactor.Stats { return s }, func() int { return 1 }))
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

// TestEveryField: each field of reactor.Stats changes what is shown, and each in its own way.
func TestEveryField(t *testing.T) {
	before := collect(t, reactor.Stats{})
	var s reactor.Stats
	effects := map[string]string{}
	fields(reflect.ValueOf(&s).Elem(), "", func(path string, set func(int64)) {
		s = reactor.Stats{}
		set(7)
		after := collect(t, s)
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
		Turns: 1, EpollCtls: 3, Conns: 12, Handshaking: 4, Plain: 2, Accepted: 20, LogDropped: 29, Handshakes: 9, Resumed: 5, Queued: 6, Panics: 7,
		AcceptErrors: map[string]uint64{"EMFILE": 11}, Versions: map[string]uint64{"v": 12}, Ciphers: map[string]uint64{"c": 13},
		Groups: map[string]uint64{"g": 14}, Records: map[string]uint64{"r": 28}, Closes: map[string]uint64{"clean": 17},
		Refusals: map[string]uint64{refusals[0]: 15, "new": 16}, HandshakeFailures: map[string]uint64{"a": 18, "b": 19},
	}
	s.Sessions.BytesRead, s.Sessions.BytesWritten, s.Sessions.Sends = 21, 22, 23
	s.Sessions.Results[tlsio.OpRead][tlsio.WantNone] = 24
	s.Sessions.Results[tlsio.OpRead][tlsio.WantWrite] = 25
	s.Sessions.Errors[tlsio.OpRead] = 26
	collect(t, s).expect(t, parse(`test_loop_turns_total 1
test_loop_epoll_ctl_calls_total 3
test_connections{state="handshake"} 4
test_connections{state="plain"} 2
test_connections{state="established"} 6
test_connections_accepted_total 20
test_handshakes_total{result="ok"} 9
test_handshakes_total{result="failed"} 37
test_handshakes_resumed_total 5
test_queued_bytes 6
test_handler_panics_total 7
test_accept_errors_total{errno="EMFILE"} 11
test_accept_errors_total{errno="ENFILE"} 0
test_handshake_versions_total{version="v"} 12
test_handshake_ciphers_total{cipher="c"} 13
test_handshake_groups_total{group="g"} 14
test_handshake_records_total{records="r"} 28
test_connections_refused_total{reason="`+refusals[0]+`"} 15
test_connections_refused_total{reason="`+refusals[1]+`"} 0
test_connections_refused_total{reason="new"} 16
test_connections_closed_total{outcome="clean"} 17
test_connections_closed_total{outcome="other"} 0
test_handshake_failures_total{reason="b"} 19
test_plaintext_received_bytes_total 21
test_plaintext_sent_bytes_total 22
test_ciphertext_sends_total 23
test_tls_operations_total{operation="read",result="ok"} 24
test_tls_operations_total{operation="read",result="WANT_WRITE"} 25
test_tls_operation_errors_total{operation="read"} 26
test_loops 27
test_server_log_lines_dropped_total 29
`))
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
	got := collect(t, reactor.Stats{TurnMicroseconds: h, TurnEvents: h})
	for _, x := range []struct {
		name  string
		scale float64
		above uint64 // how much more than v a value of v can be
	}{
		{"test_loop_turn_duration_seconds", 1e6, 1},
		{"test_loop_turn_events", 1, 0},
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
		if got := got.with(x.name); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", x.name, got, want)
		}
	}
}

// TestInvalidUTF8: what is no UTF-8 is replaced, and what becomes the same thereby is added up.
func TestInvalidUTF8(t *testing.T) {
	collect(t, reactor.Stats{
		HandshakeFailures: map[string]uint64{"a\xff": 1, "a\xfe": 2, "a\uFFFD": 4, "b": 8},
		Closes:            map[string]uint64{"\xc3": 3},
	}).expect(t, parse(`test_handshake_failures_total{reason="a�"} 7
test_handshake_failures_total{reason="b"} 8
test_handshakes_total{result="failed"} 15
test_connections_closed_total{outcome="�"} 3
`))
}

// literals are the texts in what a pattern finds in reactor's statistics.
func literals(t *testing.T, pattern string) (texts []string) {
	t.Helper()
	source := string(tlstest.Value(os.ReadFile("../../reactor/stats.go"))(t))
	for _, part := range regexp.MustCompile(pattern).FindAllString(source, -1) {
		for _, quoted := range regexp.MustCompile(`"[^"\n]*"`).FindAllString(part, -1) {
			texts = append(texts, strings.Trim(quoted, `"`))
		}
	}
	return texts
}

// TestKnown: what is shown as 0 until it occurs is what the reactor and connlimit can name, all of it and in their words.
func TestKnown(t *testing.T) {
	for _, x := range []struct {
		what       string
		known, can []string
	}{
		{"outcomes", outcomes, literals(t, `(?s)\nfunc outcomeOf\(.*?\n}\n`)},
		{"refusals", refusals, append(literals(t, `\n\trefused\w+ += [^\n]*`),
			connlimit.ErrMaxConns.Error(), connlimit.ErrMaxConnsPerAddr.Error(), connlimit.ErrRate.Error())},
	} {
		known, can := slices.Sorted(slices.Values(x.known)), slices.Compact(slices.Sorted(slices.Values(x.can)))
		if !slices.Equal(known, can) {
			t.Errorf("%s are %q, want %q", x.what, known, can)
		}
	}
}

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// echo sends back what it gets, and tells of each connection that has ended.
type echo struct {
	reactor.BaseHandler
	closed chan error
}

func (echo) OnData(c *reactor.Conn, p []byte)     { c.Write(p) }
func (e echo) OnClose(_ *reactor.Conn, err error) { e.closed <- err }

// TestServer: what a real server did is what a scrape tells.
func TestServer(t *testing.T) {
	x := tlstest.Value(cssl.NewServerContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
	}))(t)
	defer x.Close()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	h := echo{closed: make(chan error, 3)}
	srv := &reactor.Server{Handler: h, Context: x, Loops: 2, Logger: slog.New(slog.DiscardHandler)}
	served := tlstest.Later(func() error { return srv.Serve(l) })
	defer func() { srv.Close(); tlstest.Receive(t, served, "Serve") }()

	metrics := New("test", srv)
	message := make([]byte, 10_000)
	var clients []*tls.Conn
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version}
		c := tlstest.Value(tls.Dial("tcp", l.Addr().String(), cfg))(t)
		defer c.Close()
		c.SetDeadline(time.Now().Add(tlstest.Hang))
		tlstest.Value(c.Write(message))(t)
		tlstest.Value(io.ReadFull(c, message))(t)
		clients = append(clients, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), tlstest.Hang)
	defer cancel()
	for scrape(t, metrics)[`test_connections{state="established"}`] != "2" { // a turn is shown when it has ended
		tlstest.Must(t, srv.Ping(ctx))
		runtime.Gosched()
	}
	for _, c := range clients {
		c.Close()
		tlstest.Must(t, tlstest.Receive(t, h.closed, "the end of a connection"))
	}
	plain := tlstest.Value(net.Dial("tcp", l.Addr().String()))(t)
	defer plain.Close()
	fmt.Fprint(plain, "GET / HTTP/1.0\r\n\r\n")
	if err := tlstest.Receive(t, h.closed, "the end of a connection"); err == nil {
		t.Error("a connection without TLS ended well")
	}
	tlstest.Must(t, srv.Shutdown(ctx))
	s := srv.Stats() // nothing changes any more
	want := scrape(t, newCollector("test", func() reactor.Stats { return s }, func() int { return 2 }))
	if got := scrape(t, metrics); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if s.Accepted != 3 || s.Handshakes != 2 || len(s.HandshakeFailures) != 1 || len(s.Ciphers) != 2 || s.Sessions.BytesRead != 20000 ||
		s.Closes["clean"] != 2 || s.Closes["tls error"] != 1 || s.Turns == 0 || s.TurnEvents.Sum == 0 {
		t.Errorf("the server has counted %+v", s)
	}
}
