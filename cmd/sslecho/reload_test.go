package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestReloadGivenUpWatchesNothing (P59): a reload that was given up goes on with
// an old configuration when a newer one has been read. The files of the newer
// one are watched.
func TestReloadGivenUpWatchesNothing(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) { t.Helper(); tlstest.Must(t, err) }
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
	tlstest.Until(t, "the one that was given up has ended", func() bool { return d.stuck.Load() == 0 })
	changed := next.files.Changed(nil)
	pair("two.pem")
	tlstest.Receive(t, changed, "a change of the running configuration's file")
}

// TestNotWatched: without --watch no file is looked at.
func TestNotWatched(t *testing.T) {
	var n loaded
	if n.look(&config.Config{File: "sslecho.yaml"}, &waiting{}); n.files != nil {
		t.Errorf("%v", n.files)
	}
}
