package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// full is whether the long form runs, as `make fleet` asks for it.
var full = os.Getenv("FLEET") == "full"

// cpuTime is the time that all threads of a process have spent on a core: its CPU-time clock, by the number that
// clock_getcpuclockid(3) makes of a pid.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	var ts unix.Timespec
	tlstest.Must(t, unix.ClockGettime(int32(^pid<<3|2), &ts))
	return time.Duration(ts.Nano())
}

// memory is what a process has resident for itself, in KiB.
func memory(t *testing.T, pid int) float64 {
	t.Helper()
	b := tlstest.Value(os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)))(t)
	m := regexp.MustCompile(`(?m)^Pss_Anon:\s+(\d+) kB$`).FindSubmatch(b)
	if m == nil {
		t.Fatal("there is no Pss_Anon in smaps_rollup")
	}
	return float64(tlstest.Value(strconv.Atoi(string(m[1])))(t))
}

// sum adds up a metric of all hosts.
func (f *fleet) sum(metric string) (n float64) {
	for _, h := range f.hosts {
		n += float64(h.metric(metric))
	}
	return n
}

// usage is CPU time, or memory in KiB, of all hosts and of the balancer.
type usage struct{ hosts, balancer float64 }

func (f *fleet) usage(of func(pid int) float64) (u usage) {
	for _, h := range f.hosts {
		u.hosts += of(h.cmd.Process.Pid)
	}
	u.balancer = of(f.haproxy)
	return u
}

// TestSizing measures what docs/operate/fleet.md counts with: a connection's and a gigabyte's CPU time, and an idle connection's memory, of
// sslecho and of HAProxy before it. It asserts nothing: figures are for people.
func TestSizing(t *testing.T) {
	if !full {
		t.Skip("asserts nothing; make fleet runs it")
	}
	f := newFleet(t)
	bench := filepath.Join(scratch, "sslbench")
	must(t, "go", "build", "-o", bench, root+"/cmd/sslbench")
	load := func(kind string, args ...string) (end func()) {
		cmd := command(bench, append([]string{"load", "--target", f.addr(), "--sni", "localhost", "--ca", testcerts.Path("root.pem"),
			"--progress", "never", "--kind", kind}, args...)...)
		out := tlstest.Value(os.Create(filepath.Join(t.TempDir(), kind)))(t)
		cmd.Stdout, cmd.Stderr = out, out
		f.client.start(t, cmd)
		return func() {
			t.Helper()
			if err := cmd.Wait(); err != nil {
				b, _ := os.ReadFile(out.Name())
				t.Errorf("sslbench: %v\n%s", err, b)
			}
			out.Close()
		}
	}
	cpu := func(pid int) float64 { return float64(cpuTime(t, pid)) / 1000 } // µs
	var texts []string
	// cost is the CPU time for so many of what the metrics count, over all that a load does.
	cost := func(name string, per float64, metrics []string, kind string, args ...string) {
		count := func() (n float64) {
			for _, m := range metrics {
				n += f.sum(m)
			}
			return n / per
		}
		before, n := f.usage(cpu), count()
		load(kind, append(args, "--duration", "8s")...)()
		after := f.usage(cpu)
		n = count() - n
		texts = append(texts, fmt.Sprintf("%s %.0f and %.0f µs", name, (after.hosts-before.hosts)/n, (after.balancer-before.balancer)/n))
	}
	ok := []string{handshakesMetric}
	both := []string{"sslecho_plaintext_received_bytes_total", "sslecho_plaintext_sent_bytes_total"}
	cost("full handshake", 1, ok, "full-handshake", "--conns", "16")
	cost("resumed", 1, ok, "resumed-handshake", "--conns", "16")
	cost("echo of 1 KiB", 1024, []string{both[0]}, "request", "--conns", "64", "--size", "1k")
	cost("a MB", 1e6, both, "stream", "--conns", "8", "--size", "512k")
	resident := func(pid int) float64 { return memory(t, pid) }
	before := f.usage(resident)
	const idle = 4000
	end := load("idle", "--conns", strconv.Itoa(idle), "--ramp", "4s", "--duration", "20s")
	tlstest.Until(t, "all connections", func() bool { return f.sum(established) >= idle })
	// Record buffers are given back after one to two seconds.
	after := f.usage(resident)
	tlstest.Until(t, "memory to settle", func() bool {
		last := after
		time.Sleep(2 * time.Second)
		after = f.usage(resident)
		return after.hosts > 0.99*last.hosts
	})
	n := f.sum(established)
	end()
	texts = append(texts, fmt.Sprintf("each of %.0f idle connections %.1f and %.1f KiB", n,
		(after.hosts-before.hosts)/n, (after.balancer-before.balancer)/n))
	figures.Record(t, "fleet-sizing", "%s", strings.Join(texts, "; "))
}
