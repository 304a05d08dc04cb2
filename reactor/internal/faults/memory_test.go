package faults

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// pems are read before, so that a life does nothing but what OpenSSL and cssl do.
type pems struct{ chain, key, root []byte }

// failure is what a life in memory panics with when something has answered an error.
type failure struct{ error }

func try(err error) {
	if err != nil {
		panic(failure{err})
	}
}

func tried[T any](v T, err error) T {
	try(err)
	return v
}

// lifeInMemory lives a whole life without a loop or a socket, so that its allocations come in the same
// order each time: contexts, connections, handshake, data both ways, KeyUpdate, facts, close.
// Its error is the first that anything answers.
func lifeInMemory(p pems, v cssl.TLSVersion) (err error) {
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			err = f.error
		default:
			panic(f)
		}
	}()
	server := tried(cssl.NewServerContext(cssl.Config{MaxVersion: v, ALPN: []string{"h2", "x"}, Groups: "X25519:P-256",
		Certificates: []cssl.Certificate{{ChainPEM: p.chain, KeyPEM: p.key}}}))
	defer server.Close()
	client := tried(cssl.NewClientContext(cssl.Config{CAPEM: p.root, ALPN: []string{"x"}}))
	defer client.Close()
	s := tried(server.NewEngineConn(cssl.ConnConfig{}))
	defer s.Close()
	c := tried(client.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"}))
	defer c.Close()
	up, down := &pipe{from: c, to: s}, &pipe{from: s, to: c}
	for done, idle := [2]bool{}, 0; !done[0] || !done[1]; idle++ {
		for i, side := range []*cssl.Conn{s, c} {
			if done[i] {
				continue
			}
			r := side.Handshake()
			try(r.Err)
			if done[i] = r.Want == tlsio.WantNone; done[i] {
				idle = 0
			}
		}
		if up.move()+down.move() > 0 {
			idle = 0
		}
		if idle > idleTurns {
			// Whoever is done, but could not say so to the other, finds it with the next operation.
			try(cmp.Or(s.Read(make([]byte, 1)).Err, c.Read(make([]byte, 1)).Err, errStall))
		}
	}
	if st := c.State(); st.VerifyError != nil || st.ALPN != "x" {
		try(fmt.Errorf("%w: verified %v, ALPN %q", errWrong, st.VerifyError, st.ALPN))
	}
	up.carry(bulk)
	down.carry(bulk)
	if v == cssl.TLS13 {
		try(c.KeyUpdate(true).Err)
	}
	up.carry(more)
	down.carry(more)
	c.Session()
	tried(c.State().PeerCertificates())
	if _, err := c.ExportKeyingMaterial("test", nil, 32); err != nil {
		try(fmt.Errorf("%w: %w", errExport, err))
	}
	up.end()
	down.end()
	return nil
}

// errStall says that neither side has an error and neither goes on, errWrong that what came is not what was sent,
// errExport that there is no keying material.
var errStall, errWrong, errExport = errors.New("neither side goes on"), errors.New("wrong"), errors.New("export")

// idleTurns is how often nothing may move before it is a stall: an allocation that fails costs an attempt.
const idleTurns = 3

// pipe carries ciphertext one way.
type pipe struct {
	from, to *cssl.Conn
	rest     []byte // not fed yet
}

// move carries all that there is room for.
func (p *pipe) move() (n int) {
	buf := make([]byte, 4096)
	for {
		if len(p.rest) == 0 {
			p.rest = buf[:p.from.Take(buf)]
		}
		k := p.to.Feed(p.rest)
		if k == 0 {
			return n // nothing is left; or there is no room or no memory, and it comes the next time
		}
		p.rest, n = p.rest[k:], n+k
	}
}

// carry writes n bytes on one side and reads them on the other.
func (p *pipe) carry(n int) {
	var out, in tlstest.Stream
	rest, buf := out.Next(n), make([]byte, 16<<10)
	for idle := 0; in.N < n; idle++ {
		if idle > idleTurns {
			try(errStall)
		}
		moved := 0
		if len(rest) > 0 {
			r := p.from.Write(rest)
			try(r.Err)
			rest, moved = rest[r.N:], r.N
		}
		moved += p.move()
		for r := p.to.Read(buf); r.Err != nil || r.N > 0; r = p.to.Read(buf) {
			try(r.Err)
			in.Check(buf[:r.N])
			moved += r.N
		}
		if moved > 0 {
			idle = 0
		}
	}
	if in.Bad != nil {
		try(fmt.Errorf("%w: %w", errWrong, in.Bad))
	}
}

