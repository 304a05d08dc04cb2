// Package soak keeps servers with all services under mixed load, in one process
// with their clients, and checks that nothing grows.
//
//	load   clients of crypto/tls and of a reactor.Loop: echoes of all sizes,
//	  │    streams, slow readers, resets, garbage, half-open connections,
//	  │    KeyUpdates, renegotiations, pauses, resumptions; every byte checked
//	  │    the operator: new certificates by SetContext, Shutdown, a new server
//	  │    the saboteur: errors of the kernel and of malloc (package faults)
//	  ▼
//	quiet  all is closed: SSLs, contexts, descriptors, goroutines and cssl's own
//	  │    memory must be as at the first quiet point; OpenSSL's memory, Go's
//	  │    heap, threads and RSS are recorded
//	  └──► load again, until the time is over; then the records must not grow
//
// The package has tests only. The short form runs with the ordinary tests; make
// soak sets SOAK=30m in the environment for the long one. Package faults is
// linked in to inject errors and to count C's memory exactly.
//
// A conversation may fail for a known reason. An injected fault (an allocation,
// or an error of recv or send that no connection survives) excuses one
// conversation among those that were open while it was armed. A Shutdown of its
// server excuses ends and resets. Nothing excuses wrong data, data that is
// late, a panic, a second OnClose, or a call of the handler after it.
package soak
