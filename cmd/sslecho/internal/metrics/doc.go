// Package metrics shows how the daemon is: metrics for Prometheus, and a listener of its own that serves them.
//
//	reactor.Server.Stats ──┐ one snapshot a scrape
//	certificates, limits ──┼──► Metrics ──► /metrics ┐
//	Go, process, Register ─┘                         ├─ Admin ──► operators
//	reactor.Server.Ping, what is ready ──► /healthz, /readyz ┘
//
// Names begin with sslecho_ and have base units, seconds and bytes. The metrics of the process and of Go's runtime
// have the names that all programs in Go give them. What a peer can influence, such as the reason for a failure, has
// at most as many values as reactor.Stats keeps; no address of a peer is a label.
package metrics
