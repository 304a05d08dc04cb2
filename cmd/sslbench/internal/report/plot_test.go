package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot/plotter"
)

// words are all texts of an SVG; those of several lines come in pieces.
func words(t *testing.T, svg string) []string {
	t.Helper()
	var out []string
	dec := xml.NewDecoder(strings.NewReader(svg))
	inText := false
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			inText = tok.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				out = append(out, string(tok))
			}
		}
	}
}

func TestPlots(t *testing.T) {
	out := files(t, sample())
	for name, want := range map[string][]string{
		"size.svg": {"message size, bytes", "CPU time per echo, µs", "64", "256", "1 KiB", "16 KiB", "1 MiB", "10", "100", "1000",
			"sslecho", "openssl s_server", "go crypto/tls", "C epoll + TLS", "C epoll, no TLS", "floor (calculated)"},
		"size-ratio.svg":  {"message size, bytes", "CPU time per echo, ratio to openssl s_server", "1.0", "sslecho", "floor (calculated)"},
		"latency-p50.svg": {"offered load, echo/s", "Latency p50, µs", "20k", "sslecho", "go crypto/tls"},
		"latency-p99.svg": {"offered load, echo/s", "Latency p99, µs", "20k", "sslecho", "go crypto/tls"},
		"conns.svg":       {"connections", "1", "10", "100", "1k", "10k", "CPU time per echo, µs"},
		"conns-ratio.svg": {"CPU time per echo, ratio to C epoll + TLS"},
		"idle.svg":        {"idle connections", "Resident memory, MiB", "10k", "50k", "500", "nginx", "stunnel"},
		"handshake.svg": {"key type, version", "CPU time per handshake, µs", "TLS 1.3, resumed", "RSA 2048, TLS 1.2, full", "failed",
			"nginx", "floor (calculated)", "720"},
		"handshake-ratio.svg": {"CPU time per handshake, ratio to openssl s_server", "1.00", "failed"},
		"sink.svg":            {"chunk size, bytes", "16 KiB", "CPU time per GB, ms"},
	} {
		got := words(t, out[name])
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: %q is not in %q", name, w, got)
			}
		}
		if n := strings.Count(out[name], "<text "); n != strings.Count(out[name], "textLength=") || strings.Count(out[name], fontFamily) != n {
			t.Errorf("%s: a text without a length or without fonts to fall back on", name)
		}
	}
	// The floor: dashed as nothing else is, and only one picture of a server's spread.
	if !strings.Contains(out["size.svg"], "stroke-dasharray:6,5") || strings.Contains(out["idle.svg"], "stroke-dasharray:6,5") {
		t.Error("the floor's dashes are missing, or are another's")
	}
}

// A failure at either end does not stretch the axis, one in between leaves a gap, and the
// table names them all.
func TestFailuresDoNotStretchAxis(t *testing.T) {
	d := bentMemory()
	e := &d.Experiments[0]
	e.Failed = append(e.Failed, Failed{Server: "us", X: -700, Why: "no"}, Failed{Server: "us", X: 300, Why: "no"})
	charts := d.chart(e, figures[Memory], func(p *Point) value { return value{true, p.X, p.X, p.X} })
	var xs []float64
	for _, r := range charts.rows {
		xs = append(xs, r.x)
	}
	if want := []float64{0, 100, 200, 300, 400}; !slices.Equal(xs, want) {
		t.Errorf("the plot is over %v, want %v", xs, want)
	}
	for _, s := range charts.series {
		for i, v := range s.values {
			if v.ok && v.mid != xs[i] {
				t.Errorf("%s: the value of x = %v stands at %v", s.name, v.mid, xs[i])
			}
		}
	}
	out := files(t, d)
	if got := words(t, out["idle.svg"]); slices.Contains(got, "50k") || !slices.Contains(got, "400") {
		t.Errorf("idle.svg: %q", got)
	}
	if got := cellsOf("README.md", out["README.md"])[[2]string{"50,000", "short"}]; !slices.Equal(got, []string{"failed"}) {
		t.Errorf("README.md at 50,000: %q", got)
	}
}

// What was calculated is a line without markers and without a spread.
func TestCalculatedSeries(t *testing.T) {
	rows := []row{{x: 1}, {x: 2}}
	values := []value{{true, 1, 1, 1}, {true, 2, 2, 2}}
	for calculated, want := range map[bool]int{true: 0, false: 1} {
		all, thumbs, err := series{column: column{calculated: calculated}, values: values}.plotters(rows)
		if err != nil {
			t.Fatal(err)
		}
		markers := 0
		for _, p := range all {
			if _, ok := p.(*plotter.Scatter); ok {
				markers++
			}
		}
		if markers != want || len(thumbs) != 1+want {
			t.Errorf("calculated %t: %d sets of markers and %d parts in the legend", calculated, markers, len(thumbs))
		}
	}
}

