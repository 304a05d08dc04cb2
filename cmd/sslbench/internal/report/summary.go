package report

import (
	"slices"
	"strings"
)

// Summary is what the rounds of a point say about one figure. N is the number of
// rounds that measured it; with N = 0 it was not measured and the rest is 0.
type Summary struct {
	N                int
	Median, Min, Max float64
}

// Ratio is a figure divided by the baseline's at the same x. Without OK one of the two
// was not measured. Paired: Median, Min and Max are those of the rounds' own
// ratios; otherwise the numbers of rounds differ and all three are the ratio of the medians.
type Ratio struct {
	OK, Paired       bool
	Median, Min, Max float64
}

// Summary takes the median and the spread of a figure over the rounds that measured it.
func (p *Point) Summary(m Metric) Summary {
	f, ok := figures[m]
	if !ok {
		return Summary{}
	}
	return p.summary(f)
}

func (p *Point) summary(f figure) Summary {
	var v []float64
	for _, r := range p.Rounds {
		if x := f.get(r); x > 0 {
			v = append(v, x)
		}
	}
	return summarize(v)
}

func summarize(v []float64) Summary {
	if len(v) == 0 {
		return Summary{}
	}
	v = slices.Sorted(slices.Values(v))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return Summary{N: len(v), Median: mid, Min: v[0], Max: v[len(v)-1]}
}

// Ratio divides p's figure by base's, round by round: rounds with the same number were
// measured next to each other, so what disturbed the machine for a while
// cancels out. Both points are at the same x; either may be nil.
func (p *Point) Ratio(base *Point, m Metric) Ratio {
	f, ok := figures[m]
	if p == nil || base == nil || !ok {
		return Ratio{}
	}
	if s := summarize(p.ratios(base, f)); s.N > 0 {
		return Ratio{OK: true, Paired: true, Median: s.Median, Min: s.Min, Max: s.Max}
	}
	a, b := p.Summary(m), base.Summary(m)
	if a.N == 0 || b.N == 0 {
		return Ratio{}
	}
	q := a.Median / b.Median
	return Ratio{OK: true, Median: q, Min: q, Max: q}
}

// ratios are those of the rounds that measured the figure at both points; none where the
// numbers of rounds differ, since then they do not belong together.
func (p *Point) ratios(base *Point, f figure) []float64 {
	if len(p.Rounds) != len(base.Rounds) {
		return nil
	}
	var out []float64
	for i := range p.Rounds {
		a, b := f.get(p.Rounds[i]), f.get(base.Rounds[i])
		if a > 0 && b > 0 {
			out = append(out, a/b)
		}
	}
	return out
}

// Point is the server's at x, or nil.
func (e *Experiment) Point(server string, x float64) *Point {
	for i := range e.Points {
		if p := &e.Points[i]; p.Server == server && p.X == x {
			return p
		}
	}
	return nil
}

// Base is the name of the server that this experiment's ratios refer to, "" for none.
func (d *Data) Base(e *Experiment) string {
	if e.Baseline != "" {
		return e.Baseline
	}
	return d.Baseline
}

// subject is the server that the summary is about, "" for none.
func (d *Data) subject() string {
	if d.Subject != "" {
		return d.Subject
	}
	for _, s := range d.Servers {
		if s.Name != d.Baseline && s.Missing == "" {
			return s.Name
		}
	}
	return ""
}

// mainFigures are those that an experiment shows in plots and tables of their own.
func (e *Experiment) mainFigures() []figure {
	if e.Metric == P99 {
		return []figure{figures[P50], figures[P99]}
	}
	return []figure{figures[e.Metric]}
}

// isLatency: an experiment about such a figure offers its load at a fixed rate.
func isLatency(m Metric) bool { return m == P50 || m == P99 || m == P999 }

// otherFigures are those that were measured besides. Latencies are left out unless the
// experiment is about them: in a closed loop they are those of the load's own queue.
func (e *Experiment) otherFigures() []figure {
	var out []figure
	for _, f := range allFigures {
		isMain := slices.ContainsFunc(e.mainFigures(), func(m figure) bool { return m.id == f.id })
		if !isMain && (isLatency(e.Metric) || !isLatency(f.id)) && len(e.medians(f)) > 0 {
			out = append(out, f)
		}
	}
	if e.Metric == CPU && len(e.medians(busy)) > 0 {
		out = append(out, busy)
	}
	return out
}

