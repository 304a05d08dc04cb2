package httpbench

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
)

// digits writes x with three significant digits, as far as they are in front of the point or behind it.
func digits(x float64) string {
	if x <= 0 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'f', max(0, 2-int(math.Floor(math.Log10(x)))), 64)
}

// hundredths writes x with two digits behind the point.
func hundredths(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

// spread writes the median of n values and, in brackets, the lowest and the highest one.
func spread(n int, median, low, high float64, write func(float64) string) string {
	switch n {
	case 0:
		return "–"
	case 1:
		return write(median)
	}
	return fmt.Sprintf("%s (%s–%s)", write(median), write(low), write(high))
}

// row is a Case as a line of a table: its title, a figure for each stack, the ratio, the requests a second of each,
// and how much of the time the server's core was busy.
type row struct{ title, crypto, sslnet, ratio, rates, busy string }

// row formats a case that has not failed.
func (c *Case) row() row {
	unit := 1.0
	if c.Metric == report.Memory {
		unit = 1 << 10
	}
	cell := func(stack string) string {
		s := c.point(stack).Summary(c.Metric)
		return spread(s.N, s.Median/unit, s.Min/unit, s.Max/unit, digits)
	}
	both := func(f func(*report.Point) string) string { return f(c.point(CryptoTLS)) + ", " + f(c.point(Sslnet)) }
	q, r := "–", c.ratio()
	if r.OK {
		q = spread(len(c.point(Sslnet).Rounds), r.Median, r.Min, r.Max, hundredths)
	}
	return row{c.Title, cell(CryptoTLS), cell(Sslnet), q,
		both(func(p *report.Point) string { return digits(p.Summary(report.Rate).Median) }), both(busy)}
}

// busy is the share of the time that the server's core was at work, the median of the rounds.
func busy(p *report.Point) string {
	var shares []report.Round
	for _, r := range p.Rounds {
		shares = append(shares, report.Round{CPU: r.CPU * r.Rate / 1e6})
	}
	s := (&report.Point{Rounds: shares}).Summary(report.CPU)
	return fmt.Sprintf("%.0f %%", 100*s.Median)
}

// verdict is what a case says: sslnet costs more or less in each round, or that depends on the round.
type verdict int

const (
	worse verdict = iota
	better
	undecided
)

func (c *Case) verdict() verdict {
	switch r := c.ratio(); {
	case !r.OK:
		return undecided
	case r.Min > 1:
		return worse
	case r.Max < 1:
		return better
	}
	return undecided
}

// finding is a verdict and the cases that it is of.
type finding struct {
	text  string
	cases []string
}

// findings are where sslnet costs more, where it costs less, and where the rounds do not agree. Of memory, only
// what is resident counts.
func (d *Data) findings() []finding {
	out := []finding{
		worse:     {text: "sslnet costs more than crypto/tls in every round"},
		better:    {text: "sslnet costs less than crypto/tls in every round"},
		undecided: {text: "The rounds do not agree which of the two costs less"},
	}
	for _, c := range slices.Concat(d.Cases, d.Idle) {
		r, title := c.ratio(), c.Title
		if c.Metric == report.Memory {
			title = "memory of an idle connection, " + title
		}
		if r.OK && !c.Part {
			f := &out[c.verdict()]
			f.cases = append(f.cases, fmt.Sprintf("%s (× %s)", title, hundredths(r.Median)))
		}
	}
	return slices.DeleteFunc(out, func(f finding) bool { return f.cases == nil })
}

// failures are the cases without figures.
func (d *Data) failures() []string {
	var out []string
	for _, c := range slices.Concat(d.Cases, d.Idle) {
		if c.Failed != "" {
			out = append(out, fmt.Sprintf("failed: %s: %s", c.Title, c.Failed))
		}
	}
	return out
}

// notes are what else a reader has to know, a sentence each.
func (d *Data) notes() []string {
	var out []string
	if d.Incomplete != "" {
		out = append(out, "This is not all: "+d.Incomplete+".")
	}
	if d.Quick {
		out = append(out, "A quick run, with few rounds: for a look, not for conclusions.")
	}
	for _, t := range d.Loads {
		if t.Missing != "" {
			out = append(out, fmt.Sprintf("%s was not used: %s.", t.Name, t.Missing))
		}
	}
	for _, c := range d.Cases {
		if c.Load == clientName {
			out = append(out, "Where the load is Go's own client, it needs more CPU time than the server, "+
				"so the server waits between requests, and each costs more than under full load.")
			break
		}
	}
	if d.IdleNote != "" {
		out = append(out, d.IdleNote)
	}
	return out
}

const (
	requestsHeading = "µs of the server's CPU time for one request"
	idleHeading     = "KiB of memory for one of %d idle keep-alive connections, after one request each"
	howToRead       = "Median of the rounds (lowest–highest). The ratio is sslnet's figure by crypto/tls's, round by round: " +
		"below 1, sslnet costs less."
)

// Text writes the figures for a terminal.
func (d *Data) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "net/http over crypto/tls and over sslnet, %s, GOMAXPROCS=%d\n%s\n", d.Setup, d.Procs, howToRead)
	if len(d.Cases) > 0 {
		fmt.Fprintf(&b, "\n%s; %s of %d ms\n", requestsHeading, plural(d.Rounds, "round"), d.RoundMillis)
		table(&b, d.Cases, true)
	}
	if len(d.Idle) > 0 {
		fmt.Fprintf(&b, "\n"+idleHeading+"; %s\n", d.IdleConns, plural(d.IdleRounds, "round"))
		table(&b, d.Idle, false)
	}
	for _, f := range d.findings() {
		fmt.Fprintf(&b, "\n%s:\n  %s\n", f.text, strings.Join(f.cases, "\n  "))
	}
	if rest := append(d.failures(), d.notes()...); rest != nil {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(rest, "\n"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// table writes the cases that have figures, with their rates or without.
func table(b *strings.Builder, cases []Case, rates bool) {
	tab := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	line := func(r row) {
		fmt.Fprintf(tab, "  %s\t%s\t%s\t%s", r.title, r.crypto, r.sslnet, r.ratio)
		if rates {
			fmt.Fprintf(tab, "\t%s\t%s", r.rates, r.busy)
		}
		fmt.Fprintln(tab)
	}
	line(row{"", CryptoTLS, Sslnet, "ratio", "requests/s", "core busy"})
	for _, c := range cases {
		if c.Points != nil {
			line(c.row())
		}
	}
	_ = tab.Flush() // to memory
}
