package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// patience is for how long a round may be drawn out until a unit of work is done.
const patience = 30 * time.Second

// tally adds up what a server did in a round, slice by slice.
type tally struct {
	units        float64
	cpu, elapsed time.Duration
	latency      *hdrhistogram.Histogram // nil: nothing was done yet
}

// work is one slice of a round of s. It is repeated with more time if not one unit was done.
func (r *runner) work(ctx context.Context, e *experiment, c cell, s *contender, d time.Duration) error {
	if s.sum.latency == nil {
		if err := s.proc.ResetPeak(); err != nil {
			return err
		}
	}
	for ; ; d *= 4 {
		before := s.sum.units
		if err := r.attempt(ctx, e, c, s, d); err != nil || s.sum.units > before {
			return err
		}
		if d > patience {
			return fmt.Errorf("no work was done in %v", d)
		}
	}
}

// attempt works for d.
func (r *runner) attempt(ctx context.Context, e *experiment, c cell, s *contender, d time.Duration) error {
	crowd, err := r.newcomers(ctx, c, s, d)
	if err != nil {
		return err
	}
	before, err := s.proc.CPU()
	if err != nil {
		return errors.Join(err, crowd())
	}
	res, err := s.load.Run(ctx, d)
	if err := errors.Join(err, crowd()); err != nil {
		return err
	}
	after, err := s.proc.CPU()
	if err != nil {
		return err
	}
	if err := failures(res); err != nil {
		return err
	}
	if !s.kind.Plain() {
		s.setup = strings.TrimSuffix(strings.Join([]string{res.Version, res.Cipher, res.Group}, ", "), ", ")
	}
	s.sum.units += units(e, res)
	s.sum.cpu += after - before
	s.sum.elapsed += res.Elapsed
	if s.sum.latency == nil {
		s.sum.latency = res.Latency
	} else {
		s.sum.latency.Merge(res.Latency)
	}
	return nil
}

// newcomers opens c.crowd connections a second for d. The function that it answers waits until all are open, and ends them.
func (r *runner) newcomers(ctx context.Context, c cell, s *contender, d time.Duration) (end func() error, err error) {
	n := int(float64(c.crowd) * d.Seconds())
	if n == 0 {
		return func() error { return nil }, nil
	}
	cfg := r.target(s, load.Config{Kind: load.Idle, Conns: n, Ramp: d, Background: true})
	l, err := load.New(cfg)
	if err != nil {
		return nil, err
	}
	began, open := time.Now(), make(chan error, 1)
	var took time.Duration
	go func() {
		err := l.Open(ctx, n)
		took = time.Since(began)
		open <- err
	}()
	return func() error {
		defer l.Close()
		if err := <-open; err != nil {
			return err
		}
		if took > d*5/4 {
			return finding{fmt.Errorf("of %d new connections a second there were %.0f", c.crowd, float64(n)/took.Seconds())}
		}
		return failures(l.Collect())
	}, nil
}

// round is what s did since the last one.
func (s *contender) round() (m report.Round, err error) {
	t := s.sum
	s.sum = tally{}
	m.CPU = float64(t.cpu.Nanoseconds()) / 1e3 / t.units
	m.Rate = t.units / t.elapsed.Seconds()
	if h := t.latency; h.TotalCount() > 0 {
		m.P50, m.P99, m.P999 = quantile(h, 50), quantile(h, 99), quantile(h, 99.9)
	}
	m.Memory, m.Peak, err = s.proc.Memory()
	return m, err
}

func quantile(h *hdrhistogram.Histogram, q float64) float64 {
	return float64(h.ValueAtQuantile(q)) / 1e3
}

// failures says what went wrong in a Run.
func failures(r load.Result) error {
	var errs []string
	for f, n := range r.Failures {
		errs = append(errs, fmt.Sprintf("%d × %s (%s)", n, f, r.Examples[f]))
	}
	if errs == nil {
		return nil
	}
	slices.Sort(errs)
	err := errors.New(strings.Join(errs, "; "))
	if len(errs) == 1 && r.Failures[load.TooSlow] > 0 {
		return finding{err}
	}
	return err
}

// prepareRates makes the cells of an open loop from what one server, the baseline if it takes part, does in
// a closed one.
func (r *runner) prepareRates(ctx context.Context, e *experiment, shares []float64) error {
	c := cell{work: server.Echo, load: load.Config{Kind: load.Request, Conns: 64, Size: 1 << 10}}
	all := r.entrants(e, c)
	if len(all) == 0 {
		return errors.New("no server that takes part is there")
	}
	k := all[max(0, slices.IndexFunc(all, func(k server.Kind) bool { return k.Name == r.Baseline }))]
	r.step("%s: what %s does at most", e.title, k.Name)
	s := &contender{kind: k}
	defer s.close()
	if err := r.open(ctx, s, c, r.Duration/4); err != nil {
		return err
	}
	if err := r.work(ctx, e, c, s, 4*r.Duration); err != nil {
		return err
	}
	m, err := s.round()
	if err != nil {
		return err
	}
	for _, share := range shares {
		c := c
		c.load.Rate = twoDigits(share * m.Rate)
		c.x = c.load.Rate
		e.cells = append(e.cells, c)
	}
	return nil
}
