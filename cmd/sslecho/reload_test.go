package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// TestReloadGivenUpWatchesNothing (P59): a reload that was given up goes on with
// an old configuration when a newer one has been read. The files of the newer
// one are watched.
func TestReloadGivenUpWatchesNothing(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		must(os.WriteFile(path+".new", []byte(content), 0o600))
		must(os.Rename(path+".new", path))
		return path
	}
	pair := func(name string) string {
		t.Helper()
		return write(name, string(testcerts.Read(t, "ecdsa.key"))+string(testcerts.Read(t, "ecdsa.pem")))
	}
	before, after := "watch: true\ncert: "+pair("one.pem"), "watch: true\ncert: "+pair("two.pem")
	settings := write("sslecho.yaml", before)
	d := &process{program: &program{output: newOutputs(os.Stdout, os.Stderr)}, log: slog.New(slog.DiscardHandler)}
	var err error
	d.cfg, err = config.Load([]string{"--config", settings}, nil, io.Discard)
	must(err)
	must(os.Remove(settings))
	fifo(t, settings)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.prepare(over); err == nil {
		t.Fatal("a reload that waits for its configuration succeeds")
	}
	old, err := os.OpenFile(settings, os.O_WRONLY, 0) // when the one that was given up reads it
	must(err)
	write("sslecho.yaml", after)
	next, err := d.prepare(t.Context())
	must(err)
	defer next.built.Context.Close()
	_, err = old.WriteString(before)
	must(err)
	must(old.Close())
	until(t, "the one that was given up has ended", func() bool { return d.stuck.Load() == 0 })
	defer next.files.Close()
	pair("two.pem")
	select {
	case <-next.files.Changed():
	case <-time.After(limit):
		t.Fatal("a change of the running configuration's file is not noticed")
	}
}

// TestWatchWithoutInstance: without a descriptor for inotify a start fails, and a reload goes on with the watches of before.
func TestWatchWithoutInstance(t *testing.T) {
	var log safeBuffer
	d := &process{log: slog.New(slog.NewTextHandler(&log, nil))}
	var limits unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limits); err != nil {
		t.Fatal(err)
	}
	none := unix.Rlimit{Cur: 0, Max: limits.Max}
	var errs [2]error
	for i, n := range []*loaded{{}, {again: true}} {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
			t.Fatal(err)
		}
		errs[i] = n.watch(d, &config.Config{Watch: true}, &waiting{})
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limits); err != nil {
			t.Fatal(err)
		}
	}
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "--watch: ") || !strings.Contains(errs[0].Error(), "max_user_instances") {
		t.Errorf("at a start: %v", errs[0])
	}
	if errs[1] != nil || !strings.Contains(log.String(), "files are watched with what was set up before") {
		t.Errorf("at a reload: %v, %s", errs[1], log.String())
	}
}
