package main

import (
	"context"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
)

const (
	// lookEvery is how often the daemon looks whether a crowd has gone.
	lookEvery = 5 * time.Second
	// crowdSize is how many connections must have gone for it to be worth giving their memory back.
	crowdSize = 1000
)

// ebb knows when a crowd has gone: the most connections that there were since the last one did.
type ebb struct{ most int }

// gone reports whether so many have left, and at least half of them, that their memory should be given back.
func (e *ebb) gone(conns int) bool {
	e.most = max(e.most, conns)
	if e.most-conns < crowdSize || conns > e.most/2 {
		return false
	}
	e.most = conns
	return true
}

// giveBack gives the memory of connections that have gone back to the system, until ctx ends.
func giveBack(ctx context.Context, conns func() int) {
	var e ebb
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if e.gone(conns()) {
				cssl.TrimMemory()
			}
		}
	}
}
