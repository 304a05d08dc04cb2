package httpbench

import (
	"fmt"
	"strings"
	"time"
)

// Markdown is the report as a page of its own.
func (d *Data) Markdown() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# net/http over sslnet and over crypto/tls\n\n")
	b.WriteString("The same net/http server over package sslnet (OpenSSL) and over Go's crypto/tls: " +
		"what one request costs the server, and what one idle connection does. " +
		"Made by `sslbench http`; `http.json` beside this page has every round.\n\n")
	for _, f := range d.findings() {
		fmt.Fprintf(&b, "- %s: %s.\n", f.text, strings.Join(f.cases, "; "))
	}
	for _, s := range append(d.failures(), d.notes()...) {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	fmt.Fprintf(&b, "\n%s\n", howToRead)
	if len(d.Cases) > 0 {
		fmt.Fprintf(&b, "\n## CPU time\n\n%s; %s of %d ms.\n\n", requestsHeading, plural(d.Rounds, "round"), d.RoundMillis)
		fmt.Fprintf(&b, "| | crypto/tls | sslnet | ratio | requests a second of each | core busy |\n|---|---|---|---|---|---|\n")
		for _, c := range d.Cases {
			if c.Points != nil {
				r := c.row()
				fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.title, r.crypto, r.sslnet, r.ratio, r.rates, r.busy)
			}
		}
	}
	if len(d.Idle) > 0 {
		fmt.Fprintf(&b, "\n## Memory\n\n"+idleHeading+"; %s, each with new processes.\n\n", d.IdleConns, plural(d.IdleRounds, "round"))
		fmt.Fprintf(&b, "| | crypto/tls | sslnet | ratio |\n|---|---|---|---|\n")
		for _, c := range d.Idle {
			if c.Points != nil {
				r := c.row()
				fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.title, r.crypto, r.sslnet, r.ratio)
			}
		}
		b.WriteString("\n" + idleMethod)
	}
	d.method(&b)
	return []byte(b.String())
}

const idleMethod = "The growth from a server without connections, divided by their number. " +
	"Resident memory is that of the process: what OpenSSL has allocated is in it and in no other line, " +
	"what the kernel holds for sockets is in none. The garbage collection gives back all that is free, also of C's heap; " +
	"a server that runs on is between the first line and the second.\n"

// method writes how it was measured.
func (d *Data) method(b *strings.Builder) {
	b.WriteString("\n## How it was measured\n\n")
	fmt.Fprintf(b, "On %s, on %s (%d cores, %s), %s, %s.\n\n", d.Taken.UTC().Format(time.DateOnly),
		d.Machine.CPU, d.Machine.Cores, d.Machine.Kernel, d.Machine.OpenSSL, d.Machine.Go)
	fmt.Fprintf(b, "- Both servers have the same handler, certificate (ECDSA P-256), cipher suite and group (%s), "+
		"and GOMAXPROCS=%d. They are on one core, where one works at a time; load and measurement have another core. "+
		"All is on loopback.\n", d.Setup, d.Procs)
	b.WriteString("- The load asks as fast as it is answered (a closed loop), so the server's core is busy all the time, " +
		"unless the load is the slower one, as with full handshakes, or others on the machine take of either core. " +
		"It says nothing about latency at a given rate, nor about servers with many cores.\n" +
		"- How many requests were served is what the server has counted between two moments at which all connections " +
		"were at work, and the CPU time, user and system, is that of its process between the same moments.\n" +
		"- The two servers take turns within each round, so that what disturbs the machine for a while disturbs both, " +
		"and a ratio is taken of neighbours.\n" +
		"- Sessions are resumed where the case says so; for full handshakes the servers give no tickets.\n" +
		"- The load sleeps when it has to wait for the server, and the server then pays for waking it, with a part of each send. " +
		"So the slower of the two also pays a little more for that.\n" +
		"- All else is as it comes: crypto/tls begins a connection's data with records of a packet's size, " +
		"sslnet with full ones.\n\n")
	b.WriteString("Servers:\n\n")
	for _, s := range d.Servers {
		fmt.Fprintf(b, "    %s\n", s)
	}
	b.WriteString("\nLoad:\n\n")
	for _, c := range d.Cases {
		if c.Load != "" {
			fmt.Fprintf(b, "- %s: `%s`\n", c.Title, c.Load)
		}
	}
	for _, t := range d.Loads {
		if t.Version != "" {
			fmt.Fprintf(b, "- %s\n", t.Version)
		}
	}
	if len(d.Commands) > 0 {
		b.WriteString("\nAgain:\n\n")
		for _, c := range d.Commands {
			fmt.Fprintf(b, "    %s\n", c)
		}
	}
}
