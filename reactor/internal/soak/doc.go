// Package soak keeps servers with all services under mixed load for a time, in one process with their clients, and
// watches that nothing grows.
//
//	         clients of crypto/tls, clients on a reactor.Loop: echoes of all sizes, streams, slow readers, resets,
//	load     garbage, half-open connections, KeyUpdates, renegotiations, pauses, resumptions; every byte is checked
//	  │      the operator: new certificates by SetContext, Shutdown and a new server
//	  │      the saboteur: answers of the kernel and of cssl's malloc that go wrong (package faults)
//	  ▼
//	quiet    all is closed: SSLs, contexts, descriptors, goroutines and cssl's own memory must be as at the first
//	  │      quiet point; OpenSSL's memory, Go's heap, threads and RSS are noted
//	  └────► load again, until the time is over; then what was noted must show no growth
//
// There are its tests alone. The short form runs with the ordinary tests; SOAK=30m in the environment, as
// make soak sets it, asks for the long one. Package faults is linked in for its answers and for its exact
// count of C's memory.
//
// A conversation may fail for a reason that is known. A fault that came (an allocation, or an answer of recv or send that no
// connection survives) excuses one conversation, of those that lived while it was armed. The Shutdown of its
// server excuses what a Shutdown leads to: ends and resets. Nothing excuses wrong data, what does not come in time, a
// panic, a second OnClose, or anything that a handler hears after it.
package soak
