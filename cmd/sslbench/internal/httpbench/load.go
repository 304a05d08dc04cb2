package httpbench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// Job is what a load is to do.
type Job struct {
	URL string
	// H2 is HTTP/2 instead of HTTP/1.1. Close makes a new connection for each request (HTTP/1.1 only), with a full
	// handshake, or one that resumes the session before with Resume.
	H2, Close, Resume bool
	Conns             int
	Streams           int // at once on each connection; 1 with HTTP/1.1
}

// loader is a program, or Client, that makes requests one after the other, without a pause.
type loader interface {
	// start begins to work, for d at least. The command answered is what to type for it.
	start(ctx context.Context, j Job, d time.Duration) (run running, command string, err error)
	can(j Job) bool
}

// running is a load at work.
type running interface {
	// done is closed when it has ended by itself.
	done() <-chan struct{}
	// stop ends it and waits for that. The error says what went wrong from the beginning: requests that failed, too.
	stop() error
}

// Tool says whether a program for load is there.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Missing string `json:"missing,omitempty"` // why, and how to get it
}

// The names of the loads.
const (
	wrkName    = "wrk"
	h2loadName = "h2load"
	clientName = "Go's client"
)

// findTools looks for the programs. dir gets what they need.
func findTools(o server.Options, dir string) (loads map[string]loader, tools []Tool, err error) {
	script := filepath.Join(dir, "wrk.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		return nil, nil, err
	}
	loads = map[string]loader{}
	for _, p := range []struct {
		name, pkg, ask string
		make           func(path string) loader
	}{
		{wrkName, "wrk", "-v", func(path string) loader { return &wrk{path, script} }},
		{h2loadName, "nghttp2-client", "--version", func(path string) loader { return &h2load{path} }},
	} {
		path, err := o.FindProgram(p.name, p.pkg)
		if err != nil {
			tools = append(tools, Tool{Name: p.name, Missing: err.Error()})
			continue
		}
		// wrk answers with status 1, since it was asked for no work.
		out, _ := exec.Command(path, p.ask).CombinedOutput()
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		version, _, _ := strings.Cut(line, " [") // behind it wrk says how it waits, and whose it is
		tools = append(tools, Tool{Name: p.name, Version: version})
		loads[p.name] = p.make(path)
	}
	return loads, tools, nil
}

// program is a running wrk or h2load.
type program struct {
	cmd    *exec.Cmd
	out    bytes.Buffer
	ended  chan struct{}
	err    error
	signal os.Signal // that asks it to end; nil: it does by itself
	judge  func(out string) error
}

// startProgram starts argv, which inherits the core that this process is pinned to.
func startProgram(ctx context.Context, argv []string, signal os.Signal, judge func(string) error) (*program, error) {
	p := &program{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...), ended: make(chan struct{}), signal: signal, judge: judge}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *program) done() <-chan struct{} { return p.ended }

// endLimit is how long a program may take to end when it was asked to, or when its time is over.
const endLimit = 10 * time.Second

func (p *program) stop() error {
	if p.signal != nil {
		_ = p.cmd.Process.Signal(p.signal) // it may have ended
	}
	select {
	case <-p.ended:
	case <-time.After(endLimit):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s has not ended in time", filepath.Base(p.cmd.Path))
	}
	out := p.out.String()
	err := p.judge(out)
	if p.err != nil {
		err = errors.Join(p.err, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(p.cmd.Path), err, strings.TrimSpace(out))
	}
	return nil
}

// wrk is a load for HTTP/1.1 with one thread. Its new connections resume the session of the one before, if the server
// lets them.
type wrk struct{ path, script string }

// wrkScript makes wrk say at the end what its own text leaves out when it is 0.
const wrkScript = `done = function(s)
  local e = s.errors
  io.write(string.format("sslbench %d %d %d %d %d %d\n", s.requests, e.connect, e.read, e.write, e.status, e.timeout))
end
`

func (*wrk) can(j Job) bool { return !j.H2 }

func (w *wrk) start(ctx context.Context, j Job, d time.Duration) (running, string, error) {
	argv := []string{w.path, "--threads", "1", "--connections", strconv.Itoa(j.Conns)}
	if j.Close {
		argv = append(argv, "--header", "Connection: close")
	}
	seconds := int((d + endLimit).Seconds()) // it knows whole ones only, and ends at SIGINT with its figures
	all := append(argv, "--duration", fmt.Sprintf("%ds", seconds), "--script", w.script, j.URL)
	p, err := startProgram(ctx, all, syscall.SIGINT, judgeWrk)
	if err != nil {
		return nil, "", err
	}
	return p, shown(argv, j), nil
}

var wrkCounts = regexp.MustCompile(`(?m)^sslbench (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$`)

// judgeWrk reads what wrkScript prints.
func judgeWrk(out string) error {
	m := wrkCounts.FindStringSubmatch(out)
	if m == nil {
		return errors.New("it does not say how many requests there were")
	}
	return judge(m[1] != "0", []string{"connects failed", "reads failed", "writes failed", "answers had another status than 200",
		"answers were late"}, m[2:])
}

// judge makes an error of what went wrong: counts that are not "0", by what they count.
func judge(work bool, what, counts []string) error {
	var bad []string
	for i, n := range counts {
		if n != "0" {
			bad = append(bad, n+" "+what[i])
		}
	}
	switch {
	case bad != nil:
		return errors.New(strings.Join(bad, ", "))
	case !work:
		return errors.New("not one request was answered")
	}
	return nil
}

// h2load is a load for HTTP/2, and for HTTP/1.1 where there is no wrk.
type h2load struct{ path string }

func (*h2load) can(j Job) bool { return !j.Close }

func (h *h2load) start(ctx context.Context, j Job, d time.Duration) (running, string, error) {
	argv := []string{h.path, "--threads=1", "--clients=" + strconv.Itoa(j.Conns),
		"--max-concurrent-streams=" + strconv.Itoa(j.Streams)}
	if !j.H2 {
		argv = append(argv, "--h1")
	}
	argv = append(argv, "--tls13-ciphers="+cipherSuite, "--groups=X25519")
	p, err := startProgram(ctx, append(argv, fmt.Sprintf("--duration=%dms", d.Milliseconds()), j.URL), nil, judgeH2load)
	if err != nil {
		return nil, "", err
	}
	return p, shown(argv, j), nil
}

var h2loadCounts = regexp.MustCompile(`(?s)\nrequests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout\n` +
	`status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx\n`)

// judgeH2load reads its own text.
func judgeH2load(out string) error {
	m := h2loadCounts.FindStringSubmatch(out)
	if m == nil {
		return errors.New("it does not say how many requests there were")
	}
	return judge(m[1] != "0", []string{"requests failed", "requests had an error", "answers were late", "answers were 3xx", "answers were 4xx",
		"answers were 5xx"}, m[2:])
}

// shown is a command line for people: without folders, without how long, and with a name for the server.
func shown(argv []string, j Job) string {
	words := []string{filepath.Base(argv[0])}
	for _, a := range argv[1:] {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	return strings.Join(append(words, "https://SERVER"+j.URL[strings.LastIndex(j.URL, "/"):]), " ")
}
