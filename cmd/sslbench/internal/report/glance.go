package report

import (
	"fmt"
	"slices"
	"strings"
)

// compared is the subject against the baseline at one x.
type compared struct {
	e  *Experiment
	at string
	f  figure
	Ratio
}

// worse turns the ratio so that above 1 is worse, whatever the figure is.
func (c compared) worse() float64 {
	if c.f.more {
		return 1 / c.Median
	}
	return c.Median
}

// within: rounds went both ways, so that the sign of the difference is not known.
func (c compared) within() bool { return c.Min <= 1 && c.Max >= 1 }

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
		q := e.Point(server, r.x).Ratio(e.Point(d.Base(e), r.x), f.id)
		if q.OK {
			out = append(out, compared{e, e.at(r), f, q})
		}
	}
	return out
}

// summary says in two lines where the subject stands, and then what is missing.
func (d *Data) summary() []string {
	var all []compared
	subject := d.subject()
	for i := range d.Experiments {
		if e := &d.Experiments[i]; d.Base(e) == d.Baseline && subject != d.Baseline {
			all = append(all, d.compare(e, subject)...)
		}
	}
	var out []string
	if len(all) == 0 {
		out = append(out, "There is no point at which two servers can be compared.")
	} else {
		var better, same, worse int
		for _, c := range all {
			switch {
			case c.within():
				same++
			case c.worse() < 1:
				better++
			default:
				worse++
			}
		}
		out = append(out, fmt.Sprintf("%s against %s, %s: better at %d, worse at %d, no difference beyond the rounds' spread at %d.",
			subject, d.Baseline, plural(len(all), "point"), better, worse, same))
		slices.SortStableFunc(all, func(a, b compared) int {
			switch {
			case a.worse() < b.worse():
				return -1
			case a.worse() > b.worse():
				return 1
			}
			return 0
		})
		best, last := all[0], all[len(all)-1]
		line := "Best: " + best.String() + "."
		if len(all) > 1 {
			line += " Worst: " + last.String() + "."
		}
		out = append(out, line)
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
