package main

import (
	"io"
	"os"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// isTerminal says whether a person looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
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
		s.bar = progressbar.NewOptions(all, progressbar.OptionSetWriter(s.out), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetWidth(20), progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
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
