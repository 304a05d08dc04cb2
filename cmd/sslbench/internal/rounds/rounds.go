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

// subjects are the servers of this project, the first of which a row is about.
var subjects = []string{"sslecho", "sslhttp"}

// figures are what the columns of figures say, and what is counted as one.
var figures = map[string]struct {
	title string
	per   float64
}{CPU: {"µs of CPU", 1}, P99: {"µs, p99", 1}, Memory: {"KiB for each", 1 << 10}}

// Table is one Markdown table of all workloads: what a unit of work costs this
// project's server, the server that it is compared with, and the others.
func (f *File) Table() string {
	var b strings.Builder
	b.WriteString("| | | ours | compared with | ratio (lowest–highest) | others |\n|---|---|--:|--:|--:|---|\n")
	for _, w := range f.Workloads() {
		b.WriteString(f.row(w))
	}
	return b.String()
}

func (f *File) row(workload string) string {
	servers := f.servers(workload)
	i := slices.IndexFunc(subjects, func(s string) bool { return slices.Contains(servers, s) })
	if i < 0 {
		return ""
	}
	ours, base, figure := subjects[i], f.baseline(workload), figures[Figure(workload)]
	figureOf := func(server string) string {
		if s, ok := f.Of(workload, server, Figure(workload)); ok {
			return digits(s.Median / figure.per)
		}
		return "–"
	}
	ratio, compared := "–", "–"
	if r, ok := f.Of(workload, ours, RatioTo(base)); ok {
		ratio = fmt.Sprintf("%.2f (%.2f–%.2f)", r.Median, r.Low, r.High)
		compared = base + " " + figureOf(base)
	}
	var others []string
	for _, o := range servers {
		if o != ours && o != base {
			others = append(others, o+" "+figureOf(o))
		}
	}
	cells := []string{Title(workload), figure.title, figureOf(ours), compared, ratio, strings.Join(others, ", ")}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// Title is a workload's name for people: Echo, size 1k, conns 64.
func Title(workload string) string {
	return strings.NewReplacer("/", ", ", "=", " ").Replace(workload)
}

// Page is the table with what a reader has to know.
func (f *File) Page() string {
	var b strings.Builder
	b.WriteString(pageHead)
	b.WriteString(f.Table())
	b.WriteString(pageTail)
	for _, c := range f.Facts {
		fmt.Fprintf(&b, "- %s", strings.TrimPrefix(c.String(), "# "))
	}
	return b.String()
}

const pageHead = `# How sslecho stands beside other servers

For readers who want the figures. ` + "`make bench-compare`" + ` writes this page, the rounds
([rounds.txt](rounds.txt), which benchstat reads) and the picture.

Each row is a workload: the median of its rounds for this project's server, for
the server that it is compared with, and for the others. A ratio below 1 means
that ours costs less. Ratios are of the same figure, taken round by round.

![CPU time as ratios](ratios.svg)

`

const pageTail = `
- The servers run on one core, the load on another, all on loopback. The servers
  take turns every 60 ms and in who goes first; each works for a while unmeasured
  before its first round. All agree on one cipher suite and on X25519.
- CPU time is user and system time of all processes of the server. A stream's
  operation is a megabyte (10^6 bytes), counted in both directions.
- Open loop: messages are due by the clock, and latency counts from when one was
  due (coordinated omission). newconns is how many clients connect each second
  beside the load, and stay.
- Memory is the growth of what the server has resident, for each idle connection.
  The kernel's sockets are not in it. collected is after a garbage collection.
- HTTP: net/http over sslhttp with direct records, compared with net/http over crypto/tls.

Where and how it was measured:

`
