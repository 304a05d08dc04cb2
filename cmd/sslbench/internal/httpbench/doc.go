// Package httpbench measures net/http over crypto/tls and over sslnet side by side: the CPU time for one request,
// and the memory of one idle connection.
//
//	Run ──► package server: a process for each of the two, on one core   ◄── requests ── wrk, h2load or client
//	  │       hidden command: Server (http.Server over either)                           on the other core
//	  │                                                                     ▲
//	  ├─ round: load begins … all connections are at work                   │
//	  │         requests served, CPU time ──► a while ──► the same again    │  GET /stats
//	  ├─ idle:  memory ──► connections, a request each ──► memory again ────┘
//	  ▼
//	Data ──► Text, Markdown, JSON
//
// How many requests were served is asked of the server, not of the load, so that connecting and ending are not in
// the figures. Both have the same handler, certificate, cipher suite, group and number of processors. They take
// turns within each round, and the ratio is taken round by round, by package report.
package httpbench
