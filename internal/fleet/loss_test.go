package fleet

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// longest is how long a connection may last: past the balancer's notice of a drain, so that some are still there.
const longest = 6 * time.Second

// clients is how many there are.
func clients() int {
	if full {
		return 300
	}
	return 24
}

// TestKillAndDrain: under load one host is killed and another one drained. Only connections of the killed one are lost; those of the
// drained one end by themselves, and new ones go to the third. Both come back.
func TestKillAndDrain(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	killed, drained, stays := f.hosts[0], f.hosts[1], f.hosts[2]
	l := newLoad(f, clients(), longest)
	for _, h := range f.hosts {
		tlstest.Until(t, h.name+" has connections", func() bool { return h.metric(established) >= max(5, clients()/6) })
	}
	stayer, _, err := f.dial(newContext(t, cssl.TLS13), drained.addr(), nil) // its end is ours to say
	tlstest.Must(t, err)
	defer stayer.Close()
	drained.after(func() { drained.signal(syscall.SIGTERM) }, "not ready")
	killed.signal(syscall.SIGKILL)
	_ = tlstest.Receive(t, killed.wait, "the end of the killed one")
	f.awaitState(killed.name, "DOWN")
	f.awaitState(drained.name, "DOWN")
	before := f.sessions(stays)
	tlstest.Until(t, drained.name+" has closed its listening sockets", func() bool { return strings.Contains(drained.text(), "draining") })
	tlstest.Must(t, errors.Join(echo(stayer, 1000), end(stayer)))
	drained.ends()
	if s := drained.text(); !strings.HasSuffix(s, "\nstopped\n") {
		t.Errorf("%s has cut connections off:\n%s", drained.name, last(s))
	}
	l.goesOn(12)
	if n := f.sessions(stays); n < before+12 {
		t.Errorf("%s has got %d new connections", stays.name, n-before)
	}
	for _, h := range []*host{killed, drained} {
		h.start()
		f.awaitState(h.name, "UP")
		f.moreSessions(h)
	}
	lost := l.losses()
	if lost[killed.name] == 0 || len(lost) > 1 {
		t.Errorf("lost %v, want those of the killed one, %s, alone", lost, killed.name)
	}
	if full {
		figures.Record(t, "fleet-loss", "%d clients, %d connections: %d of the killed host lost, none of the drained one, none of the third",
			clients(), l.opened.Load(), lost[killed.name])
	}
}

// TestRollingUpgrade: under load one host after another gets a new process. Nothing is lost, whether it is handed over by SIGUSR2 or
// stopped by SIGTERM and started again.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name, figure string
		longest      time.Duration
		upgrade      func(t *testing.T, f *fleet, h *host)
	}{
		{"hand-over", "fleet-hand-over", 2 * time.Second, func(t *testing.T, f *fleet, h *host) {
			h.after(func() { h.after(func() { h.signal(syscall.SIGUSR2) }, "replaced: ") }, "\nstopped\n")
			h.ends()
			h.ready()
			if s := h.text(); strings.Contains(s, "cut off") {
				t.Errorf("%s:\n%s", h.name, last(s))
			}
		}},
		{"restart", "fleet-restart", longest, func(t *testing.T, f *fleet, h *host) {
			h.signal(syscall.SIGTERM)
			h.ends()
			h.start()
			f.awaitState(h.name, "UP")
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			l := newLoad(f, clients(), way.longest)
			for _, h := range f.hosts {
				l.goesOn(3)
				way.upgrade(t, f, h)
				f.moreSessions(h)
			}
			if lost := l.losses(); len(lost) > 0 {
				t.Errorf("lost %v", lost)
			}
			if full {
				figures.Record(t, way.figure, "%d clients, %d connections, %d echoes, none lost", clients(), l.opened.Load(), l.echoes.Load())
			}
		})
	}
}
