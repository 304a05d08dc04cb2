package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/reactor"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// hang is how long a test waits for what must come. It is no measure of speed: a test that needs it has failed.
const hang = 30 * time.Second

var quiet = slog.New(slog.DiscardHandler)

// samples are the values of a scrape, by name and labels as the text format has them.
type samples map[string]string

// scrape asks h for its metrics.
func scrape(t testing.TB, h http.Handler) samples {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return parse(t, w.Body.String())
}

func parse(t testing.TB, body string) samples {
	t.Helper()
	got := samples{}
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			t.Fatalf("no sample: %q", line)
		}
		if _, ok := got[line[:i]]; ok {
			t.Errorf("%s is there twice", line[:i])
		}
		got[line[:i]] = line[i+1:]
	}
	return got
}

// collect is a scrape of the collector alone, in a registry that also checks it against its own descriptions.
func collect(t testing.TB, s Source) samples {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(collector{s}); err != nil {
		t.Fatal(err)
	}
	return scrape(t, promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
}

// of is a source with these Stats alone.
func of(s reactor.Stats) Source { return Source{Stats: func() reactor.Stats { return s }} }

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
		if got, ok := s[k]; !ok {
			t.Errorf("%s is missing, want %s", k, v)
		} else if got != v {
			t.Errorf("%s is %s, want %s", k, got, v)
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
	case v.CanFloat():
		v.SetFloat(float64(n))
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		m, value := reflect.MakeMap(v.Type()), reflect.New(v.Type().Elem()).Elem()
		set(value, n)
		m.SetMapIndex(reflect.ValueOf("some").Convert(v.Type().Key()), value)
		v.Set(m)
	default:
		panic("this test cannot set a " + v.Type().String())
	}
}

// full is a source in which everything has a value, all of them different.
func full() Source {
	var n int64
	next := func(_ string, set func(int64)) { n++; set(n) }
	var s reactor.Stats
	var l config.Limits
	var d config.Timeouts
	for _, p := range []any{&s, &l, &d} {
		fields(reflect.ValueOf(p).Elem(), "", next)
	}
	return Source{
		Stats:        func() reactor.Stats { return s },
		Loops:        2,
		Build:        Build{Version: "v1", Revision: "abc", Go: "go1", OpenSSL: "OpenSSL 3"},
		Certificates: func() []Certificate { return []Certificate{{"a.example", "01", time.Unix(1e9, 0)}} },
		Limits:       func() (config.Limits, config.Timeouts) { return l, d },
		Draining:     func() bool { return true },
		Dropped:      func() map[string]uint64 { return map[string]uint64{"stderr": 1, "stdout": 2, "keylog": 3} },
	}
}
