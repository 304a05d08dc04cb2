package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// compared is the subject against the baseline at one x.
type compared struct {
	e  *Experiment
	at string
	f  figure
	Ratio
	rounds []float64 // the ratios of the rounds, as far as these are paired
}

// worse turns the ratio so that above 1 is worse, whatever the figure is.
func (c compared) worse() float64 {
	if c.f.more {
		return 1 / c.Median
	}
	return c.Median
}

// fewestRounds is how many rounds a point must have to be judged.
const fewestRounds = 5

// verdict is what the rounds of a point say about the subject.
type verdict int

const (
	tooFew verdict = iota // not judged
	same                  // no difference that the rounds show
	better
	worse
)

// verdict is a two-sided sign test at 5 %: were neither server better, a round's ratio
// would lie above 1 as often as below. Unlike the spread it gets sharper with more rounds.
func (c compared) verdict() verdict {
	if len(c.rounds) < fewestRounds {
		return tooFew
	}
	var below, above int
	for _, q := range c.rounds {
		switch {
		case q < 1:
			below++
		case q > 1:
			above++
		}
	}
	switch {
	case signTest(below, above) >= 0.05:
		return same
	case (above > below) == c.f.more:
		return better
	}
	return worse
}

// signTest is the probability that fair coins fall as unevenly as that, or more so.
func signTest(a, b int) float64 {
	n := a + b
	term := math.Pow(0.5, float64(n)) // of exactly k on one side
	p := 0.0
	for k := range min(a, b) + 1 {
		p += term
		term *= float64(n-k) / float64(k+1)
	}
	return min(1, 2*p)
}

func (c compared) String() string {
	spread := ""
	if c.Min != c.Max {
		spread = fmt.Sprintf(" (%s–%s)", digits(c.Min), digits(c.Max))
	}
	return fmt.Sprintf("×%s%s, %s of “%s” at %s", digits(c.Median), spread, c.f.name, clean(c.e.Title), c.at)
}

// compare lists a server's ratios in an experiment, by x.
func (d *Data) compare(e *Experiment, server string) []compared {
	var out []compared
	f := figures[e.Metric]
	for _, r := range e.rows() {
		p, base := e.Point(server, r.x), e.Point(d.Base(e), r.x)
		if q := p.Ratio(base, f.id); q.OK {
			out = append(out, compared{e, e.at(r), f, q, p.ratios(base, f)})
		}
	}
	return out
}

// summary says in a few lines where the subject stands, and then what is missing.
func (d *Data) summary() []string {
	var all []compared
	var memory []string
	subject := d.subject()
	for i := range d.Experiments {
		e := &d.Experiments[i]
		switch {
		case d.Base(e) != d.Baseline || subject == d.Baseline:
		case figures[e.Metric].kind == octets:
			memory = append(memory, d.memoryLine(e)...)
		default:
			all = append(all, d.compare(e, subject)...)
		}
	}
	out := append(d.verdictLines(all), memory...)
	if len(out) == 0 {
		out = append(out, "There is no point at which two servers can be compared.")
	}
	if missing := d.missing(func(Server) bool { return true }); missing != "" {
		out = append(out, "Not measured: "+missing+".")
	}
	failures := map[string]int{}
	for _, e := range d.Experiments {
		for _, f := range e.Failed {
			failures[f.Server]++
		}
	}
	var failed []string
	for _, s := range d.Servers {
		if n := failures[s.Name]; n > 0 {
			failed = append(failed, fmt.Sprintf("%s (%d)", s.Name, n))
		}
	}
	if len(failed) > 0 {
		out = append(out, "Failures, named below: "+strings.Join(failed, ", ")+".")
	}
	return out
}

