package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/logqueue"
)

const (
	maxQueued    = 1 << 20         // bytes that wait for each output: some thousand lines
	flushTimeout = 2 * time.Second // for the outputs at the end, and for the removal of the pid file
)

// outputs are what the process prints: its log on standard error, and on
// standard output notices for who has started it. Nothing that uses it ever
// waits: what an output does not take in time is dropped and counted. In the
// format JSON each line of either is a record.
type outputs struct {
	stdout, stderr *logqueue.Writer // the same one if the files are the same, which keeps the lines in order
	level          slog.LevelVar
	style          atomic.Pointer[style]
}

// style is how the outputs print in one format. Without notices those are plain
// text.
type style struct{ logger, notices *slog.Logger }

func newOutputs(stdout, stderr *os.File) *outputs {
	o := &outputs{}
	o.stderr = logqueue.NewWriter(stderr, maxQueued, o.lost("stderr"))
	o.stdout = o.stderr
	a, err := stdout.Stat()
	b, errB := stderr.Stat()
	if err != nil || errB != nil || !os.SameFile(a, b) {
		o.stdout = logqueue.NewWriter(stdout, maxQueued, o.lost("stdout"))
	}
	o.use(config.LogText)
	return o
}

// use makes format that of all lines from now on.
func (o *outputs) use(format string) {
	options := &slog.HandlerOptions{Level: &o.level}
	if format == config.LogJSON {
		o.style.Store(&style{slog.New(slog.NewJSONHandler(o.stderr, options)),
			slog.New(slog.NewJSONHandler(o.stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		return
	}
	o.style.Store(&style{logger: slog.New(slog.NewTextHandler(o.stderr, options))})
}

func (o *outputs) log() *slog.Logger { return o.style.Load().logger }

// say prints a notice on standard output: a line of text, or a record that has
// attrs too.
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
		s.logger.Error(text)
		return
	}
	fmt.Fprintf(o.stderr, "sslecho: %s\n", text)
}

// lost logs that an output has lost lines.
func (o *outputs) lost(name string) func(n uint64) {
	return func(n uint64) {
		o.log().Warn("lines were dropped, for nothing took them in time", "output", name, "count", n)
	}
}

// stdoutDropped returns how many lines of standard output alone were dropped.
func (o *outputs) stdoutDropped() uint64 {
	if o.stdout == o.stderr {
		return 0
	}
	return o.stdout.Dropped()
}

// flush waits until all is written, or until ctx ends.
func (o *outputs) flush(ctx context.Context) {
	_ = o.stdout.Flush(ctx)
	_ = o.stderr.Flush(ctx)
}
