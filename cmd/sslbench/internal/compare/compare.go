package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spacemonad/go-openssl/cssl"
)

// Options says what Run measures.
type Options struct {
	Server      server.Options // where the servers' programs are
	Servers     []string       // names; nil is all
	Experiments []string       // identifiers; nil is all
	Baseline    string         // what ratios refer to
	Rounds      int            // for each server and cell
	Duration    time.Duration  // of a round
	Quick       bool           // fewer cells
	Commands    []string       // what the report says to type to repeat it
	// Progress hears before each step what it is, how many steps are done and how many there are.
	Progress func(what string, done, all int)
}

// Check says what in the options names nothing that there is.
func (o Options) Check() error {
	var kinds, ids []string
	for _, k := range server.Kinds(o.Server) {
		kinds = append(kinds, k.Name)
	}
	for _, e := range experiments(false) {
		ids = append(ids, e.id)
	}
	for _, name := range append(slices.Clone(o.Servers), o.Baseline) {
		if !slices.Contains(kinds, name) {
			return fmt.Errorf("unknown server %q; there are: %s", name, strings.Join(kinds, ", "))
		}
	}
	for _, id := range o.Experiments {
		if !slices.Contains(ids, id) {
			return fmt.Errorf("unknown experiment %q; there are: %s", id, strings.Join(ids, ", "))
		}
	}
	if o.Rounds < 1 || o.Duration < 10*time.Millisecond {
		return errors.New("at least 1 round of at least 10ms is needed")
	}
	return nil
}

// Experiment names one that can be run.
type Experiment struct{ ID, Title string }

// Experiments lists all that there are.
func Experiments() []Experiment {
	var out []Experiment
	for _, e := range experiments(false) {
		out = append(out, Experiment{e.id, e.title})
	}
	return out
}

// runner is one Run.
type runner struct {
	Options
	dir                  string
	serverCore, loadCore int // one for the server that is measured, one for all else
	kinds                map[string]server.Kind
	files                int // how many this process may have open
	done, all            int
	running              map[variant]*server.Process
	primitives           map[string]float64
	data                 *report.Data
	faults               []error
}

// variant tells processes of one kind of server apart.
type variant struct {
	kind string
	spec server.Spec
}

// finding is a failure that says something about a server or this machine, and nothing about the
// measurement: a rate that a server does not keep up with, a limit that ends a series.
type finding struct{ error }

// Run measures. Servers that are not installed and points that failed are named in the Data. The error
// tells of points that should not have failed; with an error that leaves nothing to report the Data is nil.
func Run(ctx context.Context, o Options) (*report.Data, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	cores, err := server.Cores()
	if err != nil {
		return nil, err
	}
	if len(cores) < 2 {
		return nil, errors.New("two cores are needed: one for the server, one for the load")
	}
	dir, err := os.MkdirTemp("", "sslbench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := makeCertificates(dir); err != nil {
		return nil, err
	}
	o.Server.Build = dir
	r := &runner{
		Options: o, dir: dir, serverCore: cores[0], loadCore: cores[1],
		kinds: map[string]server.Kind{}, running: map[variant]*server.Process{}, primitives: map[string]float64{},
	}
	defer r.stopAll()
	if r.files, err = server.RaiseFileLimit(); err != nil {
		return nil, err
	}
	m, err := server.ThisMachine()
	if err != nil {
		return nil, err
	}
	r.data = &report.Data{
		Format: report.Format, Taken: time.Now().UTC().Truncate(time.Second), Quick: o.Quick, Commands: o.Commands, Baseline: o.Baseline, Subject: server.Sslecho,
		Machine: report.Machine{CPU: m.CPU, Cores: m.Cores, Memory: m.Memory, Kernel: m.Kernel, OpenSSL: cssl.OpenSSLVersion(), Go: runtime.Version()},
	}
	todo := r.plan()
	if err := server.PinSelf(r.loadCore); err != nil {
		return nil, err
	}
	// A loop that waits in epoll_wait keeps its P until the scheduler's monitor takes it away, which may be 10 ms
	// later, so each server's load needs one of its own, the one that works two, and the rest of this process one.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(len(r.kinds) + 3))
	for _, e := range todo {
		if err := r.experiment(ctx, e); err != nil {
			return nil, fmt.Errorf("%s: %w", e.id, err)
		}
	}
	for i, s := range r.data.Servers {
		if s.Missing == "" && s.Command == "" {
			r.data.Servers[i].Missing = "takes no part in these experiments"
		}
	}
	return r.data, errors.Join(r.faults...)
}

