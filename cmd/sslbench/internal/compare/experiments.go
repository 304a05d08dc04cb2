package compare

import (
	"context"
	"fmt"
	"math"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// cell is one x of an experiment: the same work for every server.
type cell struct {
	x       float64
	label   string // for an axis of categories
	work    server.Work
	load    load.Config // Kind, Answer, Conns, Size, Rate
	cert    string      // key type; default ecdsa
	version string      // highest TLS version; default 1.3
	crowd   int         // new connections a second beside the load
}

// experiment is a series of cells over one axis.
type experiment struct {
	id, title, what string
	unit            string
	metric          report.Metric
	axis            report.Axis
	servers         []string // in the order of the report; those that cannot do a cell's work are left out
	baseline        string   // instead of Options.Baseline
	cells           []cell
	// scale is how many rounds' time one round takes, for what needs more samples.
	scale float64
	// prepare fills in what must be measured first.
	prepare func(context.Context, *runner, *experiment) error
	// floor says what the floor of a cell is made of; nil: there is none.
	floor func(cell) parts
	// run replaces the ordinary course of an experiment.
	run func(context.Context, *runner, *experiment, *report.Experiment) error
}

// The series of a full report and of a quick one.
func sizes(quick bool) []int {
	if quick {
		return []int{64, 1 << 10, 16 << 10, 1 << 20}
	}
	return []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20}
}

func connections(quick bool) []int {
	if quick {
		return []int{1, 64, 1000}
	}
	return []int{1, 8, 64, 512, 2000, 10_000}
}

func idleConnections(quick bool) []int {
	if quick {
		return []int{0, 1000, 2000}
	}
	return []int{0, 1000, 5000, 10_000, 20_000, 50_000}
}

func loads(quick bool) []float64 {
	if quick {
		return []float64{0.2, 0.6}
	}
	return []float64{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7}
}

// Who takes part where.
var (
	echoServers  = []string{server.Sslecho, server.Direct, server.CTLS, server.CryptoTLS, server.CTCP}
	everyServer  = []string{server.Sslecho, server.Direct, server.CTLS, server.CryptoTLS, server.Nginx, server.HAProxy, server.Stunnel, server.Hitch}
	oneAtATime   = []string{server.Sslecho, server.Direct, server.SServer, server.CTLS, server.CryptoTLS}
	echoFloor    = "The floor is calculated: the TCP echo's own cost plus one AES-256-GCM decryption and encryption of the message at the speed of openssl speed."
	measuredHere = "It is a closed loop: each connection sends its next message when the whole answer to the last one is there."
)

// experiments are all that there are.
func experiments(quick bool) []*experiment {
	return []*experiment{
		sizeExperiment(quick), connsExperiment(quick), streamExperiment(), latencyExperiment(quick), crowdExperiment(),
		handshakeExperiment(), idleExperiment(quick),
		reverseExperiment(), sinkExperiment(), oneClientExperiment(),
	}
}

func sizeExperiment(quick bool) *experiment {
	e := &experiment{
		id: "size", title: "Echo by message size", unit: "echo", metric: report.CPU, servers: echoServers, floor: echoParts,
		what: "16 connections send messages and wait for the echo of each. " + measuredHere + " " + echoFloor,
		axis: report.Axis{Label: "message size, bytes", Log: true, Bytes: true},
	}
	for _, n := range sizes(quick) {
		e.cells = append(e.cells, cell{x: float64(n), work: server.Echo, load: load.Config{Kind: load.Request, Conns: 16, Size: n}})
	}
	return e
}

func connsExperiment(quick bool) *experiment {
	e := &experiment{
		id: "conns", title: "Echo of 1 KiB by number of connections", unit: "echo", metric: report.CPU, servers: echoServers, floor: echoParts,
		what: "All connections send messages of 1 KiB and wait for the echo of each. " + measuredHere + " " + echoFloor,
		axis: report.Axis{Label: "connections", Log: true},
	}
	for _, n := range connections(quick) {
		e.cells = append(e.cells, cell{x: float64(n), work: server.Echo, load: load.Config{Kind: load.Request, Conns: n, Size: 1 << 10}})
	}
	return e
}

