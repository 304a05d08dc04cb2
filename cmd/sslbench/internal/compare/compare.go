package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
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
	setups               []string // of the experiment under way
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
// tells of what should not have failed, beside the Data. When ctx ends, the Data has the experiments that were
// complete and says so; with nothing to report it is nil.
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
		Format: report.Format, Taken: time.Now().UTC().Truncate(time.Second), Quick: o.Quick, Commands: o.Commands, Baseline: o.Baseline,
		RoundsEach: o.Rounds, RoundMillis: int(o.Duration.Milliseconds()),
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
		r.experiment(ctx, e)
		if ctx.Err() != nil {
			break
		}
	}
	for i, s := range r.data.Servers {
		if s.Missing == "" && s.Commands == nil {
			r.data.Servers[i].Missing = "takes no part in these experiments"
		}
	}
	if ctx.Err() != nil {
		r.data.Incomplete = "it was stopped by a signal"
		r.faults = []error{errors.New("stopped by a signal")}
	}
	if len(r.data.Experiments) == 0 {
		return nil, errors.Join(r.faults...)
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

// plan says which experiments there will be, looks which servers there are, and counts the steps.
func (r *runner) plan() []*experiment {
	var todo []*experiment
	wanted := append(slices.Clone(r.Servers), r.Baseline)
	for _, e := range experiments(r.Quick) {
		if r.Experiments == nil || slices.Contains(r.Experiments, e.id) {
			todo = append(todo, e)
			wanted = append(wanted, e.baseline)
		}
	}
	for _, k := range server.Kinds(r.Server) {
		if r.Servers != nil && !slices.Contains(wanted, k.Name) {
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
		if k.Name == server.Sslecho {
			r.data.Subject = k.Name
		}
	}
	for _, e := range todo {
		for _, c := range e.cells {
			n := len(r.entrants(e, c))
			if e.run == nil {
				n *= r.rounds(r.keeps(c, n)) + 1
			}
			r.all += n
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

// experiment runs one and adds it to the data, unless ctx ends before it is complete. What goes
// wrong is in the data and among the faults.
func (r *runner) experiment(ctx context.Context, e *experiment) {
	defer r.stopAll()
	out := report.Experiment{ID: e.id, Title: e.title, What: e.what, Unit: e.unit, Metric: e.metric, X: e.axis, Baseline: e.baseline}
	floor := e.floor != nil
	if floor {
		if err := r.measureFloor(ctx, e); err != nil {
			r.faults = append(r.faults, fmt.Errorf("%s: the floor: %w", e.title, err))
			out.What += " There is no floor here, since openssl speed could not measure what it needs."
			floor = false
		}
	}
	var err error
	if e.prepare != nil {
		err = e.prepare(ctx, r, e)
	}
	switch {
	case err != nil:
	case e.run != nil:
		err = e.run(ctx, r, e, &out)
	default:
		for _, c := range e.cells {
			if err = r.cell(ctx, e, c, &out); err != nil {
				break
			}
		}
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.faults = append(r.faults, fmt.Errorf("%s: %w", e.title, err))
		for _, name := range e.servers {
			if _, ok := r.kinds[name]; ok {
				out.Failed = append(out.Failed, report.Failed{Server: name, All: true, Why: err.Error()})
			}
		}
		out.Points = nil
	}
	if floor {
		out.Points = append(out.Points, r.floorPoints(e, out.Points)...)
	}
	out.Setup = strings.Join(r.setups, "; ")
	r.setups = nil
	r.data.Experiments = append(r.data.Experiments, out)
}

// contender is a server in a cell.
type contender struct {
	kind   server.Kind
	proc   *server.Process
	load   *load.Load
	point  report.Point
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
	for round := range r.rounds(keep) {
		for i := range all {
			s := all[(i+round)%len(all)] // who goes first takes turns
			r.step("%s, %s: %s", e.title, c.name(), s.kind.Name)
			if s.failed == nil && s.load == nil {
				s.failed = r.open(ctx, s, c, d/4)
			}
			if s.failed != nil {
				continue
			}
			m, err := r.run(ctx, e, s, d)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				err = r.sameSetup(c, all, s)
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

// open starts the server, if it does not run yet, and the load's connections, and lets them work for a
// while without measuring: buffers and windows grow, lazy parts load.
func (r *runner) open(ctx context.Context, s *contender, c cell, warmUp time.Duration) error {
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
	if err := s.load.Open(ctx, cfg.Conns); err != nil {
		return err
	}
	res, err := s.load.Run(ctx, warmUp)
	if err != nil {
		return err
	}
	return failures(res)
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
		if _, err := p.CPU(); err == nil {
			return p, nil
		}
		_ = p.Stop() // it has died: the cell in which it did has said so
		delete(r.running, v)
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
	r.note(k, c, report.Command{Line: p.Command(), Config: p.Config(), Note: p.Note()})
	return p, nil
}

// note keeps how a server was started, once for each different way.
func (r *runner) note(k server.Kind, c cell, how report.Command) {
	how.For = string(c.work)
	if c.cert != "" || c.version != "" {
		how.For += ", " + c.name()
	}
	for i := range r.data.Servers {
		s := &r.data.Servers[i]
		if s.Name == k.Name && !slices.ContainsFunc(s.Commands, func(o report.Command) bool { return o.Line == how.Line && o.Config == how.Config }) {
			s.Commands = append(s.Commands, how)
		}
	}
}

// clientTLS trusts the run's own root and offers one cipher, and X25519 before the curve that ECDSA certificates need
// in TLS 1.2, so that all servers do the same work, which is that of the floor; crypto/tls would choose AES-128
// otherwise.
func (r *runner) clientTLS() cssl.Config {
	return cssl.Config{
		CAFile:       filepath.Join(r.dir, "root.pem"),
		CipherSuites: "TLS_AES_256_GCM_SHA384",
		CipherList:   "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384",
		Groups:       "X25519:P-256",
	}
}

func (r *runner) stopAll() {
	for v, p := range r.running {
		_ = p.Stop() // that it had crashed, its own measurement has said
		delete(r.running, v)
	}
}

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
