package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/connlog"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/filewatch"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/guard"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/life"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/proxyproto"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spacemonad/go-openssl/reactor"
)

// upgradeTimeout is how long a new process may take until it is ready.
const upgradeTimeout = time.Minute

// process is a sslecho that runs.
type process struct {
	*program
	cfg     *config.Config
	log     *slog.Logger
	tls     tlsconf.Builder
	built   *tlsconf.Built
	guard   *guard.Guard
	srv     *reactor.Server
	sockets *life.Sockets
	notify  life.Notifier
	watch   *watch
	files   *filewatch.Watcher // nil without --watch
	failed  chan error         // of a listener
	stuck   atomic.Int32       // reloads that were given up and still wait for a file
}

func serve(c *config.Config, p *program) (err error) {
	d := &process{program: p, cfg: c, log: p.output.log()}
	d.tls.At = d.waiting.on
	d.tls.Lost = func(n uint64) { d.output.lost("keylog", n) }
	d.notify.Log = d.log
	slog.SetDefault(d.log)
	if err := cssl.Version().Mismatch(); err != nil {
		d.warn([]string{err.Error()})
	}
	defer d.tls.Close()
	d.waiting.on("the sockets of the process before this one")
	if d.sockets, err = life.NewSockets(upgradeTimeout, c.PIDFile); err != nil {
		return err
	}
	ready := false
	defer func() {
		if ready || !d.sockets.Upgraded() { // one that takes over and fails must leave all to the other
			d.sockets.Stop()
			d.removePIDFile()
		}
	}()
	d.waiting.on("the directories of --watch")
	if err := d.watchFiles(); err != nil {
		return err
	}
	defer d.files.Close()
	if d.built, err = d.tls.Build(&c.TLS); err != nil {
		return err
	}
	defer func() { d.built.Context.Close() }()
	d.warn(slices.Concat(d.built.OutOfDate, d.built.Warnings, c.Warnings()))
	d.makeServer()
	d.waiting.on("the addresses of --listen and --admin")
	listening, err := d.listen()
	if err != nil {
		return err
	}
	if err := d.watchOn(); err != nil {
		d.srv.Close()
		return err
	}
	defer d.watch.close()
	if c.User.Name != "" {
		d.waiting.on("the user of --user")
		if err := life.Become(c.User.Name, c.User.Group); err != nil {
			d.srv.Close()
			return err
		}
	}
	// From before the first line that says so: who reads it may send a signal.
	if !d.signals.serve() {
		d.srv.Close()
		return errAborted
	}
	for _, ls := range listening {
		go func() { d.failed <- d.srv.Serve(ls...) }()
	}
	d.greet(listening)
	if err := d.takeOver(); err != nil {
		d.srv.Close()
		return err
	}
	ready = true
	d.waiting.on("")
	serving, stop := context.WithCancel(context.Background())
	defer stop()
	go giveBack(serving, d.srv.Stats)
	go d.notify.Watchdog(serving, d.srv.Ping)
	d.watch.started.Store(true)
	d.notify.Ready("serving")
	return d.obey()
}

// takeOver writes the pid file and lets the process go that this one replaces, if there is one. A signal that ends the daemon does not
// wait for a file system.
func (d *process) takeOver() error {
	d.waiting.on("--pid-file " + d.cfg.PIDFile)
	took := make(chan error, 1)
	go func() { took <- d.sayReady() }()
	select {
	case err := <-took:
		return err
	case <-d.signals.stop:
	}
	select {
	case err := <-took:
		return err
	case <-time.After(abortTimeout):
		return errAborted
	}
}

// removePIDFile leaves the file behind if its file system does not answer.
func (d *process) removePIDFile() {
	d.waiting.on("--pid-file " + d.cfg.PIDFile)
	removed := make(chan struct{})
	go func() { d.sockets.RemovePIDFile(); close(removed) }()
	select {
	case <-removed:
	case <-time.After(flushTimeout):
		d.log.Warn(fmt.Sprintf("--pid-file %s: left behind, since its file system does not answer", d.cfg.PIDFile))
	}
}

func (d *process) sayReady() error {
	replaces := d.sockets.Upgraded()
	before := os.Getppid()
	if replaces {
		d.notify.Main(os.Getpid())
	}
	err := d.sockets.Ready()
	if err != nil && replaces {
		d.notify.Main(before)
	}
	return err
}

