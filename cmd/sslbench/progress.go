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

// bar shows how many steps are done.
type bar struct{ *progressbar.ProgressBar }

// newBar makes one for a number of steps, or a mark that turns if all is negative.
func newBar(w io.Writer, all int64, more ...progressbar.Option) *bar {
	return &bar{progressbar.NewOptions64(all, append(more, progressbar.OptionSetWriter(w), progressbar.OptionSetWidth(20),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(all > 0))...)}
}

// step says what is under way. A terminal that is gone is no reason to fail.
func (b *bar) step(what string, done int64) {
	b.Describe(what)
	_ = b.Set64(done)
}

// loadProgress shows on a terminal how far a Load has come.
type loadProgress struct {
	load *load.Load
	out  io.Writer // nil: nothing is shown
	kind load.Kind
	stop chan struct{}
	done sync.WaitGroup
}

// begin shows a bar for d, or a mark that turns if d is negative, until the next
// begin or close.
func (p *loadProgress) begin(what string, d time.Duration) {
	p.close()
	if p.out == nil {
		return
	}
	p.stop = make(chan struct{})
	ticks := d.Milliseconds()
	b := newBar(p.out, ticks, progressbar.OptionSetElapsedTime(true))
	p.done.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		start, last, lastAt := time.Now(), p.load.Progress(), time.Now()
		for {
			select {
			case <-p.stop:
				_ = b.Finish()
				return
			case now := <-ticker.C:
				s := p.load.Progress()
				// Not up to its end, at which the bar would take itself for finished.
				b.step(what+" "+p.describe(s, last, now.Sub(lastAt)), min(now.Sub(start).Milliseconds(), max(ticks-1, 0)))
				last, lastAt = s, now
			}
		}
	})
}

// describe is the present rate, and what failed so far.
func (p *loadProgress) describe(now, last load.Progress, d time.Duration) string {
	rate := func(n uint64) float64 { return float64(n) / max(d.Seconds(), 1e-3) }
	s := fmt.Sprintf("%d open, %d failed", now.Open, now.Failures)
	switch p.kind {
	case load.Handshake, load.Resume, load.Request:
		return fmt.Sprintf("%.0f/s, %s", rate(now.Units-last.Units), s)
	case load.Stream, load.Send, load.Receive:
		return fmt.Sprintf("%.1f MB/s, %s", rate(now.Sent+now.Received-last.Sent-last.Received)/1e6, s)
	}
	return s
}

// close takes the bar away.
func (p *loadProgress) close() {
	if p.stop != nil {
		close(p.stop)
		p.done.Wait()
		p.stop = nil
	}
}
