package main

import (
	"cmp"
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

	"github.com/spacemonad/go-openssl/adapters/prommetrics"
	"github.com/spacemonad/go-openssl/adapters/proxyproto"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/connlog"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/lifecycle"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/starttls"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/connlimit"
)

// upgradeTimeout is how long a new process may take until it is ready.
const upgradeTimeout = time.Minute

// process is a sslecho that runs.
type process struct {
	*program
	loaded
	log     *slog.Logger
	limiter *connlimit.Limiter
	srv     *reactor.Server
	sockets *lifecycle.Sockets
	notify  lifecycle.Notifier
	admin   *admin
	failed  chan error   // by a listener
	stuck   atomic.Int32 // reloads that were given up and still wait for a file
}

func serve(c *config.Config, p *program) (err error) {
	d := &process{program: p, log: p.output.log()}
	d.cfg, d.tls.At, d.tls.Lost, d.notify.Log = c, d.waiting.on, d.output.lost("keylog"), d.log
	slog.SetDefault(d.log)
	if err := cssl.Version().Mismatch(); err != nil {
		d.warn([]string{err.Error()})
	}
	defer func() { d.tls.Close() }()
	d.waiting.on("the process before this one, or its pid file")
	if d.sockets, err = lifecycle.NewSockets(upgradeTimeout, c.PIDFile); err != nil {
		return err
	}
	ready := false
	defer func() {
		if ready || !d.sockets.HasParent() { // one that takes over and fails must leave all to the other
			d.sockets.Stop()
			d.removePIDFile()
		}
	}()
	if err := d.read(&d.waiting); err != nil {
		return err
	}
	defer func() { d.built.Context.Close() }()
	d.warn(slices.Concat(d.built.OutOfDate, d.built.Warnings, c.Warnings()))
	d.newServer()
	defer func() {
		if !ready {
			d.srv.Close()
		}
	}()
	d.waiting.on("the addresses of --listen and --admin")
	listening, err := d.listen()
	if err != nil {
		return err
	}
	defer d.admin.close()
	if c.User.Name != "" {
		d.waiting.on("the user of --user")
		if err := lifecycle.Become(c.User.Name, c.User.Group); err != nil {
			return err
		}
	}
	// From before the first line that says so: who reads it may send a signal.
	if !d.signals.serve() {
		return errAborted
	}
	d.failed = make(chan error, len(listening))
	for _, ls := range listening {
		go func() { d.failed <- d.srv.Serve(ls...) }()
	}
	d.printListening(listening)
	if err := d.takeOver(); err != nil {
		return err
	}
	ready = true
	d.waiting.on("")
	serving, stop := context.WithCancel(context.Background())
	defer stop()
	go trimMemory(serving, d.srv.Stats)
	go d.notify.Watchdog(serving, d.srv.Ping)
	d.admin.started.Store(true)
	d.notify.Ready()
	return d.handleSignals()
}

