package compare

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// contender is a server in a cell.
type contender struct {
	kind   server.Kind
	proc   *server.Process
	load   *load.Load
	point  report.Point
	sum    tally  // of the round under way
	setup  string // what it has agreed on with the client
	failed error
}

// cell measures all servers at one x.
func (r *runner) cell(ctx context.Context, e *experiment, c cell, out *report.Experiment) error {
	var all []*contender
	for _, k := range r.entrants(e, c) {
		all = append(all, &contender{kind: k, point: report.Point{Server: k.Name, X: c.x, Label: c.label}})
	}
	defer func() {
		for _, s := range all {
			s.close()
		}
	}()
	// Connections of all servers at once may be more than a process may have; then each round opens its own.
	keep, d := r.keeps(c, len(all)), r.duration(e, c)
	for _, s := range all {
		r.step("%s, %s: %s opens", e.title, c.name(), s.kind.Name)
		if most := r.files - spareFiles; c.load.Conns > most {
			s.failed = r.tooFewFiles(most)
			continue
		}
		if s.failed = r.open(ctx, s, c, d/4); !keep {
			s.close()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	slices := r.slices(c, d, keep)
	for round := range r.rounds(keep) {
		for _, s := range all {
			r.step("%s, %s: %s", e.title, c.name(), s.kind.Name)
		}
		for n := range slices {
			for i := range all {
				s := all[(i+round+n)%len(all)] // who goes first takes turns
				if s.failed == nil && s.load == nil {
					s.failed = r.open(ctx, s, c, d/4)
				}
				if s.failed == nil {
					s.failed = r.work(ctx, e, c, s, d/time.Duration(slices))
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if !keep {
					s.close()
				}
			}
		}
		for _, s := range all {
			if s.failed == nil {
				s.failed = r.note(c, all, s)
			}
		}
	}
	for _, s := range all {
		if s.failed != nil {
			r.fail(out, s.kind, c, s.failed)
		} else {
			out.Points = append(out.Points, s.point)
		}
	}
	return nil
}

// note adds the round that s has come through to its point.
func (r *runner) note(c cell, all []*contender, s *contender) error {
	m, err := s.round()
	if err != nil {
		return err
	}
	s.point.Rounds = append(s.point.Rounds, m)
	return r.sameSetup(c, all, s)
}

// sliceTime is about how long a server works before the next one has its turn. What the machine does for others changes more slowly.
const sliceTime = 60 * time.Millisecond

// slices is how many a round of d has. Connections that are opened anew take too long for more than one, and in an open loop
// a stall must be seen to its end.
func (r *runner) slices(c cell, d time.Duration, keep bool) int {
	if !keep || c.load.Rate > 0 {
		return 1
	}
	return max(1, int(d/max(sliceTime, time.Duration(c.load.Conns)*25*time.Microsecond)))
}

// rounds is how many there are. Where each opens its connections anew, which takes many times as long as
// the round, three must do.
func (r *runner) rounds(keep bool) int {
	if keep {
		return r.Rounds
	}
	return min(r.Rounds, 3)
}

// duration is that of a round: long enough for each connection to have its turn several times.
func (r *runner) duration(e *experiment, c cell) time.Duration {
	return max(time.Duration(max(1, e.scale)*float64(r.Duration)), time.Duration(c.load.Conns)*100*time.Microsecond)
}

// tooFewFiles says that the limit for open files ends a series at most.
func (r *runner) tooFewFiles(most int) error {
	return finding{fmt.Errorf("the limit for open files (%d, ulimit -Hn) leaves room for %d connections", r.files, most)}
}

// sameSetup wants all servers of a cell to have agreed on the same cipher and group with the client, as
// their work would not be the same otherwise. It notes what that is for the report.
func (r *runner) sameSetup(c cell, all []*contender, s *contender) error {
	if s.kind.Plain() {
		return nil
	}
	for _, o := range all {
		if o.setup != "" && o.setup != s.setup {
			return fmt.Errorf("it agreed on %s, and %s on %s", s.setup, o.kind.Name, o.setup)
		}
	}
	if !slices.Contains(r.setups, s.setup) {
		r.setups = append(r.setups, s.setup)
	}
	return nil
}

// keeps says whether the connections of n servers fit into this process all at once.
func (r *runner) keeps(c cell, n int) bool { return c.load.Conns*n <= r.files*8/10 }

func (c cell) name() string {
	if c.label != "" {
		return c.label
	}
	return strconv.FormatFloat(c.x, 'f', -1, 64)
}

func (s *contender) close() {
	if s.load != nil {
		s.load.Close()
		s.load = nil
	}
}
