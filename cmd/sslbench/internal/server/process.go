package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Process is a running server. Its methods may be called by several goroutines.
type Process struct {
	addr    netip.AddrPort
	command string
	config  string
	note    string
	server  *child
	backend *child // nil if it needs none
	pids    []int  // that were there when it was ready
	stop    func() error
}

// startAttempts is how often a port is chosen for a server that cannot let the kernel do it.
const startAttempts = 5

// startLimit bounds a start, also when the caller's context does not.
const startLimit = time.Minute

// start is Start with the choice of a port for those servers that refuse port 0.
func (k Kind) start(ctx context.Context, s Spec, port func() (int, error)) (*Process, error) {
	u, err := k.setup(s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for attempt := 1; ; attempt++ {
		if k.fixedPort {
			if u.port, err = port(); err != nil {
				return nil, err
			}
		}
		p, err := k.run(ctx, u)
		// Another process may have taken the port between our choice and the server's bind.
		if err == nil || !k.fixedPort || attempt == startAttempts || !portTaken(err) {
			return p, err
		}
	}
}

// freePort is one that nobody listens on at present.
func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// portTaken recognizes the words of nginx and of HAProxy, which retries and then says only that it cannot bind.
func portTaken(err error) bool {
	s := strings.ToLower(err.Error())
	return strings.Contains(s, "address already in use") || strings.Contains(s, "cannot bind")
}

// run starts the processes and waits until they serve.
func (k Kind) run(ctx context.Context, u setup) (_ *Process, err error) {
	pl, err := k.plan(u)
	if err != nil {
		return nil, err
	}
	p := &Process{note: pl.note}
	p.stop = sync.OnceValue(p.end)
	p.command, p.config, err = u.show(pl)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = p.stop()
		}
	}()
	if pl.backend != nil {
		if p.backend, err = launch(*pl.backend, u.dir, u.HelperCore); err != nil {
			return nil, fmt.Errorf("its backend: %w", err)
		}
		if err = p.backend.until(ctx, func() (bool, error) { return accepts(pl.socket), nil }); err != nil {
			return nil, fmt.Errorf("its backend: %w", err)
		}
	}
	if p.server, err = launch(pl, u.dir, u.Core); err != nil {
		return nil, err
	}
	if err = p.server.until(ctx, func() (ok bool, err error) {
		pids, err := group(p.server.pid)
		if err != nil {
			return false, err
		}
		p.addr, ok, err = listening(pids)
		return ok, err
	}); err != nil {
		return nil, err
	}
	if err = k.probe(ctx, p.addr); err != nil {
		if dead := p.server.death(); dead != nil {
			return nil, dead
		}
		if ctx.Err() != nil {
			return nil, p.server.late(ctx)
		}
		return nil, fmt.Errorf("it listens on %v but does not serve: %w%s", p.addr, err, quoted(p.server.out.String()))
	}
	p.pids, err = group(p.server.pid)
	return p, err
}

// until waits for something that a server does at its start. A server that ends is an error.
func (c *child) until(ctx context.Context, done func() (bool, error)) error {
	err := poll(ctx, func() (bool, error) {
		if dead := c.death(); dead != nil {
			return false, dead
		}
		return done()
	})
	if err != nil && err == context.Cause(ctx) {
		return c.late(ctx)
	}
	return err
}

// late is the error of a start that ctx has ended.
func (c *child) late(ctx context.Context) error {
	return fmt.Errorf("it was not ready in time: %w%s", context.Cause(ctx), quoted(c.out.String()))
}

// accepts says whether somebody listens on a Unix socket.
func accepts(path string) bool {
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// probe makes a connection as a client of the measurement would, and leaves in good order.
func (k Kind) probe(ctx context.Context, addr netip.AddrPort) error {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	defer raw.Close()
	// The end of ctx ends every call below.
	defer context.AfterFunc(ctx, func() { raw.SetDeadline(time.Unix(1, 0)) })()
	if k.plain {
		if err := raw.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, raw)
		return err
	}
	// Whether the certificate is good is not what is asked here.
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	if err := raw.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	// Until the server closes, nothing of this may fall into the first measurement. How it closes is its own affair.
	_, _ = io.Copy(io.Discard, raw)
	return ctx.Err()
}

// Addr is where it listens.
func (p *Process) Addr() netip.AddrPort { return p.addr }

// Command is what to type to start the same server: paths are shortened, and a relative
// name is in the folder that also has the configuration file, or on $PATH.
func (p *Process) Command() string { return p.command }

