package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/httpload"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/rounds"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet/sslhttp"
)

// loader is a *load.Load or a *httpload.Load.
type loader interface {
	Open(ctx context.Context, n int) error
	Run(ctx context.Context, d time.Duration) (load.Result, error)
	Close()
}

// contender is a server in a workload.
type contender struct {
	kind   server.Kind
	proc   *server.Process
	load   loader
	sum    load.Result   // of the round under way, slice by slice
	cpu    time.Duration // what that took
	failed error
}

const (
	// sliceTime is about how long a server works before the next one has its turn.
	// What the machine does for others changes more slowly.
	sliceTime = 60 * time.Millisecond
	// patience is for how long a slice may be drawn out until a unit of work is
	// done.
	patience = 30 * time.Second
)

// workload measures all servers.
func (r *runner) workload(ctx context.Context, w *workload) {
	var all []*contender
	for _, k := range r.entrants(w) {
		all = append(all, &contender{kind: k})
	}
	defer func() {
		for _, s := range all {
			s.stop()
		}
	}()
	for _, s := range all {
		if most := r.env.MaxConns(s.kind); w.load.Conns > most {
			s.failed = finding{fmt.Errorf("there is room for %d connections", most)}
		} else if !w.idle() {
			s.failed = r.open(ctx, s, w)
		}
		if !r.keeps(w) {
			s.close()
		}
	}
	for n := range r.rounds(w) {
		var found []rounds.Round
		if w.idle() {
			found = r.idleRound(ctx, w, turn(all, n))
		} else {
			found = r.round(ctx, w, all, n)
		}
		if ctx.Err() != nil {
			return // a round that was cut short says nothing
		}
		for _, f := range withRatios(w, found) {
			r.write(f)
		}
	}
	for _, s := range all {
		if s.failed != nil {
			r.fail(w, s.kind, s.failed)
		}
	}
}

// turn is who works in which order: who goes first takes turns.
func turn(all []*contender, n int) []*contender {
	return slices.Concat(all[n%max(1, len(all)):], all[:n%max(1, len(all))])
}

// round is a round of all servers, slice by slice.
func (r *runner) round(ctx context.Context, w *workload, all []*contender, n int) (found []rounds.Round) {
	parts := r.slices(w)
	for _, s := range all {
		s.sum, s.cpu = load.Result{}, 0
	}
	for i := range parts {
		for _, s := range turn(all, n+i) {
			if s.failed == nil && s.load == nil {
				s.failed = r.open(ctx, s, w)
			}
			if s.failed == nil {
				s.failed = r.work(ctx, w, s, r.duration(w)/time.Duration(parts))
			}
			if !r.keeps(w) {
				s.close()
			}
		}
	}
	for _, s := range all {
		if s.failed == nil {
			s.failed = sameSetup(all, s)
		}
		if s.failed == nil {
			found = append(found, rounds.Round{Workload: w.name, Server: s.kind.Name, Values: s.values(w)})
		}
	}
	return found
}

// values are the figures of a round.
func (s *contender) values(w *workload) []rounds.Value {
	units := w.units(s.sum)
	v := []rounds.Value{
		{X: float64(s.cpu.Nanoseconds()) / 1e3 / units, Unit: rounds.CPU},
		{X: units / s.sum.Elapsed.Seconds(), Unit: rounds.Rate},
	}
	if h := s.sum.Latency; h.TotalCount() > 0 {
		v = append(v, rounds.Value{X: float64(h.ValueAtQuantile(50)) / 1e3, Unit: rounds.P50},
			rounds.Value{X: float64(h.ValueAtQuantile(99)) / 1e3, Unit: rounds.P99})
	}
	return v
}

// withRatios adds to each server's figures their ratio to the baseline's.
func withRatios(w *workload, found []rounds.Round) []rounds.Round {
	figure := func(values []rounds.Value) float64 {
		for _, v := range values {
			if v.Unit == rounds.Figure(w.name) {
				return v.X
			}
		}
		return 0
	}
	base := map[string]float64{}
	for _, f := range found {
		if f.Server == w.baseline {
			base[f.Workload] = figure(f.Values)
		}
	}
	for i, f := range found {
		if b := base[f.Workload]; b > 0 {
			found[i].Values = append(f.Values, rounds.Value{X: figure(f.Values) / b, Unit: rounds.RatioTo(w.baseline)})
		}
	}
	return found
}

