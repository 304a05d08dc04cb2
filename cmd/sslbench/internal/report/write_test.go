package report

import (
	"encoding/xml"
	"flag"
	"fmt"
	"html"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var sampleDir = flag.String("sample", "", "write the sample report into this folder as well, to look at it")

// files writes the report and reads it back.
func files(t *testing.T, d *Data) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := d.Write(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(text)
	}
	for name, text := range out {
		if strings.HasSuffix(name, ".svg") || name == "report.html" {
			wellFormed(t, name, text)
		}
	}
	return out
}

// wellFormed also holds for the HTML, which is written so that it is XML too: every
// element is closed and every attribute quoted.
func wellFormed(t *testing.T, name, text string) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := dec.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func textOf(t *testing.T, d *Data) string {
	t.Helper()
	var b strings.Builder
	if err := d.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFilesAreThere(t *testing.T) {
	if *sampleDir != "" {
		if err := sample().Write(*sampleDir); err != nil {
			t.Fatal(err)
		}
	}
	got := slices.Sorted(maps.Keys(files(t, sample())))
	want := []string{"README.md", "conns-ratio.svg", "conns.svg", "data.json", "handshake-ratio.svg", "handshake.svg",
		"idle.svg", "latency-p50.svg", "latency-p99.svg", "report.html", "reverse-ratio.svg", "reverse.svg",
		"sink-ratio.svg", "sink.svg", "size-ratio.svg", "size.svg"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Each experiment's part of each output has every server's median at every x, the
// ratio, the spread, and the failures.
func TestEveryFigureIsThere(t *testing.T) {
	d := sample()
	out := files(t, d)
	parts := map[string][]string{
		"README.md":   strings.Split(out["README.md"], "\n## "),
		"report.html": strings.Split(out["report.html"], "<section>"),
		"text":        strings.Split(textOf(t, d), "\n\n"),
	}
	for i := range d.Experiments {
		e := &d.Experiments[i]
		for name, all := range parts {
			k := slices.IndexFunc(all, func(s string) bool { return strings.Contains(s[:min(len(s), 100)], e.Title) })
			if k < 0 {
				t.Errorf("%s: no part for %q", name, e.Title)
				continue
			}
			e.expect(t, d, name, all[k])
		}
	}
}

// expect looks for the cells in the part of an output that belongs to the experiment.
func (e *Experiment) expect(t *testing.T, d *Data, name, part string) {
	tables := cellsOf(name, part)
	for _, f := range e.mainFigures() {
		sc := f.scaleFor(e.Unit, e.medians(f))
		for _, p := range e.Points {
			s := p.Summary(f.id)
			row, column := e.X.text(p.X), p.Server
			if e.X.Categories {
				row = p.Label
			}
			if p.Calculated {
				column += " (calculated)"
			}
			want := digits(sc.of(s.Median))
			if s.N > 1 && name != "text" {
				want += fmt.Sprintf(" (%s–%s)", digits(sc.of(s.Min)), digits(sc.of(s.Max)))
			}
			if q := p.Ratio(e.Point(d.Base(e), p.X), f.id); q.OK && p.Server != d.Base(e) {
				want += " ×" + digits(q.Median)
				if s.N > 1 && name != "text" {
					want += fmt.Sprintf(" (%s–%s)", digits(q.Min), digits(q.Max))
				}
			}
			if !slices.Contains(tables[[2]string{row, column}], want) {
				t.Errorf("%s, %s, %s of %q at %q: %q, want %q", name, e.ID, f.id, column, row, tables[[2]string{row, column}], want)
			}
		}
	}
	for _, f := range e.Failed {
		if !strings.Contains(part, f.Why) {
			t.Errorf("%s, %s: the failure %q is not there", name, e.ID, f.Why)
		}
		if got := tables[[2]string{e.row(f.X, f.Label).label, f.Server}]; !f.All && !slices.Contains(got, "failed") {
			t.Errorf("%s, %s, %s at %v failed: the cell says %q", name, e.ID, f.Server, f.X, got)
		}
	}
}

var (
	htmlRow  = regexp.MustCompile(`(?s)<tr>(.*?)</tr>`)
	htmlCell = regexp.MustCompile(`(?s)<t[hd][^>]*>(.*?)</t[hd]>`)
	htmlTag  = regexp.MustCompile(`<[^>]*>`)
	gap      = regexp.MustCompile(`  +`)
)

// cellsOf finds the tables in an output: what stands at a row's and a column's name.
func cellsOf(name, part string) map[[2]string][]string {
	var rows [][]string
	tidy := func(s string) string {
		s = strings.ReplaceAll(strings.ReplaceAll(s, "<br>", ""), "<br />", " ")
		return strings.TrimSpace(gap.ReplaceAllString(s, " "))
	}
	switch name {
	case "report.html":
		for _, tr := range htmlRow.FindAllStringSubmatch(part, -1) {
			var row []string
			for _, td := range htmlCell.FindAllStringSubmatch(tr[1], -1) {
				row = append(row, html.UnescapeString(htmlTag.ReplaceAllString(tidy(td[1]), "")))
			}
			rows = append(rows, row)
		}
	case "README.md":
		for line := range strings.Lines(part) {
			if strings.HasPrefix(line, "| ") {
				var row []string
				for _, s := range strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|") {
					row = append(row, tidy(s))
				}
				rows = append(rows, row)
			} else {
				rows = append(rows, nil)
			}
		}
	default:
		for line := range strings.Lines(part) {
			if strings.HasPrefix(line, "  ") {
				rows = append(rows, gap.Split(strings.TrimSpace(line), -1))
			}
		}
	}
	cells := map[[2]string][]string{}
	var head []string
	for _, r := range rows {
		if len(r) < 2 {
			continue
		}
		// A heading starts with the label of the axis, a row with an x.
		if strings.Contains(" message size, bytes offered load, echo/s connections idle connections key type, version chunk size, bytes line length, bytes", " "+r[0]) {
			head = r
			continue
		}
		for i := 1; i < min(len(r), len(head)); i++ {
			key := [2]string{r[0], head[i]}
			cells[key] = append(cells[key], r[i])
		}
	}
	return cells
}

func TestDeterministic(t *testing.T) {
	first, second := files(t, sample()), files(t, sample())
	for name := range first {
		if first[name] != second[name] {
			t.Errorf("%s differs the second time", name)
		}
	}
	dir := t.TempDir()
	for range 2 {
		if err := sample().Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Read(filepath.Join(dir, "data.json"))
	if err != nil {
		t.Fatal(err)
	}
	again := files(t, d)
	for name := range first {
		if first[name] != again[name] {
			t.Errorf("%s differs when it is made from data.json", name)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(first) {
		t.Errorf("%d files, want %d: something was left behind", len(entries), len(first))
	}
}

// The folder cannot be written: an error that says so, and no half of a file.
func TestWriteErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := sample().Write(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("into a file: %v", err)
	}
	// A folder stands where a file belongs.
	if err := os.MkdirAll(filepath.Join(dir, "size.svg", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := sample().Write(dir); err == nil || !strings.Contains(err.Error(), "size.svg") {
		t.Errorf("over a folder: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if err := sample().Text(brokenWriter{}); err != io.ErrClosedPipe {
		t.Errorf("a writer that fails: %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
