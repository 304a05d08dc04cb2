package report

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
)

func (p *page) markdown() []byte {
	b := &markdown{}
	b.line("# %s", mdText(p.Title))
	b.line("Measured %s with `sslbench compare`. The same as one page: [report.html](report.html); the raw data: [data.json](data.json).", p.Taken)
	for _, s := range p.Notices {
		b.line("**%s**", mdText(s))
	}
	for _, s := range p.Summary {
		fmt.Fprintf(b, "- %s\n", mdText(s))
	}
	b.WriteByte('\n')
	if len(p.Glance.Rows) > 0 {
		b.line("## At a glance")
		b.table(p.Glance)
	}

	b.line("## Machine")
	machine := table{Head: []string{"", ""}}
	for _, m := range p.Machine {
		machine.Rows = append(machine.Rows, tableRow{m[0], []cell{{Value: m[1]}}})
	}
	b.table(machine)

	b.line("## Servers")
	b.WriteString("| server | version | command |\n|---|---|---|\n")
	for _, s := range p.Servers {
		command := none
		switch {
		case s.Missing != "":
			command = "not measured: " + mdText(s.Missing)
		case s.First() != "":
			command = strings.ReplaceAll(mdCode(s.First()), "|", `\|`)
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", mdText(s.Name), mdText(orNone(s.Version)), command)
	}
	b.WriteByte('\n')
	if p.Started() {
		b.started(p.Servers)
	}
	if len(p.Commands) > 0 {
		b.line("## How to repeat it")
		b.code("sh", strings.Join(p.Commands, "\n"))
	}

	b.line("## How to read it")
	for _, s := range p.HowTo {
		fmt.Fprintf(b, "- %s\n", mdText(s))
	}
	b.WriteByte('\n')

	for _, s := range p.Sections {
		b.section(s)
	}

	if len(p.Primitives.Rows) > 0 {
		b.line("## Primitives")
		b.line("What one operation of libcrypto costs on this machine, by `openssl speed`.")
		b.table(p.Primitives)
	}
	return append(bytes.TrimRight(b.Bytes(), "\n"), '\n')
}

type markdown struct{ bytes.Buffer }

// line writes a block and the empty line behind it.
func (b *markdown) line(format string, args ...any) {
	fmt.Fprintf(b, format+"\n\n", args...)
}

// code writes a block that nothing in the text can end.
func (b *markdown) code(language, text string) {
	fence := strings.Repeat("`", max(3, longestRun(text)+1))
	b.line("%s%s\n%s\n%s", fence, language, text, fence)
}

func (b *markdown) started(servers []serverText) {
	b.line("### How each server was started")
	for _, s := range servers {
		if len(s.Commands) == 0 {
			continue
		}
		b.line("**%s**", mdText(s.Name))
		for _, c := range s.Commands {
			purpose := ""
			if c.For != "" {
				purpose = mdText(c.For) + ": "
			}
			if c.Line != "" {
				purpose += mdCode(c.Line)
			}
			b.line("%s", purpose)
			if c.Note != "" {
				b.line("%s", mdText(c.Note))
			}
			if c.Config != "" {
				b.line("<details><summary>Configuration file</summary>")
				b.code("", c.Config)
				b.line("</details>")
			}
		}
	}
}

func (b *markdown) section(s section) {
	b.line("## %s", mdText(s.Title))
	if s.What != "" {
		b.line("%s", mdText(s.What))
	}
	if s.Setup != "" {
		b.line("Setup: %s", mdText(s.Setup))
	}
	for _, pic := range s.Plots {
		b.line("![%s](%s)", mdText(pic.Alt), pic.File)
	}
	for _, t := range s.Tables {
		b.table(t)
	}
	if len(s.Failures) > 0 {
		b.line("Failed:")
		for _, f := range s.Failures {
			fmt.Fprintf(b, "- %s\n", mdText(f))
		}
		b.WriteByte('\n')
	}
	for _, n := range s.Notes {
		b.line("%s", mdText(n))
	}
	if len(s.Others.Rows) > 0 {
		b.line("<details><summary>%s</summary>", mdText(s.Others.Caption))
		t := s.Others
		t.Caption = ""
		b.table(t)
		b.line("</details>")
	}
}

func (b *markdown) table(t table) {
	if t.Caption != "" {
		b.line("**%s**", mdText(t.Caption))
	}
	for _, h := range t.Head {
		fmt.Fprintf(b, "| %s ", mdText(h))
	}
	b.WriteString("|\n|---")
	for _, h := range t.Head[1:] {
		if numeric := h != "" && h != "server"; numeric {
			b.WriteString("|--:")
		} else {
			b.WriteString("|---")
		}
	}
	b.WriteString("|\n")
	for _, r := range t.Rows {
		fmt.Fprintf(b, "| %s ", mdText(r.Name))
		for _, c := range r.Cells {
			fmt.Fprintf(b, "| %s ", mdText(c.Value))
			if c.Spread != "" {
				fmt.Fprintf(b, "(%s) ", mdText(c.Spread))
			}
			if c.Ratio != "" {
				fmt.Fprintf(b, "<br>×%s ", c.Ratio)
			}
			if c.RatioSpread != "" {
				fmt.Fprintf(b, "(%s) ", c.RatioSpread)
			}
		}
		b.WriteString("|\n")
	}
	b.WriteByte('\n')
}

// mdText escapes what Markdown would take for markup. An underscore within a word is none.
func mdText(s string) string {
	var b strings.Builder
	rs := []rune(s)
	word := func(i int) bool {
		return i >= 0 && i < len(rs) && (unicode.IsLetter(rs[i]) || unicode.IsDigit(rs[i]))
	}
	for i, r := range rs {
		switch {
		case r == '_' && word(i-1) && word(i+1):
		case strings.ContainsRune("\\`*_[]<>|&~#", r):
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// mdCode is a code span, whatever backticks are inside.
func mdCode(s string) string {
	fence := strings.Repeat("`", longestRun(s)+1)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return fence + s + fence
}

// longestRun is the length of the longest row of backticks.
func longestRun(s string) int {
	longest, n := 0, 0
	for _, r := range s {
		if n++; r != '`' {
			n = 0
		}
		longest = max(longest, n)
	}
	return longest
}