// fail notes that a server did not get through a cell.
func (r *runner) fail(out *report.Experiment, k server.Kind, c cell, why error) {
	out.Failed = append(out.Failed, report.Failed{Server: k.Name, X: c.x, Label: c.label, Why: why.Error()})
	if f := (finding{}); !errors.As(why, &f) {
		r.faults = append(r.faults, fmt.Errorf("%s, %s: %s: %w", out.Title, c.name(), k.Name, why))
	}
}

// plan looks which servers there are and counts the steps.
func (r *runner) plan() []*experiment {
	for _, k := range server.Kinds(r.Server) {
		if r.Servers != nil && !slices.Contains(r.Servers, k.Name) && k.Name != r.Baseline {
			continue
		}
		s := report.Server{Name: k.Name}
		var err error
		if s.Version, err = k.Find(); err != nil {
			s.Missing = err.Error()
		} else {
			r.kinds[k.Name] = k
		}
		r.data.Servers = append(r.data.Servers, s)
	}
	var todo []*experiment
	for _, e := range experiments(r.Quick) {
		if r.Experiments != nil && !slices.Contains(r.Experiments, e.id) {
			continue
		}
		todo = append(todo, e)
		for _, c := range e.cells {
			if e.run != nil {
				r.all += len(r.entrants(e, c))
			} else {
				n := len(r.entrants(e, c))
				r.all += n * (r.rounds(r.keeps(c, n)) + 1)
			}
		}
		if e.prepare != nil { // its cells are not known yet
			r.all += len(loads(r.Quick))*len(r.entrants(e, cell{work: server.Echo}))*(r.Rounds+1) + 1
		}
	}
	return todo
}

// entrants are the servers that take part in a cell.
func (r *runner) entrants(e *experiment, c cell) []server.Kind {
	var out []server.Kind
	for _, name := range e.servers {
		if k, ok := r.kinds[name]; ok && k.Can(c.work) {
			out = append(out, k)
		}
	}
	return out
}

func (r *runner) step(format string, args ...any) {
	r.report(fmt.Sprintf(format, args...))
	r.done++
}

func (r *runner) report(what string) {
	if r.Progress != nil {
		r.Progress(what, r.done, r.all)
	}
}

