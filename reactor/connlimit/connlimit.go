// Package connlimit limits the connections of a server: how many there may be,
// in all and from one address, and how fast new ones may come from one address.
//
//	limiter := connlimit.New(connlimit.Limits{MaxConnsPerAddr: 100, Rate: 10, Burst: 20})
//	server.Admit, server.Release = limiter.Admit, limiter.Release
//
// An IPv6 address counts as its /64, which is what one host gets. Connections
// over unix sockets have no address, and count in all only.
package connlimit

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

// Limits of a Limiter. 0 means no limit.
type Limits struct {
	MaxConns, MaxConnsPerAddr int
	// Rate is how many new connections one address may open per second, after
	// the first Burst ones. Burst is at least 1.
	Rate  float64
	Burst int
}

// The reasons for which Admit refuses a connection.
var (
	ErrMaxConns        = errors.New("MaxConns reached")
	ErrMaxConnsPerAddr = errors.New("connections of one address")
	ErrRate            = errors.New("new connections of one address a second")
)

// maxAddrs bounds the memory of Rate. The addresses that have not been seen
// for longest are forgotten.
const maxAddrs = 1 << 16

// Limiter counts connections. Its methods may be called from any goroutine.
type Limiter struct {
	mu      sync.Mutex
	limits  Limits
	conns   int
	perAddr map[netip.Addr]int
	// How far addresses have used up their bursts. When recent is full it
	// becomes older, and the older one is forgotten.
	recent, older map[netip.Addr]bucket
}

// bucket is a leaky bucket: level is how many connections it held at a time.
type bucket struct {
	level float64
	at    time.Time
}

// New makes a Limiter.
func New(limits Limits) *Limiter {
	return &Limiter{limits: limits, perAddr: map[netip.Addr]int{}, recent: map[netip.Addr]bucket{}}
}

// SetLimits replaces the limits. Connections that were admitted stay.
func (l *Limiter) SetLimits(limits Limits) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limits.Rate != l.limits.Rate || limits.Burst != l.limits.Burst {
		l.recent, l.older = map[netip.Addr]bucket{}, nil
	}
	l.limits = limits
}

// Admit counts a new connection, or returns why it is refused. It is for
// reactor.Server.Admit.
func (l *Limiter) Admit(remote netip.AddrPort) error {
	a := network(remote.Addr())
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.limits.MaxConns > 0 && l.conns >= l.limits.MaxConns:
		return ErrMaxConns
	case !a.IsValid():
		l.conns++
		return nil
	case l.limits.MaxConnsPerAddr > 0 && l.perAddr[a] >= l.limits.MaxConnsPerAddr:
		return ErrMaxConnsPerAddr
	case l.limits.Rate > 0 && !l.allow(a):
		return ErrRate
	}
	l.conns++
	l.perAddr[a]++
	return nil
}

// allow reports whether the bucket of an address has room, and fills it.
func (l *Limiter) allow(a netip.Addr) bool {
	b, ok := l.recent[a]
	if !ok {
		b = l.older[a]
	}
	now := time.Now()
	b.level, b.at = max(0, b.level-now.Sub(b.at).Seconds()*l.limits.Rate), now
	room := b.level+1 <= float64(max(l.limits.Burst, 1))
	if room {
		b.level++
	}
	if !ok && len(l.recent) >= maxAddrs/2 {
		l.recent, l.older = map[netip.Addr]bucket{}, l.recent
	}
	l.recent[a] = b
	return room
}

// Release counts the end of a connection that was admitted. It is for
// reactor.Server.Release.
func (l *Limiter) Release(remote netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns--
	if a := network(remote.Addr()); a.IsValid() {
		if l.perAddr[a]--; l.perAddr[a] == 0 {
			delete(l.perAddr, a)
		}
	}
}

// network returns an IPv4 address, or the /64 of an IPv6 address.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); a.Is6() {
		return netip.PrefixFrom(a, 64).Masked().Addr()
	}
	return a
}
