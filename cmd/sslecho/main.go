// Sslecho is a TLS echo daemon: what a client sends comes back. It is for
// testing TLS clients, proxies and networks, and the example of a server over
// package reactor.
//
// Run sslecho --help for its flags; docs/operate/sslecho.md is the page for
// operators.
//
//	main ─► config ─► process ─┬─ tlsconf     contexts from files         (SIGHUP: anew)
//	                           ├─ lifecycle   sockets, systemd, user      (SIGUSR2: another process takes over)
//	                           ├─ connlog     a line for each connection
//	                           ├─ starttls    plain text before TLS
//	                           ├─ admin       metrics, health, readiness
//	                           └─ reactor.Server, connlimit, proxyproto, services
//
// A second SIGTERM ends it at once, whatever it waits for.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/lifecycle"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
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
	waitInterval = 2 * time.Second        // at which is looked whether to say what is waited for
	abortTimeout = 500 * time.Millisecond // for a start to end by itself after a signal
)

// run is the program. What it does may have to wait for a file without end, so
// a goroutine of its own does it; this one waits for that, or for signals.
func run(args []string, stdout, stderr *os.File) int {
	p := &program{signals: newSignals(), output: newOutputs(stdout, stderr)}
	format, file := config.Peek(args)
	p.output.use(format)
	if file != "" {
		p.waiting.on("--config " + file)
	}
	done := make(chan int, 1)
	go func() { done <- p.execute(args, stdout, format, file) }()
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

// waiting names what the process may have to wait for. Any goroutine may use
// it.
type waiting struct{ what atomic.Pointer[string] }

// on says what that is from now on; empty for nothing.
func (w *waiting) on(what string) { w.what.Store(&what) }

func (w *waiting) String() string {
	if s := w.what.Load(); s != nil {
		return *s
	}
	return ""
}

// remind logs what is waited for, once each, until the function that it returns
// is called.
func (w *waiting) remind(log func() *slog.Logger, text string) (stop func()) {
	look, stopped, said := time.NewTicker(waitInterval), make(chan struct{}), ""
	go func() {
		for {
			select {
			case <-stopped:
				return
			case <-look.C:
			}
			if what := w.String(); what != "" && what != said {
				log().Warn(text, "for", what)
				said = what
			}
		}
	}()
	return func() { look.Stop(); close(stopped) }
}

// errAborted is returned by a start that a signal has ended.
var errAborted = errors.New("ended before it served")

// execute does what the command line says.
func (p *program) execute(args []string, stdout *os.File, format, file string) int {
	loaded := false
	cmd := config.Command(func(c *config.Config) error {
		loaded = true
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
	case err == nil:
		return exitOK
	case errors.Is(err, errAborted):
		p.output.fail(p.aborted())
	case loaded:
		p.output.fail(err.Error())
	default:
		if format == "" { // a file that blocks is read only if it must be
			p.output.use(config.FormatIn(file))
		}
		p.output.fail(fmt.Sprintf("%v (see sslecho --help)", err))
		return exitUsage
	}
	return exitFailure
}

// supervise waits for the end, and returns its status.
func (p *program) supervise(done <-chan int) int {
	defer p.waiting.remind(p.output.log, "still waiting")()
	select {
	case status := <-done:
		return status
	case <-p.signals.aborted:
		select {
		case status := <-done:
			return status
		case <-time.After(abortTimeout):
		}
		p.output.fail(p.aborted())
	case <-p.signals.forced:
		p.output.fail("ended by a second signal, though connections may be left" + p.while())
	}
	return exitFailure
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

// check is --check: everything that can be known without serving. Warnings go
// to stderr, and are no failure.
func check(c *config.Config, p *program) error {
	b := tlsconf.Builder{At: p.waiting.on}
	t := c.TLS
	t.KeyLogFile = "" // would be made
	built, err := b.Build(&t)
	if err != nil {
		return err
	}
	defer built.Context.Close()
	for _, w := range append(built.Warnings, c.Warnings()...) {
		p.output.notice(slog.LevelWarn, "warning: "+w, w)
	}
	if err := errors.Join(built.Check(), surroundings(c)); err != nil {
		return err
	}
	p.output.say("the configuration is valid")
	return nil
}

// surroundings says what is missing around the daemon: its user, and
// directories that it would make files in. Ports are left alone, for the daemon
// itself may have them.
func surroundings(c *config.Config) error {
	var faults []error
	if c.User.Name != "" {
		_, _, err := lifecycle.Lookup(c.User.Name, c.User.Group)
		faults = append(faults, err)
	}
	files := [][2]string{{"--pid-file", c.PIDFile}, {"--keylog", c.TLS.KeyLogFile}, {"--admin", unixPath(c.Admin)}}
	for _, a := range c.Listen {
		files = append(files, [2]string{"--listen", unixPath(a)})
	}
	for _, f := range files {
		if f[1] == "" {
			continue
		}
		if _, err := os.Stat(filepath.Dir(f[1]) + "/."); err != nil {
			faults = append(faults, fmt.Errorf("%s %s: %w", f[0], f[1], err))
		}
	}
	return errors.Join(faults...)
}

// unixPath is the path of the address of a unix socket, or empty.
func unixPath(address string) string {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return ""
	}
	return path
}
