// Package server starts the servers that sslbench compare measures, each on
// loopback and pinned to one core, and reads their CPU time and memory.
//
//	for _, k := range server.Kinds(opts) {
//		version, err := k.Find()       // absent: the error names what is missing
//		p, err := k.Start(ctx, spec)   // returns once a TLS handshake has succeeded
//		before, err := p.CPU()
//		                               // load on p.Addr()
//		after, err := p.CPU()
//		err = p.Stop()
//	}
//
// A server is one process group, started from a thread that lives as long as
// the server does:
//
//	goroutine, locked to a thread        server's process group
//	  sched_setaffinity(core)   ──────►  inherited by all processes and threads
//	  fork, exec                ──────►  setpgid, PR_SET_PDEATHSIG
//	  waitid                    ◄──────  ends
//	  kill(-pgid), wait                  nothing of the group is left
//
// The death signal fires when the thread that forked ends, so a goroutine that
// may change threads cannot start a server; this one cannot, and its
// thread ends after the server.
//
// A proxy that needs a backend gets one in a process group of its own, on another
// core. It does not count in the figures.
package server
