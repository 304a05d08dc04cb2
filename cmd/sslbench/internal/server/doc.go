// Package server starts the servers that sslbench compare measures, each on
// loopback and pinned to one core, and reads their CPU time and memory.
//
//	env, err := server.NewEnv(opts)  // a folder with certificates, and a backend for proxies
//	for _, k := range server.Kinds {
//		version, err := env.Find(k)      // the error names what is missing
//		p, err := env.Start(ctx, k, spec) // returns once a TLS handshake has succeeded
//		before, err := p.CPU()
//		// load on p.Addr()
//		after, err := p.CPU()
//		err = p.Stop()
//	}
//	env.Close()
//
// A server is one process group, started from a goroutine that stays locked to
// its thread for as long as the server runs: the death signal of its processes
// (PR_SET_PDEATHSIG) fires when the thread that forked ends.
//
// A proxy that needs a backend connects to one in this process, which throws
// away what it gets. It does not count in the figures.
package server