// Two servers differ without colour too: in dashes and marker, and as bars in hatching.
func TestStylesDiffer(t *testing.T) {
	for i := range dashes {
		if slices.Equal(dashes[i], floorDashes) {
			t.Errorf("dashes %d are the floor's", i)
		}
		for k := range i {
			if slices.Equal(dashes[i], dashes[k]) {
				t.Errorf("dashes %d and %d are the same", i, k)
			}
		}
	}
	for i := range markers {
		for k := range i {
			if markers[i] == markers[k] {
				t.Errorf("markers %d and %d are the same", i, k)
			}
		}
	}
	for i := range hatches {
		for k := range i {
			if hatches[i] == hatches[k] {
				t.Errorf("hatches %d and %d are the same", i, k)
			}
		}
	}
	// A server keeps its style when others have no place in a plot.
	d := sample()
	for _, e := range d.Experiments {
		for _, c := range d.columns(&e) {
			if !c.calculated && d.Servers[c.style].Name != c.name {
				t.Errorf("%s: %s has the style of %s", e.ID, c.name, d.Servers[c.style].Name)
			}
		}
	}
}

// Whatever passes Check makes a report.
func TestOddData(t *testing.T) {
	point := func(server string, x float64, cpu ...float64) Point {
		return Point{Server: server, X: x, Label: fmt.Sprint("category ", x), Rounds: cpuRounds(cpu...)}
	}
	many := &Data{Format: Format, Baseline: "server 0"}
	var crowd []Point
	for i := range 14 {
		name := fmt.Sprint("server ", i)
		many.Servers = append(many.Servers, Server{Name: name})
		crowd = append(crowd, point(name, 1, float64(i+1)), point(name, 2, float64(i+2), float64(i+3)))
	}
	for _, c := range []struct {
		name     string
		points   []Point
		failed   []Failed
		pictures int
	}{
		{name: "empty"},
		{name: "only failures", failed: []Failed{{Server: "server 0", All: true, Why: "no"}, {Server: "server 1", X: 3, Label: "category 3", Why: "no"}}},
		{"one point", []Point{point("server 0", 5, 1)}, nil, 1},
		{"one x", []Point{point("server 0", 5, 1), point("server 1", 5, 2, 3)}, nil, 2},
		{"nothing measured", []Point{point("server 0", 5, 0), point("server 1", 6, 0)}, nil, 0},
		{"one x measured", []Point{point("server 0", 5, 2), point("server 0", 6, 0)}, nil, 1},
		{"no baseline", []Point{point("server 1", 5, 1), point("server 1", 6, 1)}, nil, 1},
		{"a gap", []Point{point("server 1", 1, 1), point("server 2", 2, 1), point("server 1", 3, 1)}, nil, 1},
		{"all the same", []Point{point("server 0", 1, 3, 3), point("server 0", 2, 3, 3), point("server 1", 2, 3, 3)}, nil, 2},
		{"huge range", []Point{point("server 0", 1e-9, 1e-9, 1e-3), point("server 0", 1e12, 1e15, 1e16), point("server 1", 1e12, 1e-12)}, nil, 2},
		{"tiny", []Point{point("server 0", 1, smallest), point("server 1", 2, smallest)}, nil, 1},
		{"largest", []Point{point("server 0", 1, smallest, largest, largest), point("server 1", 1, 1), point("server 1", 2, 1)}, nil, 2},
		{"x from below 0", []Point{point("server 0", -5, 1), point("server 0", 0, 2), point("server 0", 5, 3)}, nil, 1},
		{"calculated alone", []Point{{Server: "floor", X: 1, Label: "category 1", Calculated: true, Rounds: cpuRounds(1)}}, nil, 1},
		{"a crowd", crowd, nil, 2},
	} {
		for _, axis := range []Axis{{Label: "x"}, {Label: "x", Log: true}, {Label: "x", Categories: true}, {Label: "x", Bytes: true, Log: true}, {Label: "x", Bytes: true}} {
			t.Run(fmt.Sprintf("%s/log=%t,bytes=%t,categories=%t", c.name, axis.Log, axis.Bytes, axis.Categories), func(t *testing.T) {
				d := *many
				d.Experiments = []Experiment{{ID: "odd", Title: "Odd", Unit: "echo", Metric: CPU, X: axis, Points: c.points, Failed: c.failed}}
				out := files(t, &d)
				pictures := 0
				for name, text := range out {
					if !strings.HasSuffix(name, ".svg") {
						continue
					}
					pictures++
					if bad := regexp.MustCompile(`NaN|Inf`).FindString(text); bad != "" {
						t.Errorf("%s has %s", name, bad)
					}
				}
				if pictures != c.pictures {
					t.Errorf("%d pictures, want %d", pictures, c.pictures)
				}
				text := textOf(t, &d)
				if len(c.points) == 0 && (!strings.Contains(out["README.md"], "Nothing was measured.") ||
					!strings.Contains(out["report.html"], "Nothing was measured.") || !strings.Contains(text, "nothing was measured")) {
					t.Error("it does not say that nothing was measured")
				}
				for _, f := range c.failed {
					if !strings.Contains(out["README.md"], f.sentence(&d.Experiments[0])) {
						t.Errorf("README.md does not name the failure of %s", f.Server)
					}
				}
			})
		}
	}
	// Without servers, experiments and all the rest.
	if out := files(t, &Data{Format: Format}); len(out) != 3 {
		t.Errorf("of empty data: %d files", len(out))
	}
}
