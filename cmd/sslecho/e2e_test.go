package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// installed is a daemon with files of its own: a configuration, a certificate and ticket keys that can be changed. What it and those
// that take over from it say is in a file.
type installed struct {
	*running
	dir, listen, admin string
}

func (i *installed) in(name string) string { return filepath.Join(i.dir, name) }

func (i *installed) write(name, content string) { i.t.Helper(); replaceFile(i.t, i.dir, name, content) }

// certificate makes one of the test PKI the daemon's.
func (i *installed) certificate(name string) {
	i.write("chain.pem", string(testcerts.Read(i.t, name+".pem")))
	i.write("key.pem", string(testcerts.Read(i.t, name+".key")))
}

// text is all that the daemon, and those that took over from it, have said.
func (i *installed) text() string {
	return string(tlstest.Value(os.ReadFile(i.in("log")))(i.t))
}

// expect waits until text has been said for the nth time.
func (i *installed) expect(text string, n int) {
	i.t.Helper()
	tlstest.Until(i.t, fmt.Sprintf("%q is said %d times", text, n), func() bool { return strings.Count(i.text(), text) >= n })
}

// pid is that of the process that serves now.
func (i *installed) pid() int {
	i.t.Helper()
	return tlstest.Value(strconv.Atoi(string(tlstest.Value(os.ReadFile(i.in("pid")))(i.t))))(i.t)
}

func (i *installed) signal(sig syscall.Signal) {
	i.t.Helper()
	tlstest.Must(i.t, syscall.Kill(i.pid(), sig))
}

// config is the configuration file, with more settings behind it.
func (i *installed) config(more string) {
	i.write("sslecho.yaml", fmt.Sprintf("listen: [%s]\ncert: [%s]\nkey: [%s]\nticket-keys: %s\nadmin: %s\npid-file: %s\nloops: 2\n%s",
		i.listen, i.in("chain.pem"), i.in("key.pem"), i.in("tickets"), i.admin, i.in("pid"), more))
}

// install makes the files and starts the daemon on ports that are free now.
func install(t *testing.T, env ...string) *installed {
	t.Helper()
	i := &installed{&running{t: t}, t.TempDir(), freePort(t), freePort(t)}
	i.certificate("ecdsa")
	i.write("tickets", strings.Repeat("t", 48))
	i.config("")
	cmd := exec.Command(binary, "--config", i.in("sslecho.yaml"))
	log := tlstest.Value(os.Create(i.in("log")))(t)
	t.Cleanup(func() { log.Close() })
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), env...)
	i.running = start(t, cmd)
	t.Cleanup(func() {
		if b, err := os.ReadFile(i.in("pid")); err == nil {
			if n, err := strconv.Atoi(string(b)); err == nil && n != i.Process.Pid {
				syscall.Kill(n, syscall.SIGKILL) // it was started by the one that we started
			}
		}
		if t.Failed() {
			t.Log(i.text())
		}
	})
	i.ready()
	return i
}

// get asks the admin listener.
func (i *installed) get(path string) (int, string) { return get(i.admin, path) }

func (i *installed) ready() {
	i.t.Helper()
	tlstest.Until(i.t, "it is ready", func() bool { status, _ := i.get("/readyz"); return status == 200 })
}

// metric is the value of one, named with its labels; -1 if it is not there.
func (i *installed) metric(name string) float64 {
	_, body := i.get("/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		return -1
	}
	v, _ := strconv.ParseFloat(m[1], 64)
	return v
}

// await waits until a metric is at least v.
func (i *installed) await(name string, v float64) {
	i.t.Helper()
	tlstest.Until(i.t, fmt.Sprintf("%s is %v", name, v), func() bool { return i.metric(name) >= v })
}

