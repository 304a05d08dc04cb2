package httpbench

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// TestRun: a small run has figures for each case and each stack, and calls Progress as often as it said.
func TestRun(t *testing.T) {
	steps, last, all := 0, 0, 0
	o := tiny
	o.Rounds = 2
	o.Progress = func(_ string, done, of int) { steps, last, all = steps+1, done, of }
	d, err := Run(limited(t), o)
	must(t, err)
	if len(d.Cases) != len(works(1)) || len(d.Idle) != len(idleFigures) || d.Setup != "TLSv1.3, "+cipherSuite+", x25519" {
		t.Errorf("%d cases, %d figures of memory, %s", len(d.Cases), len(d.Idle), d.Setup)
	}
	for _, c := range append(d.Cases, d.Idle...) {
		if c.Failed != "" || len(c.Points) != 2 || c.point(CryptoTLS) == nil || c.point(Sslnet) == nil {
			t.Errorf("%s: %d points, failed: %q", c.Title, len(c.Points), c.Failed)
		}
		for _, p := range c.Points {
			for _, r := range p.Rounds {
				if c.Metric == report.CPU && (r.CPU <= 0 || r.Rate <= 0) {
					t.Errorf("%s: %s: %+v", c.Title, p.Server, r)
				}
			}
			if want := map[report.Metric]int{report.CPU: 2, report.Memory: 1}[c.Metric]; len(p.Rounds) != want {
				t.Errorf("%s: %s: %d rounds, want %d", c.Title, p.Server, len(p.Rounds), want)
			}
		}
	}
	if steps != all || last != all-1 {
		t.Errorf("Progress was called %d times, last with %d of %d", steps, last, all)
	}
	for _, s := range d.Servers {
		if !strings.HasPrefix(s, "taskset -c ") || !strings.Contains(s, ServeCommand+" --addr 127.0.0.1:0 --cert ecdsa.pem --key ecdsa.key --stack ") {
			t.Errorf("a server's command is %q", s)
		}
	}
}

// TestStopped: the end of the context ends a run. There is a report only if something was complete.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(limited(t))
	o := tiny
	o.Progress = func(_ string, done, _ int) {
		if done == 5 { // in the second case
			cancel()
		}
	}
	d, err := Run(ctx, o)
	if d == nil || d.Incomplete == "" || len(d.Cases) != 1 || err == nil {
		t.Errorf("%+v, %v", d, err)
	}
	ctx, cancel = context.WithCancel(limited(t))
	o.Progress = func(string, int, int) { cancel() }
	if d, err := Run(ctx, o); d != nil || err == nil {
		t.Errorf("nothing was complete: %+v, %v", d, err)
	}
}

// TestWorks: there is at least one connection in each case.
func TestWorks(t *testing.T) {
	for conns, want := range map[int]int{1: 1, 8: 1, 64: 8} {
		for _, w := range works(conns) {
			if w.job.Conns != want && w.job.Conns != conns {
				t.Errorf("%d connections: %+v", conns, w)
			}
		}
	}
}

// ended is a load that stops by itself, as one that crashes does.
type ended struct{ job chan Job }

func (ended) can(Job) bool { return true }

func (e ended) start(_ context.Context, j Job, _ time.Duration) (running, string, error) {
	e.job <- j
	return e, "", nil
}

func (ended) done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (ended) stop() error { return errors.New("it says so") }

// TestAlone: a round begins when the connections of the load before have gone.
func TestAlone(t *testing.T) {
	r := newTestRunner(t, tiny)
	for _, stack := range stacks {
		c := started(t, r, stack)
		left := r.client.transport(Job{})
		must(t, get(limited(t), left, c.url+"/small", io.Discard))
		s, err := c.sample(limited(t))
		must(t, err)
		if s.conns != 2 {
			t.Errorf("%s: %d connections, want 2", stack, s.conns)
		}
		left.CloseIdleConnections()
		s, err = c.alone(limited(t))
		must(t, err)
		if s.conns != 1 || s.requests != 1 {
			t.Errorf("%s: %d connections and %d requests, want 1 and 1", stack, s.conns, s.requests)
		}
	}
}

