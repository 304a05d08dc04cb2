package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// textWidth is how wide the tables of Text become before they are split.
const textWidth = 120

// Text writes the summary and the main figures as tables for a terminal: medians and,
// behind ×, their ratio to the baseline. Below each is the largest spread. The
// error is the first one of w.
func (d *Data) Text(w io.Writer) error {
	if err := d.Check(); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Measured %s. Medians of the rounds; ×: ratio to %s; “–”: not measured.\n",
		d.Taken.UTC().Format("2006-01-02 15:04 UTC"), orNone(d.Baseline))
	if s := d.incomplete(); s != "" {
		fmt.Fprintln(&b, s)
	}
	for i := range d.Experiments {
		e := &d.Experiments[i]
		cols, rows := d.columns(e), e.rows()
		fmt.Fprintf(&b, "\n%s\n", clean(e.Title))
		if base := d.Base(e); base != d.Baseline {
			fmt.Fprintf(&b, "×: ratio to %s\n", base)
		}
		if len(e.Points) == 0 {
			b.WriteString("  nothing was measured\n")
		} else {
			for _, f := range e.mainFigures() {
				t := d.mainTable(e, f, cols, rows)
				fmt.Fprintf(&b, "  %s\n", t.Caption)
				t.text(&b)
				if s := e.widest(f); s != "" {
					fmt.Fprintf(&b, "  %s\n", s)
				}
			}
		}
		for _, f := range e.Failed {
			fmt.Fprintf(&b, "  failed: %s\n", f.sentence(e))
		}
	}
	b.WriteByte('\n')
	if len(d.Primitives) > 0 {
		b.WriteString("openssl speed, µs for one operation\n")
		t := table{Head: []string{"operation", "µs"}}
		for _, p := range d.Primitives {
			v := none
			if p.Seconds > 0 {
				v = digits(p.Seconds * 1e6)
			}
			t.Rows = append(t.Rows, tableRow{p.Name, []cell{{Value: v}}})
		}
		t.text(&b)
		b.WriteByte('\n')
	}
	for _, s := range d.summary() {
		fmt.Fprintln(&b, s)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// widest says where the rounds differed most: (highest - lowest) / median.
func (e *Experiment) widest(f figure) string {
	at, most := "", 0.0
	for i := range e.Points {
		p := &e.Points[i]
		s := p.Summary(f.id)
		if s.N > 1 && (s.Max-s.Min)/s.Median > most {
			most = (s.Max - s.Min) / s.Median
			at = fmt.Sprintf("%s, %s", p.Server, e.at(e.row(p.X, p.Label)))
		}
	}
	if at == "" {
		return ""
	}
	return fmt.Sprintf("widest spread: %s %% (%s)", digits(100*most), at)
}

// text writes a table, in parts side by side below each other where it is too wide.
func (t table) text(b *bytes.Buffer) {
	cells := make([][]string, len(t.Rows)+1)
	cells[0] = t.Head
	for i, r := range t.Rows {
		cells[i+1] = []string{r.Name}
		for _, c := range r.Cells {
			s := c.Value
			if c.Ratio != "" {
				s += " ×" + c.Ratio
			}
			cells[i+1] = append(cells[i+1], s)
		}
	}
	widths := make([]int, len(t.Head))
	for _, r := range cells {
		for k, s := range r {
			widths[k] = max(widths[k], utf8.RuneCountInString(s))
		}
	}
	for from := 1; from < len(t.Head); {
		to, used := from, widths[0]+2
		for to < len(t.Head) && (to == from || used+widths[to]+2 <= textWidth) {
			used += widths[to] + 2
			to++
		}
		for _, r := range cells {
			b.WriteString("  " + r[0] + pad(r[0], widths[0]))
			for k := from; k < to; k++ {
				b.WriteString("  " + pad(r[k], widths[k]) + r[k])
			}
			b.WriteByte('\n')
		}
		from = to
	}
}

func pad(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
