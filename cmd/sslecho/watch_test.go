package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// volume is a secret as Kubernetes mounts it: each file is a link through
// ..data, which is swapped.
type volume struct {
	t   *testing.T
	dir string
	rev int
}

func newVolume(t *testing.T) *volume {
	t.Helper()
	v := &volume{t: t, dir: t.TempDir()}
	for _, name := range []string{"tls.crt", "tls.key"} {
		tlstest.Must(t, os.Symlink("..data/"+name, filepath.Join(v.dir, name)))
	}
	return v
}

// swap makes a chain and a key of the test PKI the content, and removes what was.
func (v *volume) swap(chain, key string) {
	v.t.Helper()
	v.rev++
	rev := fmt.Sprintf("..rev%d", v.rev)
	data, tmp := filepath.Join(v.dir, "..data"), filepath.Join(v.dir, "..data_tmp")
	old, _ := os.Readlink(data)
	must := func(err error) { v.t.Helper(); tlstest.Must(v.t, err) }
	must(os.Mkdir(filepath.Join(v.dir, rev), 0o755))
	must(os.WriteFile(filepath.Join(v.dir, rev, "tls.crt"), testcerts.Read(v.t, chain+".pem"), 0o600))
	must(os.WriteFile(filepath.Join(v.dir, rev, "tls.key"), testcerts.Read(v.t, key+".key"), 0o600))
	must(os.Symlink(rev, tmp))
	must(os.Rename(tmp, data))
	if old != "" {
		must(os.RemoveAll(filepath.Join(v.dir, old)))
	}
}

// serves waits until new clients see this certificate of the test PKI. Each of
// them is served.
func (d *daemon) serves(serverName, certificate string) {
	d.t.Helper()
	want := leaf(d.t, certificate)
	tlstest.Until(d.t, certificate+" is served", func() bool {
		return string(served(d.t, d.addr(), &tls.Config{ServerName: serverName}).PeerCertificates[0].Raw) == want
	})
}

func leaf(t *testing.T, certificate string) string {
	t.Helper()
	c := clientCertificate(t, certificate)
	return string(c.Certificate[0])
}

// TestWatch: secrets that are swapped as Kubernetes does are served without a
// signal, also those of server names. While a chain and its key do not match
// the old ones stay, until they do.
func TestWatch(t *testing.T) {
	main, named := newVolume(t), newVolume(t)
	main.swap("ecdsa", "ecdsa")
	named.swap("ed25519", "ed25519")
	in := func(v *volume, name string) string { return filepath.Join(v.dir, name) }
	d := runDaemon(t, "--watch", "--cert", in(main, "tls.crt"), "--key", in(main, "tls.key"),
		"--sni", "*.example="+in(named, "tls.crt")+","+in(named, "tls.key"))
	for range 2 {
		main.swap("rsa", "rsa")
		d.serves("localhost", "rsa")
		main.swap("ecdsa", "ecdsa")
		d.serves("localhost", "ecdsa")
	}
	named.swap("wrongname", "wrongname")
	d.serves("www.example", "wrongname")

	main.swap("rsa", "ecdsa")
	d.err.expect(t, "reload failed")
	d.serves("localhost", "ecdsa")
	main.swap("rsa", "rsa")
	d.serves("localhost", "rsa")
	d.stop()
}

// TestWatchConfig: the configuration file is watched, and then what it names
// anew, also if that is not there yet.
func TestWatchConfig(t *testing.T) {
	dir := t.TempDir()
	pair := func(name, certificate string) string { return replaceFile(t, dir, name, keyAndChain(t, certificate)) }
	one := pair("one.pem", "ecdsa")
	settings := replaceFile(t, dir, "sslecho.yaml", "watch: true\ncert: "+one)
	d := runDaemon(t, "--config", settings)
	two := filepath.Join(dir, "two.pem")
	replaceFile(t, dir, "sslecho.yaml", "watch: true\ncert: "+two)
	d.err.expect(t, "reload failed")
	d.serves("", "ecdsa")
	pair("two.pem", "rsa")
	d.serves("", "rsa")
	pair("two.pem", "ed25519")
	d.serves("", "ed25519")
}

// TestReloadGivenUpWatchesNothing (P59): a reload that was given up goes on with
// an old configuration when a newer one has been read. The files of the newer
// one are watched.
func TestReloadGivenUpWatchesNothing(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) { t.Helper(); tlstest.Must(t, err) }
	pair := func(name string) string { return replaceFile(t, dir, name, keyAndChain(t, "ecdsa")) }
	before, after := "watch: true\ncert: "+pair("one.pem"), "watch: true\ncert: "+pair("two.pem")
	settings := replaceFile(t, dir, "sslecho.yaml", before)
	d := &process{program: &program{output: newOutputs(os.Stdout, os.Stderr)}, log: slog.New(slog.DiscardHandler)}
	cmd := config.Command(func(c *config.Config) error { d.cfg = c; return nil }, nil)
	cmd.SetArgs([]string{"--config", settings})
	must(cmd.Execute())
	must(os.Remove(settings))
	fifo(t, settings)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.prepare(over); err == nil {
		t.Fatal("a reload that waits for its configuration succeeds")
	}
	old, err := os.OpenFile(settings, os.O_WRONLY, 0) // when the one that was given up reads it
	must(err)
	replaceFile(t, dir, "sslecho.yaml", after)
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
