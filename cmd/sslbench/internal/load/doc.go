// Package load is a load generator for TLS servers, on reactor loops.
//
//	l, err := load.New(cfg)    // checks the settings and resolves the target; no connection yet
//	err = l.Open(ctx, n)       // Request, Stream, Idle: n more connections, ramped; returns when all are open
//	r, err := l.Run(ctx, d)    // work for d, then rest: when it returns, nothing is under way
//	r, err = l.Run(ctx, d)     // and again, over the same connections
//	p := l.Progress()          // at any time, from any goroutine
//	l.Close()
//
// Since nothing is under way before and after a Run, a server's CPU time between the two belongs to that
// Run's work and to nothing else. The kinds that use a connection up (Handshake, Resume, Send) open theirs within
// Run and close them before it returns; Open is not needed for them.
//
// Everything that comes back is checked byte for byte. A connection that fails is counted by what went
// wrong and replaced, at a bounded rate; Run ends early only when ctx does or when nothing at all gets
// through any more.
package load
