package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// figure is one of the numbers of a Round: how to get at it and how to call it.
type figure struct {
	id   Metric
	name string
	kind kind
	more bool // more is better
	get  func(Round) float64
}

// kind is what a figure is measured in.
type kind int

const (
	micros kind = iota
	count
	octets
	percent
)

// allFigures in the order of the tables.
var allFigures = []figure{
	{id: CPU, name: "CPU time", kind: micros, get: func(r Round) float64 { return r.CPU }},
	{id: Rate, name: "rate", kind: count, more: true, get: func(r Round) float64 { return r.Rate }},
	{id: P50, name: "latency p50", kind: micros, get: func(r Round) float64 { return r.P50 }},
	{id: P99, name: "latency p99", kind: micros, get: func(r Round) float64 { return r.P99 }},
	{id: P999, name: "latency p99.9", kind: micros, get: func(r Round) float64 { return r.P999 }},
	{id: Memory, name: "resident memory", kind: octets, get: func(r Round) float64 { return float64(r.Memory) }},
	{id: Peak, name: "peak memory", kind: octets, get: func(r Round) float64 { return float64(r.Peak) }},
}

var figures = func() map[Metric]figure {
	m := map[Metric]figure{}
	for _, f := range allFigures {
		m[f.id] = f
	}
	return m
}()

// busy is the share of the server's core that was in use. It follows from two of the
// numbers of a Round, so it is no Metric of an experiment.
var busy = figure{id: "busy", name: "core busy", kind: percent, get: func(r Round) float64 { return r.CPU * r.Rate / 1e6 * 100 }}

// label names the figure in an axis or a table's heading.
func (f figure) label(workUnit, unit string) string {
	switch f.id {
	case CPU:
		return fmt.Sprintf("%s per %s, %s", f.name, workUnit, unit)
	case Rate:
		return fmt.Sprintf("%s, %s", f.name, unit)
	}
	return f.name + ", " + unit
}

// ratioLabel names the ratio of the figure to the baseline's.
func (f figure) ratioLabel(workUnit, baseline string) string {
	name := f.name
	if f.id == CPU {
		name += " per " + workUnit
	}
	return name + ", ratio to " + baseline
}

// scale turns a figure into the unit that it is shown in.
type scale struct {
	div  float64
	unit string
}

func (s scale) of(v float64) float64 { return v / s.div }

// scaleFor picks one unit for a whole table or axis, so that the smallest of the
// values still has digits before the point where that is possible.
func (f figure) scaleFor(workUnit string, values []float64) scale {
	low, high := math.Inf(1), 0.0
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	switch f.kind {
	case count:
		return scale{1, workUnit + "/s"}
	case percent:
		return scale{1, "%"}
	case octets:
		switch {
		case low >= 1<<30 && high > 0:
			return scale{1 << 30, "GiB"}
		case high < 1<<20 && high > 0:
			return scale{1 << 10, "KiB"}
		}
		return scale{1 << 20, "MiB"}
	}
	switch {
	case high == 0:
	case low >= 1e6:
		return scale{1e6, "s"}
	case low >= 1e3:
		return scale{1e3, "ms"}
	case high < 1:
		return scale{1e-3, "ns"}
	}
	return scale{1, "µs"}
}

// digits writes v with three significant digits, and commas between thousands.
func digits(v float64) string {
	if v == 0 {
		return "0"
	}
	// The rounding first: 9.999 becomes 10.0, not 10.00.
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'e', 2, 64), 64)
	exp := int(math.Floor(math.Log10(math.Abs(v)) + 1e-9))
	if exp < -6 {
		return strconv.FormatFloat(v, 'e', 2, 64)
	}
	return thousands(strconv.FormatFloat(v, 'f', max(0, 2-exp), 64))
}

// thousands puts commas into the whole part of a decimal number of five digits
// or more; four digits are read well without.
func thousands(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	whole, rest := s, ""
	if i := strings.IndexByte(s, '.'); i >= 0 {
		whole, rest = s[:i], s[i:]
	}
	if len(whole) > 4 {
		var b strings.Builder
		for i, c := range whole {
			if i > 0 && (len(whole)-i)%3 == 0 {
				b.WriteByte(',')
			}
			b.WriteRune(c)
		}
		whole = b.String()
	}
	return sign + whole + rest
}

// bytesText writes a number of bytes exactly: 64, 1 KiB, 1.5 KiB, 16,000.
func bytesText(v float64) string {
	switch {
	case v >= 1<<20 && math.Mod(v, 1<<19) == 0:
		return plain(v/(1<<20)) + " MiB"
	case v >= 1<<10 && math.Mod(v, 1<<9) == 0:
		return plain(v/(1<<10)) + " KiB"
	}
	return plain(v)
}

func plain(v float64) string {
	return thousands(strconv.FormatFloat(v, 'f', -1, 64))
}

// text writes an x in a table, exactly.
func (a Axis) text(x float64) string {
	if a.Bytes {
		return bytesText(x)
	}
	return plain(x)
}

// tick writes an x below its axis, short: 1, 10, 1k, 12.5k, 1M.
func (a Axis) tick(x float64) string {
	switch abs := math.Abs(x); {
	case a.Bytes:
		return bytesText(x)
	case abs >= 1e9:
	case abs >= 1e6:
		return strconv.FormatFloat(x/1e6, 'g', 4, 64) + "M"
	case abs >= 1e3:
		return strconv.FormatFloat(x/1e3, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}
