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
	memoryInterval = time.Second // at which is looked whether to give memory back
	// quietLooks is after how many looks without a new connection it is given
	// back. By then the record buffers of those that have fallen idle are freed.
	quietLooks = 3
	manyConns  = 1000 // must have gone for it to be worth it
	// gcPercent is how much Go's heap may grow before garbage is collected.
	// Most of it is connections, which stay, and little comes and goes: with
	// Go's own 100 an idle connection takes 0.7 KiB more, and CPU time is the
	// same.
	gcPercent = 25
)

// collectOften sets gcPercent, unless the operator has said otherwise.
func collectOften() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// trimmer knows when many connections have gone: that were there at once, or
// one after another.
type trimmer struct {
	most    int    // connections at once since memory was last given back
	trimmed uint64 // how many had been accepted then
	seen    uint64 // how many had been accepted at the last look
	quiet   int    // looks since the last connection was accepted
}

// due reports whether memory should be given back.
func (t *trimmer) due(conns int, accepted uint64) bool {
	t.most = max(t.most, conns)
	if t.quiet++; accepted != t.seen {
		t.quiet = 0
	}
	t.seen = accepted
	left := t.most-conns >= manyConns && conns <= t.most/2
	if !left && !(t.quiet == quietLooks && accepted-t.trimmed >= manyConns) {
		return false
	}
	t.most, t.trimmed = conns, accepted
	return true
}

// trimMemory gives the memory of connections that have gone back to the system,
// until ctx ends.
func trimMemory(ctx context.Context, stats func() reactor.Stats) {
	var t trimmer
	ticker := time.NewTicker(memoryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if s := stats(); t.due(s.Conns, s.Accepted) {
				debug.FreeOSMemory()
				cssl.TrimMemory()
			}
		}
	}
}
