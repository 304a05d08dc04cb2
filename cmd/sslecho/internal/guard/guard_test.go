package guard

import (
	"errors"
	"net/netip"
	"testing"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// TestLimits: each limit refuses for its own reason, and what has left makes room.
func TestLimits(t *testing.T) {
	var heard []error
	g := New(Limits{MaxConns: 4, MaxConnsPerAddr: 2}, func(_ netip.AddrPort, reason error) { heard = append(heard, reason) })
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
	if len(heard) != 4 || heard[0] != ErrMaxConnsPerAddr || heard[2] != ErrMaxConns {
		t.Errorf("heard %v", heard)
	}
	for _, r := range []string{"192.0.2.1:2", "[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8:0:1::1]:1"} {
		g.Release(addr(r))
	}
	if g.conns != 0 || len(g.of) != 0 {
		t.Errorf("all have left: %d connections of %v", g.conns, g.of)
	}
}

// TestRate: after the burst no more of one address come, while others do; new limits begin anew.
func TestRate(t *testing.T) {
	g := New(Limits{Rate: 1e-9, Burst: 3}, nil)
	for i := range 5 {
		err := g.Admit(addr("192.0.2.1:1"))
		if want := i >= 3; errors.Is(err, ErrRate) != want {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if err := g.Admit(addr("192.0.2.2:1")); err != nil {
		t.Error(err)
	}
	g.SetLimits(Limits{Rate: 1e-9, Burst: 1})
	if err := g.Admit(addr("192.0.2.1:1")); err != nil {
		t.Error(err)
	}
	if err := g.Admit(addr("192.0.2.1:1")); err != ErrRate {
		t.Error(err)
	}
	g.SetLimits(Limits{})
	if err := g.Admit(addr("192.0.2.1:1")); err != nil {
		t.Error(err)
	}
}

// TestRemembered: the guard's memory of addresses is bounded.
func TestRemembered(t *testing.T) {
	g := New(Limits{Rate: 1, Burst: 1}, nil)
	for i := range remembered + 1000 {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		if err := g.Admit(a); err != nil {
			t.Fatal(err)
		}
		g.Release(a)
	}
	if g.pace.Len() != remembered || len(g.of) != 0 {
		t.Errorf("%d addresses are remembered, %d counted", g.pace.Len(), len(g.of))
	}
}

// TestUnix: a unix socket has no address, and counts in all.
func TestUnix(t *testing.T) {
	g := New(Limits{MaxConns: 2, MaxConnsPerAddr: 1, Rate: 1e-9, Burst: 1}, nil)
	for i, want := range []error{nil, nil, ErrMaxConns} {
		if err := g.Admit(netip.AddrPort{}); err != want {
			t.Errorf("%d: %v", i, err)
		}
	}
	g.Release(netip.AddrPort{})
	if err := g.Admit(netip.AddrPort{}); err != nil {
		t.Error(err)
	}
}
