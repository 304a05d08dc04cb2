package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/filewatch"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
)

// maxStuck is how many reloads that were given up may still wait for a file, each of which holds a thread.
const maxStuck = 16

// reloads does the reloads that are asked for, one after another, until ctx ends. While it runs, what a reload replaces is its own.
func (d *process) reloads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.signals.reload:
			d.reload(ctx)
		case <-d.files.Changed():
			d.log.Info("files have changed, reloading")
			d.reload(ctx)
		}
	}
}

// reload reads the configuration and all files again. What is at fault, or takes longer than --reload-timeout, is logged, and changes
// nothing. Only the goroutine of reloads may call it.
func (d *process) reload(ctx context.Context) {
	d.notify.Reloading()
	limited, cancel := context.WithTimeout(ctx, d.cfg.Timeouts.Reload)
	defer cancel()
	next, err := d.prepare(limited)
	switch {
	case err == nil:
		d.apply(next)
	case ctx.Err() != nil:
		d.log.Info("reload given up, for this process is about to end", "error", err)
		return // systemd has been told, or is about to be
	default:
		d.watch.metrics.ReloadFailed()
		d.log.Error("reload failed, all is as it was", "error", err)
	}
	d.notify.Ready("serving")
}

// reloaded is what a reload has read.
type reloaded struct {
	cfg   *config.Config
	stays []string // settings that have changed and cannot be applied
	tls   tlsconf.Builder
	built *tlsconf.Built
}

// prepare reads and checks all that a reload applies, on a goroutine that is left behind when ctx ends: it may wait for a file for ever.
func (d *process) prepare(ctx context.Context) (*reloaded, error) {
	if n := d.stuck.Load(); n >= maxStuck {
		return nil, fmt.Errorf("%d reloads that were given up still wait for files: see why those cannot be read", n)
	}
	var at waiting
	r := &reloaded{tls: d.tls}
	r.tls.At = at.on
	running := d.cfg
	read := make(chan error, 1)
	go func() { read <- r.read(ctx, running, d.files, &at) }()
	look := time.NewTicker(sayWaiting)
	defer look.Stop()
	said := ""
	for {
		select {
		case err := <-read:
			return r, err
		case <-look.C:
			if what := at.String(); what != said {
				d.log.Warn("still waiting, as a reload", "for", what)
				said = what
			}
		case <-ctx.Done():
			d.stuck.Add(1)
			go func() {
				defer d.stuck.Add(-1)
				if <-read == nil {
					r.built.Context.Close()
				}
			}()
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil, fmt.Errorf("it waits for %s", at.String())
			}
			return nil, fmt.Errorf("it waits for %s after %v (--reload-timeout)", at.String(), d.cfg.Timeouts.Reload)
		}
	}
}

// read stops when ctx has ended and it does not wait for a file.
func (r *reloaded) read(ctx context.Context, running *config.Config, files *filewatch.Watcher, at *waiting) error {
	at.on("--config " + running.File)
	loaded, err := running.Reload()
	if err != nil {
		return err
	}
	_, r.stays = config.Changes(running, loaded)
	r.cfg = config.Merge(running, loaded)
	at.on("the directories of --watch")
	if err := files.Watch(ctx, r.cfg.Files()); err != nil { // before they are read
		return fmt.Errorf("--watch: %w", err)
	}
	r.built, err = r.tls.Build(&r.cfg.TLS)
	return err
}

// apply makes what was read count. Nothing in it waits.
func (d *process) apply(r *reloaded) {
	applied, _ := config.Changes(d.cfg, r.cfg)
	old := d.built
	d.cfg, d.tls, d.built = r.cfg, r.tls, r.built
	d.srv.SetContext(r.built.Context)
	old.Context.Close()
	d.srv.SetLimits(limits(r.cfg))
	d.guard.SetLimits(admission(r.cfg))
	d.output.level.Set(r.cfg.LogLevel)
	d.watch.show(r.cfg, r.built.Certificates)
	d.watch.metrics.ReloadOK()
	d.warn(slices.Concat(r.built.OutOfDate, r.built.Warnings))
	if len(r.stays) > 0 {
		d.log.Warn("these settings have changed and wait for a restart or an upgrade", "settings", strings.Join(r.stays, " "))
	}
	d.log.Info("reloaded", "changed", strings.Join(applied, " "), "certificates", len(r.built.Certificates))
}
