// Sslecho is a TLS echo daemon: what a client sends comes back. It is for testing
// TLS clients, proxies and networks, and the example of a server over package reactor.
//
// With --service it does something else with its connections: discard reads and says nothing;
// chargen sends the pattern of RFC 864 without end, as fast as the client reads; reverse answers
// each line backwards, as openssl s_server -rev does. A line of reverse has at most 16384
// bytes with its end; one that is longer resets the connection, and answers that the client has not read are lost.
//
// Run sslecho --help for its flags, which may also stand in the environment (SSLECHO_…) and in a file; docs/operate/sslecho.md is the
// page for operators.
//
//	main ─► config ─► daemon ─┬─ tlsconf   contexts from files         (SIGHUP: anew)
//	                          ├─ life      sockets, systemd, user      (SIGUSR2: another process takes over)
//	                          ├─ guard     who gets in
//	                          ├─ connlog   a line for each connection
//	                          ├─ metrics   what is watched
//	                          └─ reactor.Server, services
//
// SIGTERM and SIGINT drain: it stops accepting,
// finishes what is queued and says close_notify; a second signal ends it at once, whatever it waits for. The exit status is 0
// after a clean stop, 2 after bad usage and 1 after a failure.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

const (
	// sayWaiting is how often a start looks whether to say what it waits for.
	sayWaiting = 2 * time.Second
	// abortTimeout is how long a start has to end by itself after a signal.
	abortTimeout = 500 * time.Millisecond
)

// run is the program. Whatever it does may have to wait for a file without end, so that is done on a goroutine of its own; this one
// only waits for its end, or for signals that do not wait for it.
func run(args []string, stdout, stderr *os.File) int {
	p := &program{signals: hearSignals(), output: newOutputs(stdout, stderr)}
	format, file := config.Peek(args)
	p.output.use(format)
	if file != "" {
		p.waiting.on("--config " + file)
	}
	done := make(chan int, 1)
	go func() { done <- p.execute(args, stdout) }()
	status := p.supervise(done)
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	p.output.flush(ctx)
	return status
}

// program is what there is before the settings are known.
type program struct {
	signals *signals
	output  *outputs
	waiting waiting
}

// waiting names what the process may have to wait for. Any goroutine may use it.
type waiting struct{ what atomic.Pointer[string] }

// on says what that is from now on; empty for nothing.
func (w *waiting) on(what string) { w.what.Store(&what) }

func (w *waiting) String() string {
	if s := w.what.Load(); s != nil {
		return *s
	}
	return ""
}

// errAborted is of a start that a signal has ended.
var errAborted = errors.New("ended before it served")

// execute does what the command line says.
func (p *program) execute(args []string, stdout *os.File) int {
	cmd := config.Command(func(c *config.Config) error {
		p.output.level.Set(c.LogLevel)
		p.output.use(c.LogFormat)
		p.waiting.on("")
		if c.Check {
			return check(c, p)
		}
		return serve(c, p)
	}, printVersion)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(p.output.stderr)
	switch err := cmd.Execute(); {
	case errors.Is(err, config.ErrUsage):
		p.output.use(config.FormatOf(err, args))
		p.output.fail(fmt.Sprintf("%v (see sslecho --help)", err))
		return exitUsage
	case errors.Is(err, errAborted):
		p.output.fail(p.aborted())
		return exitFailure
	case err != nil:
		p.output.fail(err.Error())
		return exitFailure
	}
	return exitOK
}

// supervise waits for the end, and answers its status.
func (p *program) supervise(done <-chan int) int {
	look := time.NewTicker(sayWaiting)
	defer look.Stop()
	said := ""
	for {
		select {
		case status := <-done:
			return status
		case <-look.C:
			if p.signals.serving() {
				look.Stop()
			} else if what := p.waiting.String(); what != "" && what != said {
				p.output.log().Warn("still waiting", "for", what)
				said = what
			}
		case <-p.signals.aborted:
			select {
			case status := <-done:
				return status
			case <-time.After(abortTimeout):
			}
			p.output.fail(p.aborted())
			return exitFailure
		case <-p.signals.forced:
			p.output.fail("ended by a second signal, though connections may be left" + p.while())
			return exitFailure
		}
	}
}

// aborted says that a signal has ended the start.
func (p *program) aborted() string { return fmt.Sprintf("ended by %v", p.signals.first()) + p.while() }

// while says what the process waits for.
func (p *program) while() string {
	if what := p.waiting.String(); what != "" {
		return " while waiting for " + what
	}
	return ""
}