// TestRoundFails: a load that ends early, handshakes of another kind than was asked for, and a server that dies, are
// errors that say how.
func TestRoundFails(t *testing.T) {
	r := newTestRunner(t, tiny)
	c := started(t, r, Sslnet)
	j := Job{URL: c.url + "/small", Conns: 1, Streams: 1}
	_, err := r.round(limited(t), ended{make(chan Job, 1)}, j, time.Second, c, new(Case))
	wantError(t, err, "the load has ended too soon", "it says so")

	j.URL = c.url + "/none"
	_, err = r.round(limited(t), r.client, j, time.Second, c, new(Case))
	wantError(t, err, "404")

	r.kinds = r.noTickets
	full := started(t, r, CryptoTLS)
	_, err = r.round(limited(t), r.client, Job{URL: full.url + "/small", Conns: 1, Streams: 1, Close: true, Resume: true}, time.Millisecond,
		full, new(Case))
	wantError(t, err, "handshakes 0 resumed a session")

	p, err := os.FindProcess(pid(t, r, c))
	must(t, err)
	must(t, p.Kill())
	for dead := limited(t); err == nil || !strings.Contains(err.Error(), "ended"); _, err = c.proc.CPU() {
		must(t, dead.Err()) // its sockets are closed before it has ended
	}
	_, err = r.round(limited(t), r.client, j, time.Second, c, new(Case))
	wantError(t, err, Sslnet+": it ended by itself (signal: killed)")
}

// pid finds the process of a server by its command line.
func pid(t *testing.T, r *runner, c *contender) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, f := range files {
		b, _ := os.ReadFile(f) // it may have ended
		if s := string(b); strings.Contains(s, r.dir) && strings.Contains(s, c.name+"\x00") {
			n, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			must(t, err)
			return n
		}
	}
	t.Fatal("the server's process is not there")
	return 0
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q does not say %q", err, p)
		}
	}
}

// TestIdleLimit: more idle connections than files may be open become as many as there can be, with a note.
func TestIdleLimit(t *testing.T) {
	r := newTestRunner(t, tiny)
	r.files = spareFiles + 6
	r.idle(limited(t))
	if r.faults != nil || r.data.IdleConns != 6 || !strings.Contains(r.data.IdleNote, "leaves room for 6") {
		t.Errorf("%d connections, %q, %v", r.data.IdleConns, r.data.IdleNote, r.faults)
	}
}

// TestIdleFails: a connection that cannot be made is an error in the report.
func TestIdleFails(t *testing.T) {
	r := newTestRunner(t, tiny)
	r.kinds = []server.Kind{server.Own(server.Options{}, "none", ServeCommand, "--stack", "none")}
	r.idle(limited(t))
	if len(r.data.Idle) != 1 || !strings.Contains(r.data.Idle[0].Failed, "want crypto/tls or sslnet") || len(r.faults) != 1 {
		t.Errorf("%+v, %v", r.data.Idle, r.faults)
	}
}

// TestServerSettings: bad settings are named.
func TestServerSettings(t *testing.T) {
	for _, test := range []struct {
		s    *Server
		says string
	}{
		{&Server{Stack: "none", Procs: 1}, `--stack "none": want crypto/tls or sslnet`},
		{&Server{Stack: Sslnet}, "--procs 0"},
		{&Server{Stack: Sslnet, Procs: 1, Addr: "127.0.0.1"}, "missing port"},
		{&Server{Stack: CryptoTLS, Procs: 1, Addr: "127.0.0.1:0", Cert: "/none.pem"}, "/none.pem"},
		{&Server{Stack: Sslnet, Procs: 1, Addr: "127.0.0.1:0", Cert: "/none.pem"}, "/none.pem"},
	} {
		var out strings.Builder
		wantError(t, test.s.Run(&out), test.says)
	}
}

// TestCheck: options that make no sense are named.
func TestCheck(t *testing.T) {
	for _, test := range []struct {
		change func(*Options)
		says   string
	}{
		{func(o *Options) { o.Rounds = 0 }, "at least 1 round"},
		{func(o *Options) { o.Duration = time.Millisecond }, "at least 10ms"},
		{func(o *Options) { o.Conns = 0 }, "0 connections"},
		{func(o *Options) { o.IdleConns = -1 }, "-1 idle connections"},
		{func(o *Options) { o.IdleRounds = 0 }, "idle"},
	} {
		o := tiny
		test.change(&o)
		_, err := Run(limited(t), o)
		wantError(t, err, test.says)
	}
}
