package report

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func cpuRounds(v ...float64) []Round {
	var out []Round
	for _, x := range v {
		out = append(out, Round{CPU: x})
	}
	return out
}

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		name   string
		rounds []Round
		want   Summary
	}{
		{"odd", cpuRounds(3, 1, 2), Summary{3, 2, 1, 3}},
		{"even", cpuRounds(4, 1, 2, 8), Summary{4, 3, 1, 8}},
		{"one", cpuRounds(5), Summary{1, 5, 5, 5}},
		{"a round without it", cpuRounds(5, 0, 7), Summary{2, 6, 5, 7}},
		{"not measured", cpuRounds(0, 0), Summary{}},
		{"no rounds", nil, Summary{}},
	} {
		p := Point{Rounds: c.rounds}
		if got := p.Summary(CPU); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	p := Point{Rounds: []Round{{CPU: 1, Rate: 2, P50: 3, P99: 4, P999: 5, Memory: 6, Peak: 7}}}
	for m, want := range map[Metric]float64{CPU: 1, Rate: 2, P50: 3, P99: 4, P999: 5, Memory: 6, Peak: 7, "none": 0} {
		if got := p.Summary(m).Median; got != want {
			t.Errorf("%s: %v, want %v", m, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	for _, c := range []struct {
		name    string
		p, base []Round
		want    Ratio
	}{
		// The median of the ratios is 2; that of the medians would be 20/3.
		{"round by round", cpuRounds(2, 20, 60), cpuRounds(1, 10, 3), Ratio{true, true, 2, 2, 20}},
		{"different numbers", cpuRounds(2, 4), cpuRounds(1, 2, 3), Ratio{true, false, 1.5, 1.5, 1.5}},
		{"a round without it", cpuRounds(2, 0, 6), cpuRounds(1, 1, 2), Ratio{true, true, 2.5, 2, 3}},
		{"no round with both", cpuRounds(2, 0), cpuRounds(0, 4), Ratio{true, false, 0.5, 0.5, 0.5}},
		{"base not measured", cpuRounds(2), cpuRounds(0), Ratio{}},
		{"not measured", cpuRounds(0), cpuRounds(2), Ratio{}},
	} {
		p, base := &Point{Rounds: c.p}, &Point{Rounds: c.base}
		if got := p.Ratio(base, CPU); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	var nobody *Point
	some := &Point{Rounds: cpuRounds(1)}
	if nobody.Ratio(some, CPU).OK || some.Ratio(nil, CPU).OK || some.Ratio(some, "none").OK {
		t.Error("a ratio without two points or without a metric")
	}
}

func TestSlope(t *testing.T) {
	e := Experiment{Metric: Memory, Points: []Point{
		{Server: "a", X: 1000, Rounds: []Round{{Memory: 11000}}},
		{Server: "a", X: 0, Rounds: []Round{{Memory: 1000}}},
		{Server: "a", X: 500, Rounds: []Round{{Memory: 9000}}},
		{Server: "a", X: 2000, Rounds: []Round{{CPU: 1}}},
		{Server: "b", X: 0, Rounds: []Round{{Memory: 1000}}},
	}}
	if got, ok := e.growth("a", "", figures[Memory]); got != (growth{10, 0, 1000}) || !ok {
		t.Errorf("a: %v %v, want 10 from 0 to 1000", got, ok)
	}
	for _, server := range []string{"b", "c"} {
		if _, ok := e.growth(server, "", figures[Memory]); ok {
			t.Errorf("%s has a slope without two points", server)
		}
	}
}

// The baseline takes 10 KiB each up to 100 connections and 40 KiB after that; the other,
// which takes 20 KiB each, got no further than 100, and the subject did not start at 0.
func bentMemory() *Data {
	at := func(server string, x float64, kib int64) Point {
		return Point{Server: server, X: x, Rounds: []Round{{Memory: kib << 10}}}
	}
	return &Data{Format: Format, Baseline: "them", Subject: "us",
		Servers: []Server{{Name: "them"}, {Name: "us"}, {Name: "short"}},
		Experiments: []Experiment{{ID: "idle", Title: "Idle", Unit: "connection", Metric: Memory, X: Axis{Label: "idle connections"},
			Points: []Point{
				at("them", 0, 1000), at("them", 100, 2000), at("them", 200, 6000),
				at("us", 100, 3000), at("us", 200, 4000), at("us", 400, 4100),
				at("short", 0, 1000), at("short", 100, 3000),
			},
			Failed: []Failed{{Server: "short", X: 50000, Why: "too many"}, {Server: "them", X: 400, Why: "reset"}},
		}}}
}

func TestSlopeRatioOverTheSameRange(t *testing.T) {
	d := bentMemory()
	e := &d.Experiments[0]
	tab := d.mainTable(e, figures[Memory], d.columns(e), e.rows())
	last := tab.Rows[len(tab.Rows)-1]
	want := []cell{{Value: "25.0"}, {Value: "3.67", Ratio: "0.250"}, {Value: "20.0", Ratio: "2.00"}}
	if last.Name != "each connection, KiB" || !slices.Equal(last.Cells, want) {
		t.Errorf("%q: %+v, want %+v", last.Name, last.Cells, want)
	}
}

// Memory has no rounds to judge by: it is one sentence and no point.
func TestMemoryStandsApart(t *testing.T) {
	d := bentMemory()
	d.Experiments[0].Failed = nil
	want := []string{"Resident memory for each connection, between 100 and 200 idle connections: us 10.0 KiB, them 40.0 KiB, ×0.250."}
	if got := d.summary(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSignTest(t *testing.T) {
	for _, c := range []struct {
		a, b int
		want float64
	}{
		{0, 0, 1}, {5, 0, 2. / 32}, {0, 6, 2. / 64}, {8, 1, 20. / 512}, {2, 7, 92. / 512}, {9, 0, 2. / 512}, {4, 4, 1}, {3, 12, 1152. / 32768},
	} {
		if got := signTest(c.a, c.b); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%d and %d: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	const l, h = 0.9, 1.1
	for _, c := range []struct {
		name   string
		rounds []float64
		want   verdict // of a figure of which less is better
	}{
		{"none are paired", nil, tooFew},
		{"four", []float64{l, l, l, l}, tooFew},
		{"five cannot decide", []float64{l, l, l, l, l}, same},
		{"six of six", []float64{l, l, l, l, l, l}, better},
		{"eight of nine, and one far off", []float64{l, l, l, l, l, l, l, l, 30}, better},
		{"seven of nine", []float64{l, l, l, l, l, l, l, h, h}, same},
		{"above", []float64{h, h, l, h, h, h, h, h, h}, worse},
		{"the same in some", []float64{h, h, h, h, h, 1, 1, 1, 1}, same},
	} {
		less, more := compared{f: figures[CPU], rounds: c.rounds}, compared{f: figures[Rate], rounds: c.rounds}
		turned := map[verdict]verdict{better: worse, worse: better, same: same, tooFew: tooFew}[c.want]
		if got := less.verdict(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := more.verdict(); got != turned {
			t.Errorf("%s, of a rate: %v, want %v", c.name, got, turned)
		}
	}
}

// The subject's points are decided for it and against it by rounds of which one says
// the opposite, not decided (with the best and the worst median), and of too few rounds.
func TestSummaryLines(t *testing.T) {
	d := judged(CPU)
	got := d.summary()
	want := []string{
		"us against them, 5 points judged: better at 2, worse at 1, no difference that the rounds show at 2. 2 points have too few rounds to judge.",
		"Best: ×0.500 (0.500–3.00), CPU time of “Test” at message size 1 KiB. Worst: ×2.00 (0.900–2.00), CPU time of “Test” at message size 4 KiB.",
		"Not measured: gone (not installed).",
		"Failures, named below: us (1).",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// Of a rate, more is better.
	if got := judged(Rate).summary()[1]; !strings.HasPrefix(got, "Best: ×2.00 ") || !strings.Contains(got, " Worst: ×0.500 ") {
		t.Errorf("of a rate: %q", got)
	}
	// Points of which none is decided have no extremes.
	points := d.Experiments[0].Points
	d.Experiments[0].Points = points[4:8]
	if got := d.summary(); got[0] != "us against them, 2 points judged: better at 0, worse at 0, no difference that the rounds show at 2." || got[1] != want[2] {
		t.Errorf("nothing decided: %q", got)
	}
	d.Experiments[0].Points = points[8:10]
	if got := d.summary(); got[0] != "us against them: no point is judged. 1 point has too few rounds to judge." || got[1] != want[2] {
		t.Errorf("nothing judged: %q", got)
	}
	d.Experiments[0].Points = points[2:4]
	if got := d.summary()[1]; !strings.HasPrefix(got, "Worst: ×2.00 ") {
		t.Errorf("one worse: %q", got)
	}
	d.Subject = "gone"
	if got := d.summary()[0]; got != "There is no point at which two servers can be compared." {
		t.Errorf("nothing to compare: %q", got)
	}
}

// judged has two points of the servers for each x; see TestSummaryLines.
func judged(m Metric) *Data {
	d := twoServers(m)
	e := &d.Experiments[0]
	e.Points = nil
	for _, c := range []struct {
		x      float64
		ratios []float64
	}{
		{1024, []float64{0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 3}},
		{4096, []float64{2, 2, 2, 2, 2, 2, 2, 2, 0.9}},
		{128, []float64{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 2, 2}},
		{256, []float64{9, 9, 9, 9, 9}},
		{512, []float64{0.1, 0.1, 0.1, 0.1}},
		{2048, []float64{0.9, 0.9, 0.9, 0.9, 0.9, 0.9}},
		{64, []float64{4}},
	} {
		base, own := Point{Server: "them", X: c.x}, Point{Server: "us", X: c.x}
		for _, q := range c.ratios {
			base.Rounds = append(base.Rounds, Round{CPU: 10, Rate: 10})
			own.Rounds = append(own.Rounds, Round{CPU: 10 * q, Rate: 10 * q})
		}
		e.Points = append(e.Points, base, own)
	}
	return d
}

func twoServers(m Metric) *Data {
	point := func(server string, x float64, v ...float64) Point {
		p := Point{Server: server, X: x}
		for _, f := range v {
			p.Rounds = append(p.Rounds, Round{CPU: f, Rate: f})
		}
		return p
	}
	return &Data{Format: Format, Baseline: "them",
		Servers: []Server{{Name: "them"}, {Name: "gone", Missing: "not installed"}, {Name: "us"}},
		Experiments: []Experiment{{ID: "test", Title: "Test", Unit: "echo", Metric: m,
			X: Axis{Label: "message size, bytes", Bytes: true, Log: true},
			Points: []Point{
				point("them", 1024, 2), point("us", 1024, 1),
				point("them", 2048, 10, 10, 10), point("us", 2048, 9, 10.5, 11),
				point("them", 4096, 2), point("us", 4096, 4),
				point("them", 8192, 2),
			},
			Failed: []Failed{{Server: "us", X: 8192, Why: "reset"}},
		}}}
}

func TestGlance(t *testing.T) {
	d := twoServers(CPU)
	own := d.Experiments[0]
	own.ID, own.Baseline = "own", "us"
	d.Experiments = append(d.Experiments, own)
	g := d.glance()
	check := func(row int, name string, cells ...string) {
		t.Helper()
		if g.Rows[row].Name != name {
			t.Errorf("row %q, want %q", g.Rows[row].Name, name)
		}
		for i, want := range cells {
			if got := g.Rows[row].Cells[i].Value; got != want {
				t.Errorf("%s, %s: %q, want %q", name, g.Head[i+1], got, want)
			}
		}
	}
	check(0, "Test: CPU time", "1", "0.500–2.00")
	check(1, "Test: CPU time, ratio to us", "0.500–2.00", "1")
}

// Other figures have no latency unless the experiment is about it, and the core's use
// where CPU time is what it is about: the median of the rounds, not of their parts.
func TestOtherFigures(t *testing.T) {
	rounds := []Round{
		{CPU: 5, Rate: 100e3, P50: 1, P99: 2, P999: 3, Memory: 1 << 20}, // 50 %
		{CPU: 4, Rate: 200e3, P50: 1, P99: 2, P999: 3, Memory: 1 << 20}, // 80 %
		{CPU: 9, Rate: 10e3, P50: 1, P99: 2, P999: 3, Memory: 1 << 20},  // 9 %
	}
	for _, c := range []struct {
		metric Metric
		want   []string
	}{
		{CPU, []string{"rate, echo/s", "resident memory, MiB", "core busy, %"}},
		{Rate, []string{"CPU time per echo, µs", "resident memory, MiB"}},
		{P99, []string{"CPU time per echo, µs", "rate, echo/s", "latency p99.9, µs", "resident memory, MiB"}},
		{Memory, []string{"CPU time per echo, µs", "rate, echo/s"}},
	} {
		d := &Data{Format: Format, Servers: []Server{{Name: "us"}}, Experiments: []Experiment{{ID: "a", Title: "A", Unit: "echo", Metric: c.metric, X: Axis{Label: "x"},
			Points: []Point{
				{Server: "us", X: 1, Rounds: rounds},
				{Server: "floor", X: 1, Calculated: true, Rounds: []Round{{CPU: 1}}},
			}}}}
		e := &d.Experiments[0]
		tab := d.otherTable(e, d.columns(e), e.rows())
		if got := tab.Head[2:]; !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.metric, got, c.want)
		}
		if c.metric != CPU {
			continue
		}
		if row := tab.Rows[0].Cells; len(tab.Rows) != 1 || row[len(row)-1].Value != "50.0" {
			t.Errorf("core busy: %+v, want 50.0 in one row", tab.Rows)
		}
	}
}
