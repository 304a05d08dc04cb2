package report

import (
	"html"
	"strings"
	"testing"
)

func TestHowTo(t *testing.T) {
	d := sample()
	all := strings.Join(d.howTo(), "\n")
	for _, want := range []string{
		// The connections experiment has 3 rounds: 4 servers at 5 points, less a failure.
		"Each server has 5 rounds of 500 ms at each point, unless an experiment's text says otherwise. Points of a server that have fewer: 19.",
		"far below 100 % the load generator or waiting is the limit",
		"depends somewhat on how busy the server is",
		"Memory by idle connections is one reading for each point, and the servers do not take turns",
		"sign test",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
	// Nothing about what is not there.
	d.Experiments = d.Experiments[1:2]
	d.RoundMillis, d.RoundsEach = 0, 0
	all = strings.Join(d.howTo(), "\n")
	for _, bad := range []string{"Each server has", "Core busy", "Memory by idle", "floor"} {
		if strings.Contains(all, bad) {
			t.Errorf("%q is in\n%s", bad, all)
		}
	}
}

func TestRoundsText(t *testing.T) {
	for _, c := range []struct {
		each, ms int
		want     string
	}{
		{9, 1500, "Each server has 9 rounds of 1.5 s at each point"}, {1, 0, "Each server has 1 round at each point"}, {0, 250, "A round lasts 250 ms"}, {0, 0, ""},
	} {
		d := &Data{RoundsEach: c.each, RoundMillis: c.ms}
		if got := d.roundsText(); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" || strings.Contains(got, "fewer") {
			t.Errorf("%d of %d ms: %q, want %q", c.each, c.ms, got, c.want)
		}
	}
}

func TestSetupAndIncomplete(t *testing.T) {
	d := sample()
	for name, text := range map[string]string{"README.md": files(t, d)["README.md"], "report.html": files(t, d)["report.html"], "text": textOf(t, d)} {
		if strings.Contains(text, "incomplete") || strings.Contains(text, "Setup:") {
			t.Errorf("%s: a setup that is not there, or a whole report called incomplete", name)
		}
	}
	d.Incomplete = "stopped by a *signal*\n<b>."
	d.Experiments[0].Setup = "TLS 1.3, ECDSA P-256, TLS_AES_256_GCM_SHA384, x25519 <i>"
	out := files(t, d)
	for name, want := range map[string][]string{
		"README.md": {`**This report is incomplete: stopped by a \*signal\* \<b\>.**`, "## At a glance", d.Experiments[0].What,
			`Setup: TLS 1.3, ECDSA P-256, TLS_AES_256_GCM_SHA384, x25519 \<i\>`, "(size.svg)"},
		"report.html": {`<p class="notice">This report is incomplete: stopped by a *signal* &lt;b&gt;.</p>`, "At a glance", d.Experiments[0].What,
			`<p>Setup: TLS 1.3, ECDSA P-256, TLS_AES_256_GCM_SHA384, x25519 &lt;i&gt;</p>`, "<figure>"},
	} {
		inOrder(t, name, out[name], want...)
	}
	if text := textOf(t, d); !strings.Contains(text, "\nThis report is incomplete: stopped by a *signal* <b>.\n") {
		t.Errorf("text:\n%s", text)
	}
}

// inOrder looks for each text behind the one before.
func inOrder(t *testing.T, name, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		_, rest, ok := strings.Cut(text, w)
		if !ok {
			t.Errorf("%s: %.200q is not there, or not in order", name, w)
			return
		}
		text = rest
	}
}

// The table has the first line; below it stand all lines, notes and configuration files,
// and these with every space and whatever would end a block or an element.
func TestCommands(t *testing.T) {
	config := "\nglobal\n    a <b> & \"c\" 'd' | *e*\n\n````\n</code></pre></details>\n\ttab {{.}} %s  \n" +
		strings.Repeat("    bind :443 ssl crt server.pem\n", 2000)
	d := sample()
	d.Servers[1].Commands = append(d.Servers[1].Commands,
		Command{For: "handshakes, RSA 2048, <TLS> 1.2", Line: "haproxy | -f `x`", Config: config, Note: "It is *one* process."},
		Command{Line: "third"})
	d.Servers[2].Commands = nil
	d.Servers[3].Commands[0].Config = "nothing\x1b[31m\u00a0odd\r\n"
	out := files(t, d)
	shown := strings.TrimRight(config, "\n")

	md := out["README.md"]
	inOrder(t, "README.md", md, "## Servers", "| openssl s_server | OpenSSL 3.0.15 | `openssl s_server -rev", "| go crypto/tls | go1.26.0 | – |",
		"### How each server was started", "**sslecho**", "`sslecho --listen", "`openssl s_server -rev -accept 127.0.0.1:0 -cert server.pem | cat`\n",
		"handshakes, RSA 2048, \\<TLS\\> 1.2: `` haproxy | -f `x` ``", "It is \\*one\\* process.",
		"<details><summary>Configuration file</summary>\n\n`````\n"+shown+"\n`````\n\n</details>\n\n", "`third`",
		"**C epoll + TLS**", "\n```\nnothing\ufffd[31m\u00a0odd\n```\n", "## How to repeat it")
	page := out["report.html"]
	inOrder(t, "report.html", page, `<h2 id="servers">`, "<code>openssl s_server -rev", "<th>go crypto/tls</th><td>go1.26.0</td><td>–</td>",
		"How each server was started", "<h4>openssl s_server</h4>", "<code>openssl s_server -rev", "handshakes, RSA 2048, &lt;TLS&gt; 1.2: <code>haproxy | -f `x`</code><br />It is *one* process.</p>\n<details>",
		"<code>third</code>", "<h4>C epoll &#43; TLS</h4>", "How to repeat it")
	_, rest, _ := strings.Cut(page, "<pre><code>")
	got, _, _ := strings.Cut(rest, "</code></pre>")
	if html.UnescapeString(got) != shown {
		t.Errorf("report.html: the configuration file is not as it was: %.300q", got)
	}
	for name, text := range map[string]string{"README.md": strings.SplitN(md, "### How", 2)[0], "report.html": strings.SplitN(page, "<h3", 2)[0]} {
		if strings.Contains(text, "third") || strings.Contains(text, "haproxy |") {
			t.Errorf("%s: more than the first line is in the table", name)
		}
	}
	for name, text := range map[string]string{"README.md": strings.SplitN(md, "### How", 2)[1], "report.html": strings.SplitN(page, "<h3", 2)[1]} {
		if strings.Contains(strings.SplitN(text, "How to repeat it", 2)[0], "go crypto/tls") {
			t.Errorf("%s: a server without a command is among those that were started", name)
		}
	}
	// Where no server has a command there is no such part.
	for i := range d.Servers {
		d.Servers[i].Commands = nil
	}
	out = files(t, d)
	if strings.Contains(out["README.md"], "How each server") || strings.Contains(out["report.html"], "How each server") {
		t.Error("a part without any server in it")
	}
}
