package report

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// page is the whole report as text that is ready to be escaped and laid out. It is the
// one place where figures become words, so that all outputs say the same.
type page struct {
	Title    string
	Taken    string
	Notices  []string // what makes the figures less than they seem
	Summary  []string
	Glance   table
	Machine  [][2]string
	Servers  []serverText
	Commands []string
	HowTo    []string
	Sections []section

	Primitives table
}

type serverText struct {
	Name, Version, Missing string
	Commands               []Command
}

// First is the command line that stands in the table.
func (s serverText) First() string {
	if len(s.Commands) == 0 {
		return ""
	}
	return s.Commands[0].Line
}

// Started says whether there is a server with a command line to show.
func (p *page) Started() bool {
	return slices.ContainsFunc(p.Servers, func(s serverText) bool { return len(s.Commands) > 0 })
}

type section struct {
	ID, Title, What, Setup string

	Plots    []picture
	Tables   []table // the figures that the experiment is about
	Others   table   // the rest, medians only
	Notes    []string
	Failures []string
}

// table has one heading for each column, the rows' names included.
type table struct {
	Caption string
	Head    []string
	Rows    []tableRow
}

type tableRow struct {
	Name  string
	Cells []cell
}

// cell is one figure: "12.3", "12.1–12.6", "0.95", "0.93–0.97"; what is not known is "".
// A cell without a figure has a Value that says so: none or failedCell.
type cell struct{ Value, Spread, Ratio, RatioSpread string }

const (
	none       = "–"
	failedCell = "failed"
)

// picture is one plot.
type picture struct {
	File string // in the report's folder
	Alt  string
	SVG  []byte
}

func (d *Data) page() (*page, error) {
	p := &page{
		Title:    "TLS servers side by side",
		Taken:    d.Taken.UTC().Format("2 January 2006, 15:04 UTC"),
		Summary:  d.summary(),
		Glance:   d.glance(),
		Commands: d.Commands,
		HowTo:    d.howTo(),
		Machine: [][2]string{
			{"CPU", orNone(d.Machine.CPU)},
			{"cores", countText(d.Machine.Cores)},
			{"memory", memoryText(d.Machine.Memory)},
			{"kernel", orNone(d.Machine.Kernel)},
			{"OpenSSL", orNone(d.Machine.OpenSSL)},
			{"Go", orNone(d.Machine.Go)},
		},
	}
	if s := d.subject(); s != "" && d.Baseline != "" && s != d.Baseline {
		p.Title += fmt.Sprintf(": %s and %s", s, d.Baseline)
	}
	if s := d.incomplete(); s != "" {
		p.Notices = append(p.Notices, s)
	}
	if d.Quick {
		p.Notices = append(p.Notices, "This was a quick run: few points and short rounds. Its figures are rough.")
	}
	for _, s := range d.Servers {
		t := serverText{Name: s.Name, Version: clean(s.Version), Missing: clean(s.Missing)}
		for _, c := range s.Commands {
			t.Commands = append(t.Commands, Command{clean(c.For), clean(c.Line), cleanLines(c.Config), clean(c.Note)})
		}
		p.Servers = append(p.Servers, t)
	}
	for i := range d.Experiments {
		s, err := d.section(&d.Experiments[i])
		if err != nil {
			return nil, fmt.Errorf("experiment %q: %w", d.Experiments[i].ID, err)
		}
		p.Sections = append(p.Sections, s)
	}
	if len(d.Primitives) > 0 {
		p.Primitives.Head = []string{"operation", "µs", "a second"}
	}
	for _, o := range d.Primitives {
		r := tableRow{Name: o.Name, Cells: []cell{{Value: none}, {Value: none}}}
		if o.Seconds > 0 {
			r.Cells = []cell{{Value: digits(o.Seconds * 1e6)}, {Value: digits(1 / o.Seconds)}}
		}
		p.Primitives.Rows = append(p.Primitives.Rows, r)
	}
	return p, nil
}

func (d *Data) section(e *Experiment) (section, error) {
	s := section{ID: e.ID, Title: clean(e.Title), What: clean(e.What), Setup: clean(e.Setup)}
	var err error
	if s.Plots, err = d.plots(e); err != nil {
		return s, err
	}
	cols, rows := d.columns(e), e.rows()
	if len(e.Points) > 0 {
		for _, f := range e.mainFigures() {
			s.Tables = append(s.Tables, d.mainTable(e, f, cols, rows))
		}
		s.Others = d.otherTable(e, cols, rows)
	} else {
		s.Notes = append(s.Notes, "Nothing was measured.")
	}
	for _, f := range e.Failed {
		s.Failures = append(s.Failures, f.sentence(e))
	}
	took := map[string]bool{}
	for _, c := range cols {
		took[c.name] = true
	}
	if missing := d.missing(func(s Server) bool { return !took[s.Name] }); missing != "" {
		s.Notes = append(s.Notes, "Not measured: "+missing+".")
	}
	return s, nil
}