func streamExperiment() *experiment {
	return &experiment{
		id: "stream", title: "Streams both ways", unit: "MB", metric: report.CPU, servers: echoServers, floor: streamParts,
		what: "Each connection keeps 512 KiB under way through an echo server. A MB is 10^6 bytes, counted in both directions. " +
			"The floor is calculated: the TCP echo's own cost plus AES-256-GCM over records of 16 KiB, at the speed of openssl speed.",
		axis: report.Axis{Label: "connections", Log: true},
		cells: []cell{
			{x: 1, work: server.Echo, load: load.Config{Kind: load.Stream, Conns: 1, Size: 512 << 10}},
			{x: 8, work: server.Echo, load: load.Config{Kind: load.Stream, Conns: 8, Size: 512 << 10}},
		},
	}
}

func latencyExperiment(quick bool) *experiment {
	return &experiment{
		id: "latency", title: "Latency by load", unit: "echo", metric: report.P99, scale: 3,
		servers: []string{server.Sslecho, server.Direct, server.CTLS, server.CryptoTLS},
		what: "64 connections send messages of 1 KiB at a fixed rate (open loop), from a tenth of what the baseline does in a closed loop upwards. " +
			"Latency counts from the moment at which a message was due, so a server that stalls cannot hide it (coordinated omission). " +
			"The load has one core for itself, which is the limit at the upper end.",
		axis:    report.Axis{Label: "messages a second"},
		prepare: func(ctx context.Context, r *runner, e *experiment) error { return r.prepareRates(ctx, e, loads(quick)) },
	}
}

func crowdExperiment() *experiment {
	e := &experiment{
		id: "crowd", title: "Latency beside new connections", unit: "echo", metric: report.P99, scale: 4,
		servers: []string{server.Sslecho, server.Direct, server.CTLS, server.CryptoTLS},
		what: "64 connections send 4000 messages of 1 KiB a second (open loop, latency from when a message was due), while other clients connect, " +
			"shake hands in full and stay. CPU time for an echo has the handshakes in it. The new clients have the echoing ones' core to themselves only " +
			"while those have nothing to do (SCHED_IDLE), so that the latency is the server's.",
		axis: report.Axis{Label: "new connections a second"},
	}
	for _, n := range []int{0, 250, 500} {
		e.cells = append(e.cells, cell{x: float64(n), crowd: n, work: server.Echo, load: load.Config{Kind: load.Request, Conns: 64, Size: 1 << 10, Rate: 4000}})
	}
	return e
}

func handshakeExperiment() *experiment {
	e := &experiment{
		id: "handshake", title: "Handshakes by key type and version", unit: "handshake", metric: report.CPU, servers: everyServer, floor: handshakeParts,
		what: "16 clients at once connect, shake hands, and close with close_notify, again and again; a handshake counts when the server has closed too. " +
			"Servers send as many tickets as they do by default. " +
			"The floor is calculated from openssl speed: the signature, one X25519 key generation (counted like a derivation) and one derivation; no system call, no hash, no record. " +
			"A resumed handshake has no signature, in TLS 1.2 no key exchange either.",
		axis: report.Axis{Label: "certificate's key, TLS version", Categories: true},
	}
	for _, version := range []string{"1.3", "1.2"} {
		for _, key := range []string{"ecdsa", "rsa", "ed25519"} {
			e.cells = append(e.cells, cell{label: fmt.Sprintf("%s, TLS %s", keyNames[key], version), work: server.Handshakes, cert: key, version: version,
				load: load.Config{Kind: load.Handshake, Conns: 16}})
		}
		e.cells = append(e.cells, cell{label: "resumed, TLS " + version, work: server.Handshakes, version: version,
			load: load.Config{Kind: load.Resume, Conns: 16}})
	}
	for i := range e.cells {
		e.cells[i].x = float64(i)
	}
	return e
}

