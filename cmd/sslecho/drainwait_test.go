package main

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// readyz asks the admin listener of a daemon.
func readyz(t *testing.T, admin string) int {
	t.Helper()
	c := http.Client{Timeout: tlstest.Hang, Transport: &http.Transport{DisableKeepAlives: true}}
	r := tlstest.Value(c.Get("http://" + admin + "/readyz"))(t)
	r.Body.Close()
	return r.StatusCode
}

// TestDrainDelay: after the signal the daemon is not ready at once, and serves new connections as well as old ones, until a second
// signal cuts them off.
func TestDrainDelay(t *testing.T) {
	admin := freePort(t)
	d := runDaemon(t, "--drain-delay=1h", "--admin="+admin)
	tlstest.Until(t, "it is ready", func() bool { return readyz(t, admin) == http.StatusOK })
	old := dialTLS(t, "tcp", d.addr(), nil)
	d.signal(syscall.SIGTERM)
	d.expect("not ready, serving on for 1h0m0s")
	if s := readyz(t, admin); s != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d after the signal", s)
	}
	// Neither of these ends the delay.
	d.signal(syscall.SIGHUP)
	d.signal(syscall.SIGUSR2)
	roundTrip(t, old, []byte("still there"))
	roundTrip(t, dialTLS(t, "tcp", d.addr(), nil), []byte("late"))
	d.signal(syscall.SIGTERM)
	d.expect("stopped, 2 connections cut off")
	d.ends()
}

// TestDrainWait: after the delay nobody gets in; who is in goes on, and the daemon ends when the last one has.
func TestDrainWait(t *testing.T) {
	d := runDaemon(t, "--drain-delay=10ms", "--drain-wait=1h")
	old := dialTLS(t, "tcp", d.addr(), nil)
	d.signal(syscall.SIGTERM)
	d.expect("draining 1 connections")
	roundTrip(t, old, []byte("still there"))
	if c, err := tryTLS("tcp", d.addr(), nil); err == nil {
		c.Close()
		t.Error("a new connection gets in")
	}
	roundTrip(t, old, []byte("and still"))
	old.Close()
	d.ends()
	if !strings.HasSuffix(d.text(), "\nstopped\n") {
		t.Errorf("the last line is not: stopped\n%s", d.text())
	}
}

// TestDrainWaitEnds: who stays longer than that gets close_notify.
func TestDrainWaitEnds(t *testing.T) {
	d := runDaemon(t, "--drain-wait=10ms")
	c := dialTLS(t, "tcp", d.addr(), nil)
	d.signal(syscall.SIGTERM)
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("%d bytes, %v, want a clean EOF", n, err)
	}
	c.Close()
	d.ends()
}
