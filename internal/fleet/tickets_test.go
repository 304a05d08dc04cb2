package fleet

import (
	"os"
	"path/filepath"
	"slices"
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

	ticketKeys = root + "/docker/fleet/ticket-keys.sh"
)

var versions = []cssl.TLSVersion{cssl.TLS12, cssl.TLS13}

// TestTicketKeysScript: each step changes the file as docs/operate/fleet.md says, and leaves it alone when it makes no sense.
func TestTicketKeysScript(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tickets")
	step := func(what string) []string {
		t.Helper()
		must(t, ticketKeys, what, file)
		return strings.Fields(read(t, file))
	}
	old := step("new")
	both := step("add")
	if len(old) != 1 || len(both) != 2 || both[0] != old[0] || both[1] == old[0] {
		t.Fatalf("%d keys, then %d, or the new one is not the last", len(old), len(both))
	}
	promoted, dropped := step("promote"), step("drop")
	if !slices.Equal(promoted, []string{both[1], both[0]}) || !slices.Equal(dropped, both[1:]) {
		t.Errorf("%d keys, then %d, or in another order", len(promoted), len(dropped))
	}
	for _, args := range [][]string{{"drop", file}, {"promote", file}, {"turn", file}, {"add"}} {
		if out, err := command(ticketKeys, args...).CombinedOutput(); err == nil || len(out) == 0 {
			t.Errorf("%s: %v, %q", args[0], err, out)
		}
	}
	if !slices.Equal(step("new"), dropped) {
		t.Error("a file that was there, or one after a step that makes no sense, is another one")
	}
	if info := tlstest.Value(os.Stat(file))(t); info.Mode().Perm() != 0o640 {
		t.Errorf("%v: others may read the keys", info.Mode())
	}
	if all, _ := filepath.Glob(file + "*"); len(all) != 1 {
		t.Errorf("left behind: %q", all)
	}
}

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
			for _, h := range f.hosts {
				before := h.metric(resumedMetric)
				tlstest.Until(t, h.name+" has resumed it through the balancer", func() bool {
					f.visit(x, f.addr(), s, true)
					return h.metric(resumedMetric) > before
				})
			}
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
	const loading = 6
	l := newLoad(f, loading, 400*time.Millisecond)
	var contexts []*cssl.Context
	var sessions []*cssl.Session
	for _, v := range versions {
		x := newContext(t, v)
		for _, h := range f.hosts {
			contexts, sessions = append(contexts, x), append(sessions, f.visit(x, h.addr(), nil, false))
		}
	}
	first := slices.Clone(sessions)
	for _, phase := range []string{"add", "promote", "drop"} {
		f.step(phase)
		for _, h := range f.hosts {
			h.after(func() { h.handOut(f.tickets); h.signal(syscall.SIGHUP) }, "reloaded")
			// The hosts are at different steps now. Each client goes to each of them, with the newest ticket that it has.
			for i, x := range contexts {
				for _, to := range f.hosts {
					sessions[i] = f.visit(x, to.addr(), sessions[i], true)
				}
				sessions[i] = f.visit(x, f.addr(), sessions[i], true)
			}
		}
		l.renewed() // so all have tickets of this phase; in life the old ones expire meanwhile
	}
	if lost := l.losses(); len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
	all := f.sum(handshakesMetric)
	fresh := all - f.sum(resumedMetric)
	tlstest.Equal(t, "full handshakes, one of each client", fresh, len(contexts)+loading)
	for i, x := range contexts {
		f.visit(x, f.hosts[i%3].addr(), first[i], false)
	}
	if full {
		figures.Record(t, "fleet-rotation", "3 phases on 3 hosts, %d clients: %d handshakes, all resumed but the first of each client",
			fresh, all)
	}
}
