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
var figures = []figure{
	{"echo of 1 KiB, 64 connections", "conns", 64},
	{"stream both ways, 8 connections, a MB", "stream", 8},
	{"handshake, ECDSA P-256, TLS 1.3", "handshake", 0},
	{"handshake, RSA 2048, TLS 1.3", "handshake", 1},
}

type figure struct {
	name       string
	experiment string
	x          float64
}

// readmeTable is the table as it must stand in the README.
func readmeTable(d *report.Data) (string, error) {
	var b strings.Builder
	b.WriteString("| µs of the server's CPU time for one | C epoll | sslecho | ratio (lowest–highest) | crypto/tls |\n|---|---|---|---|---|\n")
	for _, f := range figures {
		var e *report.Experiment
		for i := range d.Experiments {
			if d.Experiments[i].ID == f.experiment {
				e = &d.Experiments[i]
			}
		}
		if e == nil {
			return "", fmt.Errorf("no experiment %q", f.experiment)
		}
		base, ours, gos := e.Point("C epoll", f.x), e.Point("sslecho", f.x), e.Point("crypto/tls", f.x)
		if base == nil || ours == nil || gos == nil {
			return "", fmt.Errorf("%s: not all servers were measured at %v", f.experiment, f.x)
		}
		r := ours.Ratio(base, report.CPU)
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f (%.2f–%.2f) | %s |\n", f.name,
			cost(base), cost(ours), r.Median, r.Min, r.Max, cost(gos))
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
	want, err := readmeTable(data)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), want) {
		t.Errorf("the table in README.md is not that of docs/bench/data.json, which make bench-compare makes anew; it must be:\n%s", want)
	}
}