var keyNames = map[string]string{"ecdsa": "ECDSA P-256", "rsa": "RSA 2048", "ed25519": "Ed25519"}

func idleExperiment(quick bool) *experiment {
	e := &experiment{
		id: "idle", title: "Memory by idle connections", unit: "connection", metric: report.Memory, servers: everyServer, run: runIdle,
		what: "Connections are opened and left alone. Memory is what all processes of the server have resident, with what they share counted once; the kernel's sockets are not in it. " +
			"Each point is read once. A point that the limit for open files does not allow is replaced by the greatest number of thousands that it does.",
		axis: report.Axis{Label: "idle connections"},
	}
	for _, n := range idleConnections(quick) {
		e.cells = append(e.cells, cell{x: float64(n), work: server.Idle})
	}
	return e
}

func reverseExperiment() *experiment {
	e := &experiment{
		id: "reverse", title: "Lines reversed, beside openssl s_server -rev", unit: "line", metric: report.CPU,
		servers: []string{server.Sslecho, server.Direct, server.SServer, server.CryptoTLS}, baseline: server.SServer,
		what: "One connection, since s_server serves one client at a time, sends lines and waits for each to come back reversed: " +
			"sslecho --service reverse against openssl s_server -rev. " + measuredHere,
		axis: report.Axis{Label: "line length, bytes", Log: true, Bytes: true},
	}
	for _, n := range []int{64, 1 << 10, 15 << 10} {
		e.cells = append(e.cells, cell{x: float64(n), work: server.Reverse,
			load: load.Config{Kind: load.Request, Answer: load.Reverse, Conns: 1, Size: n}})
	}
	return e
}

func sinkExperiment() *experiment {
	return &experiment{
		id: "sink", title: "One-way stream into the server, beside openssl s_server", unit: "MB", metric: report.CPU,
		servers: []string{server.Sslecho, server.Direct, server.SServer, server.CTLS, server.CryptoTLS}, baseline: server.SServer,
		what: "One connection sends as fast as the server takes it; the server throws away what it gets: sslecho --service discard against openssl s_server -quiet, " +
			"whose output goes to /dev/null.",
		axis:  report.Axis{Label: "connections"},
		cells: []cell{{x: 1, work: server.Discard, load: load.Config{Kind: load.Send, Conns: 1, Size: 64 << 10}}},
	}
}

func oneClientExperiment() *experiment {
	e := &experiment{
		id: "oneclient", title: "Handshakes, one client at a time, beside openssl s_server", unit: "handshake", metric: report.CPU,
		servers: oneAtATime, baseline: server.SServer, floor: handshakeParts,
		what: "One client connects, shakes hands and closes with close_notify, again and again: s_server serves one at a time.",
		axis: report.Axis{Label: "certificate's key, TLS version", Categories: true},
	}
	for _, key := range []string{"ecdsa", "rsa"} {
		e.cells = append(e.cells, cell{x: float64(len(e.cells)), label: keyNames[key] + ", TLS 1.3", work: server.Handshakes, cert: key, version: "1.3",
			load: load.Config{Kind: load.Handshake, Conns: 1}})
	}
	return e
}

// units is how many units of an experiment a Run did.
func units(e *experiment, r load.Result) float64 {
	if e.unit == "MB" {
		return float64(r.Sent+r.Received) / 1e6
	}
	return float64(r.Units)
}

// twoDigits rounds to two significant digits: rates that a person can read.
func twoDigits(x float64) float64 {
	if x <= 0 {
		return 0
	}
	p := math.Pow(10, math.Floor(math.Log10(x))-1)
	return math.Round(x/p) * p
}
