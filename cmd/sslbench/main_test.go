package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/compare"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

// TestUsage: bad usage is status 2 with a line that says what was wrong, help is status 0.
func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 0, "Usage"},
		{"--help", 0, "Usage"},
		{"compare --help", 0, "--rounds"},
		{"soak --help", 0, "--duration"},
		{"nonsense", 2, `unknown command "nonsense"`},
		{"compare --rounds 0", 2, "at least 1 round"},
		{"compare --duration 1ms", 2, "at least 10ms"},
		{"compare --only nonsense", 2, "there are: size, conns"},
		{"compare --servers apache", 2, "there are: sslecho, sslecho direct, openssl s_server"},
		{"compare --baseline apache", 2, `unknown server "apache"`},
		{"compare --list", 0, "C epoll TCP"},
		{"report", 2, "want two arguments"},
		{"report /nonexistent/data.json /nonexistent", 1, "/nonexistent/data.json"},
		{"compare --no-such-flag", 2, "no-such-flag"},
		{"compare extra", 2, `unexpected argument "extra"`},
		{"soak --target 192.0.2.1:443", 2, "loopback"},
		{"soak --target localhost", 2, "loopback address with a port"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(strings.Fields(test.args), &out, &errs); status != test.status {
				t.Errorf("status %d, want %d; %s", status, test.status, errs.String())
			}
			if text := out.String() + errs.String(); !strings.Contains(text, test.says) {
				t.Errorf("%q is not in %q", test.says, text)
			}
		})
	}
}

// TestCompare is a whole comparison, scaled down, with all servers that are present. Each server has a figure
// for each point or a reason why not, no answer was lost or wrong, and the report has it all. It
// asserts no time.
func TestCompare(t *testing.T) {
	root := moduleRoot(t, filepath.Dir(testcerts.Path("root.pem")))
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./cmd/sslecho", "./cmd/sslbench")
	build.Dir = root
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	dir := filepath.Join(t.TempDir(), "report")
	// The real binary, since it starts itself as the crypto/tls server.
	cmd := exec.Command(filepath.Join(bin, "sslbench"), "compare", "--quick", "--rounds", "1", "--duration", "20ms", "--out", dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := report.Read(filepath.Join(dir, "data.json"))
	if err != nil {
		t.Fatal(err)
	}
	present := map[string]bool{}
	for _, s := range data.Servers {
		present[s.Name] = s.Missing == ""
		if s.Missing == "" && (s.Version == "" || len(s.Commands) == 0) {
			t.Errorf("%s: version %q, %d commands", s.Name, s.Version, len(s.Commands))
		}
	}
	// These need nothing that the tests do not need anyway. The others are not always installed.
	for _, name := range []string{"sslecho", "sslecho direct", "openssl s_server", "crypto/tls", "C epoll", "C epoll TCP"} {
		if !present[name] {
			t.Errorf("%s was not measured", name)
		}
	}
	if len(data.Primitives) == 0 {
		t.Error("nothing from openssl speed")
	}
	var ids []string
	for _, e := range data.Experiments {
		ids = append(ids, e.ID)
		for _, f := range e.Failed {
			t.Logf("%s: %s at %v: %s", e.Title, f.Server, f.X, f.Why)
		}
		checkExperiment(t, e)
	}
	for _, e := range compare.Experiments() {
		if !slices.Contains(ids, e.ID) {
			t.Errorf("no experiment %q", e.ID)
		}
	}
	for _, file := range []string{"README.md", "report.html", "size.svg", "idle.svg", "handshake.svg"} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", file, err)
		}
	}
	again := t.TempDir()
	var stdout, stderr bytes.Buffer
	if status := run([]string{"report", filepath.Join(dir, "data.json"), again}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	for _, file := range []string{"README.md", "report.html", "data.json"} {
		a, err1 := os.ReadFile(filepath.Join(dir, file))
		b, err2 := os.ReadFile(filepath.Join(again, file))
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) {
			t.Errorf("%s is not the same when rendered again: %v, %v", file, err1, err2)
		}
	}
}

