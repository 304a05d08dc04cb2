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
	end  func()    // takes the bar away, if there is one
}

// begin shows a bar for d, or a mark that turns if d is negative, until the next
// begin or close.
func (p *loadProgress) begin(what string, d time.Duration) {
	p.close()
	if p.out == nil {
		return
	}
	ticks := d.Milliseconds()
	b := newBar(p.out, ticks, progressbar.OptionSetElapsedTime(true))
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		start, last, lastAt := time.Now(), p.load.Progress(), time.Now()
		for {
			select {
			case <-stop:
				_ = b.Finish()
				return
			case now := <-ticker.C:
				s := p.load.Progress()
				// Not up to its end, at which the bar would take itself for finished.
				b.step(what+" "+describe(s, last, now.Sub(lastAt)), min(now.Sub(start).Milliseconds(), max(ticks-1, 0)))
				last, lastAt = s, now
			}
		}
	})
	p.end = func() {
		close(stop)
		done.Wait()
	}
}

// describe is the present rate, and what failed so far.
func describe(now, last load.Progress, d time.Duration) string {
	rate := func(now, last uint64) float64 { return float64(now-last) / max(d.Seconds(), 1e-3) }
	return fmt.Sprintf("%.0f/s, %.1f MB/s, %d open, %d failed", rate(now.Units, last.Units),
		rate(now.Sent+now.Received, last.Sent+last.Received)/1e6, now.Open, now.Failures)
}

// close takes the bar away.
func (p *loadProgress) close() {
	if p.end != nil {
		p.end()
		p.end = nil
	}
}