// medians of a figure, over all points that have it.
func (e *Experiment) medians(f figure) []float64 {
	var out []float64
	for i := range e.Points {
		if s := e.Points[i].summary(f); s.N > 0 {
			out = append(out, s.Median)
		}
	}
	return out
}

// column is one server in an experiment's tables and plots.
type column struct {
	name       string
	calculated bool
	style      int // its place among all servers
}

func (c column) title() string {
	if c.calculated {
		return c.name + " (calculated)"
	}
	return c.name
}

// columns are the servers that took part, those that failed too, in the order of
// Data.Servers, and then what was calculated.
func (d *Data) columns(e *Experiment) []column {
	took := map[string]bool{}
	calculated := map[string]bool{}
	for _, p := range e.Points {
		took[p.Server] = true
		calculated[p.Server] = p.Calculated
	}
	for _, f := range e.Failed {
		took[f.Server] = true
	}
	var out, last []column
	add := func(c column) {
		if delete(took, c.name); c.calculated {
			last = append(last, c)
		} else {
			out = append(out, c)
		}
	}
	for i, s := range d.Servers {
		if took[s.Name] {
			add(column{s.Name, calculated[s.Name], i})
		}
	}
	for _, p := range e.Points {
		if took[p.Server] {
			add(column{p.Server, p.Calculated, len(d.Servers) + len(last)})
		}
	}
	return append(out, last...)
}

// row is one x of an experiment.
type row struct {
	x     float64
	label string
}

// rows are all x at which something was measured or failed, in order.
func (e *Experiment) rows() []row {
	labels := map[float64]string{}
	for _, p := range e.Points {
		labels[p.X] = p.Label
	}
	for _, f := range e.Failed {
		if !f.All {
			labels[f.X] = f.Label
		}
	}
	var out []row
	for x, label := range labels {
		out = append(out, e.row(x, label))
	}
	slices.SortFunc(out, func(a, b row) int {
		if a.x < b.x {
			return -1
		}
		return 1
	})
	return out
}

func (e *Experiment) row(x float64, label string) row {
	if !e.X.Categories {
		label = e.X.text(x)
	}
	return row{x, label}
}

// at names a row in a sentence: "message size 1 KiB", or the category.
func (e *Experiment) at(r row) string {
	if e.X.Categories {
		return r.label
	}
	name, _, _ := strings.Cut(e.X.Label, ",")
	return name + " " + r.label
}

// failed says whether the server failed at x or altogether.
func (e *Experiment) failed(server string, x float64) bool {
	return slices.ContainsFunc(e.Failed, func(f Failed) bool {
		return f.Server == server && (f.All || f.X == x)
	})
}

// growth is how much a figure grows by one x, and over which range of x that was taken.
type growth struct{ slope, from, to float64 }

// growth takes the server's first and last point. With another server's name only the
// x count at which that one was measured too, so that both can be taken over the same range.
func (e *Experiment) growth(server, other string, f figure) (growth, bool) {
	var first, last *Point
	for i := range e.Points {
		p := &e.Points[i]
		if p.Server != server || p.summary(f).N == 0 {
			continue
		}
		if other != "" {
			if q := e.Point(other, p.X); q == nil || q.summary(f).N == 0 {
				continue
			}
		}
		if first == nil || p.X < first.X {
			first = p
		}
		if last == nil || p.X > last.X {
			last = p
		}
	}
	if first == last {
		return growth{}, false
	}
	return growth{(last.summary(f).Median - first.summary(f).Median) / (last.X - first.X), first.X, last.X}, true
}

// growthRatio is the server's growth divided by the other's, over the x that both have.
func (e *Experiment) growthRatio(server, other string, f figure) (float64, bool) {
	a, okA := e.growth(server, other, f)
	b, okB := e.growth(other, server, f)
	if !okA || !okB || a.slope <= 0 || b.slope <= 0 {
		return 0, false
	}
	return a.slope / b.slope, true
}
