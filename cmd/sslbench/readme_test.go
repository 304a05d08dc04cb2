package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// figures are the README's: a row is one x of an experiment.
var figures = []struct {
	baseline string // whose column stands beside sslecho's
	rows     []figure
}{
	{"C epoll", []figure{
		{"echo of 1 KiB, 1 connection", "conns", 1},
		{"echo of 1 KiB, 64 connections", "conns", 64},
		{"echo of 1 KiB, 10,000 connections", "conns", 10_000},
		{"echo of 16 KiB, 16 connections", "size", 16 << 10},
		{"stream both ways, 8 connections, a MB", "stream", 8},
		{"handshake, ECDSA P-256, TLS 1.3", "handshake", 0},
		{"handshake, RSA 2048, TLS 1.3", "handshake", 1},
		{"handshake, resumed, TLS 1.3", "handshake", 3},
	}},
	{"openssl s_server", []figure{
		{"a line of 1 KiB reversed (`-rev`)", "reverse", 1 << 10},
		{"stream into the server, a MB", "sink", 1},
		{"handshake, ECDSA P-256, TLS 1.3, one client at a time", "oneclient", 0},
		{"handshake, RSA 2048, TLS 1.3, one client at a time", "oneclient", 1},
	}},
}

type figure struct {
	name       string
	experiment string
	x          float64
}

// readmeTables are the tables as they must stand in the README.
func readmeTables(d *report.Data) (string, error) {
	var b strings.Builder
	for _, t := range figures {
		fmt.Fprintf(&b, "| µs of the server's CPU time for one | %s | sslecho | ratio (lowest–highest) | crypto/tls |\n|---|---|---|---|---|\n", t.baseline)
		for _, f := range t.rows {
			var e *report.Experiment
			for i := range d.Experiments {
				if d.Experiments[i].ID == f.experiment {
					e = &d.Experiments[i]
				}
			}
			if e == nil {
				return "", fmt.Errorf("no experiment %q", f.experiment)
			}
			base, ours, gos := e.Point(t.baseline, f.x), e.Point("sslecho", f.x), e.Point("crypto/tls", f.x)
			if base == nil || ours == nil || gos == nil {
				return "", fmt.Errorf("%s: not all servers were measured at %v", f.experiment, f.x)
			}
			r := ours.Ratio(base, report.CPU)
			fmt.Fprintf(&b, "| %s | %s | %s | %.2f (%.2f–%.2f) | %s |\n", f.name,
				cost(base), cost(ours), r.Median, r.Min, r.Max, cost(gos))
		}
		b.WriteString("\n")
	}
	return b.String(), nil
}

// cost is the median in µs, with three digits.
func cost(p *report.Point) string {
	m := p.Summary(report.CPU).Median
	if m >= 1000 {
		return fmt.Sprintf("%.0f", m)
	}
	return fmt.Sprintf("%.3g", m)
}

// TestReadmeFigures: the README's figures are those of the report in docs/bench.
func TestReadmeFigures(t *testing.T) {
	root := moduleRoot(t, filepath.Dir(testcerts.Path("root.pem")))
	data, err := report.Read(filepath.Join(root, "docs/bench/data.json"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := readmeTables(data)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), want) {
		t.Errorf("the tables in README.md are not those of docs/bench/data.json, which make bench-compare makes anew; they must be:\n%s", want)
	}
}
