package fleet

import (
	"fmt"
	"os"
	"os/exec"
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

// usage is CPU time in µs, or memory in KiB, of all hosts and of the balancer.
type usage struct{ hosts, balancer float64 }

func (f *fleet) usage(of func(t *testing.T, pid int) float64) (u usage) {
	for _, h := range f.hosts {
		u.hosts += of(f.t, h.cmd.Process.Pid)
	}
	u.balancer = of(f.t, f.haproxy)
	return u
}

// since is the usage for one of n.
func (u usage) since(before usage, n float64) string {
	return fmt.Sprintf("%.1f and %.1f", (u.hosts-before.hosts)/n, (u.balancer-before.balancer)/n)
}

// cpu is the time that all threads of a process have spent on a core: its CPU-time clock, by the number that
// clock_getcpuclockid(3) makes of a pid.
func cpu(t *testing.T, pid int) float64 {
	t.Helper()
	var ts unix.Timespec
	tlstest.Must(t, unix.ClockGettime(int32(^pid<<3|2), &ts))
	return float64(ts.Nano()) / 1000
}

// resident is what a process has for itself.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^Pss_Anon:\s+(\d+) kB$`).FindStringSubmatch(read(t, fmt.Sprintf("/proc/%d/smaps_rollup", pid)))
	if m == nil {
		t.Fatal("there is no Pss_Anon in smaps_rollup")
	}
	return tlstest.Value(strconv.ParseFloat(m[1], 64))(t)
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
		cmd := exec.Command(bench, append([]string{"load", "--target", f.addr(), "--sni", "localhost", "--ca", testcerts.Path("root.pem"),
			"--progress", "never", "--kind", kind}, args...)...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		f.client.start(cmd)
		return func() { t.Helper(); tlstest.Must(t, cmd.Wait()) }
	}
	var texts []string
	const received, sent = "sslecho_plaintext_received_bytes_total", "sslecho_plaintext_sent_bytes_total"
	// The CPU time for so many of what the metrics count, over all that a load does.
	for _, x := range []struct {
		name, kind string
		per        float64
		metrics    []string
		load       []string
	}{
		{"full handshake", "full-handshake", 1, []string{handshakesMetric}, []string{"--conns", "16"}},
		{"resumed", "resumed-handshake", 1, []string{handshakesMetric}, []string{"--conns", "16"}},
		{"echo of 1 KiB", "request", 1024, []string{received}, []string{"--conns", "64", "--size", "1k"}},
		{"a MB", "stream", 1e6, []string{received, sent}, []string{"--conns", "8", "--size", "512k"}},
	} {
		count := func() (n float64) {
			for _, m := range x.metrics {
				n += float64(f.sum(m)) / x.per
			}
			return n
		}
		before, n := f.usage(cpu), count()
		load(x.kind, append(x.load, "--duration", "8s")...)()
		texts = append(texts, fmt.Sprintf("%s %s µs", x.name, f.usage(cpu).since(before, count()-n)))
	}
	const idle = 4000
	before := f.usage(resident)
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
	texts = append(texts, fmt.Sprintf("each of %d idle connections %s KiB", n, after.since(before, float64(n))))
	figures.Record(t, "fleet-sizing", "%s", strings.Join(texts, "; "))
}
