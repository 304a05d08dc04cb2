// Package conformance holds those tests of sslnet and sslhttp that need other
// modules: the contract of net.Conn, by golang.org/x/net/nettest, HTTP/2, by
// h2spec, and WebSocket. It is a module of its own, so that a program that imports ours
// does not get these into its module graph.
package conformance
