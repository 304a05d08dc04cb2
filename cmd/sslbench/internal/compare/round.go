package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// patience is for how long a round may be drawn out until a unit of work is done.
const patience = 30 * time.Second

// run is one round. It is repeated with more time if not one unit was done.
func (r *runner) run(ctx context.Context, e *experiment, s *contender, d time.Duration) (report.Round, error) {
	for ; ; d *= 4 {
		m, n, err := r.attempt(ctx, e, s, d)
		if n > 0 || err != nil {
			return m, err
		}
		if d > patience {
			return m, fmt.Errorf("no work was done in %v", d)
		}
	}
}

// attempt measures for d and answers how many units were done.
func (r *runner) attempt(ctx context.Context, e *experiment, s *contender, d time.Duration) (m report.Round, n float64, err error) {
	if err := s.proc.ResetPeak(); err != nil {
		return m, 0, err
	}
	before, err := s.proc.CPU()
	if err != nil {
		return m, 0, err
	}
	res, err := s.load.Run(ctx, d)
	if err != nil {
		return m, 0, err
	}
	after, err := s.proc.CPU()
	if err != nil {
		return m, 0, err
	}
	if err := failures(res); err != nil {
		return m, 0, err
	}
	if !s.kind.Plain() {
		s.setup = strings.TrimSuffix(strings.Join([]string{res.Version, res.Cipher, res.Group}, ", "), ", ")
	}
	if n = units(e, res); n == 0 {
		return m, 0, nil
	}
	m.CPU = float64((after - before).Nanoseconds()) / 1e3 / n
	m.Rate = n / res.Elapsed.Seconds()
	if h := res.Latency; h != nil && h.TotalCount() > 0 {
		m.P50, m.P99, m.P999 = quantile(res, 50), quantile(res, 99), quantile(res, 99.9)
	}
	m.Memory, m.Peak, err = s.proc.Memory()
	return m, n, err
}

func quantile(r load.Result, q float64) float64 { return float64(r.Latency.ValueAtQuantile(q)) / 1e3 }

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
	m, err := r.run(ctx, e, s, 4*r.Duration)
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
