package report

import (
	"math"
	"math/rand/v2"
	"time"
)

// Names with every character that one of the outputs has to escape.
const (
	nasty    = `a<b & "c|d_e*`
	nastyWhy = "cannot start: <script>alert(1)</script> | exit & \x1b[31mdie\n`x`"
)

// sample is what a run with all servers could look like. The figures are invented.
func sample() *Data {
	rng := rand.New(rand.NewPCG(1, 2))
	noise := func(v float64, rel float64) float64 { return v * (1 + rel*(rng.Float64()-0.4)) }
	const (
		ours   = "sslecho"
		sserv  = "openssl s_server"
		gotls  = "go crypto/tls"
		cepoll = "C epoll + TLS"
		ctcp   = "C epoll, no TLS"
		nginx  = "nginx"
		ha     = "HAProxy"
		stun   = "stunnel"
	)
	d := &Data{
		Format:      Format,
		Taken:       time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Baseline:    sserv,
		Subject:     ours,
		RoundMillis: 500, RoundsEach: 5,
		Commands: []string{"make bench-compare", "bin/sslbench compare --report docs/bench --rounds 5"},
		Machine: Machine{CPU: "Invented CPU @ 2.50GHz", Cores: 2, Memory: 8 << 30, Kernel: "Linux 6.1.0-18-amd64",
			OpenSSL: "OpenSSL 3.0.15 3 Sep 2024", Go: "go1.26.0"},
		Servers: []Server{
			{Name: ours, Version: "0.1", Commands: []Command{{Line: "sslecho --listen 127.0.0.1:0 --loops 1 --cert server.pem"}}},
			{Name: sserv, Version: "OpenSSL 3.0.15", Commands: []Command{{Line: "openssl s_server -rev -accept 127.0.0.1:0 -cert server.pem | cat"}}},
			{Name: gotls, Version: "go1.26.0", Commands: []Command{{Line: "sslbench serve-go"}}},
			{Name: cepoll, Version: "reference", Commands: []Command{{Line: "tls_epoll 127.0.0.1 0 server.pem"}}},
			{Name: ctcp, Version: "reference", Commands: []Command{{Line: "tcp_epoll 127.0.0.1 0"}}},
			{Name: nginx, Version: "1.22.1", Commands: []Command{{Line: "nginx -c nginx.conf"}}},
			{Name: ha, Version: "2.6.12", Commands: []Command{{Line: "haproxy -f haproxy.cfg"}}},
			{Name: stun, Version: "5.68", Commands: []Command{{Line: "stunnel stunnel.conf"}}},
			{Name: "hitch", Missing: "not installed: no hitch in PATH"},
			{Name: nasty, Missing: nastyWhy},
		},
		Primitives: []Primitive{
			{"aes-256-gcm, 64 bytes", 0.031e-6}, {"aes-256-gcm, 16384 bytes", 4.11e-6},
			{"sign rsa2048", 640e-6}, {"sign ecdsap256", 24e-6}, {"derive x25519", 35e-6},
		},
	}
	rounds := func(n int, f func() Round) []Round {
		var out []Round
		for range n {
			out = append(out, f())
		}
		return out
	}
	size := Experiment{ID: "size", Title: "Echo: cost by message size", Unit: "echo", Metric: CPU,
		What: "One connection a time sends a message and waits for its echo, TLS 1.3 with AES-256-GCM. The server is pinned to one core, the client to the other.",
		X:    Axis{Label: "message size, bytes", Log: true, Bytes: true}}
	cost := map[string][2]float64{ours: {4.6, 0.00062}, sserv: {5.1, 0.00071}, gotls: {11.2, 0.00078}, cepoll: {4.4, 0.0006}, ctcp: {2.1, 0.00022}}
	for _, name := range []string{ours, sserv, gotls, cepoll, ctcp} {
		for x := 64.0; x <= 1<<20; x *= 4 {
			base := cost[name][0] + cost[name][1]*x
			if name == ours && x == 64 {
				base *= 1.3
			}
			size.Points = append(size.Points, Point{Server: name, X: x, Rounds: rounds(5, func() Round {
				cpu := noise(base, 0.06)
				return Round{CPU: cpu, Rate: 0.9e6 / cpu, P50: cpu * 2.5, P99: cpu * 4, P999: cpu * 9, Memory: 9 << 20, Peak: 10 << 20}
			})})
		}
	}
	for x := 64.0; x <= 1<<20; x *= 4 {
		size.Points = append(size.Points, Point{Server: "floor", X: x, Calculated: true, Rounds: []Round{{CPU: 2.2 + 0.00053*x}}})
	}
	conns := Experiment{ID: "conns", Title: "Echo: CPU by number of connections", Unit: "echo", Metric: CPU, Baseline: cepoll,
		What: "All connections send 1 KiB and wait for the echo.", X: Axis{Label: "connections", Log: true}}
	for i, name := range []string{ours, gotls, cepoll, ctcp} {
		for _, x := range []float64{1, 10, 100, 1000, 10000} {
			if name == gotls && x == 10000 {
				conns.Failed = append(conns.Failed, Failed{Server: name, X: x, Why: "2 of 10000 connections were reset"})
				continue
			}
			base := []float64{5, 11, 4.8, 2.3}[i] * (1 + 0.06*math.Log10(x)*math.Log10(x))
			conns.Points = append(conns.Points, Point{Server: name, X: x, Rounds: rounds(3, func() Round {
				return Round{CPU: noise(base, 0.05), Rate: 1e6 / base, P99: base * 20}
			})})
		}
	}
	latency := Experiment{ID: "latency", Title: "Echo: latency by offered load", Unit: "echo", Metric: P99,
		What: "Open loop at a fixed rate, 1 KiB, 100 connections; corrected for coordinated omission.", X: Axis{Label: "offered load, echo/s"}}
	for i, name := range []string{ours, sserv, gotls, cepoll} {
		for x := 10000.0; x <= 90000; x += 20000 {
			base := 60 + []float64{1, 2, 6, 0.8}[i]*2e6/(100000-x)
			latency.Points = append(latency.Points, Point{Server: name, X: x, Rounds: rounds(5, func() Round {
				return Round{P50: noise(base, 0.1), P99: noise(base*3.5, 0.5), P999: noise(base*9, 0.8), CPU: 5 + float64(i), Rate: x}
			})})
		}
	}
	idle := Experiment{ID: "idle", Title: "Memory by idle connections", Unit: "connection", Metric: Memory,
		What: "Connections are opened, exchange one message, and then say nothing.", X: Axis{Label: "idle connections"}}
	for i, name := range []string{ours, gotls, cepoll, nginx, ha, stun} {
		for _, x := range []float64{0, 1000, 10000, 25000, 50000} {
			if name == stun && x > 1000 {
				continue
			}
			per := []float64{11.5, 34, 10.1, 19, 27, 62}[i] * 1024
			idle.Points = append(idle.Points, Point{Server: name, X: x, Rounds: []Round{{Memory: int64(8e6 + per*x), Peak: int64(9e6 + 1.1*per*x)}}})
		}
	}
	idle.Failed = []Failed{{Server: stun, X: 10000, Why: "out of threads"}, {Server: sserv, All: true, Why: "serves one client at a time"}}
	hand := Experiment{ID: "handshake", Title: "Handshakes by key type and version", Unit: "handshake", Metric: CPU,
		What: "One client connects again and again.", X: Axis{Label: "key type, version", Categories: true}}
	for k, label := range []string{"RSA 2048, TLS 1.3, full", "RSA 2048, TLS 1.2, full", "ECDSA P-256, TLS 1.3, full", "ECDSA P-256, TLS 1.2, full", "TLS 1.3, resumed", "TLS 1.2, resumed"} {
		for i, name := range []string{ours, sserv, gotls, cepoll, nginx, ha, stun} {
			if name == stun && k > 3 {
				hand.Failed = append(hand.Failed, Failed{Server: stun, X: float64(k), Label: label, Why: "no session was resumed"})
				continue
			}
			base := []float64{930, 880, 290, 250, 180, 80}[k] * []float64{0.98, 1, 1.35, 0.97, 1.05, 1.1, 1.3}[i]
			hand.Points = append(hand.Points, Point{Server: name, X: float64(k), Label: label, Rounds: rounds(5, func() Round {
				cpu := noise(base, 0.06)
				return Round{CPU: cpu, Rate: 1e6 / cpu}
			})})
		}
		hand.Points = append(hand.Points, Point{Server: "floor", X: float64(k), Label: label, Calculated: true,
			Rounds: []Round{{CPU: []float64{720, 720, 110, 110, 70, 3}[k]}}})
	}
	sink := Experiment{ID: "sink", Title: "One-way stream into the server", Unit: "GB", Metric: CPU, What: "Chunks of 16 KiB, one connection.",
		X: Axis{Label: "chunk size, bytes", Log: true, Bytes: true}}
	for i, name := range []string{ours, sserv, gotls} {
		sink.Points = append(sink.Points, Point{Server: name, X: 16384, Rounds: rounds(5, func() Round {
			return Round{CPU: noise([]float64{410e3, 520e3, 480e3}[i], 0.05), Rate: 1.8}
		})})
	}
	reverse := Experiment{ID: "reverse", Title: "Lines reversed, one client", Unit: "line", Metric: CPU, What: "What openssl s_server -rev does.",
		X: Axis{Label: "line length, bytes", Bytes: true, Log: true}}
	for i, name := range []string{ours, sserv} {
		for _, x := range []float64{64, 1024} {
			reverse.Points = append(reverse.Points, Point{Server: name, X: x, Rounds: rounds(5, func() Round {
				return Round{CPU: noise([]float64{6.1, 8.9}[i]+x/800, 0.05), Rate: 90000}
			})})
		}
	}
	d.Experiments = []Experiment{size, latency, conns, idle, hand, sink, reverse}
	return d
}
