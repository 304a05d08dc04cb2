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
		Machine: report.Machine{CPU: m.CPU, Cores: m.Cores, Memory: m.Memory, Kernel: m.Kernel, OpenSSL: cssl.Version().Run.Text, Go: runtime.Version()},
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

// open starts the server, if it does not run yet, and the load's connections, and lets them work for a
// while without measuring: buffers and windows grow, lazy parts load.
func (r *runner) open(ctx context.Context, s *contender, c cell, warmUp time.Duration) error {
	p, err := r.start(ctx, s.kind, c)
	if err != nil {
		return err
	}
	s.proc = p
	if s.load, err = load.New(r.target(s, c.load)); err != nil {
		return err
	}
	if err := s.load.Open(ctx, c.load.Conns); err != nil {
		return err
	}
	res, err := s.load.Run(ctx, warmUp)
	if err != nil {
		return err
	}
	return failures(res)
}

// target fills in what a load on s needs.
func (r *runner) target(s *contender, cfg load.Config) load.Config {
	cfg.Target = s.proc.Addr().String()
	cfg.ServerName = "localhost"
	cfg.TLS = r.clientTLS()
	cfg.Plain = s.kind.Plain()
	return cfg
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
	r.noteStart(k, c, report.Command{Line: p.Command(), Config: p.Config(), Note: p.Note()})
	return p, nil
}

// noteStart keeps how a server was started, once for each different way.
func (r *runner) noteStart(k server.Kind, c cell, how report.Command) {
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
