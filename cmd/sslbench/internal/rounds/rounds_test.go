package rounds

import (
	"bytes"
	"encoding/xml"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// sample has two workloads: three rounds beside C, the last one without it, and
// memory without a baseline.
var sample = &File{
	Facts: []Fact{{"cpu", "Some Processor"}, {"server-c", "OpenSSL 3.0.19"}, {"", "a remark"}},
	Rounds: []Round{
		{"Echo/size=1k/conns=64", "C", []Value{{6, CPU}, {100, Rate}, {1, RatioTo("C")}}},
		{"Echo/size=1k/conns=64", "sslecho", []Value{{6.6, CPU}, {110, Rate}, {1.1, RatioTo("C")}}},
		{"Echo/size=1k/conns=64", "C", []Value{{8, CPU}, {100, Rate}, {1, RatioTo("C")}}},
		{"Echo/size=1k/conns=64", "sslecho", []Value{{7.2, CPU}, {110, Rate}, {0.9, RatioTo("C")}}},
		{"Echo/size=1k/conns=64", "sslecho", []Value{{9, CPU}, {110, Rate}}},
		{"Echo/size=1k/conns=64", "nginx", []Value{{0.012345, CPU}}},
		{"Idle/conns=1000", "sslecho", []Value{{15360, Memory}}},
	},
}

func text(f *File) string {
	var b strings.Builder
	for _, c := range f.Facts {
		b.WriteString(c.String())
	}
	b.WriteString(UnitLines)
	for _, r := range f.Rounds {
		b.WriteString(r.String())
	}
	return b.String()
}

// TestFormat: what is written is read again, and other lines are ignored.
func TestFormat(t *testing.T) {
	raw := text(sample)
	if want := "BenchmarkEcho/size=1k/conns=64/server=sslecho 1 6.6 cpu-µs/op 110 op/s 1.1 ratio-to-C\n"; !strings.Contains(raw, want) {
		t.Errorf("%q is not in\n%s", want, raw)
	}
	got, err := Read(strings.NewReader("\nPASS\n" + raw))
	if err != nil || !reflect.DeepEqual(got, sample) {
		t.Errorf("%+v, %v", got, err)
	}
	if s := (Fact{"Left-Out", "two\nlines"}).String(); s != "left-out: two lines\n" {
		t.Errorf("%q", s)
	}
	for _, bad := range []string{"BenchmarkEcho 1 2 x", "BenchmarkEcho/server=C 1 2", "BenchmarkEcho/server=C 1 two x"} {
		if _, err := Read(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestOf: the median of an odd and of an even number of rounds, and the spread.
func TestOf(t *testing.T) {
	for _, test := range []struct {
		server, unit string
		want         Summary
		ok           bool
	}{
		{"sslecho", CPU, Summary{7.2, 6.6, 9}, true},
		{"sslecho", RatioTo("C"), Summary{1, 0.9, 1.1}, true},
		{"C", CPU, Summary{7, 6, 8}, true},
		{"C", P99, Summary{}, false},
	} {
		if got, ok := sample.Of("Echo/size=1k/conns=64", test.server, test.unit); got != test.want || ok != test.ok {
			t.Errorf("%s, %s: %v, %v; want %v", test.server, test.unit, got, ok, test.want)
		}
	}
}

// TestTable: a row for each workload.
func TestTable(t *testing.T) {
	want := "| Echo, size 1k, conns 64 | µs of CPU | 7.20 | C 7.00 | 1.00 (0.90–1.10) | nginx 0.0123 |\n" +
		"| Idle, conns 1000 | KiB for each | 15.0 | – | – |  |\n"
	if got := sample.Table(); !strings.HasSuffix(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for f, want := range map[string]string{"OpenLoop/x": P99, "IdleHTTP/x": Memory, "HTTP/x": CPU} {
		if got := Figure(f); got != want {
			t.Errorf("%s: %s, want %s", f, got, want)
		}
	}
	facts := "- cpu: Some Processor\n- server-c: OpenSSL 3.0.19\n- a remark\n"
	if page := sample.Page(); !strings.Contains(page, want) || !strings.Contains(page, facts) {
		t.Error(page)
	}
}

// TestPlot: the picture is XML that names each workload with a ratio.
func TestPlot(t *testing.T) {
	var svg bytes.Buffer
	tlstest.Must(t, sample.Plot(&svg))
	if s := svg.String(); !strings.Contains(s, "Echo, size 1k, conns 64 : C") || strings.Contains(s, "Idle") {
		t.Error(s)
	}
	for d := xml.NewDecoder(&svg); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
