package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// stalled is a pipe that nobody reads.
func stalled(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	tlstest.Value(unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096))(t)
	return r, w
}

// fifo makes a named pipe.
func fifo(t *testing.T, name string) {
	t.Helper()
	tlstest.Must(t, unix.Mkfifo(name, 0o600))
}

// TestStalledOutput (P55): nobody reads one of the outputs. The daemon goes on, drops lines, counts them, and ends at SIGTERM. When a
// reader comes back, the log says that lines are missing.
func TestStalledOutput(t *testing.T) {
	for _, c := range []struct {
		output string
		args   []string
		feed   func(addr string) error // makes the daemon write something
	}{
		{"stderr", []string{"--log-level=debug"}, speakHTTP},
		{"stdout", []string{"--trace", "--log-level=error"}, chat(1000)},
		{"keylog", []string{"--log-level=error"}, chat(1)},
	} {
		t.Run(c.output, func(t *testing.T) {
			listen, admin := freePort(t), freePort(t)
			cmd := exec.Command(binary, append(c.args, "--listen="+listen, "--admin="+admin)...)
			var back io.Reader
			switch c.output {
			case "stderr":
				back, cmd.Stderr = stalled(t)
			case "stdout":
				back, cmd.Stdout = stalled(t)
			case "keylog":
				name := filepath.Join(t.TempDir(), "keylog")
				fifo(t, name)
				f := tlstest.Value(os.OpenFile(name, os.O_RDWR, 0))(t)
				defer f.Close()
				back = f
				cmd.Args = append(cmd.Args, "--keylog="+name)
			}
			r := start(t, cmd)
			d := &installed{running: r, listen: listen, admin: admin}
			tlstest.Until(t, "the daemon serves", func() bool { status, _ := d.get("/readyz"); return status == http.StatusOK })
			dropped := fmt.Sprintf("sslecho_log_lines_dropped_total{output=%q}", c.output)
			tlstest.Equal(t, dropped, d.metric(dropped), 0)
			l := load(func(*clients, *tls.Config) error { return c.feed(listen) })
			tlstest.Until(t, "lines are dropped", func() bool { return d.metric(dropped) > 0 })
			l.ends(t)
			served(t, listen, nil)
			if status, body := d.get("/healthz"); status != http.StatusOK {
				t.Errorf("/healthz: %d %s", status, body)
			}
			if c.output == "stderr" {
				var seen safeBuffer
				go io.Copy(&seen, back)
				seen.expect(t, `msg="lines were dropped, for nothing took them in time" output=stderr`)
			}
			r.stop()
		})
	}
}

// speakHTTP makes a handshake fail, and waits for the end of the connection.
func speakHTTP(addr string) error {
	c, err := net.DialTimeout("tcp", addr, tlstest.Hang)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		return err
	}
	return nil
}

// chat returns what makes a handshake and some echoes, each of which has lines
// in a trace.
func chat(echoes int) func(addr string) error {
	return func(addr string) error {
		c, err := tryTLS("tcp", addr, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		for range echoes {
			if err := exchange(c, []byte("x")); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestBlockedStart (P56): a start that waits for a file says for which one, and a signal ends it.
func TestBlockedStart(t *testing.T) {
	ecdsa := testcerts.Path("ecdsa.pem")
	for _, c := range []struct {
		name, flag string
		args       []string
		sig        syscall.Signal
	}{
		{"certificate", "--cert", nil, syscall.SIGTERM},
		{"key", "--key", []string{"--cert", ecdsa}, syscall.SIGINT},
		{"server name", "--sni a.example=", nil, syscall.SIGTERM},
		{"CA", "--client-ca", []string{"--client-auth=require"}, syscall.SIGINT},
		{"configuration", "--config", nil, syscall.SIGTERM},
		{"key log", "--keylog", nil, syscall.SIGINT},
		{"check", "--cert", []string{"--check"}, syscall.SIGTERM},
		{"ticket keys as JSON", "--ticket-keys", []string{"--log-format=json"}, syscall.SIGTERM},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			name := filepath.Join(t.TempDir(), "fifo")
			fifo(t, name)
			given, shown := []string{c.flag, name}, c.flag+" "+name
			if flag, of, ok := strings.Cut(c.flag, " "); ok {
				given, shown = []string{flag, of + name}, flag+" "+of+name
			}
			r := start(t, exec.Command(binary, append(append(c.args, "--listen=127.0.0.1:0"), given...)...))
			r.out.expect(t, "still waiting")
			r.signal(c.sig)
			tlstest.Equal(t, "status", r.status(), 1)
			if text := r.out.String(); strings.Count(text, shown) != 2 || !strings.Contains(text, "ended by "+c.sig.String()) {
				t.Errorf("not said twice that it waits for %s, or not that %v ended it:\n%s", shown, c.sig, text)
			}
		})
	}
}

// TestBlockedReload (P56): a reload that waits for a file fails after its time and says for which one; all stays as it was, the next one
// works, and a signal drains the daemon also while one waits.
func TestBlockedReload(t *testing.T) {
	d := install(t)
	chain := d.in("chain.pem")
	block := func() {
		os.Remove(chain)
		fifo(t, chain)
	}
	d.config("reload-timeout: 2s\n")
	again := func() int {
		d.signal(syscall.SIGHUP)
		return strings.Count(d.text(), "msg=reloaded")
	}
	tlstest.Until(t, "the short timeout counts", func() bool { return again() > 0 })
	block()
	tlstest.Until(t, "a reload fails for the chain", func() bool { // and not for a file before it, on a slow machine
		again()
		return strings.Contains(d.text(), "waits for --cert "+chain+" after 2s (--reload-timeout)")
	})
	d.expect("reload failed, all is as it was", 1)
	contains(t, d.served(), "ECDSA")
	os.Remove(chain)
	d.certificate("rsa")
	d.config("reload-timeout: 1h\n")
	tlstest.Until(t, "the next reload works", func() bool { again(); return strings.Contains(d.served(), "RSA") })
	block()
	d.signal(syscall.SIGHUP)
	d.expect("still waiting", 1)
	d.signal(syscall.SIGTERM)
	d.expect("stopped\n", 1)
}

// TestSecondSignalWhateverHappens (P56): systemd does not read what it is told, which holds the drain up for ever. A second signal ends
// the process.
func TestSecondSignalWhateverHappens(t *testing.T) {
	m := newManager(t)
	t.Setenv("NOTIFY_SOCKET", m.path)
	d := runDaemon(t)
	m.hears("READY=1")
	fd := tlstest.Value(unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	defer unix.Close(fd)
	var err error
	for err == nil {
		err = unix.Sendto(fd, []byte("full"), 0, &unix.SockaddrUnix{Name: m.path})
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
	d.signal(syscall.SIGTERM)
	d.signal(syscall.SIGINT) // the kernel takes two of the same for one while the first is pending
	tlstest.Equal(t, "status", d.status(), 1)
	contains(t, d.err.String(), "second signal")
}

// TestStuckPIDFile (P56): the end does not wait for the file system of the pid
// file.
func TestStuckPIDFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pid")
	d := runDaemon(t, "--pid-file", name)
	tlstest.Until(t, "the pid file is there", func() bool { _, err := os.Stat(name); return err == nil })
	os.Remove(name)
	fifo(t, name)
	d.stop()
	contains(t, d.err.String(), "--pid-file "+name+": left behind")
}
