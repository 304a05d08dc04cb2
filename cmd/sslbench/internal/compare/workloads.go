package compare

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/httpload"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// workload is the same work for several servers.
type workload struct {
	name     string // without Benchmark, such as Echo/size=1k/conns=64
	quick    bool   // it is part of a quick run
	work     server.Work
	load     load.Config // Kind, Answer, Conns, Size, Rate
	http     *httpload.Config
	keyType  string // of the certificate; default ecdsa
	tls12    bool
	baseline string // what ratios refer to
	servers  []string
	newConns int // connections a second beside the load
	scale    int // how many rounds' time one round takes, for what needs more samples; default 1
}

// Who takes part where, in the order of the results.
var (
	echoServers   = []string{server.C, server.Sslecho, server.Direct, server.CryptoTLS}
	everyServer   = append(slices.Clone(echoServers), "nginx", "HAProxy", "stunnel", "hitch")
	besideSServer = []string{server.SServer, server.Sslecho, server.Direct, server.C, server.CryptoTLS}
	httpServers   = []string{server.CryptoTLS, server.Sslhttp}
)

// workloads are all that there are.
func workloads() (all []*workload) {
	add := func(w workload, name string, args ...any) {
		w.name = fmt.Sprintf(name, args...)
		w.baseline = w.servers[0]
		w.keyType = cmp.Or(w.keyType, "ecdsa")
		all = append(all, &w)
	}
	echo := func(size, conns int, quick bool) {
		add(workload{quick: quick, work: server.Echo, servers: echoServers,
			load: load.Config{Kind: load.Request, Conns: conns, Size: size}}, "Echo/size=%s/conns=%d", sized(size), conns)
	}
	for _, size := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		echo(size, 16, size == 64 || size == 16<<10 || size == 1<<20)
	}
	for _, conns := range []int{1, 8, 64, 512, 1000, 2000, 10_000} {
		echo(1<<10, conns, conns == 1 || conns == 64 || conns == 1000)
	}
	for _, conns := range []int{1, 8} {
		add(workload{quick: conns == 8, work: server.Echo, servers: echoServers,
			load: load.Config{Kind: load.Stream, Conns: conns, Size: 512 << 10}}, "Stream/conns=%d", conns)
	}
	openLoop := func(rate, newConns int, quick bool) {
		add(workload{quick: quick, work: server.Echo, servers: echoServers, scale: 4, newConns: newConns,
			load: load.Config{Kind: load.Request, Conns: 64, Size: 1 << 10, Rate: float64(rate)}},
			"OpenLoop/size=1k/conns=64/rate=%d/newconns=%d", rate, newConns)
	}
	for _, rate := range []int{15_000, 31_000, 46_000, 62_000} {
		openLoop(rate, 0, rate == 31_000)
	}
	for _, n := range []int{0, 250, 500} {
		openLoop(4000, n, n == 250)
	}
	for _, version := range []string{"1.3", "1.2"} {
		for _, key := range []string{"ecdsa", "rsa", "ed25519"} {
			add(workload{quick: version == "1.3" && key != "ed25519", work: server.Handshakes, servers: everyServer, keyType: key,
				tls12: version == "1.2", load: load.Config{Kind: load.Handshake, Conns: 16}}, "Handshake/key=%s/tls=%s/conns=16", key, version)
		}
		add(workload{quick: version == "1.3", work: server.Handshakes, servers: everyServer, tls12: version == "1.2",
			load: load.Config{Kind: load.Resume, Conns: 16}}, "Resumption/tls=%s/conns=16", version)
	}
	for _, n := range []int{1000, 10_000} {
		add(workload{quick: n == 1000, work: server.Idle, servers: everyServer,
			load: load.Config{Kind: load.Idle, Conns: n}}, "Idle/conns=%d", n)
	}
	// s_server serves one client at a time.
	for _, size := range []int{64, 1 << 10, 15 << 10} {
		add(workload{quick: size == 1<<10, work: server.Reverse, servers: besideSServer,
			load: load.Config{Kind: load.Request, Answer: load.Reverse, Conns: 1, Size: size}}, "Reverse/size=%s/conns=1", sized(size))
	}
	add(workload{quick: true, work: server.Discard, servers: besideSServer, load: load.Config{Kind: load.Send, Conns: 1}}, "Discard/conns=1")
	for _, key := range []string{"ecdsa", "rsa"} {
		add(workload{quick: true, work: server.Handshakes, servers: besideSServer, keyType: key,
			load: load.Config{Kind: load.Handshake, Conns: 1}}, "Handshake/key=%s/tls=1.3/conns=1", key)
	}
	for _, h := range []struct {
		name string
		httpload.Config
	}{
		{"HTTP/size=1k/conns=64", httpload.Config{Conns: 64, Size: 1 << 10}},
		{"HTTP/size=1M/conns=8", httpload.Config{Conns: 8, Size: 1 << 20}},
		{"HTTP/size=1k/conns=64/handshake=full", httpload.Config{Conns: 64, Size: 1 << 10, New: true}},
		{"HTTP/size=1k/conns=64/handshake=resumed", httpload.Config{Conns: 64, Size: 1 << 10, New: true, Resume: true}},
		{"HTTP2/size=1k/conns=8/streams=8", httpload.Config{Conns: 8, Size: 1 << 10, HTTP2: true, Streams: 8}},
		{"HTTP2/size=1M/conns=8", httpload.Config{Conns: 8, Size: 1 << 20, HTTP2: true}},
		{"IdleHTTP/conns=2000", httpload.Config{Conns: 2000, Size: 1 << 10}},
	} {
		add(workload{quick: h.Conns < 1000, work: server.HTTP, servers: httpServers, http: &h.Config,
			load: load.Config{Conns: h.Conns}}, "%s", h.name)
	}
	return all
}

// sized writes a size.
func sized(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%dM", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%dk", n>>10)
	}
	return fmt.Sprint(n)
}

// idle says that memory is measured, and no work is done.
func (w *workload) idle() bool { return w.load.Kind == load.Idle || w.name == "IdleHTTP/conns=2000" }

// units is how many units of w a Run did: megabytes of a stream.
func (w *workload) units(r load.Result) float64 {
	if w.load.Kind == load.Stream || w.load.Kind == load.Send {
		return float64(r.Sent+r.Received) / 1e6
	}
	return float64(r.Units)
}
