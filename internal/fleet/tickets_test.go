package fleet

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const (
	resumedMetric    = "sslecho_handshakes_resumed_total"
	handshakesMetric = `sslecho_handshakes_total{result="ok"}`
	established      = `sslecho_connections{state="established"}`
)

var versions = []cssl.TLSVersion{cssl.TLS12, cssl.TLS13}

// TestTicketAcrossHosts: a ticket from one host resumes on the others, directly and through the balancer, in both versions. The
// hosts know the client's own address from the PROXY header.
func TestTicketAcrossHosts(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, v := range versions {
		x := newContext(t, v)
		for _, from := range f.hosts {
			s := f.visit(x, from.addr(), nil, false)
			for _, to := range f.hosts {
				f.visit(x, to.addr(), s, true)
			}
			before := map[*host]int{}
			for _, h := range f.hosts {
				before[h] = h.metric(resumedMetric)
			}
			tlstest.Until(t, "each host has resumed it through the balancer", func() bool {
				f.visit(x, f.addr(), s, true)
				for _, h := range f.hosts {
					if h.metric(resumedMetric) == before[h] {
						return false
					}
				}
				return true
			})
		}
	}
	for _, h := range f.hosts {
		if s := h.text(); !strings.Contains(s, "remote="+clientAddr+":") || strings.Contains(s, "remote="+balancerAddr+":") {
			t.Errorf("%s does not log the client's address\n%s", h.name, last(s))
		}
	}
}

// TestRotation: new ticket keys go round the fleet in three phases, host by host, while clients come back to any of them: each
// client makes one full handshake, its first. Then a ticket of the old key is good no more.
func TestRotation(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	l := newLoad(f, 6, 400*time.Millisecond)
	var contexts []*cssl.Context
	var sessions []*cssl.Session
	for _, v := range versions {
		x := newContext(t, v)
		for _, h := range f.hosts {
			contexts, sessions = append(contexts, x), append(sessions, f.visit(x, h.addr(), nil, false))
		}
	}
	first := append([]*cssl.Session(nil), sessions...)
	handshakes := func() (all, resumed int) {
		for _, h := range f.hosts {
			all += h.metric(handshakesMetric)
			resumed += h.metric(resumedMetric)
		}
		return all, resumed
	}
	for _, phase := range []string{"add", "promote", "drop"} {
		f.step(phase)
		for _, h := range f.hosts {
			h.after(func() { h.handOut(f.tickets); h.signal(syscall.SIGHUP) }, "reloaded")
			// The hosts are at different steps now. Each client goes to each of them, with the newest ticket that it has.
			for i := range sessions {
				for _, to := range f.hosts {
					sessions[i] = f.visit(contexts[i], to.addr(), sessions[i], true)
				}
				sessions[i] = f.visit(contexts[i], f.addr(), sessions[i], true)
			}
		}
		l.renewed() // so all have tickets of this phase; in life the old ones expire meanwhile
	}
	if lost := l.losses(); len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
	all, resumed := handshakes()
	if want := len(sessions) + 6; all-resumed != want {
		t.Errorf("%d full handshakes, want %d: one of each client", all-resumed, want)
	}
	for i := range first {
		f.visit(contexts[i], f.hosts[i%3].addr(), first[i], false)
	}
	t.Logf("3 phases on 3 hosts: %d handshakes, %d of them resumed", all, resumed)
	if full {
		figures.Record(t, "fleet-rotation", "3 phases on 3 hosts, %d clients: %d handshakes, all resumed but the first of each client",
			all-resumed, all)
	}
}
