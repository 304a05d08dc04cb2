package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
)

// obey does what signals say, until the daemon ends.
func (d *process) obey(signals <-chan os.Signal) error {
	for {
		select {
		case err := <-d.failed:
			d.srv.Close()
			return err
		case <-d.sockets.Replaced():
			d.handOver(signals)
			return nil
		case <-d.files.Changed():
			d.log.Info("files have changed, reloading")
			d.reload()
		case sig := <-signals:
			switch sig {
			case syscall.SIGHUP:
				d.reload()
			case syscall.SIGUSR2:
				go d.upgrade()
			default:
				d.drain(sig, signals)
				return nil
			}
		}
	}
}

// reload reads the configuration and all files again. What is at fault is logged, and changes nothing.
func (d *process) reload() {
	d.notify.Reloading()
	defer d.notify.Ready("serving")
	if err := d.tryReload(); err != nil {
		d.watch.metrics.ReloadFailed()
		d.log.Error("reload failed, all is as it was", "error", err)
	}
}

func (d *process) tryReload() error {
	loaded, err := d.cfg.Reload()
	if err != nil {
		return err
	}
	_, stays := config.Changes(d.cfg, loaded)
	next := config.Merge(d.cfg, loaded)
	d.files.Watch(next.Files()) // before they are read
	built, err := d.tls.Build(&next.TLS)
	if err != nil {
		return err
	}
	applied, _ := config.Changes(d.cfg, next)
	old := d.built
	d.cfg, d.built = next, built
	d.srv.SetContext(built.Context)
	old.Context.Close()
	d.srv.SetLimits(limits(next))
	d.guard.SetLimits(admission(next))
	d.level.Set(next.LogLevel)
	d.watch.show(next, built.Certificates)
	d.watch.metrics.ReloadOK()
	d.warn(slices.Concat(built.OutOfDate, built.Warnings))
	if len(stays) > 0 {
		d.log.Warn("these settings have changed and wait for a restart or an upgrade", "settings", strings.Join(stays, " "))
	}
	d.log.Info("reloaded", "changed", strings.Join(applied, " "), "certificates", len(built.Certificates))
	return nil
}

// upgrade starts the program anew. If that one serves, Replaced tells.
func (d *process) upgrade() {
	d.log.Info("upgrade: starting the new process")
	switch err := d.sockets.Upgrade(); {
	case err != nil && d.watch.ending.Load():
		d.log.Info("upgrade: given up, for this process is about to end")
	case err != nil:
		d.log.Error("upgrade failed, this process goes on", "error", err)
	}
}

// handOver lets the connections end that this process still has, while another one serves. After the drain timeout, or at a
// signal, they are closed.
func (d *process) handOver(signals <-chan os.Signal) {
	d.watch.ending.Store(true)
	d.watch.close() // the new process answers there
	d.srv.StopAccepting()
	fmt.Fprintf(d.stdout, "replaced: %d connections have %v to end\n", d.srv.Conns(), d.cfg.Timeouts.Drain)
	wait(d.cfg.Timeouts.Drain, signals, d.empty)
	d.end(signals, d.cfg.Timeouts.Close)
}

// drain ends the daemon: it serves on for the delay, then connections may end by themselves, then those that are left are closed in good
// order. A second signal cuts them off.
func (d *process) drain(sig os.Signal, signals <-chan os.Signal) {
	t := d.cfg.Timeouts
	d.notify.Stopping()
	d.watch.ending.Store(true)
	if t.DrainDelay > 0 {
		fmt.Fprintf(d.stdout, "%s: not ready, serving on for %v\n", sig, t.DrainDelay)
		if wait(t.DrainDelay, signals, func() bool { return false }) {
			t.DrainWait, t.Drain = 0, 0
		}
	}
	d.sockets.Stop() // else the sockets would live on in what would be handed to a new process
	fmt.Fprintf(d.stdout, "%s: draining %d connections, a second signal ends at once\n", sig, d.srv.Conns())
	if t.DrainWait > 0 {
		d.srv.StopAccepting()
		if wait(t.DrainWait, signals, d.empty) {
			t.Drain = 0
		}
	}
	d.end(signals, t.Drain)
}

// empty reports whether there are no connections.
func (d *process) empty() bool { return d.srv.Conns() == 0 }

// wait waits for a time, or until over answers true. It reports whether a signal has ended it; those of a reload and of an upgrade
// do not: they come too late, or are for the process that has taken over.
func wait(timeout time.Duration, signals <-chan os.Signal, over func() bool) (signalled bool) {
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !over() {
		select {
		case <-look.C:
		case <-timer.C:
			return false
		case sig := <-signals:
			if sig != syscall.SIGHUP && sig != syscall.SIGUSR2 {
				return true
			}
		}
	}
	return false
}

// end closes all connections within a time, and cuts off the rest; a signal ends the wait.
func (d *process) end(signals <-chan os.Signal, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	go func() {
		for sig := range signals {
			if sig != syscall.SIGHUP && sig != syscall.SIGUSR2 {
				cancel()
				return
			}
		}
	}()
	if err := d.srv.Shutdown(ctx); err != nil {
		n := d.srv.Conns()
		d.srv.Close()
		fmt.Fprintf(d.stdout, "stopped, %d connections cut off\n", n)
		return
	}
	fmt.Fprintln(d.stdout, "stopped")
}
