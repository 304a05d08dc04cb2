package connlimit

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// TestLimits: each limit refuses for its own reason, and what has left makes room.
func TestLimits(t *testing.T) {
	g := New(Limits{MaxConns: 4, MaxConnsPerAddr: 2})
	steps := []struct {
		remote string
		leaves bool
		want   error
	}{
		{"192.0.2.1:1", false, nil},
		{"192.0.2.1:2", false, nil},
		{"192.0.2.1:3", false, ErrMaxConnsPerAddr},
		{"[::ffff:192.0.2.1]:4", false, ErrMaxConnsPerAddr}, // the same in the other notation
		{"[2001:db8::1]:1", false, nil},
		{"[2001:db8::2]:1", false, nil},
		{"[2001:db8:0:0:1::1]:1", false, ErrMaxConns},
		{"192.0.2.1:1", true, nil},
		{"[2001:db8::3]:1", false, ErrMaxConnsPerAddr}, // the same /64
		{"[2001:db8:0:1::1]:1", false, nil},
	}
	for i, s := range steps {
		if s.leaves {
			g.Release(addr(s.remote))
		} else if err := g.Admit(addr(s.remote)); err != s.want {
			t.Errorf("step %d, %s: %v, want %v", i, s.remote, err, s.want)
		}
	}
	for _, r := range []string{"192.0.2.1:2", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1"} {
		g.Release(addr(r))
	}
	if g.conns != 0 || len(g.perAddr) != 0 {
		t.Errorf("all have left: %d connections of %v", g.conns, g.perAddr)
	}
}

// TestRate: after the burst no more of one address come, while others do; new limits begin anew.
func TestRate(t *testing.T) {
	g := New(Limits{Rate: 1e-9, Burst: 3})
	for i := range 5 {
		err := g.Admit(addr("192.0.2.1:1"))
		if want := i >= 3; errors.Is(err, ErrRate) != want {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	tlstest.Must(t, g.Admit(addr("192.0.2.2:1")))
	g.SetLimits(Limits{Rate: 1e-9, Burst: 1})
	tlstest.Must(t, g.Admit(addr("192.0.2.1:1")))
	if err := g.Admit(addr("192.0.2.1:1")); err != ErrRate {
		t.Error(err)
	}
	g.SetLimits(Limits{})
	tlstest.Must(t, g.Admit(addr("192.0.2.1:1")))
}

// TestRefill: an address gets back Rate connections a second, up to its burst.
func TestRefill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Limits{Rate: 2, Burst: 3})
		for i, step := range []struct {
			after time.Duration
			want  int // are admitted
		}{{0, 3}, {500 * time.Millisecond, 1}, {time.Second, 2}, {499 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Hour, 3}} {
			time.Sleep(step.after)
			got := 0
			for l.Admit(addr("192.0.2.1:1")) == nil {
				got++
			}
			if got != step.want {
				t.Errorf("step %d: %d connections, want %d", i, got, step.want)
			}
		}
	})
}

// TestMemory: the memory of addresses is bounded, and keeps the last ones.
func TestMemory(t *testing.T) {
	l := New(Limits{Rate: 1e-9, Burst: 1})
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
	}
	for i := range 2 * maxAddrs {
		tlstest.Must(t, l.Admit(at(i)))
		l.Release(at(i))
	}
	for i := 3 * maxAddrs / 2; i < 2*maxAddrs; i++ {
		a := at(i).Addr()
		if l.recent[a] == (bucket{}) && l.older[a] == (bucket{}) {
			t.Fatalf("address %d of %d is forgotten", i, 2*maxAddrs)
		}
	}
	tlstest.Equal(t, "it may come again", l.Admit(at(3*maxAddrs/2)), ErrRate)
	if n := len(l.recent) + len(l.older); n > maxAddrs || len(l.perAddr) != 0 {
		t.Errorf("%d addresses are remembered, %d counted", n, len(l.perAddr))
	}
}

// TestUnix: a unix socket has no address, and counts in all.
func TestUnix(t *testing.T) {
	g := New(Limits{MaxConns: 2, MaxConnsPerAddr: 1, Rate: 1e-9, Burst: 1})
	for i, want := range []error{nil, nil, ErrMaxConns} {
		if err := g.Admit(netip.AddrPort{}); err != want {
			t.Errorf("%d: %v", i, err)
		}
	}
	g.Release(netip.AddrPort{})
	tlstest.Must(t, g.Admit(netip.AddrPort{}))
}