// served answers the name in the certificate that a new client sees.
func (i *installed) served() string {
	c := dialTLS(i.t, "tcp", i.listen, nil)
	defer c.Close()
	roundTrip(i.t, c, []byte("who"))
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// clients do something over and over.
type clients struct {
	stop      chan struct{}
	wg        sync.WaitGroup
	done      atomic.Int64
	resumed   atomic.Int64
	firstFail atomic.Pointer[error]
}

// load starts four clients, each with a session of its own.
func load(once func(l *clients, cfg *tls.Config) error) *clients {
	l := &clients{stop: make(chan struct{})}
	for range 4 {
		cfg := &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		l.wg.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				if err := once(l, cfg); err != nil {
					l.firstFail.CompareAndSwap(nil, &err)
					return
				}
				l.done.Add(1)
			}
		})
	}
	return l
}

// echoing is a client that connects, sends, waits for the echo and says goodbye.
func echoing(addr string) func(l *clients, cfg *tls.Config) error {
	return func(l *clients, cfg *tls.Config) error {
		c, err := tryTLS("tcp", addr, cfg)
		if err != nil {
			return fmt.Errorf("connection %d: %w", l.done.Load(), err)
		}
		defer c.Close()
		if c.ConnectionState().DidResume {
			l.resumed.Add(1)
		}
		if err := exchange(c, bytes.Repeat([]byte("x"), 2000)); err != nil {
			return err
		}
		c.CloseWrite()
		if _, err := io.Copy(io.Discard, c); err != nil {
			return fmt.Errorf("end: %w", err)
		}
		return nil
	}
}

// ends stops the clients and fails the test if one of them met with anything but success.
func (l *clients) ends(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	if err := l.firstFail.Load(); err != nil {
		t.Errorf("a client failed: %v", *err)
	}
}

// TestLife leads the daemon through what it goes through in months: start, load, a good and a broken reload, an upgrade, the
// drain; at each step the metrics and the log say so, and no client loses anything.
func TestLife(t *testing.T) {
	d := install(t)
	l := load(echoing(d.listen))
	d.await(`sslecho_handshakes_total{result="ok"}`, 50)
	if n := d.metric("sslecho_plaintext_received_bytes_total"); n < 50*2000 {
		t.Errorf("%v bytes received", n)
	}
	d.await(`sslecho_connections_closed_total{outcome="clean"}`, 50)
	d.await("sslecho_handshakes_resumed_total", 20)

	// A reload that changes the certificate, a limit and the level of the log.
	old := dialTLS(t, "tcp", d.listen, nil)
	d.certificate("rsa")
	d.config("max-conns: 1000\nmax-queue: 8MiB\nlog-level: debug\nlog-format: json\n")
	d.signal(syscall.SIGHUP)
	d.expect("msg=reloaded", 1)
	d.expect("wait for a restart", 1) // log-format
	contains(t, d.served(), "RSA")
	roundTrip(t, old, []byte("the old one goes on"))
	d.await("sslecho_limit_connections", 1000)
	d.await("sslecho_limit_connection_queued_bytes", 8<<20)
	d.await(`sslecho_config_reloads_total{result="ok"}`, 1)

	// Broken ones: each is told, and all stays as it was.
	for i, broken := range []struct {
		change func()
		want   string
	}{
		{func() { d.config("max-cons: 7\n") }, "max-conns"},
		{func() { d.config("max-conns: many\n") }, "many"},
		{func() { d.config(""); d.write("key.pem", string(testcerts.Read(t, "ecdsa.key"))) }, "mismatch"},
		{func() { d.certificate("rsa"); d.write("tickets", "short") }, "--ticket-keys"},
		{func() { d.write("tickets", strings.Repeat("t", 48)); os.Remove(d.in("chain.pem")) }, "no such file"},
	} {
		broken.change()
		d.signal(syscall.SIGHUP)
		d.expect("reload failed, all is as it was", i+1)
		d.expect(broken.want, 1)
		contains(t, d.served(), "RSA")
	}
	d.await(`sslecho_config_reloads_total{result="failed"}`, 5)

	// An upgrade: the old connection lives on, the new process has the new settings.
	d.certificate("ecdsa")
	d.config("max-conns: 2000\n")
	before := d.pid()
	d.signal(syscall.SIGUSR2)
	d.expect("replaced: ", 1)
	d.await("sslecho_limit_connections", 2000)
	if d.pid() == before {
		t.Error("the same process serves")
	}
	roundTrip(t, old, []byte("the old one still goes on"))
	contains(t, d.served(), "ECDSA")
	old.Close()
	d.expect("stopped\n", 1)
	resumedBefore := l.resumed.Load()
	d.await(`sslecho_handshakes_total{result="ok"}`, 50)
	l.ends(t)
	if l.resumed.Load() == resumedBefore {
		t.Error("no session was resumed after the upgrade, though the ticket keys are the same")
	}

	// The drain.
	idle := dialTLS(t, "tcp", d.listen, nil)
	d.signal(syscall.SIGTERM)
	cleanEnd(t, idle)
	d.expect("stopped\n", 2)
	if strings.Contains(d.text(), "panic") || strings.Contains(d.text(), "level=ERROR msg=\"conn") {
		t.Error("there are faults in the log")
	}
}