// checkExperiment wants every server of an experiment at every x, with its figure or among the failures.
func checkExperiment(t *testing.T, e report.Experiment) {
	servers, xs := map[string]bool{}, map[float64]bool{}
	for _, p := range e.Points {
		xs[p.X] = true
		if !p.Calculated {
			servers[p.Server] = true
		}
		for _, r := range p.Rounds {
			if !p.Calculated && e.Metric != report.Memory && (r.Rate <= 0 || e.Unit != "MB" && (r.P50 <= 0 || r.P99 < r.P50 || r.P999 < r.P99)) {
				t.Errorf("%s: %s at %v: %+v", e.Title, p.Server, p.X, r)
			}
			if e.Metric == report.Memory && r.Memory <= 0 || e.Metric != report.Memory && r.CPU <= 0 ||
				e.Metric == report.P99 && r.P99 <= 0 || r.Memory < 0 || !p.Calculated && (r.Peak <= 0 || r.Memory <= 0) {
				t.Errorf("%s: %s at %v: %+v", e.Title, p.Server, p.X, r)
			}
		}
	}
	// What is left to fail when compare itself has succeeded are limits of the machine, and rates that were too
	// high for it while it was busy with something else.
	for _, f := range e.Failed {
		servers[f.Server], xs[f.X] = true, true
	}
	if len(servers) < 3 || len(xs) == 0 {
		t.Errorf("%s: %d servers, %d points", e.Title, len(servers), len(xs))
	}
	if e.Metric == report.CPU && e.ID != "reverse" && e.ID != "sink" && !slices.ContainsFunc(e.Points, func(p report.Point) bool { return p.Calculated }) {
		t.Errorf("%s has no floor", e.Title)
	}
	if e.Metric == report.CPU && !strings.Contains(e.Setup, "AES_256_GCM") && !strings.Contains(e.Setup, "AES256-GCM") {
		t.Errorf("%s: setup %q", e.Title, e.Setup)
	}
	for name := range servers {
		for x := range xs {
			if e.Point(name, x) == nil && !slices.ContainsFunc(e.Failed, func(f report.Failed) bool { return f.Server == name && f.X == x }) {
				t.Errorf("%s: %s at %v has neither a figure nor a reason", e.Title, name, x)
			}
		}
	}
}

// moduleRoot finds go.mod above dir.
func moduleRoot(t *testing.T, dir string) string {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod")
	return ""
}

// liar is an echo server that spoils a byte now and then.
type liar struct {
	reactor.BaseHandler
	spoil int
}

func (h liar) OnData(c *reactor.Conn, p []byte) {
	n, _ := c.Data.(int)
	for i := range p {
		if n++; h.spoil > 0 && n%h.spoil == 0 {
			p[i] ^= 1
		}
	}
	c.Data = n
	c.Write(p)
}

func startLiar(t *testing.T, spoil int) string {
	ctx, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{
		ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &reactor.Server{Handler: liar{spoil: spoil}, Context: ctx, Loops: 1}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		shut, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if srv.Shutdown(shut) != nil {
			srv.Close()
		}
		<-served
		ctx.Close()
	})
	return l.Addr().String()
}

// TestSoak: a short soak of an honest server passes with work of each kind done, and
// a server that changes a byte is found out.
func TestSoak(t *testing.T) {
	t.Run("honest", func(t *testing.T) {
		var out, errs bytes.Buffer
		args := []string{"soak", "--target", startLiar(t, 0), "--duration", "3s"}
		if status := run(args, &out, &errs); status != 0 {
			t.Fatalf("status %d: %s\n%s", status, &errs, &out)
		}
		for _, zero := range []string{"echoes 0,", "handshakes 0,", "half-open 0,", "slowly 0.0 MB"} {
			if strings.Contains(out.String(), zero) {
				t.Errorf("%q: nothing of that kind was done\n%s", zero, &out)
			}
		}
	})
	t.Run("one byte wrong", func(t *testing.T) {
		var out, errs bytes.Buffer
		args := []string{"soak", "--target", startLiar(t, 100_000), "--duration", "3s"}
		if status := run(args, &out, &errs); status != 1 || !strings.Contains(errs.String(), "wrong bytes") {
			t.Fatalf("status %d: %s\n%s", status, &errs, &out)
		}
	})
}
