package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Work is what a server can be asked to do.
type Work string

const (
	Echo       Work = "echo"       // answers what it gets
	Reverse    Work = "reverse"    // answers each line reversed
	Discard    Work = "discard"    // reads and throws away
	Handshakes Work = "handshakes" // full and resumed, then the client closes
	Idle       Work = "idle"       // holds many connections
)

// Spec is what a server is started with.
type Spec struct {
	Work       Work
	Cert, Key  string // PEM files: chain and key
	MaxVersion string // "1.2", "1.3" or "" for the server's own default
	Core       int    // the core that it is pinned to
	HelperCore int    // the core for a backend that a proxy needs
	// Dir is a folder for configuration files and the Unix socket of a backend, removed by the caller. It
	// serves one process at a time.
	Dir string
}

// Options say where the programs are.
type Options struct {
	Sslecho    string // path of the sslecho binary; default: next to the running executable
	Executable string // path of sslbench, which has the crypto/tls server; default: the running executable
	Sources    fs.FS  // tls_epoll.c and tcp_epoll.c; nil makes the C servers absent
	// Build is a folder for the C servers, which are compiled once for it; default: the Dir of each Spec.
	Build string
	// Path has the folders with all other programs, as $PATH does. Default: $PATH and, after it, the sbin
	// folders, which ordinary users often do not have in theirs.
	Path string
}

// The names of the kinds.
const (
	Sslecho   = "sslecho"
	Direct    = "sslecho direct" // with --records direct
	SServer   = "openssl s_server"
	CryptoTLS = "crypto/tls"
	CTLS      = "C epoll"
	CTCP      = "C epoll TCP"
	Nginx     = "nginx"
	HAProxy   = "HAProxy"
	Stunnel   = "stunnel"
	Hitch     = "hitch"
)

// Kind is a server program and how to start it. The zero value is of no use; Kinds has them all.
type Kind struct {
	Name string // what reports show, one of the constants

	works     []Work
	plain     bool
	oneClient bool
	fixedPort bool // it refuses port 0, so one is chosen for it
	proxied   bool // every connection has one to a backend
	// configured is how many connections its configuration allows at the most; 0 is any number.
	configured int
	opts       Options
	version    func(Options) (string, error)
	plan       func(setup) (plan, error)
}

// Kinds has all servers in the order of a report.
func Kinds(o Options) []Kind {
	kinds := []Kind{
		{Name: Sslecho, works: []Work{Echo, Reverse, Discard, Handshakes, Idle}, version: sslechoVersion, plan: sslechoPlan},
		{Name: Direct, works: []Work{Echo, Reverse, Discard, Handshakes, Idle}, version: sslechoVersion, plan: directPlan},
		{Name: SServer, works: []Work{Reverse, Discard, Handshakes}, oneClient: true, version: opensslVersion, plan: sServerPlan},
		{Name: CryptoTLS, works: []Work{Echo, Reverse, Discard, Handshakes, Idle}, version: cryptoTLSVersion, plan: cryptoTLSPlan},
		{Name: CTLS, works: []Work{Echo, Discard, Handshakes, Idle}, version: cTLSVersion, plan: cTLSPlan},
		{Name: CTCP, works: []Work{Echo, Discard, Idle}, plain: true, version: cTCPVersion, plan: cTCPPlan},
		{Name: Nginx, works: []Work{Handshakes, Idle}, fixedPort: true, configured: proxyConns, version: nginxVersion, plan: nginxPlan},
		{Name: HAProxy, works: []Work{Handshakes, Idle}, fixedPort: true, configured: proxyConns, version: haproxyVersion, plan: haproxyPlan},
		{Name: Stunnel, works: []Work{Handshakes, Idle}, proxied: true, version: stunnelVersion, plan: stunnelPlan},
		{Name: Hitch, works: []Work{Handshakes, Idle}, proxied: true, version: hitchVersion, plan: hitchPlan},
	}
	for i := range kinds {
		kinds[i].opts = o
	}
	return kinds
}

// Can says whether the server does this work.
func (k Kind) Can(w Work) bool { return slices.Contains(k.works, w) }

// Plain says that it speaks TCP without TLS: the floor under the others.
func (k Kind) Plain() bool { return k.plain }

// OneClient says that it serves one client at a time; the next one waits until that one has left.
func (k Kind) OneClient() bool { return k.oneClient }

// spareFiles is what a server has open besides its connections, and more.
const spareFiles = 256

// fileConns is how many connections the limit for open files allows a process.
func fileConns(filesEach int) (int, error) {
	files, err := RaiseFileLimit()
	return max(0, files-spareFiles) / filesEach, err
}

// MaxConns is how many connections at once the server can hold at the most, by the limit for open
// files. Memory and threads may end it earlier.
func (k Kind) MaxConns() (int, error) {
	switch {
	case k.oneClient:
		return 1, nil
	case k.proxied:
		return fileConns(2)
	}
	most, err := fileConns(1)
	if k.configured > 0 {
		most = min(most, k.configured)
	}
	return most, err
}

// Find answers the version of the server and, where they are known, of the libraries under it. The
// error says what is missing and how to get it.
func (k Kind) Find() (string, error) {
	v, err := k.version(k.opts)
	if err != nil {
		return "", fmt.Errorf("%s: %w", k.Name, err)
	}
	return v, nil
}

// setup is what a plan is made from.
type setup struct {
	Options
	Spec
	cert, key, dir string // absolute, since a server's working directory is dir
	port           int    // 0 lets the kernel choose
}

// plan is how one process is started.
type plan struct {
	argv    []string
	config  string // name of the configuration file in the working directory
	note    string
	stdin   bool // it ends when its standard input does
	discard bool // its standard output is payload
	// gentle is for a server whose other processes live on when the first one is killed: should
	// sslbench be killed, the first process gets SIGTERM and can end them.
	gentle  bool
	backend *plan
	socket  string // the Unix socket that the backend listens on
}

// setup checks what the caller has asked for.
func (k Kind) setup(s Spec) (setup, error) {
	switch {
	case !k.Can(s.Work):
		return setup{}, fmt.Errorf("it cannot do %q", s.Work)
	case s.Dir == "":
		return setup{}, errors.New("Spec.Dir is empty: it needs a folder")
	case s.MaxVersion != "" && s.MaxVersion != "1.2" && s.MaxVersion != "1.3":
		return setup{}, fmt.Errorf("Spec.MaxVersion is %q: want 1.2, 1.3 or nothing", s.MaxVersion)
	}
	u := setup{Options: k.opts, Spec: s}
	var err error
	for _, p := range []struct {
		to   *string
		from string
	}{{&u.dir, s.Dir}, {&u.cert, s.Cert}, {&u.key, s.Key}} {
		if *p.to, err = filepath.Abs(p.from); err != nil {
			return setup{}, err
		}
	}
	if k.plain {
		return u, nil
	}
	for _, f := range []string{u.cert, u.key} {
		if info, err := os.Stat(f); err != nil {
			return setup{}, err
		} else if info.IsDir() {
			return setup{}, fmt.Errorf("%s is a folder: want a PEM file", f)
		}
	}
	return u, nil
}

// Start runs the server. It returns once a TLS handshake with it has succeeded (a TCP connect, for a plain
// one) and the server has closed that connection; ctx bounds the time until then and no more. The caller calls Stop.
func (k Kind) Start(ctx context.Context, s Spec) (*Process, error) {
	p, err := k.start(ctx, s, freePort)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, err)
	}
	return p, nil
}
