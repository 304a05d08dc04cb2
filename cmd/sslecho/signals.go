package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// forceTimeout is how long the daemon has to end by itself after a second
// signal.
const forceTimeout = 3 * time.Second

// signals are heard on goroutines that do nothing else, from the beginning of
// the program to its end. So they count whatever the rest of it waits for.
type signals struct {
	reload, upgrade chan os.Signal // SIGHUP and SIGUSR2: one that waits to be seen stands for all
	stop            chan struct{}  // closed by the first SIGTERM or SIGINT while the daemon serves
	again           chan struct{}  // closed by a second one
	aborted         chan struct{}  // closed by the first one before the daemon serves
	forced          chan struct{}  // closed when the process must end

	mu     sync.Mutex
	serves bool
	ends   []os.Signal // SIGTERM and SIGINT
	force  func()
}

// newSignals begins to hear them. A reader of the output that goes away does
// not end the process.
func newSignals() *signals {
	s := &signals{
		reload: make(chan os.Signal, 1), upgrade: make(chan os.Signal, 1),
		stop: make(chan struct{}), again: make(chan struct{}), aborted: make(chan struct{}), forced: make(chan struct{}),
	}
	s.force = sync.OnceFunc(func() { close(s.forced) })
	signal.Ignore(syscall.SIGPIPE)
	signal.Notify(s.reload, syscall.SIGHUP)
	signal.Notify(s.upgrade, syscall.SIGUSR2)
	ends := make(chan os.Signal, 16)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		for sig := range ends {
			s.end(sig)
		}
	}()
	return s
}

// end notes a SIGTERM or SIGINT. It does not wait.
func (s *signals) end(sig os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ends = append(s.ends, sig)
	switch {
	case len(s.ends) == 1 && s.serves:
		close(s.stop)
	case len(s.ends) == 1:
		close(s.aborted)
	case len(s.ends) == 2 && s.serves:
		close(s.again)
		time.AfterFunc(forceTimeout, s.force)
	default:
		s.force()
	}
}

// serve says that from now on a signal drains the daemon. It reports false if
// one has ended the start already.
func (s *signals) serve() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serves = len(s.ends) == 0
	return s.serves
}

// first is the first SIGTERM or SIGINT, which must have come.
func (s *signals) first() os.Signal {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends[0]
}

// handleSignals does what signals say, until the daemon ends.
func (d *process) handleSignals() error {
	ctx, cancel := context.WithCancel(context.Background())
	var reloads sync.WaitGroup
	reloads.Go(func() { d.reloads(ctx) })
	endReloads := func() { cancel(); reloads.Wait() }
	defer endReloads()
	for {
		select {
		case err := <-d.failed:
			d.srv.Close()
			return err
		case <-d.sockets.Exit():
			endReloads()
			d.handOver()
			return nil
		case <-d.signals.stop:
			endReloads()
			d.drain()
			return nil
		case <-d.signals.upgrade:
			go d.upgrade()
		}
	}
}

// upgrade starts the program anew. If that one serves, Exit tells.
func (d *process) upgrade() {
	d.log.Info("upgrade: starting the new process")
	switch err := d.sockets.Upgrade(); {
	case err != nil && d.admin.ending.Load():
		d.log.Info("upgrade: given up, for this process is about to end")
	case err != nil:
		d.log.Error("upgrade failed, this process goes on", "error", err)
	}
}

// handOver lets the connections end that this process still has, while another
// one serves. After the drain timeout, or at a signal, they are closed.
func (d *process) handOver() {
	d.admin.ending.Store(true)
	d.admin.close() // the new process answers there
	d.srv.StopAccepting()
	n := d.srv.Conns()
	d.output.say(fmt.Sprintf("replaced: %d connections have %v to end", n, d.cfg.DrainTimeout), slog.Int("connections", n))
	wait(d.cfg.DrainTimeout, d.signals.stop, d.empty)
	d.end(d.cfg.Server.CloseTimeout)
}

// drain ends the daemon: it serves on for the delay, then connections may end
// by themselves, then those that are left are closed in good order. A second
// signal cuts them off.
func (d *process) drain() {
	delay, await, timeout, sig := d.cfg.DrainDelay, d.cfg.DrainWait, d.cfg.DrainTimeout, d.signals.first()
	d.notify.Stopping()
	d.admin.ending.Store(true)
	if delay > 0 {
		d.output.say(fmt.Sprintf("%s: not ready, serving on for %v", sig, delay))
		if wait(delay, d.signals.again, func() bool { return false }) {
			await, timeout = 0, 0
		}
	}
	d.sockets.Stop() // else the sockets would live on in what would be handed to a new process
	n := d.srv.Conns()
	d.output.say(fmt.Sprintf("%s: draining %d connections, a second signal ends at once", sig, n), slog.Int("connections", n))
	if await > 0 {
		d.srv.StopAccepting()
		if wait(await, d.signals.again, d.empty) {
			timeout = 0
		}
	}
	d.end(timeout)
}

// empty reports whether there are no connections.
func (d *process) empty() bool { return d.srv.Conns() == 0 }

// wait waits for a time, or until over returns true. It reports whether a
// signal has ended it.
func wait(timeout time.Duration, signal <-chan struct{}, over func() bool) (signalled bool) {
	end := time.After(timeout)
	for !over() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-end:
			return false
		case <-signal:
			return true
		}
	}
	return false
}

// end closes all connections within a time, and cuts off the rest; a second
// signal ends the wait.
func (d *process) end(timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	go func() {
		select {
		case <-d.signals.again:
			cancel()
		case <-ctx.Done():
		}
	}()
	if d.srv.Shutdown(ctx) == nil {
		d.output.say("stopped")
		return
	}
	n := d.srv.Conns()
	d.srv.Close()
	d.output.say(fmt.Sprintf("stopped, %d connections cut off", n), slog.Int("connections", n))
}
