package report

import (
	"fmt"
	"slices"
	"strings"
)

// howTo explains what the report at hand has, and nothing else.
func (d *Data) howTo() []string {
	out := []string{
		"CPU time is the server's own, user and system, all threads, divided by the units of work that it did in the round. What the client spends is not in it. Less is better.",
	}
	if s := d.roundsText(); s != "" {
		out = append(out, s)
	}
	out = append(out, "A figure is the median of the rounds; in brackets are the lowest and the highest round. In the plots the spread is drawn as error bars. “–” means not measured.")
	if d.Baseline != "" {
		out = append(out,
			fmt.Sprintf("× is the ratio to %s at the same x: below 1 is less than it, above 1 is more. The servers take turns within a round, so the ratio is taken round by round, and its median and spread are shown. Where the numbers of rounds differ it is the ratio of the medians, without a spread.", d.Baseline),
			fmt.Sprintf("The first lines call a point better or worse where so many of its rounds' ratios lie on the same side of 1 that chance alone would do so less often than 5 times in 100 (a two-sided sign test: 8 of 9 rounds, or all of 6). They judge no point with fewer than %d rounds; it takes 6 to show a difference. Among many points chance alone decides some.", fewestRounds))
	}
	if d.has(func(e *Experiment) bool { return e.Metric == CPU && len(e.medians(busy)) > 0 }) {
		out = append(out, "“Core busy”, among the other figures, is CPU time times rate: the share of the server's core that was in use. Where it is far below 100 % the load generator or waiting is the limit, so the rate is not the most that the server can do. What a unit costs depends somewhat on how busy the server is.")
	}
	if d.has(func(e *Experiment) bool { return figures[e.Metric].kind == octets }) {
		out = append(out, "Memory by idle connections is one reading for each point, and the servers do not take turns: there is no spread, and its ratios are those of single readings. What each connection takes is the growth from a server's first point to its last; the ratio is taken over the points that the baseline has too.")
	}
	if d.has(func(e *Experiment) bool {
		return slices.ContainsFunc(e.Points, func(p Point) bool { return p.Calculated })
	}) {
		out = append(out, "The floor is calculated, not measured: the least that the work could cost with this machine's libcrypto, put together from the other figures here and from the primitives at the end. No server can be expected to reach it.")
	}
	return out
}

func (d *Data) has(which func(*Experiment) bool) bool {
	for i := range d.Experiments {
		if which(&d.Experiments[i]) {
			return true
		}
	}
	return false
}

// roundsText says how many rounds there are, how long they last, and where there are fewer.
func (d *Data) roundsText() string {
	var out string
	length := fmt.Sprintf("%d ms", d.RoundMillis)
	if d.RoundMillis >= 1000 {
		length = plain(float64(d.RoundMillis)/1000) + " s"
	}
	switch {
	case d.RoundsEach > 0 && d.RoundMillis > 0:
		out = fmt.Sprintf("Each server has %s of %s at each point, unless an experiment's text says otherwise.", plural(d.RoundsEach, "round"), length)
	case d.RoundsEach > 0:
		out = fmt.Sprintf("Each server has %s at each point, unless an experiment's text says otherwise.", plural(d.RoundsEach, "round"))
	case d.RoundMillis > 0:
		return fmt.Sprintf("A round lasts %s, unless an experiment's text says otherwise.", length)
	default:
		return ""
	}
	fewer := 0
	for i := range d.Experiments {
		e := &d.Experiments[i]
		for _, p := range e.Points {
			if figures[e.Metric].kind != octets && !p.Calculated && len(p.Rounds) < d.RoundsEach {
				fewer++
			}
		}
	}
	if fewer > 0 {
		out += fmt.Sprintf(" Points of a server that have fewer: %d.", fewer)
	}
	return out
}

// incomplete is "" when the report is whole.
func (d *Data) incomplete() string {
	s := strings.TrimRight(clean(d.Incomplete), ".")
	if s == "" {
		return ""
	}
	return "This report is incomplete: " + s + "."
}
