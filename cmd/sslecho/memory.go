package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
)

const (
	// lookEvery is how often the daemon looks whether a crowd has gone.
	lookEvery = time.Second
	// quietLooks is after how many looks without a new connection memory is given back. By then the record buffers of those
	// that have fallen idle are freed, see reactor.
	quietLooks = 3
	// crowdSize is how many connections must have gone for it to be worth giving their memory back.
	crowdSize = 1000
	// gcPercent is how much Go's heap may grow before garbage is collected. Most of it is connections, which stay, and
	// little comes and goes: with Go's own 100 an idle connection takes 0.7 KiB more, and CPU time is the same.
	gcPercent = 25
)

// collectOften sets gcPercent, unless the operator has said otherwise.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// ebb knows when a crowd has gone: many that were there at once, or many one after another.
type ebb struct {
	most    int    // connections at once since memory was last given back
	trimmed uint64 // how many had been accepted then
	seen    uint64 // how many had been accepted at the last look
	quiet   int    // looks since the last connection was accepted
}

// gone reports whether memory should be given back, since many connections that were there at once have left, and at least
// half of them, or since no more come after many did.
func (e *ebb) gone(conns int, accepted uint64) bool {
	e.most = max(e.most, conns)
	if e.quiet++; accepted != e.seen {
		e.quiet = 0
	}
	e.seen = accepted
	left := e.most-conns >= crowdSize && conns <= e.most/2
	if !left && !(e.quiet == quietLooks && accepted-e.trimmed >= crowdSize) {
		return false
	}
	e.most, e.trimmed = conns, accepted
	return true
}

// giveBack gives the memory of connections that have gone back to the system, until ctx ends.
func giveBack(ctx context.Context, stats func() reactor.Stats) {
	var e ebb
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if s := stats(); e.gone(s.Conns, s.Accepted) {
				debug.FreeOSMemory()
				cssl.TrimMemory()
			}
		}
	}
}