func (f Failed) sentence(e *Experiment) string {
	at := "the whole experiment"
	if !f.All {
		at = e.at(e.row(f.X, f.Label))
	}
	return fmt.Sprintf("%s, %s: %s", f.Server, clean(at), orNone(clean(f.Why)))
}

// missing names the servers that were not measured, with the reasons.
func (d *Data) missing(which func(Server) bool) string {
	var out []string
	for _, s := range d.Servers {
		if s.Missing != "" && which(s) {
			out = append(out, fmt.Sprintf("%s (%s)", s.Name, clean(s.Missing)))
		}
	}
	return strings.Join(out, ", ")
}

func (d *Data) mainTable(e *Experiment, f figure, cols []column, rows []row) table {
	base := d.Base(e)
	sc := f.scaleFor(e.Unit, e.medians(f))
	t := table{Caption: upper(f.label(e.Unit, sc.unit)), Head: []string{e.X.Label}}
	for _, c := range cols {
		t.Head = append(t.Head, c.title())
	}
	for _, r := range rows {
		tr := tableRow{Name: r.label}
		for _, c := range cols {
			tr.Cells = append(tr.Cells, e.cell(c.name, base, r.x, f, sc))
		}
		t.Rows = append(t.Rows, tr)
	}
	if f.kind == octets && !e.X.Categories {
		if tr, ok := e.slopeRow(f, cols, base); ok {
			t.Rows = append(t.Rows, tr)
		}
	}
	return t
}

func (e *Experiment) cell(server, base string, x float64, f figure, sc scale) cell {
	p := e.Point(server, x)
	var s Summary
	if p != nil {
		s = p.summary(f)
	}
	if s.N == 0 {
		if e.failed(server, x) {
			return cell{Value: failedCell}
		}
		return cell{Value: none}
	}
	c := cell{Value: digits(sc.of(s.Median))}
	if s.N > 1 {
		c.Spread = digits(sc.of(s.Min)) + none + digits(sc.of(s.Max))
	}
	if server == base {
		return c
	}
	if q := p.Ratio(e.Point(base, x), f.id); q.OK {
		c.Ratio = digits(q.Median)
		if q.Paired && s.N > 1 {
			c.RatioSpread = digits(q.Min) + none + digits(q.Max)
		}
	}
	return c
}

// slopeRow says what one more connection costs: a server's figure over all its points, the
// ratio over the x that it has in common with the baseline.
func (e *Experiment) slopeRow(f figure, cols []column, base string) (tableRow, bool) {
	const unit = 1 << 10
	tr := tableRow{Name: "each " + e.Unit + ", KiB"}
	found := false
	for _, c := range cols {
		g, ok := e.growth(c.name, "", f)
		if !ok {
			tr.Cells = append(tr.Cells, cell{Value: none})
			continue
		}
		found = true
		v := cell{Value: digits(g.slope / unit)}
		if q, ok := e.growthRatio(c.name, base, f); ok && c.name != base {
			v.Ratio = digits(q)
		}
		tr.Cells = append(tr.Cells, v)
	}
	return tr, found
}

// otherTable has a row for each server and x, since its columns are the figures.
func (d *Data) otherTable(e *Experiment, cols []column, rows []row) table {
	others := e.otherFigures()
	if len(others) == 0 {
		return table{}
	}
	t := table{Caption: "Other figures, medians", Head: []string{e.X.Label, "server"}}
	var scales []scale
	for _, f := range others {
		sc := f.scaleFor(e.Unit, e.medians(f))
		scales = append(scales, sc)
		t.Head = append(t.Head, f.label(e.Unit, sc.unit))
	}
	for _, r := range rows {
		for _, c := range cols {
			tr := tableRow{Name: r.label, Cells: []cell{{Value: c.title()}}}
			any := false
			for i, f := range others {
				v := e.cell(c.name, "", r.x, f, scales[i])
				any = any || v.Value != none && v.Value != failedCell
				tr.Cells = append(tr.Cells, cell{Value: v.Value})
			}
			if any {
				t.Rows = append(t.Rows, tr)
			}
		}
	}
	return t
}

// clean makes one printable line of a text that others wrote: an error, a version.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// cleanLines keeps a text's lines, their indentation and their spaces, and replaces what no
// page can show.
func cleanLines(s string) string {
	s = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ReplaceAll(s, "\r\n", "\n"))
	return strings.TrimRight(s, "\n")
}

func orNone(s string) string {
	if s = clean(s); s == "" {
		return none
	}
	return s
}

func countText(n int) string {
	if n == 0 {
		return none
	}
	return fmt.Sprint(n)
}

func memoryText(n int64) string {
	if n == 0 {
		return none
	}
	return digits(float64(n)/(1<<30)) + " GiB"
}

func upper(s string) string {
	r := []rune(s)
	r[0] = unicode.ToUpper(r[0])
	return string(r)
}
