package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/logqueue"
)

const (
	// maxWaiting is how many bytes wait for each output: some thousand lines.
	maxWaiting = 1 << 20
	// flushTimeout is how long the outputs have at the end of a daemon, and the
	// removal of its pid file.
	flushTimeout = 2 * time.Second
)

// outputs are what the process prints: its log on standard error, and on standard output notices for who has started it. Nothing that uses
// it ever waits: what an output does not take in time is dropped and counted. In the format JSON each line of either is a record.
type outputs struct {
	stdout, stderr *logqueue.Writer // the same one if the files are the same, which keeps the lines in order
	level          slog.LevelVar
	style          atomic.Pointer[style]
}

// style is how an output prints in one format.
type style struct {
	log     *slog.Logger
	notices *slog.Logger // nil: they are plain text
}

func newOutputs(stdout, stderr *os.File) *outputs {
	o := &outputs{}
	lost := func(name string) func(uint64) {
		return func(n uint64) { o.lost(name, n) }
	}
	o.stderr = logqueue.NewWriter(stderr, maxWaiting, lost("stderr"))
	o.stdout = o.stderr
	if !sameFile(stdout, stderr) {
		o.stdout = logqueue.NewWriter(stdout, maxWaiting, lost("stdout"))
	}
	o.use(config.LogText)
	return o
}

func sameFile(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// use makes format that of all lines from now on.
func (o *outputs) use(format string) {
	json := func(w io.Writer, level slog.Leveler) *slog.Logger {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	if format == config.LogJSON {
		o.style.Store(&style{log: json(o.stderr, &o.level), notices: json(o.stdout, slog.LevelDebug)})
		return
	}
	o.style.Store(&style{log: slog.New(slog.NewTextHandler(o.stderr, &slog.HandlerOptions{Level: &o.level}))})
}

func (o *outputs) log() *slog.Logger { return o.style.Load().log }

// say prints a notice on standard output: a line of text, or a record that has attrs too.
func (o *outputs) say(text string, attrs ...slog.Attr) {
	o.notice(slog.LevelInfo, text, text, attrs...)
}

// notice is say, with a level and another text for a record.
func (o *outputs) notice(level slog.Level, text, message string, attrs ...slog.Attr) {
	if l := o.style.Load().notices; l != nil {
		l.LogAttrs(context.Background(), level, message, attrs...)
		return
	}
	out := o.stdout
	if level >= slog.LevelWarn {
		out = o.stderr
	}
	fmt.Fprintln(out, text)
}

// fail prints why the process ends, on standard error.
func (o *outputs) fail(text string) {
	if s := o.style.Load(); s.notices != nil {
		s.log.Error(text)
		return
	}
	fmt.Fprintf(o.stderr, "sslecho: %s\n", text)
}

// lost logs that an output has lost lines.
func (o *outputs) lost(name string, n uint64) {
	o.log().Warn("lines were dropped, for nothing took them in time", "output", name, "count", n)
}

// dropped is how many lines each output has lost.
func (o *outputs) dropped() map[string]uint64 {
	out := map[string]uint64{"stderr": o.stderr.Dropped(), "stdout": 0}
	if o.stdout != o.stderr {
		out["stdout"] = o.stdout.Dropped()
	}
	return out
}

// flush waits until all is written, or until ctx ends.
func (o *outputs) flush(ctx context.Context) {
	_ = o.stdout.Flush(ctx)
	_ = o.stderr.Flush(ctx)
}
