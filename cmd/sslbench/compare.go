package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spf13/pflag"
)

// works are what compare measures. The unit of a stream counts the bytes of both directions.
var works = []work{
	{name: "echo 1 KiB, 1 connection", unit: "µs/echo", units: 1, conns: 1, size: 1024},
	{name: "echo 1 KiB, 64 connections", unit: "µs/echo", units: 1, conns: 64, size: 1024},
	{name: "echo 16 KiB, 16 connections", unit: "µs/echo", units: 1, conns: 16, size: 16384},
	{name: "stream both ways, 8 connections", unit: "µs/MB", units: 2e-6, conns: 8, size: 512 << 10, stream: true},
	{name: "full handshake, 16 at once", unit: "µs/handshake", units: 1, conns: 16, size: 1, handshakes: true},
}

// compare is the command.
func compare(args []string, out io.Writer) error {
	f := pflag.NewFlagSet("compare", pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	sslecho := f.String("sslecho", siblingOf("sslecho"), "`path` of the sslecho binary")
	reference := f.String("reference", "cmd/sslbench/reference", "`folder` of the reference servers' C sources")
	cert := f.String("cert", "testdata/certs/ecdsa.pem", "PEM `file` with the servers' certificate chain")
	key := f.String("key", "testdata/certs/ecdsa.key", "PEM `file` with its key")
	rounds := f.Int("rounds", 5, "measured rounds for each server and work")
	duration := f.Duration("duration", 2*time.Second, "of one round")
	only := f.String("only", "", "measure only the works whose name contains this `text`")
	if err := f.Parse(args); err != nil {
		if err == pflag.ErrHelp {
			return err
		}
		return usageError{err}
	}
	if f.NArg() > 0 {
		return badUsage("unexpected argument %q", f.Arg(0))
	}
	if *rounds < 1 || *duration < 10*time.Millisecond {
		return badUsage("--rounds must be at least 1 and --duration at least 10ms")
	}
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("two cores are needed: one for the server, one for the load")
	}
	tmp, err := os.MkdirTemp("", "sslbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	reference1, err := buildC(tmp, filepath.Join(*reference, "tls_epoll.c"), true)
	if err != nil {
		return err
	}

	servers := []*process{}
	defer func() {
		for _, p := range servers {
			p.stop()
		}
	}()
	for _, s := range []struct {
		name string
		argv []string
	}{
		{"C epoll", []string{reference1, "-p", "0", "-c", *cert, "-k", *key}},
		{"sslecho", []string{*sslecho, "--listen", "127.0.0.1:0", "--cert", *cert, "--key", *key, "--loops", "1"}},
	} {
		p, err := startProcess(s.name, 0, s.argv...)
		if err != nil {
			return err
		}
		servers = append(servers, p)
	}
	client, err := cssl.NewClientContext(cssl.Config{Verify: cssl.VerifyNone})
	if err != nil {
		return err
	}
	defer client.Close()
	if err := pinSelf(1); err != nil {
		return err
	}

	fmt.Fprintf(out, "%s, %s, %s; server pinned to core 0, load to core 1; %d rounds of %v, interleaved\n",
		cssl.OpenSSLVersion(), runtime.Version(), kernel(), *rounds, *duration)
	fmt.Fprintf(out, "server's CPU time (user + system, all threads) for one unit: median (smallest to greatest); ratio of medians\n\n")
	tab := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintf(tab, "work\tunit\tC epoll\tsslecho\tratio\n")
	for _, w := range works {
		if !strings.Contains(w.name, *only) {
			continue
		}
		costs := make([][]float64, len(servers))
		for round := range *rounds {
			for k := range servers {
				i := (k + round) % len(servers) // who goes first takes turns
				cost, err := measure(servers[i], w, client, *duration)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", servers[i].name, w.name, err)
				}
				costs[i] = append(costs[i], cost)
			}
		}
		fmt.Fprintf(tab, "%s\t%s", w.name, w.unit)
		for _, c := range costs {
			slices.Sort(c)
			fmt.Fprintf(tab, "\t%.2f (%.2f to %.2f)", median(c), c[0], c[len(c)-1])
		}
		fmt.Fprintf(tab, "\t%.3f\n", median(costs[1])/median(costs[0]))
	}
	return tab.Flush()
}

// measure is one round: the server's CPU time, in µs, for a unit of work.
func measure(p *process, w work, client *cssl.Context, d time.Duration) (float64, error) {
	l, err := startLoad(w, p.addr, client)
	if err != nil {
		return 0, err
	}
	if err := l.ready(); err != nil {
		_ = l.stop()
		return 0, err
	}
	time.Sleep(d / 5) // until all are at work
	n0 := l.count.Load()
	c0, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	time.Sleep(d)
	n1 := l.count.Load()
	c1, err := cpuTime(p.cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	if err := l.stop(); err != nil {
		return 0, err
	}
	if n1 == n0 {
		return 0, fmt.Errorf("no work was done")
	}
	return float64((c1 - c0).Nanoseconds()) / 1e3 / (float64(n1-n0) * w.units), nil
}

func median(sorted []float64) float64 {
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// buildC compiles one of the reference servers.
func buildC(dir, source string, tls bool) (string, error) {
	bin := filepath.Join(dir, strings.TrimSuffix(filepath.Base(source), ".c"))
	argv := []string{"-std=c11", "-D_GNU_SOURCE", "-O2", "-o", bin, source}
	if tls {
		flags, err := exec.Command("pkg-config", "--cflags", "--libs", "openssl").Output()
		if err != nil {
			return "", fmt.Errorf("pkg-config openssl: %w", err)
		}
		argv = append(argv, strings.Fields(string(flags))...)
	}
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	if b, err := exec.Command(cc, argv...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", cc, source, err, b)
	}
	return bin, nil
}

// siblingOf is the path of a binary next to this one.
func siblingOf(name string) string {
	self, err := os.Executable()
	if err != nil {
		return name
	}
	return filepath.Join(filepath.Dir(self), name)
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(b))
}
