package report

import (
	"bytes"
	"html"
	"regexp"
	"strings"
	"testing"
)

func TestMissingServersAreNamed(t *testing.T) {
	d := sample()
	out := files(t, d)
	for name, text := range map[string]string{"README.md": out["README.md"], "report.html": out["report.html"], "text": textOf(t, d)} {
		if !strings.Contains(text, "hitch (not installed: no hitch in PATH)") {
			t.Errorf("%s: hitch is not named as missing", name)
		}
		if strings.ContainsRune(text, '\x1b') {
			t.Errorf("%s: an escape character got through", name)
		}
	}
	// Once in the summary and once for each experiment.
	for _, name := range []string{"README.md", "report.html"} {
		if got := strings.Count(out[name], "hitch (not installed"); got != 1+len(d.Experiments) {
			t.Errorf("%s: hitch is named %d times, want %d", name, got, 1+len(d.Experiments))
		}
	}
}

func TestHeadings(t *testing.T) {
	d := sample()
	d.Quick = true
	out := files(t, d)
	for _, name := range []string{"README.md", "report.html"} {
		text := html.UnescapeString(out[name])
		at := -1
		for _, want := range []string{"TLS servers side by side", "4 March 2026, 05:06 UTC", "quick run", "sslecho against openssl s_server",
			"Machine", "Invented CPU", "OpenSSL 3.0.15 3 Sep 2024", "Servers", "tls_epoll 127.0.0.1 0 server.pem", "How to repeat it", "make bench-compare",
			"How to read it", "The floor is calculated", "Not measured: hitch", "Primitives", "sign rsa2048"} {
			i := strings.Index(text[at+1:], want)
			if i < 0 {
				t.Errorf("%s: %q is not there, or not in order", name, want)
				continue
			}
			at += 1 + i
		}
	}
	d.Quick = false
	if strings.Contains(files(t, d)["README.md"], "quick run") {
		t.Error("a full run is called quick")
	}
}

func TestEscaping(t *testing.T) {
	d := sample()
	d.Servers[0].Name, d.Servers[9].Name = nasty, "other"
	d.Subject = nasty
	for i := range d.Experiments {
		e := &d.Experiments[i]
		for k := range e.Points {
			if e.Points[k].Server == "sslecho" {
				e.Points[k].Server = nasty
			}
		}
		e.Title += " <b>|*"
		e.Failed = append(e.Failed, Failed{Server: nasty, All: true, Why: nastyWhy})
	}
	d.Commands = append(d.Commands, "echo '```' <&2")
	out := files(t, d)
	page := out["report.html"]
	for _, bad := range []string{"<script", "a<b", "<b>", nasty} {
		if strings.Contains(page, bad) {
			t.Errorf("report.html has %q unescaped", bad)
		}
	}
	if !strings.Contains(page, html.EscapeString(nasty)) {
		t.Error("report.html does not name the server")
	}
	svg := out["size.svg"]
	if !strings.Contains(svg, ">"+html.EscapeString(nasty)+"</text>") {
		t.Error("size.svg does not name the server")
	}
	md := out["README.md"]
	if bad := regexp.MustCompile(`[^\\](<script|<b>)|[^\\]<b |c\|d`).FindString(md); bad != "" {
		t.Errorf("README.md has %q unescaped", bad)
	}
	if !strings.Contains(md, "````sh\n") || !strings.Contains(md, "\n````\n") {
		t.Error("README.md: the commands' fence is not longer than the backticks inside")
	}
	// All rows of a table have the same number of cells.
	cells := 0
	for line := range strings.Lines(md) {
		if !strings.HasPrefix(line, "|") {
			cells = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if cells != 0 && n != cells {
			t.Errorf("%d cells instead of %d in %q", n-1, cells-1, line)
		}
		cells = n
	}
}

func TestMarkdownText(t *testing.T) {
	for in, want := range map[string]string{
		"s_server": "s_server", "_a_": `\_a\_`, "a|b": `a\|b`, "<x>": `\<x\>`, "a*b [c]": `a\*b \[c\]`, "12.3–4": "12.3–4",
	} {
		if got := mdText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"a": "`a`", "a`b": "``a`b``", "`a``": "``` `a`` ```"} {
		if got := mdCode(in); got != want {
			t.Errorf("code %q: %q, want %q", in, got, want)
		}
	}
}

// The page needs nothing but itself.
func TestSelfContained(t *testing.T) {
	out := files(t, sample())
	outside := regexp.MustCompile(`(?i)https?:|//[a-z]|@import|url\(|<script|<link|<img|<iframe|\ssrc=|\son[a-z]+=`)
	for name, text := range out {
		if name != "report.html" && !strings.HasSuffix(name, ".svg") {
			continue
		}
		text = strings.ReplaceAll(text, ` xmlns="http://www.w3.org/2000/svg"`, "")
		if hit := outside.FindString(text); hit != "" {
			t.Errorf("%s has %q", name, hit)
		}
	}
	page := out["report.html"]
	for _, want := range []string{`<html lang="en">`, "<title>TLS servers", `name="viewport"`, "@media print", "overflow-x: auto"} {
		if !strings.Contains(page, want) {
			t.Errorf("report.html: no %s", want)
		}
	}
	for _, m := range regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if strings.Count(page, ` id="`+m[1]+`"`) != 1 {
			t.Errorf("report.html: %s leads nowhere", m[0])
		}
	}
	pictures := strings.Count(page, "<svg ")
	if labelled := strings.Count(page, `role="img" aria-label="`); pictures != 13 || labelled != pictures {
		t.Errorf("report.html: %d pictures, %d with a label; want 13", pictures, labelled)
	}
	for _, m := range regexp.MustCompile(`!\[[^\]]+\]\(([^)]*)\)`).FindAllStringSubmatch(out["README.md"], -1) {
		if _, ok := out[m[1]]; !ok {
			t.Errorf("README.md: %s is not there", m[1])
		}
		pictures--
	}
	if pictures != 0 {
		t.Errorf("README.md: %d pictures are missing", pictures)
	}
}

// What was not measured is a dash and never a zero.
func TestNotMeasured(t *testing.T) {
	d := twoServers(CPU)
	d.Experiments[0].Failed = nil
	d.Experiments[0].Points[0].Rounds[0].CPU = 0
	out := files(t, d)
	if !strings.Contains(out["README.md"], "| 1 KiB | – | 1.00 |") || !strings.Contains(out["README.md"], "| 8 KiB | 2.00 | – |") {
		t.Errorf("README.md:\n%s", out["README.md"])
	}
	if !strings.Contains(out["report.html"], "<th>1 KiB</th><td>–</td><td>1.00</td>") {
		t.Error("report.html: no dash at 1 KiB")
	}
	if text := textOf(t, d); !regexp.MustCompile(`(?m)^ +1 KiB +– +1.00$`).MatchString(text) {
		t.Errorf("text:\n%s", text)
	}
}

// A terminal gets no line that is much wider than it.
func TestTextWidth(t *testing.T) {
	d := sample()
	for _, line := range bytes.Split([]byte(textOf(t, d)), []byte("\n")) {
		if bytes.HasPrefix(line, []byte("  ")) && len([]rune(string(line))) > textWidth+2 {
			t.Errorf("%d characters: %s", len([]rune(string(line))), line)
		}
	}
}
