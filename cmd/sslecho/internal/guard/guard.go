// Package guard decides who gets in: how many connections there may be, in all and of one address, and how fast
// new ones of one address may come.
package guard

import (
	"errors"
	"net/netip"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// Limits of the guard; 0 is no limit. All of them can be changed at any time.
type Limits struct {
	MaxConns, MaxConnsPerAddr int
	// Rate is how many new connections a second one address may make, after the first Burst ones.
	Rate  float64
	Burst int
}

// Why a connection is refused.
var (
	ErrMaxConns        = errors.New("MaxConns reached")
	ErrMaxConnsPerAddr = errors.New("connections of one address")
	ErrRate            = errors.New("new connections of one address a second")
)

// remembered is how many addresses the guard knows the pace of. Those that have not come for longest are forgotten.
const remembered = 1 << 16

// Guard is what reactor.Server asks. Its methods may be called from any goroutine. An IPv6 address counts as its /64, which is what one host
// gets; unix sockets, which have no address, only count in all.
type Guard struct {
	refused func(remote netip.AddrPort, reason error)

	mu     sync.Mutex
	limits Limits
	conns  int
	of     map[netip.Addr]int
	pace   *simplelru.LRU[netip.Addr, *rate.Limiter]
}

// New makes a Guard. refused, which may be nil, hears of each refusal; it must not block.
func New(l Limits, refused func(remote netip.AddrPort, reason error)) *Guard {
	pace, err := simplelru.NewLRU[netip.Addr, *rate.Limiter](remembered, nil)
	if err != nil {
		panic(err) // of a size that is not positive
	}
	if refused == nil {
		refused = func(netip.AddrPort, error) {}
	}
	return &Guard{limits: l, refused: refused, of: map[netip.Addr]int{}, pace: pace}
}

// SetLimits replaces the limits. Nobody who is in is sent away.
func (g *Guard) SetLimits(l Limits) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.Rate != g.limits.Rate || l.Burst != g.limits.Burst {
		g.pace.Purge()
	}
	g.limits = l
}

// Admit is for reactor.Server.Admit.
func (g *Guard) Admit(remote netip.AddrPort) error {
	err := g.enter(host(remote.Addr()))
	if err != nil {
		g.refused(remote, err)
	}
	return err
}

func (g *Guard) enter(a netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := &g.limits
	if l.MaxConns > 0 && g.conns >= l.MaxConns {
		return ErrMaxConns
	}
	if a.IsValid() {
		if l.MaxConnsPerAddr > 0 && g.of[a] >= l.MaxConnsPerAddr {
			return ErrMaxConnsPerAddr
		}
		if l.Rate > 0 {
			p, ok := g.pace.Get(a)
			if !ok {
				p = rate.NewLimiter(rate.Limit(l.Rate), max(l.Burst, 1))
				g.pace.Add(a, p)
			}
			if !p.Allow() {
				return ErrRate
			}
		}
		g.of[a]++
	}
	g.conns++
	return nil
}

// Release is for reactor.Server.Release.
func (g *Guard) Release(remote netip.AddrPort) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns--
	if a := host(remote.Addr()); a.IsValid() {
		if g.of[a]--; g.of[a] == 0 {
			delete(g.of, a)
		}
	}
}

// host is what stands for the host of an address.
func host(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().Addr()
	}
	return a
}
