// Package rounds has the results of sslbench compare: raw rounds in Go's
// benchmark format, which benchstat reads, and the table and the picture that are
// made from them.
//
//	cpu: Intel(R) Xeon(R) Processor
//	BenchmarkEcho/size=1k/conns=64/server=nginx 1 6.3 cpu-µs/op 1.01 ratio-to-C
package rounds

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Value is a figure with its unit.
type Value struct {
	X    float64
	Unit string
}

// Units of a Value. A ratio's unit names the server that it refers to.
const (
	CPU     = "cpu-µs/op"
	P50     = "p50-µs"
	P99     = "p99-µs"
	Memory  = "B/conn"
	Rate    = "op/s"
	ratioTo = "ratio-to-"
)

// Figure is the unit that a workload is about: p99 in an open loop, memory of idle
// connections, and else CPU time.
func Figure(workload string) string {
	switch {
	case strings.HasPrefix(workload, "OpenLoop"):
		return P99
	case strings.HasPrefix(workload, "Idle"):
		return Memory
	}
	return CPU
}

// RatioTo is the unit of a ratio to a server, of a workload's Figure.
func RatioTo(server string) string { return ratioTo + server }

// Round is what one server did in one round of a workload.
type Round struct {
	Workload string // such as Echo/size=1k/conns=64
	Server   string
	Values   []Value
}

// File is a number of rounds, with facts about where and how they were made.
type File struct {
	Facts  []Fact
	Rounds []Round
}

// Fact is a line such as "cpu: Intel(R) Xeon(R) Processor". Without a key it is a
// remark, which benchstat ignores.
type Fact struct{ Key, Value string }

// String is the fact as a line of the format, which wants a key in small letters.
func (f Fact) String() string {
	key := strings.ToLower(f.Key) + ":"
	if f.Key == "" {
		key = "#"
	}
	return key + " " + strings.Join(strings.Fields(f.Value), " ") + "\n"
}

// UnitLines tell benchstat about units of which more is better.
const UnitLines = "Unit " + Rate + " better=higher\n"

// String is the round as a line of the format.
func (r Round) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Benchmark%s/server=%s 1", r.Workload, r.Server)
	for _, v := range r.Values {
		fmt.Fprintf(&b, " %s %s", strconv.FormatFloat(v.X, 'g', 5, 64), v.Unit)
	}
	return b.String() + "\n"
}

// Read reads facts and rounds. It ignores all other lines, as the format wants it.
func Read(r io.Reader) (*File, error) {
	f := &File{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, is := strings.CutPrefix(lines.Text(), "Benchmark")
		if !is {
			if remark, ok := strings.CutPrefix(lines.Text(), "# "); ok {
				f.Facts = append(f.Facts, Fact{"", remark})
			} else if key, value, ok := strings.Cut(lines.Text(), ": "); ok && !strings.Contains(key, " ") {
				f.Facts = append(f.Facts, Fact{key, value})
			}
			continue
		}
		words := strings.Fields(text)
		workload, server, ok := strings.Cut(words[0], "/server=")
		if !ok || len(words)%2 != 0 {
			return nil, fmt.Errorf("line %d is no round of a server: %s", n, lines.Text())
		}
		round := Round{Workload: workload, Server: server}
		for i := 2; i < len(words); i += 2 {
			x, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			round.Values = append(round.Values, Value{x, words[i+1]})
		}
		f.Rounds = append(f.Rounds, round)
	}
	return f, lines.Err()
}

// Summary is what the rounds of a server say.
type Summary struct{ Median, Low, High float64 }

// values are those of one unit, a round each.
func (f *File) values(workload, server, unit string) (out []float64) {
	for _, r := range f.Rounds {
		for _, v := range r.Values {
			if r.Workload == workload && r.Server == server && v.Unit == unit {
				out = append(out, v.X)
			}
		}
	}
	return out
}

// Of summarizes the rounds of a server; ok is false if there are none.
func (f *File) Of(workload, server, unit string) (s Summary, ok bool) {
	v := f.values(workload, server, unit)
	if len(v) == 0 {
		return s, false
	}
	slices.Sort(v)
	n := len(v)
	return Summary{(v[(n-1)/2] + v[n/2]) / 2, v[0], v[n-1]}, true
}

// Workloads are all that there are, in order.
func (f *File) Workloads() []string { return f.names(func(r Round) string { return r.Workload }) }

// servers are those of a workload.
func (f *File) servers(workload string) []string {
	return f.names(func(r Round) string {
		if r.Workload != workload {
			return ""
		}
		return r.Server
	})
}

func (f *File) names(of func(Round) string) (out []string) {
	for _, r := range f.Rounds {
		if name := of(r); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// baseline is the server that a workload's ratios refer to, or "".
func (f *File) baseline(workload string) string {
	for _, r := range f.Rounds {
		for _, v := range r.Values {
			if to, ok := strings.CutPrefix(v.Unit, ratioTo); ok && r.Workload == workload {
				return to
			}
		}
	}
	return ""
}

// digits writes x with three significant digits.
func digits(x float64) string {
	if x == 0 {
		return "0"
	}
	return strconv.FormatFloat(x, 'f', max(0, 2-int(math.Floor(math.Log10(math.Abs(x))))), 64)
}
