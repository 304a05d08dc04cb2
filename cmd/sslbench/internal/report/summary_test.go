package report

import "testing"

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
	if got, ok := e.slope("a", figures[Memory]); got != 10 || !ok {
		t.Errorf("a: %v %v, want 10", got, ok)
	}
	for _, server := range []string{"b", "c"} {
		if _, ok := e.slope(server, figures[Memory]); ok {
			t.Errorf("%s has a slope without two points", server)
		}
	}
}

// The subject's ratios are 0.5, 1 within its spread, and 2.
func TestSummaryLines(t *testing.T) {
	d := twoServers(CPU)
	got := d.summary()
	want := []string{
		"us against them, 3 points: better at 1, worse at 1, no difference beyond the rounds' spread at 1.",
		"Best: ×0.500, CPU time of “Test” at message size 1 KiB. Worst: ×2.00, CPU time of “Test” at message size 4 KiB.",
		"Not measured: gone (not installed).",
		"Failures, named below: us (1).",
	}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q, want %q", got[i], want[i])
		}
	}
	// Of a rate, more is better.
	if got := twoServers(Rate).summary()[1]; got != "Best: ×2.00, rate of “Test” at message size 4 KiB. Worst: ×0.500, rate of “Test” at message size 1 KiB." {
		t.Errorf("of a rate: %q", got)
	}
	d.Subject = "gone"
	if got := d.summary()[0]; got != "There is no point at which two servers can be compared." {
		t.Errorf("nothing to compare: %q", got)
	}
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
