package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"golang.org/x/term"
)

// isTerminal says whether a person looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func newBar(w io.Writer, all int64, more ...progressbar.Option) *progressbar.ProgressBar {
	return progressbar.NewOptions64(all, append(more, progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(20),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(all > 0))...)
}

// steps shows a bar for a known number of steps, on a terminal only.
type steps struct {
	out io.Writer
	bar *progressbar.ProgressBar
}

// step says what begins, how many steps are done and how many there are.
func (s *steps) step(what string, done, all int) {
	if !isTerminal(s.out) {
		return
	}
	if s.bar == nil {
		s.bar = newBar(s.out, int64(all), progressbar.OptionShowCount())
	}
	s.bar.Describe(what)
	_ = s.bar.Set(min(done, all))
}

// finish takes the bar away.
func (s *steps) finish() {
	if s.bar != nil {
		_ = s.bar.Finish()
	}
}

// loadProgress shows on a terminal how far a Load has come.
type loadProgress struct {
	load *load.Load
	out  io.Writer // nil: nothing is shown
	kind load.Kind
	stop chan struct{}
	done sync.WaitGroup
}

// newProgress shows that connections are opened, until begin or close.
func (o *loadOptions) newProgress(l *load.Load, stderr io.Writer) *loadProgress {
	p := &loadProgress{load: l, kind: o.cfg.Kind}
	if o.progress == "always" || o.progress == "auto" && isTerminal(stderr) {
		p.out = stderr
	}
	p.begin("opening", -1)
	return p
}

// begin shows a bar for d, or a mark that turns if d is negative.
func (p *loadProgress) begin(what string, d time.Duration) {
	p.close()
	if p.out == nil {
		return
	}
	p.stop = make(chan struct{})
	ticks := int64(-1)
	if d >= 0 {
		ticks = d.Milliseconds()
	}
	bar := newBar(p.out, ticks, progressbar.OptionSetElapsedTime(true))
	p.done.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		start, last, lastAt := time.Now(), p.load.Progress(), time.Now()
		for {
			select {
			case <-p.stop:
				_ = bar.Finish() // a terminal that is gone is no reason to fail
				return
			case now := <-ticker.C:
				s := p.load.Progress()
				bar.Describe(what + " " + p.describe(s, last, now.Sub(lastAt)))
				// Not up to its end, at which the bar would take itself for finished.
				_ = bar.Set64(min(now.Sub(start).Milliseconds(), max(ticks-1, 0)))
				last, lastAt = s, now
			}
		}
	})
}

// describe is the present rate, and what failed so far.
func (p *loadProgress) describe(now, last load.Progress, d time.Duration) string {
	rate := func(n uint64) float64 { return float64(n) / max(d.Seconds(), 1e-3) }
	s := fmt.Sprintf("%d open", now.Open)
	switch p.kind {
	case load.Handshake, load.Resume, load.Request:
		s = fmt.Sprintf("%.0f/s, %s", rate(now.Units-last.Units), s)
	case load.Stream, load.Send, load.Receive:
		s = fmt.Sprintf("%.1f MB/s, %s", rate(now.Sent+now.Received-last.Sent-last.Received)/1e6, s)
	}
	return fmt.Sprintf("%s, %d failed", s, now.Failures)
}

// close takes the bar away.
func (p *loadProgress) close() {
	if p.stop != nil {
		close(p.stop)
		p.done.Wait()
		p.stop = nil
	}
}