// end ends one direction.
func (p *pipe) end() {
	try(p.from.Shutdown().Err)
	for range idleTurns {
		p.move()
		err := p.to.Read(make([]byte, 1)).Err
		if err == io.EOF {
			return
		}
		try(err)
	}
	try(errStall)
}

// kept reports whether OpenSSL keeps such a block on purpose: in the thread's ring of sixteen errors, in its cache
// of algorithms. From 3.2 on an error also has copies of its file's and function's names, which alone come from no
// file. A Context parses its files on other threads; a new one among them leaves what OpenSSL keeps for each
// thread, and a longer list of these.
func kept(left map[string]int, site string) bool {
	newThread := func(site string) bool { return strings.Contains(site, "initthread.c:") }
	return strings.HasPrefix(site, "err/") || site == noFile || strings.HasPrefix(site, "property/") || newThread(site) ||
		strings.HasPrefix(site, "stack/") && left[site] == 1 && slices.ContainsFunc(slices.Collect(maps.Keys(left)), newThread)
}

// TestOutOfMemory: each allocation of OpenSSL fails once, over all of a life that has one, and each of cssl itself.
// Nothing crashes, stalls or is left behind; what fails says so with an error of cssl. OpenSSL goes without what it
// can do without, such as one of its ciphers.
func TestOutOfMemory(t *testing.T) {
	p := pems{testcerts.Read(t, "ecdsa.pem"), testcerts.Read(t, "ecdsa.key"), testcerts.Read(t, "root.pem")}
	// OpenSSL keeps some things for each thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, v := range versions() {
		for range 3 { // until OpenSSL has what it keeps for good
			tlstest.Must(t, lifeInMemory(p, v))
		}
		for _, k := range []struct {
			kind   Kind
			stride int
		}{{OpenSSLAlloc, stride(31)}, {CSSLAlloc, 1}} {
			Arm(Fault{Kind: k.kind})
			tlstest.Must(t, lifeInMemory(p, v))
			n := Disarm().Calls
			var y tally
			failed := 0
			for _, forever := range []bool{false, true} {
				if forever && !full {
					continue
				}
				for call := 1; call <= n; call += k.stride {
					if outOfMemory(t, p, v, Fault{Kind: k.kind, Call: call, Forever: forever}, &y) {
						failed++
					}
					if t.Failed() {
						t.Fatalf("%v, %v number %d of %d (%s), for ever: %v", v, k.kind, call, n, Site(), forever)
					}
				}
			}
			y.log(t, fmt.Sprintf("%v, %v: %d calls, %d lives ended with an error", v, k.kind, n, failed))
			if err := lifeInMemory(p, v); err != nil {
				t.Errorf("with memory again: %v", err)
			}
		}
	}
}

// outOfMemory lives one life with a fault, and reports whether it ended with an error.
func outOfMemory(t *testing.T, p pems, v cssl.TLSVersion, f Fault, y *tally) bool {
	conns, contexts := live.Conns(), live.Contexts()
	Mark()
	Arm(f)
	err := lifeInMemory(p, v)
	y.add(Disarm())
	var e *tlsio.Error
	var c *cssl.ConfigError
	if err != nil && !errors.As(err, &e) && !errors.As(err, &c) && !errors.Is(err, errExport) {
		t.Error(err)
	}
	left := Left()
	for site, n := range left {
		if !kept(left, site) {
			t.Errorf("%d blocks of %s are left after %v", n, site, err)
		}
	}
	if a, b := live.Conns()-conns, live.Contexts()-contexts; a != 0 || b != 0 {
		t.Errorf("%d connections and %d contexts are left after %v", a, b, err)
	}
	return err != nil
}

// TestCloseWithoutMemory: a Context that is closed leaves nothing behind, also if no memory can be had for that.
func TestCloseWithoutMemory(t *testing.T) {
	before := live.Contexts()
	x := newServerContext(t, cssl.Config{})
	Arm(Fault{Kind: OpenSSLAlloc, Call: 1, Forever: true})
	x.Close()
	r := Disarm()
	if n := live.Contexts() - before; n != 0 {
		t.Errorf("%d contexts are left; %d allocations failed, the last one at %s", n, r.Calls, Site())
	}
}

