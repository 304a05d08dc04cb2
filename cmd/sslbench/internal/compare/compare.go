// Package compare runs servers side by side and measures what a unit of work
// costs each of them.
//
//	workload ─► for each server: process on core 0, load on core 1
//	         └► rounds of slices of 60 ms, interleaved: server 1, 2, 3, 2, 3, 1, …
//	              CPU time before and after a Run of the load ÷ units done
//
// A Run leaves nothing under way, so the CPU time between its ends belongs to its
// units. The servers take turns every 60 ms, and ratios are taken round by round:
// what the machine does meanwhile for others hits all of them.
package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/rounds"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spacemonad/go-openssl/cssl"
	"golang.org/x/sys/unix"
)

// Options says what Run measures.
type Options struct {
	Server   server.Options
	Servers  []string      // names, beside the baselines; nil is all
	Bench    string        // a regexp that the workloads to run match; "" is all
	Rounds   int           // for each server and workload
	Duration time.Duration // of a round
	Quick    bool          // fewer workloads
}

// runner is one Run.
type runner struct {
	Options
	env                  *server.Env
	serverCore, loadCore int // one for the server that is measured, one for all else
	kinds                map[string]server.Kind
	out                  io.Writer // gets facts and rounds
	faults               []error   // of writing to it, too
}

// finding is a failure that says something about a server or this machine, and
// nothing about the measurement: a rate that a server does not keep up with, a
// limit that ends a series.
type finding struct{ error }

// Workloads lists the names that Bench is matched against.
func Workloads() (names []string) {
	for _, w := range workloads() {
		names = append(names, w.name)
	}
	return names
}

// Check says what in the options names nothing that there is.
func (o *Options) Check() error {
	_, err := o.todo()
	return err
}

// todo is what o asks for.
func (o *Options) todo() (todo []*workload, err error) {
	for _, name := range o.Servers {
		if !slices.ContainsFunc(server.Kinds, func(k server.Kind) bool { return k.Name == name }) {
			return nil, fmt.Errorf("unknown server %q", name)
		}
	}
	if o.Rounds < 1 || o.Duration < 10*time.Millisecond {
		return nil, errors.New("at least 1 round of at least 10ms is needed")
	}
	bench, err := regexp.Compile(o.Bench)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	for _, w := range workloads() {
		if (w.quick || !o.Quick) && bench.MatchString(w.name) {
			todo = append(todo, w)
		}
	}
	if todo == nil {
		return nil, errors.New("no workload matches")
	}
	return todo, nil
}

// Run measures, and writes each round to out as soon as it is over. The error
// tells of what should not have failed. After it, and when ctx ends, what was
// written is good.
func Run(ctx context.Context, o Options, out io.Writer) error {
	todo, err := o.todo()
	if err != nil {
		return err
	}
	cores, err := server.Cores()
	if err != nil {
		return err
	}
	if len(cores) < 2 {
		return errors.New("two cores are needed: one for the server, one for the load")
	}
	env, err := server.NewEnv(o.Server)
	if err != nil {
		return err
	}
	defer env.Close()
	r := &runner{Options: o, env: env, out: out, serverCore: cores[0], loadCore: cores[1],
		kinds: map[string]server.Kind{}}
	r.facts()
	r.find(todo)
	r.write(rounds.UnitLines)
	if err := server.PinSelf(r.loadCore); err != nil {
		return err
	}
	// A loop that waits in epoll_wait keeps its P until the scheduler's monitor
	// takes it away, so each server's load needs one of its own, the one that works
	// two, and the rest of this process one.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(len(r.kinds) + 3))
	for _, w := range todo {
		r.workload(ctx, w)
		if ctx.Err() != nil {
			r.faults = []error{errors.New("stopped by a signal")}
			r.note("", "incomplete: stopped by a signal")
			break
		}
	}
	return errors.Join(r.faults...)
}

func (r *runner) write(what any) {
	if _, err := fmt.Fprint(r.out, what); err != nil {
		r.faults = append(r.faults, err)
	}
}

func (r *runner) note(key, format string, args ...any) {
	r.write(rounds.Fact{Key: key, Value: fmt.Sprintf(format, args...)})
}

// facts writes where and how it is measured.
func (r *runner) facts() {
	var name unix.Utsname
	_ = unix.Uname(&name)
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*:\s*(.*)$`).FindSubmatch(info); m != nil {
			cpu = string(m[1])
		}
	}
	how := fmt.Sprintf("%d of %v, each server and workload", r.Rounds, r.Duration)
	if r.Quick {
		how += " (--quick: for a look, not for conclusions)"
	}
	for _, f := range [][2]string{
		{"goos", runtime.GOOS}, {"goarch", runtime.GOARCH}, {"cpu", cpu}, {"cores", fmt.Sprint(runtime.NumCPU())},
		{"kernel", unix.ByteSliceToString(name.Release[:])}, {"openssl", cssl.Version().Run.Text}, {"go", runtime.Version()},
		{"date", time.Now().UTC().Format(time.DateOnly)}, {"rounds", how}, {"command", "sslbench " + strings.Join(os.Args[1:], " ")},
	} {
		r.note(f[0], "%s", f[1])
	}
}

// wants says whether a server is to take part in a workload, if it is there.
func (r *runner) wants(w *workload, name string) bool {
	return slices.Contains(w.servers, name) && (r.Servers == nil || w.baseline == name || slices.Contains(r.Servers, name))
}

// find looks which servers there are, of those that are wanted.
func (r *runner) find(todo []*workload) {
	for _, k := range server.Kinds {
		if !slices.ContainsFunc(todo, func(w *workload) bool { return r.wants(w, k.Name) }) {
			continue
		}
		version, err := r.env.Find(k)
		if err != nil {
			r.note("server-"+k.Name, "missing: %v", err)
			continue
		}
		r.note("server-"+k.Name, "%s", version)
		r.kinds[k.Name] = k
	}
}

// entrants are the servers that take part in a workload.
func (r *runner) entrants(w *workload) (all []server.Kind) {
	for _, name := range w.servers {
		if k, ok := r.kinds[name]; ok && r.wants(w, name) && k.Can(w.work) {
			all = append(all, k)
		}
	}
	return all
}

// fail notes that a server did not get through a workload.
func (r *runner) fail(w *workload, k server.Kind, why error) {
	line, _, _ := strings.Cut(why.Error(), "\n")
	r.note("", "left out: %s, %s: %s", k.Name, w.name, line)
	if f := (finding{}); !errors.As(why, &f) {
		r.faults = append(r.faults, fmt.Errorf("%s: %s: %w", w.name, k.Name, why))
	}
}
