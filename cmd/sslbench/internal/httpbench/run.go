package httpbench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/compare"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spacemonad/go-openssl/cssl"
)

// Options says how Run measures.
type Options struct {
	Server     server.Options
	Rounds     int           // for each case
	Duration   time.Duration // of a round
	Conns      int           // at once, in the cases with small bodies
	IdleConns  int           // whose memory is measured; 0: none
	IdleRounds int
	GoClient   bool // leave wrk and h2load alone
	Quick      bool // for the report only
	Commands   []string
	// Progress hears before each step what it is, how many steps are done and how many there are.
	Progress func(what string, done, all int)

	// cores are those of the servers and of the load. Without, Run finds two and pins this process to the second one.
	cores *[2]int
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	switch {
	case o.Rounds < 1 || o.Duration < 10*time.Millisecond:
		return errors.New("at least 1 round of at least 10ms is needed")
	case o.Conns < 1:
		return fmt.Errorf("%d connections: at least 1 is needed", o.Conns)
	case o.IdleConns < 0:
		return fmt.Errorf("%d idle connections: 0 or more is needed", o.IdleConns)
	case o.IdleConns > 0 && o.IdleRounds < 1:
		return errors.New("at least 1 round of idle connections is needed")
	}
	return nil
}

// The cipher suite of both stacks.
const cipherSuite = "TLS_AES_128_GCM_SHA256"

// procs is the GOMAXPROCS of the servers, which have one core.
const procs = 1

// work is a Case that is yet to be measured: Job without its URL.
type work struct {
	id, title, path string
	job             Job
}

// works are the cases. Those with large bodies, and those of HTTP/2, have fewer connections.
func works(conns int) []work {
	few := max(1, conns/8)
	at := func(n int) string { return ", " + plural(n, "connection") }
	return []work{
		{"h1-small", "HTTP/1.1 keep-alive, 1 KiB" + at(conns), "/small", Job{Conns: conns, Streams: 1}},
		{"h1-large", "HTTP/1.1 keep-alive, 1 MiB" + at(few), "/large", Job{Conns: few, Streams: 1}},
		{"h1-full", "HTTP/1.1, a full handshake for each 1 KiB" + at(conns), "/small", Job{Conns: conns, Streams: 1, Close: true}},
		{"h1-resumed", "HTTP/1.1, a resumed handshake for each 1 KiB" + at(conns), "/small",
			Job{Conns: conns, Streams: 1, Close: true, Resume: true}},
		{"h2-small", "HTTP/2, 1 KiB" + at(few) + " of 8 streams", "/small", Job{Conns: few, Streams: 8, H2: true}},
		{"h2-large", "HTTP/2, 1 MiB" + at(few), "/large", Job{Conns: few, Streams: 1, H2: true}},
	}
}

// runner is one Run.
type runner struct {
	Options
	dir       string
	files     int           // how many this process may have open
	kinds     []server.Kind // with tickets, and so resumption
	noTickets []server.Kind
	loads     map[string]loader
	client    *client
	done, all int
	data      *Data
	faults    []error
}

// stacks are in the order of a report.
var stacks = []string{CryptoTLS, Sslnet}

// Run measures. The error tells of what failed, beside the Data, which is nil if there is nothing to report. When
// ctx ends, the Data has the cases that were complete.
func Run(ctx context.Context, o Options) (*Data, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	r, err := newRunner(o)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(r.dir)
	if err := r.requests(ctx); err != nil {
		return nil, err
	}
	if o.IdleConns > 0 && ctx.Err() == nil {
		r.idle(ctx)
	}
	if ctx.Err() != nil {
		r.data.Incomplete = "it was stopped by a signal"
		r.faults = []error{errors.New("stopped by a signal")}
	}
	err = errors.Join(r.faults...)
	if len(r.data.Cases) == 0 {
		return nil, err
	}
	return r.data, err
}

// takeCores chooses a core for the servers and keeps this process, and so the load, on another one.
func takeCores() (*[2]int, error) {
	cores, err := server.Cores()
	if err != nil {
		return nil, err
	}
	if len(cores) < 2 {
		return nil, errors.New("two cores are needed: one for the server, one for the load")
	}
	return &[2]int{cores[0], cores[1]}, server.PinSelf(cores[1])
}

// newRunner prepares all that does not measure.
func newRunner(o Options) (r *runner, err error) {
	if o.cores == nil {
		if o.cores, err = takeCores(); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "sslbench")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	r = &runner{Options: o, dir: dir}
	if err := compare.MakeCertificates(dir); err != nil {
		return nil, err
	}
	conf, err := newTLSConfig(filepath.Join(dir, "root.pem"))
	if err != nil {
		return nil, err
	}
	r.client = &client{conf}
	m, err := server.ThisMachine()
	if err != nil {
		return nil, err
	}
	r.data = &Data{
		Format: Format, Taken: time.Now().UTC().Truncate(time.Second), Quick: o.Quick, Commands: o.Commands,
		Machine: report.Machine{CPU: m.CPU, Cores: m.Cores, Memory: m.Memory, Kernel: m.Kernel,
			OpenSSL: cssl.Version().Run.Text, Go: runtime.Version()},
		Procs: procs, Rounds: o.Rounds, RoundMillis: int(o.Duration.Milliseconds()),
		IdleConns: o.IdleConns, IdleRounds: o.IdleRounds,
	}
	if r.loads, r.data.Loads, err = findTools(o.Server, dir); err != nil {
		return nil, err
	}
	if o.GoClient {
		r.loads, r.data.Loads = nil, nil
	}
	for _, stack := range stacks {
		args := []string{"--stack", stack, "--procs", strconv.Itoa(procs)}
		r.kinds = append(r.kinds, server.Own(o.Server, stack, ServeCommand, args...))
		r.noTickets = append(r.noTickets, server.Own(o.Server, stack, ServeCommand, append(args, "--no-tickets")...))
	}
	if r.files, err = server.RaiseFileLimit(); err != nil {
		return nil, err
	}
	r.all = len(works(o.Conns))*len(stacks)*(o.Rounds+1) + min(o.IdleConns, 1)*o.IdleRounds*len(stacks)
	return r, nil
}

// loaderFor is the best load that there is for a job: wrk, h2load, and else our own.
func (r *runner) loaderFor(j Job) loader {
	for _, name := range []string{wrkName, h2loadName} {
		if l := r.loads[name]; l != nil && l.can(j) {
			return l
		}
	}
	return r.client
}

func (r *runner) step(format string, args ...any) {
	if r.Progress != nil {
		r.Progress(fmt.Sprintf(format, args...), r.done, r.all)
	}
	r.done++
}

// start starts a server.
func (r *runner) start(ctx context.Context, k server.Kind) (*server.Process, error) {
	dir, err := os.MkdirTemp(r.dir, "server")
	if err != nil {
		return nil, err
	}
	return k.Start(ctx, server.Spec{
		Work: server.HTTP, Cert: filepath.Join(r.dir, "ecdsa.pem"), Key: filepath.Join(r.dir, "ecdsa.key"),
		Core: r.cores[0], HelperCore: r.cores[1], Dir: dir,
	})
}

// fail notes that a case has no figures.
func (r *runner) fail(cases *[]Case, c Case, err error) {
	c.Points, c.Failed = nil, err.Error()
	*cases = append(*cases, c)
	r.faults = append(r.faults, fmt.Errorf("%s: %w", c.Title, err))
}