// TestInputLost: what was received ahead and could not be kept is missed. No read goes on behind the gap.
func TestInputLost(t *testing.T) {
	x := newContexts(t, cssl.Config{Offload: true})
	n, err := readAhead(t, x, 0)
	if n == 0 || err != nil {
		t.Fatal(n, err)
	}
	lost := 0
	for call := 1; call <= n; call++ {
		if _, err := readAhead(t, x, call); errors.Is(err, unix.ENOMEM) {
			lost++
		} else if err != nil {
			t.Errorf("allocation %d of %d: %v", call, n, err)
		}
	}
	if lost == 0 {
		t.Errorf("none of %d allocations was one that input needs", n)
	}
}

// readAhead makes a client write as soon as it can, so that a server whose handshake is offloaded receives that
// with the last flight. It reads all, and returns how many allocations of cssl there were since then and the
// server's error. That number call fails.
func readAhead(t *testing.T, x contexts, call int) (int, error) {
	t.Helper()
	fds := tlstest.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	c := tlstest.Value(x.client.NewConn(fds[0], cssl.ConnConfig{ServerName: "localhost"}))(t)
	defer c.Close()
	s := tlstest.Value(x.server.NewConn(fds[1], cssl.ConnConfig{}))(t)
	defer s.Close()
	woken := make(chan struct{}, 1)
	s.Bind(nil, func() { woken <- struct{}{} })
	shake := func() tlsio.Result {
		r := s.Handshake()
		for r.Want == tlsio.WantAsync {
			<-woken
			r = s.Handshake()
		}
		return r
	}
	c.Handshake()
	if r := shake(); r.Want != tlsio.WantRead {
		t.Fatalf("%+v", r)
	}
	if r := c.Handshake(); r.Want != tlsio.WantNone || r.Err != nil {
		t.Fatalf("%+v", r)
	}
	var out, in tlstest.Stream
	const total = 40 << 10
	for out.N < total {
		if r := c.Write(out.Next(4 << 10)); r.N != 4<<10 {
			t.Fatalf("%+v", r)
		}
	}
	Arm(Fault{Kind: CSSLAlloc, Call: call})
	r := shake()
	for buf := make([]byte, 16<<10); r.Err == nil && in.N < total; {
		r = s.Read(buf)
		in.Check(buf[:r.N])
	}
	n := Disarm().Calls
	if in.Bad != nil {
		t.Error(in.Bad)
	}
	return n, r.Err
}

// TestOutOfMemoryInLoops is the same over sockets and loops, from the socket to the end of the close. One of the two
// ends, or both, hear of it, and nobody waits for a timeout.
func TestOutOfMemoryInLoops(t *testing.T) {
	for _, v := range versions() {
		w := mustStart(t, newContexts(t, cssl.Config{MaxVersion: v}), nil)
		for range 5 {
			w.run(t, Fault{}, nil)
		}
		for _, k := range []struct {
			kind   Kind
			stride int
		}{{OpenSSLAlloc, stride(23)}, {CSSLAlloc, stride(1)}} {
			n := w.calls(t, Fault{Kind: k.kind}, nil)
			var y tally
			for call := 1; call <= n; call += k.stride {
				l, r := w.run(t, Fault{Kind: k.kind, Call: call}, nil)
				y.add(r)
				if t.Failed() {
					t.Fatalf("%v, %v number %d of %d (%s): the client ended with %v, the server with %v", v, k.kind, call, n,
						Site(), l.near.err, l.far.err)
				}
			}
			y.log(t, fmt.Sprintf("%v, %v: %d calls", v, k.kind, n))
		}
		w.stop(t, reactor.ErrServerClosed, nil)
	}
}

// versions are those to try.
func versions() []cssl.TLSVersion {
	if full {
		return []cssl.TLSVersion{cssl.TLS13, cssl.TLS12}
	}
	return []cssl.TLSVersion{cssl.TLS13}
}

// stride is how many calls to go on, in the short run n: a prime, so that it falls into step with no loop.
func stride(n int) int {
	if full {
		return 1
	}
	return n * tlstest.Scale
}