// TestBrokenUpgrade: a new process that cannot serve leaves the old one as it was, unix socket and all.
func TestBrokenUpgrade(t *testing.T) {
	d := install(t)
	sock := d.in("sock")
	d.write("sslecho.yaml", strings.Replace(string(tlstest.Value(os.ReadFile(d.in("sslecho.yaml")))(t)), "listen: [", "listen: [unix:"+sock+", ", 1))
	d.signal(syscall.SIGUSR2) // listens on the unix socket from now on
	d.expect("replaced: ", 1)
	d.expect("stopped\n", 1)
	d.ready()
	d.write("key.pem", "broken")
	before := d.pid()
	d.signal(syscall.SIGUSR2)
	d.expect("upgrade failed, this process goes on", 1)
	if d.pid() != before {
		t.Error("another process has written its pid")
	}
	for network, addr := range map[string]string{"tcp": d.listen, "unix": sock} {
		c := dialTLS(t, network, addr, nil)
		roundTrip(t, c, []byte("still here"))
		c.Close()
	}
	d.signal(syscall.SIGTERM)
	d.expect("stopped\n", 2)
	if _, err := os.Stat(sock); err == nil {
		t.Error("the unix socket is still there")
	}
}

// TestTenUpgrades: thousands of connections come while the process is replaced ten times, and none is refused or loses anything.
func TestTenUpgrades(t *testing.T) {
	d := install(t, "SSLECHO_LOG_LEVEL=warn")
	l := load(echoing(d.listen))
	for i := range 10 {
		start := l.done.Load()
		said := func(text string) int { return strings.Count(d.text(), text) }
		for said("replaced: ") == i {
			busy := said("still draining")
			d.signal(syscall.SIGUSR2)
			// A process may not know yet that the one before it has ended.
			tlstest.Until(t, "the upgrade has an outcome", func() bool { return said("replaced: ") > i || said("still draining") > busy })
		}
		d.expect("stopped\n", i+1)
		d.ready()
		tlstest.Until(t, "the clients get on", func() bool { return l.done.Load() >= start+200 || l.firstFail.Load() != nil })
	}
	l.ends(t)
	d.signal(syscall.SIGTERM)
	d.expect("stopped\n", 11)
}

// TestLimits: who is over a limit is closed before any TLS, counted by reason and logged; those who are in go on.
func TestLimits(t *testing.T) {
	d := install(t)
	d.config("max-conns-per-addr: 2\nwrite-timeout: 1m\n")
	d.signal(syscall.SIGHUP)
	d.expect("msg=reloaded", 1)
	first, second := dialTLS(t, "tcp", d.listen, nil), dialTLS(t, "tcp", d.listen, nil)
	unserved(t, d.listen, nil, "a third one gets in")
	d.await(`sslecho_connections_refused_total{reason="connections of one address"}`, 1)
	d.expect(`reason="limit of --max-conns-per-addr"`, 1)
	roundTrip(t, first, []byte("still here"))
	second.Close()
	d.await(`sslecho_connections_closed_total{outcome="clean"}`, 1)
	third := dialTLS(t, "tcp", d.listen, nil)
	roundTrip(t, third, []byte("there is room again"))
	d.signal(syscall.SIGTERM)
	d.expect("stopped\n", 1)
}