func (d *process) warn(texts []string) {
	for _, w := range texts {
		d.log.Warn(w)
	}
}

// makeServer makes the server of the configuration, and all that stands around its service.
func (d *process) makeServer() {
	c := d.cfg
	loops := c.Loops
	if loops == 0 {
		loops = runtime.GOMAXPROCS(0)
	}
	// One P more than loops: when every P is inside C, Go's monitor takes them away
	// from calls that last longer than 20 µs, which is what a signature takes.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+1))
	collectOften()
	var handler reactor.Handler = connlog.Logged{Handler: c.Service(), Log: d.log}
	d.srv = services.NewServer(handler, d.built.Context)
	if c.Trace {
		t := tracer{d.output}
		d.srv.Trace, d.srv.Handler = t.operation, traced{handler, t}
	}
	d.guard = guard.New(admission(c), connlog.NewRefusals(d.log).Refused)
	d.srv.Admit, d.srv.Release = d.guard.Admit, d.guard.Release
	if c.ProxyProtocol {
		d.srv.Header = proxyproto.Header(c.ProxyTrusted)
	}
	d.srv.Loops, d.srv.Logger = loops, d.log
	d.srv.KeepAlive = c.Timeouts.KeepAlive
	if d.srv.KeepAlive == 0 {
		d.srv.KeepAlive = -1 // none
	}
	d.srv.Session.MaxQueue = math.MaxInt // the limits bound it, and can be changed
	d.srv.SetLimits(limits(c))
	d.failed = make(chan error, len(c.Listen))
}

// admission are the limits that the guard keeps.
func admission(c *config.Config) guard.Limits {
	l := &c.Limits
	return guard.Limits{MaxConns: l.MaxConns, MaxConnsPerAddr: l.MaxConnsPerAddr, Rate: l.NewConnsRate, Burst: l.Burst()}
}

// limits are those that the server keeps.
func limits(c *config.Config) reactor.Limits {
	t := &c.Timeouts
	return reactor.Limits{
		HandshakeTimeout: t.Handshake, IdleTimeout: t.Idle, WriteTimeout: t.Write, CloseTimeout: t.Close,
		MaxHandshakes: c.Limits.MaxHandshakes, MaxQueued: c.Limits.MaxQueued,
		MaxQueue: int(c.Limits.MaxQueue),
	}
}

// listen opens or inherits the sockets, those of an address together. Sockets of systemd take the place of --listen.
func (d *process) listen() (all [][]net.Listener, err error) {
	defer func() {
		if err != nil {
			for _, ls := range all {
				for _, l := range ls {
					l.Close()
				}
			}
		}
	}()
	activated, err := d.sockets.Activated()
	if err != nil {
		return nil, err
	}
	for _, l := range activated {
		all = append(all, []net.Listener{l})
	}
	if len(all) > 0 {
		d.failed = make(chan error, len(all))
		return all, nil
	}
	times := map[string]int{} // an address may be given twice, such as one with port 0
	for _, addr := range d.cfg.Listen {
		times[addr]++
		ls, err := d.sockets.Listen(fmt.Sprintf("%s for the %d. time", addr, times[addr]), addr, func() ([]net.Listener, error) {
			d.srv.Addr = addr
			return d.srv.Listen()
		})
		if err != nil {
			if errors.Is(err, syscall.EADDRINUSE) {
				err = fmt.Errorf("%w: stop the process that listens there, or use another address; remove a unix socket that nobody has", err)
			}
			return all, fmt.Errorf("--listen %s: %w", addr, err)
		}
		all = append(all, ls)
	}
	return all, nil
}

// greet says on standard output where the daemon serves.
func (d *process) greet(listening [][]net.Listener) {
	d.output.say(cssl.Version().String())
	for _, ls := range listening {
		a := addressOf(ls[0])
		d.output.say("listening on "+a, slog.String("address", a))
	}
	if print := d.built.Fingerprint; print != "" {
		d.output.say("certificate made in memory, SHA-256 "+print, slog.String("fingerprint", print))
		d.output.say("try: " + clientLine(listening[0][0]))
	}
}
