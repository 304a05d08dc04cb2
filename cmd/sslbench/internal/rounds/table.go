package rounds

import (
	"fmt"
	"slices"
	"strings"
)

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
- HTTP: net/http over sslhttp, compared with net/http over crypto/tls.

Where and how it was measured:

`