// Config is the text of the configuration file, or "" for a server without one.
func (p *Process) Config() string { return p.config }

// Note says in words what a reader of the figures has to know about this server, or "".
func (p *Process) Note() string { return p.note }

// members are the processes that count, without the backend. One that has ended since the start
// took its CPU time with it, so that is an error.
func (p *Process) members() ([]int, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	pids, err := group(p.server.pid)
	if err != nil {
		return nil, err
	}
	for _, pid := range p.pids {
		if !slices.Contains(pids, pid) {
			return nil, p.ended(pid)
		}
	}
	return pids, nil
}

// ended is the error of a process that is not there any more.
func (p *Process) ended(pid int) error {
	// A worker may have ended because the first process did; that one has ended before, then.
	pids, err := group(p.server.pid)
	if pid == p.server.pid || err == nil && !slices.Contains(pids, p.server.pid) {
		<-p.server.ended // it is a zombie, and about to be reaped
		return p.server.death()
	}
	return fmt.Errorf("its process %d has ended%s", pid, quoted(p.server.out.String()))
}

// explain is the error of a question about a process: that it has ended since members, if it has.
func (p *Process) explain(pid int, err error) error {
	if pids, e := group(p.server.pid); e == nil && !slices.Contains(pids, pid) {
		return p.ended(pid)
	}
	return err
}

func (p *Process) alive() error {
	if err := p.server.death(); err != nil {
		return err
	}
	if p.backend != nil {
		if err := p.backend.death(); err != nil {
			return fmt.Errorf("its backend: %w", err)
		}
	}
	return nil
}

// CPU is the time that all its processes and threads have spent on a core so far, user and
// system, also those threads that have ended. The error says that the server has ended, or a process of it.
func (p *Process) CPU() (time.Duration, error) {
	pids, err := p.members()
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, p.explain(pid, err)
		}
		sum += t
	}
	return sum, nil
}

// Memory is what all its processes have resident, in bytes, and the most that was since the start or
// ResetPeak. In resident, what the processes share counts once; in peak (the sum of VmHWM), for each of
// them, so with several processes the two do not compare. What the kernel holds for sockets is in neither.
func (p *Process) Memory() (resident, peak int64, err error) {
	pids, err := p.members()
	if err != nil {
		return 0, 0, err
	}
	var file int64
	for _, pid := range pids {
		u, err := memory(pid)
		if err != nil {
			return 0, 0, p.explain(pid, err)
		}
		resident += u.own
		peak += u.peak
		file = max(file, u.file) // the processes of a group run the same program
	}
	return resident + file, peak, nil
}

// ResetPeak lets the peak of Memory begin anew at what is resident now.
func (p *Process) ResetPeak() error {
	pids, err := p.members()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := resetPeak(pid); err != nil {
			return p.explain(pid, err)
		}
	}
	return nil
}

// Stop ends all processes, its backend's too: SIGTERM, and SIGKILL after a few seconds. When it returns none
// is left. The error says that the server or its backend had ended by itself, with the end of its output. Calling it
// again answers the same.
func (p *Process) Stop() error { return p.stop() }

func (p *Process) end() error {
	var err, backend error
	if p.server != nil {
		err = p.server.stop()
	}
	if p.backend != nil {
		if backend = p.backend.stop(); backend != nil {
			backend = fmt.Errorf("its backend: %w", backend)
		}
	}
	return errors.Join(err, backend)
}

// show makes the command and the configuration readable: folders that mean nothing to others are left out.
func (s setup) show(p plan) (command, config string, err error) {
	var pairs []string
	for _, dir := range []string{s.dir, s.Build} {
		if dir == "" {
			continue
		}
		if dir, err = filepath.Abs(dir); err != nil {
			return "", "", err
		}
		pairs = append(pairs, dir+"/", "", dir, ".")
	}
	shown := func(path, given string) string {
		if filepath.IsAbs(given) {
			return filepath.Base(path)
		}
		return given
	}
	pairs = append(pairs, s.cert, shown(s.cert, s.Cert), s.key, shown(s.key, s.Key))
	short := strings.NewReplacer(pairs...)

	words := []string{"taskset -c", strconv.Itoa(s.Core), filepath.Base(p.argv[0])}
	for _, a := range p.argv[1:] {
		words = append(words, short.Replace(a))
	}
	if p.config != "" {
		text, err := os.ReadFile(filepath.Join(s.dir, p.config))
		if err != nil {
			return "", "", err
		}
		config = short.Replace(string(text))
	}
	return strings.Join(words, " "), config, nil
}