// experiment runs one and adds it to the data.
func (r *runner) experiment(ctx context.Context, e *experiment) error {
	defer r.stopAll()
	out := report.Experiment{ID: e.id, Title: e.title, What: e.what, Unit: e.unit, Metric: e.metric, X: e.axis, Baseline: e.baseline}
	if e.prepare != nil {
		if err := e.prepare(ctx, r, e); err != nil {
			return err
		}
	}
	if e.floor != nil {
		if err := r.measureFloor(ctx, e); err != nil {
			return err
		}
	}
	var err error
	if e.run != nil {
		err = e.run(ctx, r, e, &out)
	} else {
		for _, c := range e.cells {
			if err = r.cell(ctx, e, c, &out); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	if e.floor != nil {
		calculated, err := r.floorPoints(e, out.Points)
		if err != nil {
			return err
		}
		out.Points = append(out.Points, calculated...)
	}
	r.data.Experiments = append(r.data.Experiments, out)
	return nil
}

// contender is a server in a cell.
type contender struct {
	kind   server.Kind
	proc   *server.Process
	load   *load.Load
	point  report.Point
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
	keep := r.keeps(c, len(all))
	for _, s := range all {
		r.step("%s, %s: %s opens", e.title, c.name(), s.kind.Name)
		s.failed = r.open(ctx, s, c)
		if s.failed == nil && keep {
			s.failed = warmUp(ctx, s.load, r.Duration/4)
		}
		if !keep {
			s.close()
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for round := range r.rounds(keep) {
		for i := range all {
			s := all[(i+round)%len(all)] // who goes first takes turns
			r.step("%s, %s: %s", e.title, c.name(), s.kind.Name)
			if s.failed == nil && s.load == nil {
				s.failed = r.open(ctx, s, c)
			}
			if s.failed != nil {
				continue
			}
			m, err := r.run(ctx, e, s, time.Duration(max(1, e.scale)*float64(r.Duration)))
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				s.failed = err
			} else {
				s.point.Rounds = append(s.point.Rounds, m)
			}
			if !keep {
				s.close()
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

// rounds is how many there are. Where each opens its connections anew, which takes many times as long as
// the round, three must do.
func (r *runner) rounds(keep bool) int {
	if keep {
		return r.Rounds
	}
	return min(r.Rounds, 3)
}

// keeps says whether the connections of n servers fit into this process all at once.
func (r *runner) keeps(c cell, n int) bool { return c.load.Conns*n <= r.files*8/10 }

func (c cell) name() string {
	if c.label != "" {
		return c.label
	}
	return fmt.Sprint(c.x)
}

func (s *contender) close() {
	if s.load != nil {
		s.load.Close()
		s.load = nil
	}
}

// open starts the server, if it does not run yet, and the load's connections.
func (r *runner) open(ctx context.Context, s *contender, c cell) error {
	p, err := r.start(ctx, s.kind, c)
	if err != nil {
		return err
	}
	s.proc = p
	cfg := c.load
	cfg.Target = p.Addr().String()
	cfg.ServerName = "localhost"
	cfg.TLS = r.clientTLS()
	cfg.Plain = s.kind.Plain()
	if s.load, err = load.New(cfg); err != nil {
		return err
	}
	return s.load.Open(ctx, cfg.Conns)
}

// start answers the process for a cell, which runs until the experiment ends.
func (r *runner) start(ctx context.Context, k server.Kind, c cell) (*server.Process, error) {
	cert, version := c.cert, c.version
	if cert == "" {
		cert = "ecdsa"
	}
	if version == "" {
		version = "1.3"
	}
	v := variant{k.Name, server.Spec{
		Work: c.work, Cert: filepath.Join(r.dir, cert+".pem"), Key: filepath.Join(r.dir, cert+".key"),
		MaxVersion: version, Core: r.serverCore, HelperCore: r.loadCore,
	}}
	if p := r.running[v]; p != nil {
		return p, nil
	}
	spec := v.spec
	var err error
	if spec.Dir, err = os.MkdirTemp(r.dir, "server"); err != nil {
		return nil, err
	}
	p, err := k.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	r.running[v] = p
	for i := range r.data.Servers {
		if s := &r.data.Servers[i]; s.Name == k.Name && s.Command == "" {
			s.Command = p.Command()
		}
	}
	return p, nil
}

// clientTLS trusts the run's own root.
func (r *runner) clientTLS() cssl.Config {
	return cssl.Config{CAFile: filepath.Join(r.dir, "root.pem")}
}

func (r *runner) stopAll() {
	for v, p := range r.running {
		_ = p.Stop() // that it had crashed, its own measurement has said
		delete(r.running, v)
	}
}

// warmUp runs without measuring: buffers and windows grow, lazy parts load.
func warmUp(ctx context.Context, l *load.Load, d time.Duration) error {
	res, err := l.Run(ctx, d)
	if err != nil {
		return err
	}
	return failures(res)
}

// run is one round.
func (r *runner) run(ctx context.Context, e *experiment, s *contender, d time.Duration) (report.Round, error) {
	var m report.Round
	if err := s.proc.ResetPeak(); err != nil {
		return m, err
	}
	before, err := s.proc.CPU()
	if err != nil {
		return m, err
	}
	res, err := s.load.Run(ctx, d)
	if err != nil {
		return m, err
	}
	after, err := s.proc.CPU()
	if err != nil {
		return m, err
	}
	if err := failures(res); err != nil {
		return m, err
	}
	n := units(e, res)
	if n == 0 {
		return m, errors.New("no work was done")
	}
	m.CPU = float64((after - before).Nanoseconds()) / 1e3 / n
	m.Rate = n / res.Elapsed.Seconds()
	if h := res.Latency; h != nil && h.TotalCount() > 0 {
		m.P50, m.P99, m.P999 = quantile(res, 50), quantile(res, 99), quantile(res, 99.9)
	}
	m.Memory, m.Peak, err = s.proc.Memory()
	return m, err
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

// prepareRates makes the cells of an open loop from what the baseline does in a closed one.
func (r *runner) prepareRates(ctx context.Context, e *experiment, shares []float64) error {
	c := cell{x: 0, work: server.Echo, load: load.Config{Kind: load.Request, Conns: 64, Size: 1 << 10}}
	k, ok := r.kinds[r.Baseline]
	if !ok || !k.Can(c.work) || k.Plain() {
		return fmt.Errorf("the rates are shares of what %s can do, which is not there", r.Baseline)
	}
	r.step("%s: what %s does at most", e.title, k.Name)
	s := &contender{kind: k}
	defer s.close()
	if err := r.open(ctx, s, c); err != nil {
		return err
	}
	m, err := r.run(ctx, e, s, 2*r.Duration)
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