// slices is how many a round has. Connections that are opened anew take too long
// for more than one, and in an open loop a stall must be seen to its end.
func (r *runner) slices(w *workload) int {
	if !r.keeps(w) || w.load.Rate > 0 {
		return 1
	}
	return max(1, int(r.duration(w)/max(sliceTime, time.Duration(w.load.Conns)*25*time.Microsecond)))
}

// rounds is how many there are. Where each opens its connections anew, which takes
// many times as long as the round, three must do.
func (r *runner) rounds(w *workload) int {
	if r.keeps(w) && !w.idle() {
		return r.Rounds
	}
	return min(r.Rounds, 3)
}

// duration is that of a round: long enough for each connection to have its turn
// several times.
func (r *runner) duration(w *workload) time.Duration {
	return max(time.Duration(max(1, w.scale))*r.Duration, time.Duration(w.load.Conns)*100*time.Microsecond)
}

// keeps says whether the connections of all servers fit into this process at once.
// If not, each round opens its own.
func (r *runner) keeps(w *workload) bool { return w.load.Conns*len(r.entrants(w)) <= r.env.Files*8/10 }

// sameSetup wants all servers to have agreed on the same cipher and group with the
// client, as their work would not be the same otherwise.
func sameSetup(all []*contender, s *contender) error {
	ours := s.sum.Facts
	for _, o := range all {
		theirs := o.sum.Facts
		same := ours.Version == theirs.Version && ours.Cipher == theirs.Cipher && strings.EqualFold(ours.Group, theirs.Group)
		if theirs.Version != "" && !same {
			return fmt.Errorf("it agreed on %v, and %s on %v", ours, o.kind.Name, theirs)
		}
	}
	return nil
}

// close ends the load, and stop the server too.
func (s *contender) close() {
	if s.load != nil {
		s.load.Close()
		s.load = nil
	}
}

func (s *contender) stop() {
	s.close()
	if s.proc != nil {
		_ = s.proc.Stop() // that it had crashed, its own measurement has said
		s.proc = nil
	}
}

// start starts the server, if it does not run yet, and makes the load.
func (r *runner) start(ctx context.Context, s *contender, w *workload) (err error) {
	if s.proc == nil {
		spec := server.Spec{Work: w.work, KeyType: w.keyType, TLS12: w.tls12, Core: r.serverCore}
		if s.proc, err = r.env.Start(ctx, s.kind, spec); err != nil {
			return err
		}
	}
	if w.http != nil {
		s.load, err = httpload.New(*w.http, s.proc.Addr, r.env.RootFile())
	} else {
		s.load, err = load.New(r.target(s, w.load))
	}
	if err != nil {
		s.load = nil // and no interface with a nil in it
	}
	return err
}

// open opens the load's connections, and lets them work for a while without
// measuring: buffers and windows grow, lazy parts load.
func (r *runner) open(ctx context.Context, s *contender, w *workload) error {
	if err := r.start(ctx, s, w); err != nil {
		return err
	}
	if err := s.load.Open(ctx, w.load.Conns); err != nil {
		return err
	}
	res, err := s.load.Run(ctx, r.duration(w)/4)
	return errors.Join(err, failures(res))
}

// target fills in what a load on s needs. It offers one cipher, and X25519 before
// the curve that ECDSA certificates need in TLS 1.2, so that all servers do the
// same work; crypto/tls would choose AES-128 otherwise.
func (r *runner) target(s *contender, cfg load.Config) load.Config {
	cfg.Target, cfg.ServerName = s.proc.Addr, "localhost"
	cfg.TLS = cssl.Config{
		CAFile:       r.env.RootFile(),
		CipherSuites: "TLS_AES_256_GCM_SHA384",
		CipherList:   "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384",
		Groups:       "X25519:P-256",
	}
	return cfg
}