// takeOver writes the pid file and lets the process go that this one replaces,
// if there is one. A signal that ends the daemon does not wait for a file
// system.
func (d *process) takeOver() error {
	d.waiting.on("--pid-file " + d.cfg.PIDFile)
	took := make(chan error, 1)
	go func() {
		before := os.Getppid()
		if d.sockets.HasParent() {
			d.notify.Main(os.Getpid())
		}
		err := d.sockets.Ready()
		if err != nil && d.sockets.HasParent() {
			d.notify.Main(before)
		}
		took <- err
	}()
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

func (d *process) warn(texts []string) {
	for _, w := range texts {
		d.log.Warn(w)
	}
}

// newServer makes the server of the configuration, and all that stands around
// its service.
func (d *process) newServer() {
	c := d.cfg
	loops := cmp.Or(c.Loops, runtime.GOMAXPROCS(0))
	// One P more than loops: when every P is inside C, Go's monitor takes them
	// away from calls that last longer than 20 µs, which is what a signature
	// takes.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+1))
	collectOften()
	handler := connlog.Logged{Handler: c.Service, Log: d.log}
	d.srv = services.NewServer(handler, d.built.Context)
	if c.Trace {
		t := tracer{handler, d.output}
		d.srv.Trace, d.srv.Handler = t.operation, t
	}
	if c.StartTLS != nil {
		d.srv.Plain, d.srv.Handler = c.StartTLS, starttls.Handler{Handler: d.srv.Handler}
	}
	d.limiter = connlimit.New(c.ConnLimits())
	d.srv.Admit, d.srv.Release = connlog.Refusals(d.log, d.limiter.Admit), d.limiter.Release
	if c.ProxyProtocol {
		d.srv.Header = proxyproto.Header(c.ProxyTrusted...)
	}
	d.srv.Loops, d.srv.Logger = loops, d.log
	d.srv.KeepAlive = cmp.Or(c.KeepAlive, -1) // which is none
	d.srv.Session.MaxQueue = math.MaxInt      // the limits bound it, and can be changed
	d.srv.SetLimits(c.Server)
	d.admin = newAdmin(map[string]func() uint64{"stderr": d.output.stderr.Dropped, "stdout": d.output.stdoutDropped,
		"keylog": d.tls.KeyLogDropped()}, prommetrics.New("sslecho", d.srv))
	d.admin.show(c, d.built.Certificates)
}

// listen opens or inherits the sockets, those of an address together, and
// serves the admin listener. Sockets of systemd take the place of --listen.
func (d *process) listen() (all [][]net.Listener, err error) {
	activated, err := d.sockets.Activated()
	if err != nil {
		return nil, err
	}
	for _, l := range activated {
		all = append(all, []net.Listener{l})
	}
	open := func(flag, name, address string) ([]net.Listener, error) {
		ls, err := d.sockets.Listen(name, address, func() ([]net.Listener, error) {
			if flag == "--listen" {
				d.srv.Addr = address
				return d.srv.Listen()
			}
			network, path := "tcp", address
			if unix := unixPath(address); unix != "" {
				network, path = "unix", unix
			}
			l, err := net.Listen(network, path)
			return []net.Listener{l}, err
		})
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w: stop the process that listens there, or use another address; remove a unix socket that nobody has", err)
		}
		if err != nil {
			err = fmt.Errorf("%s %s: %w", flag, address, err)
		}
		return ls, err
	}
	addresses, times := d.cfg.Listen, map[string]int{} // an address may be given twice, such as one with port 0
	if len(activated) > 0 {
		addresses = nil
	}
	for _, address := range addresses {
		times[address]++
		ls, err := open("--listen", fmt.Sprintf("%s (%d)", address, times[address]), address)
		if err != nil {
			return all, err
		}
		all = append(all, ls)
	}
	if d.cfg.Admin == "" {
		return all, nil
	}
	ls, err := open("--admin", "admin "+d.cfg.Admin, d.cfg.Admin)
	if err != nil {
		return all, err
	}
	d.admin.serve(ls[0], d.log, d.cfg.Pprof, d.srv.Ping)
	d.sayAddress("admin", ls[0])
	return all, nil
}

// sayAddress says where a listener is.
func (d *process) sayAddress(what string, l net.Listener) {
	address := l.Addr().String()
	if a, ok := l.Addr().(*net.UnixAddr); ok {
		address = "unix:" + a.Name
	}
	d.output.say(what+" on "+address, slog.String("address", address))
}

// printListening says on standard output where the daemon serves, and how to
// try it.
func (d *process) printListening(listening [][]net.Listener) {
	d.output.say(cssl.Version().String())
	for _, ls := range listening {
		d.sayAddress("listening", ls[0])
	}
	if d.built.Fingerprint == "" {
		return
	}
	d.output.say("certificate made in memory, SHA-256 "+d.built.Fingerprint, slog.String("fingerprint", d.built.Fingerprint))
	try := "try: openssl s_client"
	if d.cfg.StartTLS != nil {
		try += " -starttls " + d.cfg.StartTLS.Name
	}
	switch a := listening[0][0].Addr().(type) {
	case *net.UnixAddr:
		d.output.say(try + " -unix " + a.Name)
	case *net.TCPAddr:
		if a.IP.IsUnspecified() {
			a = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: a.Port}
		}
		d.output.say(try + " -connect " + a.String())
	}
}