// verdictLines count the points by what their rounds say, and name the extremes among
// those that are decided.
func (d *Data) verdictLines(all []compared) []string {
	if len(all) == 0 {
		return nil
	}
	by := map[verdict][]compared{}
	for _, c := range all {
		v := c.verdict()
		by[v] = append(by[v], c)
	}
	few := len(by[tooFew])
	line := fmt.Sprintf("%s against %s", d.subject(), d.Baseline)
	if judged := len(all) - few; judged > 0 {
		line += fmt.Sprintf(", %s judged: better at %d, worse at %d, no difference that the rounds show at %d.",
			plural(judged, "point"), len(by[better]), len(by[worse]), len(by[same]))
	} else {
		line += ": no point is judged."
	}
	switch {
	case few == 1:
		line += " 1 point has too few rounds to judge."
	case few > 1:
		line += fmt.Sprintf(" %d points have too few rounds to judge.", few)
	}
	out := []string{line}
	order := func(a, b compared) int { return cmp.Compare(a.worse(), b.worse()) }
	var extremes []string
	if v := by[better]; len(v) > 0 {
		extremes = append(extremes, "Best: "+slices.MinFunc(v, order).String()+".")
	}
	if v := by[worse]; len(v) > 0 {
		extremes = append(extremes, "Worst: "+slices.MaxFunc(v, order).String()+".")
	}
	if len(extremes) > 0 {
		out = append(out, strings.Join(extremes, " "))
	}
	return out
}

// memoryLine compares what one more connection takes. A memory experiment has one
// reading for each x, so there are no rounds to judge by.
func (d *Data) memoryLine(e *Experiment) []string {
	f, subject, base := figures[e.Metric], d.subject(), d.Base(e)
	ours, ok := e.growth(subject, base, f)
	if !ok || e.X.Categories {
		return nil
	}
	theirs, _ := e.growth(base, subject, f) // it has the same points
	ratio := ""
	if q, ok := e.growthRatio(subject, base, f); ok {
		ratio = ", ×" + digits(q)
	}
	axis, _, _ := strings.Cut(e.X.Label, ",")
	return []string{fmt.Sprintf("%s for each %s, between %s and %s %s: %s %s KiB, %s %s KiB%s.", upper(f.name), e.Unit,
		e.X.text(ours.from), e.X.text(ours.to), axis, subject, digits(ours.slope/(1<<10)), base, digits(theirs.slope/(1<<10)), ratio)}
}

// glance has the range of the ratios: a row for each experiment, a column for each server.
func (d *Data) glance() table {
	t := table{Head: []string{"ratio to " + orNone(d.Baseline) + ", lowest–highest"}}
	var cols []string
	ranges := map[[2]string]string{}
	for i := range d.Experiments {
		e := &d.Experiments[i]
		for _, c := range d.columns(e) {
			all := d.compare(e, c.name)
			if len(all) == 0 {
				continue
			}
			if c.name == d.Base(e) {
				ranges[[2]string{e.ID, c.name}] = "1"
				continue
			}
			low, high := all[0].Median, all[0].Median
			for _, q := range all {
				low, high = min(low, q.Median), max(high, q.Median)
			}
			text := digits(low)
			if len(all) > 1 && digits(high) != text {
				text += none + digits(high)
			}
			ranges[[2]string{e.ID, c.name}] = text
		}
	}
	for _, s := range d.Servers {
		if slices.ContainsFunc(d.Experiments, func(e Experiment) bool { return ranges[[2]string{e.ID, s.Name}] != "" }) {
			cols = append(cols, s.Name)
		}
	}
	if len(cols) < 2 {
		return table{}
	}
	t.Head = append(t.Head, cols...)
	for i := range d.Experiments {
		e := &d.Experiments[i]
		r := tableRow{Name: fmt.Sprintf("%s: %s", clean(e.Title), figures[e.Metric].name)}
		if b := d.Base(e); b != d.Baseline {
			r.Name += ", ratio to " + b
		}
		for _, name := range cols {
			text := ranges[[2]string{e.ID, name}]
			if text == "" {
				text = none
			}
			r.Cells = append(r.Cells, cell{Value: text})
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