// work is one slice of a round of s. It is repeated with more time if not one unit
// was done.
func (r *runner) work(ctx context.Context, w *workload, s *contender, d time.Duration) error {
	for before := w.units(s.sum); ; d *= 4 {
		if err := r.attempt(ctx, w, s, d); err != nil || w.units(s.sum) > before {
			return err
		}
		if d > patience {
			return fmt.Errorf("no work was done in %v", d)
		}
	}
}

func (r *runner) attempt(ctx context.Context, w *workload, s *contender, d time.Duration) error {
	end, err := r.newConns(ctx, w, s, d)
	if err != nil {
		return err
	}
	before, err := s.proc.CPU()
	var res load.Result
	if err == nil {
		res, err = s.load.Run(ctx, d)
	}
	if err := errors.Join(err, end()); err != nil {
		return err
	}
	after, err := s.proc.CPU()
	if err := errors.Join(err, failures(res)); err != nil {
		return err
	}
	s.sum.Add(res)
	s.cpu += after - before
	return nil
}

// newConns opens connections for d, at a rate. They have the load's core only
// while that has nothing to do, so that the latency is the server's. The function
// that it returns waits until all are open, and ends them.
func (r *runner) newConns(ctx context.Context, w *workload, s *contender, d time.Duration) (end func() error, err error) {
	n := int(float64(w.newConns) * d.Seconds())
	if n == 0 {
		return func() error { return nil }, nil
	}
	l, err := load.New(r.target(s, load.Config{Kind: load.Idle, Conns: n, Ramp: d, Background: true}))
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
			return finding{fmt.Errorf("of %d new connections a second there were %.0f", w.newConns, float64(n)/took.Seconds())}
		}
		return failures(l.Collect())
	}, nil
}

// failures says what went wrong in a Run.
func failures(r load.Result) error {
	err := r.Err()
	if len(r.Failures) == 1 && r.Failures[load.TooSlow] > 0 {
		return finding{err}
	}
	return err
}

// idleRound measures how much a server's memory grows with idle connections, in a
// new process each time.
func (r *runner) idleRound(ctx context.Context, w *workload, all []*contender) (found []rounds.Round) {
	for _, s := range all {
		if s.failed != nil || ctx.Err() != nil {
			continue
		}
		var grown []int64
		grown, s.failed = r.idleMemory(ctx, w, s)
		s.stop()
		for i, bytes := range grown {
			found = append(found, rounds.Round{Workload: w.name + []string{"", "/collected"}[i], Server: s.kind.Name,
				Values: []rounds.Value{{X: float64(bytes) / float64(w.load.Conns), Unit: rounds.Memory}}})
		}
	}
	return found
}

// idleMemory returns how much it grows: as it stands and, of HTTP, after a garbage
// collection.
func (r *runner) idleMemory(ctx context.Context, w *workload, s *contender) ([]int64, error) {
	err := r.start(ctx, s, w)
	if err != nil {
		return nil, err
	}
	h, isHTTP := s.load.(*httpload.Load)
	var memory [3]int64
	for i := range memory {
		switch {
		case i == 1:
			err = s.load.Open(ctx, w.load.Conns)
		case isHTTP:
			if i == 2 {
				time.Sleep(3 * sslhttp.DefaultParkAfter) // a quiet connection is parked by then
			}
			err = h.Free(ctx)
		case i == 2:
			res, e := s.load.Run(ctx, 0) // whose failures are those of opening
			err = errors.Join(e, failures(res))
		}
		if err == nil {
			memory[i], err = r.settled(ctx, s.proc)
		}
		if err != nil {
			return nil, err
		}
	}
	grown := []int64{memory[1] - memory[0], memory[2] - memory[0]}
	if !isHTTP {
		grown = grown[:1]
	}
	return grown, nil
}

// settled is the memory of a server that has nothing left to do, or after two
// seconds.
func (r *runner) settled(ctx context.Context, p *server.Process) (int64, error) {
	last := time.Duration(0)
	for range 20 {
		now, err := p.CPU()
		if err != nil || ctx.Err() != nil {
			return 0, errors.Join(err, ctx.Err())
		}
		if now-last < time.Millisecond {
			break
		}
		last = now
		time.Sleep(100 * time.Millisecond)
	}
	return p.Memory()
}
