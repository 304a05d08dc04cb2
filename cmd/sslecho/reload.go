package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/filewatch"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
)

// maxStuck is how many reloads that were given up may still wait for a file,
// each of which holds a thread.
const maxStuck = 16

// reloads does the reloads that are asked for, one after another, until ctx
// ends. While it runs, what a reload replaces is its own.
func (d *process) reloads(ctx context.Context) {
	var watched filewatch.State
	var changed <-chan filewatch.State
	stop := make(chan struct{})
	defer func() { close(stop) }()
	for {
		if !maps.Equal(d.files, watched) { // a file system that does not answer holds up one watch alone
			close(stop)
			stop = make(chan struct{})
			watched, changed = d.files, d.files.Changed(stop)
		}
		select {
		case <-ctx.Done():
			return
		case <-d.signals.reload:
		case d.files = <-changed:
			d.log.Info("files have changed, reloading")
		}
		d.reload(ctx)
	}
}

// reload reads the configuration and all files again. What is at fault, or
// takes longer than --reload-timeout, is logged, and changes nothing.
func (d *process) reload(ctx context.Context) {
	d.notify.Reloading()
	limited, cancel := context.WithTimeout(ctx, d.cfg.ReloadTimeout)
	defer cancel()
	next, err := d.prepare(limited)
	if next.files != nil { // a fault may be mended in the files of now
		d.files = next.files
	}
	switch {
	case err == nil:
		d.apply(next)
	case ctx.Err() != nil:
		d.log.Info("reload given up, for this process is about to end", "error", err)
		return // systemd has been told, or is about to be
	default:
		d.log.Error("reload failed, all is as it was", "error", err)
	}
	d.admin.reloaded(err == nil)
	d.notify.Ready()
}

// loaded is what a start or a reload has read.
type loaded struct {
	cfg   *config.Config
	stays []string // settings that have changed and cannot be applied
	tls   tlsconf.Builder
	built *tlsconf.Built
	files filewatch.State // before they were read; nil without --watch
}

// prepare reads and checks all that a reload applies, on a goroutine that is
// left behind when ctx ends: it may wait for a file for ever.
func (d *process) prepare(ctx context.Context) (loaded, error) {
	if n := d.stuck.Load(); n >= maxStuck {
		return loaded{}, fmt.Errorf("%d reloads that were given up still wait for files: see why those cannot be read", n)
	}
	var at waiting
	next := &loaded{tls: d.tls}
	next.tls.At = at.on
	running, read := d.cfg, make(chan error, 1)
	go func() { read <- next.reload(running, &at) }()
	defer at.remind(d.output.log, "still waiting, as a reload")()
	select {
	case err := <-read:
		return *next, err
	case <-ctx.Done():
	}
	d.stuck.Add(1)
	go func() {
		defer d.stuck.Add(-1)
		if <-read == nil {
			next.built.Context.Close()
		}
	}()
	if errors.Is(ctx.Err(), context.Canceled) {
		return loaded{}, fmt.Errorf("it waits for %s", at.String())
	}
	return loaded{}, fmt.Errorf("it waits for %s after %v (--reload-timeout)", at.String(), running.ReloadTimeout)
}

// reload reads what a running daemon applies.
func (n *loaded) reload(running *config.Config, at *waiting) error {
	n.look(running, at)
	at.on("--config " + running.File)
	changed, err := running.Reload()
	if err != nil {
		return err
	}
	_, n.stays = config.Changes(running, changed)
	n.cfg = config.Merge(running, changed)
	return n.read(at)
}

// look notes how the files of a configuration look, with --watch, before they
// are read.
func (n *loaded) look(c *config.Config, at *waiting) {
	if !c.Watch {
		return
	}
	at.on("the files of --watch")
	if n.files == nil {
		n.files = filewatch.State{}
	}
	n.files.Add(c.Files())
}

// read reads the files of the configuration.
func (n *loaded) read(at *waiting) (err error) {
	n.look(n.cfg, at)
	n.built, err = n.tls.Build(&n.cfg.TLS)
	return err
}

// apply makes what was read count. Nothing in it waits.
func (d *process) apply(next loaded) {
	applied, _ := config.Changes(d.cfg, next.cfg)
	old := d.built
	d.cfg, d.tls, d.built = next.cfg, next.tls, next.built
	d.srv.SetContext(d.built.Context)
	old.Context.Close()
	d.srv.SetLimits(d.cfg.Server)
	d.limiter.SetLimits(d.cfg.ConnLimits())
	d.output.level.Set(d.cfg.LogLevel)
	d.admin.show(d.cfg, d.built.Certificates)
	d.warn(slices.Concat(d.built.OutOfDate, d.built.Warnings))
	if len(next.stays) > 0 {
		d.log.Warn("these settings have changed and wait for a restart or an upgrade", "settings", strings.Join(next.stays, " "))
	}
	d.log.Info("reloaded", "changed", strings.Join(applied, " "), "certificates", len(d.built.Certificates))
}
