package faults

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
)

// visit is what a server does with one connection at a time, for counting.
type visit struct {
	addr   net.Addr
	closed chan error
	size   int // of a message
}

// echo is the handler: it answers what comes.
type echo struct {
	reactor.BaseHandler
	closed chan error
}

func (echo) OnData(c *reactor.Conn, p []byte)     { c.Write(p) }
func (e echo) OnClose(_ *reactor.Conn, err error) { e.closed <- err }

// second keeps what is written after the first flight until it is let go, and lets it go in one piece.
type second struct {
	net.Conn
	flights int
	kept    []byte
	open    bool
}

func (c *second) Write(p []byte) (int, error) {
	if c.flights++; c.flights == 1 || c.open {
		return c.Conn.Write(p)
	}
	c.kept = append(c.kept, p...)
	return len(p), nil
}

func (c *second) letGo(t *testing.T) {
	t.Helper()
	tlstest.Must(t, c.SetWriteDeadline(time.Time{})) // CloseWrite leaves one that has passed
	if len(c.kept) > 0 {
		tlstest.Value(c.Conn.Write(c.kept))(t)
	}
	c.open, c.kept = true, nil
}

// once connects, has n messages echoed, each sent in one piece, and ends. With none, the client's Finished and its
// close_notify come together.
func (v *visit) once(t *testing.T, n int) {
	t.Helper()
	raw := tlstest.Value(net.Dial("tcp", v.addr.String()))(t)
	defer raw.Close()
	held := &second{Conn: raw, open: n > 0}
	c := tls.Client(held, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true})
	tlstest.Must(t, c.Handshake())
	msg := make([]byte, v.size)
	for range n {
		held.open = false
		tlstest.Value(c.Write(msg))(t)
		held.letGo(t)
		tlstest.Value(io.ReadFull(c, msg))(t)
	}
	tlstest.Must(t, c.CloseWrite())
	held.letGo(t)
	tlstest.Must(t, tlstest.Receive(t, v.closed, "OnClose"))
}

// calls counts the calls of a kind for one connection.
func (v *visit) calls(t *testing.T, k Kind, echoes int) int {
	t.Helper()
	Arm(Fault{Kind: k, Accepted: k == Recv || k == Send})
	v.once(t, echoes)
	return Disarm().Calls
}

// TestCost: the system calls and the crossings into C that a connection and an echo cost, which no change may raise
// unnoticed; docs/design/performance.md says what each is for.
func TestCost(t *testing.T) {
	x := newContexts(t, cssl.Config{MaxVersion: cssl.TLS13})
	closed := make(chan error, 1)
	server := &reactor.Server{Handler: echo{closed: closed}, Context: x.server, Loops: 1}
	ls := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	v := &visit{size: 1024, closed: closed, addr: ls.Addr()}
	served := tlstest.Later(func() error { return server.Serve(ls) })
	defer func() { server.Close(); <-served }()
	v.once(t, 1)

	const echoes = 200
	for _, c := range []struct {
		kind       Kind
		connection int // at most, for a connection without data
		more       int // at most, for 200 echoes besides
	}{
		{Recv, 2, echoes}, // the ClientHello; Finished with close_notify
		{Send, 2, echoes}, // our flight; the tickets with close_notify
		{EpollCtl, 1, 0},  // the connection is added, and never changed
		{Accept, 2, 0},    // the connection; none more
		// A wait for each event that comes alone, and those for the buffers that are given back after a second.
		{EpollWait, 8, echoes + 8},
	} {
		short := v.calls(t, c.kind, 0)
		if short > c.connection {
			t.Errorf("%d × %v for a connection, not %d", short, c.kind, c.connection)
		}
		// What an echoing client sends last comes in a segment of its own, and the answers to it too.
		if n := v.calls(t, c.kind, echoes); n > c.connection+c.more+2 {
			t.Errorf("%d × %v for %d echoes", n, c.kind, echoes)
		}
	}

	v.allocations(t, echoes)
	v.crossings(t, echoes)
	v.batches(t)
	v.memory(t)
}

// OnConnect and OnPlain echo in plain text.
func (echo) OnConnect(*reactor.Conn)               {}
func (echo) OnPlain(c *reactor.Conn, p []byte) int { c.Write(p); return len(p) }

// TestPlainCost: the system calls of a connection in plain text. It takes no crossing into C.
func TestPlainCost(t *testing.T) {
	closed := make(chan error, 1)
	h := echo{closed: closed}
	server := &reactor.Server{Handler: h, Plain: h, Loops: 1}
	ls := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	served := tlstest.Later(func() error { return server.Serve(ls) })
	defer func() { server.Close(); <-served }()
	const echoes = 200
	once := func() {
		c := tlstest.Value(net.Dial("tcp", ls.Addr().String()))(t)
		defer c.Close()
		msg := make([]byte, 1024)
		for range echoes {
			tlstest.Value(c.Write(msg))(t)
			tlstest.Value(io.ReadFull(c, msg))(t)
		}
		tlstest.Must(t, c.(*net.TCPConn).CloseWrite())
		tlstest.Must(t, tlstest.Receive(t, closed, "OnClose"))
	}
	once()
	for kind, most := range map[Kind]int{
		PlainRecv: echoes + 2, // whether there is something at first; the end
		PlainSend: echoes,
		EpollCtl:  1,
		EpollWait: echoes + 8,
	} {
		Arm(Fault{Kind: kind})
		once()
		if n := Disarm().Calls; n > most || n < most/2 {
			t.Errorf("%d × %v for %d echoes, not %d", n, kind, echoes, most)
		}
	}
	if n := least(func() int { before := runtime.NumCgoCall(); once(); return int(runtime.NumCgoCall() - before) }); n > 0 {
		t.Errorf("%d crossings", n)
	}
}

// allocations counts those in C for an echo: four of 40 bytes, which OpenSSL makes for each record that it writes
// (crypto/packet.c), for a plain C server too, and none of cssl. Direct records need none.
func (v *visit) allocations(t *testing.T, echoes int) {
	openssl := 4
	if testmain.Direct() {
		openssl = 0
	}
	for kind, most := range map[Kind]int{OpenSSLAlloc: openssl, CSSLAlloc: 0} {
		short := v.calls(t, kind, 1)
		if n := v.calls(t, kind, 1+echoes) - short; n > most*echoes+8 { // a connection has a few of its own, now and then one more
			t.Errorf("%d × %v for %d echoes", n, kind, echoes)
		}
	}
}

// least is the fewest of some counts: on a busy machine what the client sends together may come in two.
func least(count func() int) int {
	n := math.MaxInt
	for range 5 {
		n = min(n, count())
	}
	return n
}

// crossed counts the calls of C for one connection.
func (v *visit) crossed(t *testing.T, echoes int) int {
	before := runtime.NumCgoCall()
	v.once(t, echoes)
	return int(runtime.NumCgoCall() - before)
}

// crossings counts the calls of C. A connection: it is made, two steps of its handshake, what was negotiated, the
// buffers are given back between the steps, a read that finds the end, close_notify, and it is freed. An echo: a read
// and a write.
func (v *visit) crossings(t *testing.T, echoes int) {
	short := least(func() int { return v.crossed(t, 0) })
	if short > 8 {
		t.Errorf("%d crossings for a connection", short)
	}
	if n := least(func() int { return v.crossed(t, echoes) }); n > short+2*echoes+4 {
		t.Errorf("%d crossings for %d echoes", n, echoes)
	}
}

// batches counts what an echo of several full records costs that come together. OpenSSL reads each by itself, and
// a session writes when two are queued; of direct records one recv, one send and two crossings bring all.
func (v *visit) batches(t *testing.T) {
	const records, batches = 3, 10
	defer func(before int) { v.size = before }(v.size)
	v.size = records * tlsio.MaxPlaintext
	for name, c := range map[string]struct {
		count           func(echoes int) int
		openssl, direct int // at most, for a batch
	}{
		"recv":      {func(n int) int { return v.calls(t, Recv, n) }, records + 1, 1},
		"send":      {func(n int) int { return v.calls(t, Send, n) }, 2, 1},
		"crossings": {func(n int) int { return v.crossed(t, n) }, records + 3, 2},
	} {
		most := c.openssl
		if testmain.Direct() {
			most = c.direct
		}
		first := least(func() int { return c.count(1) })
		// On a busy machine the socket is full in the midst of a batch now and then; one more for each batch would be ten.
		if n := least(func() int { return c.count(1 + batches) }) - first; n > batches*most+batches/2 {
			t.Errorf("%d × %s for %d batches of %d records, not %d", n, name, batches, records, batches*most)
		}
	}
}

// memory looks at what idle connections hold of C's heap: OpenSSL, whose own
// 15 kB, or 30 kB since 3.2 and with ML-KEM, are as much as a plain C server pays,
// and cssl, whose one block of 232 malloc may make 16 larger. A busy machine moves
// the loop to threads for which OpenSSL makes random generators of their own, 10 kB
// each, so the connections are many. With direct records OpenSSL holds nothing, and
// cssl the keys and what was negotiated. What the Go side holds is reactor's to test.
func (v *visit) memory(t *testing.T) {
	const conns = 200
	openssl, ours := 15_400, 248
	if cssl.Version().Run.Number >= 0x30200000 {
		openssl = 30_800
	}
	if testmain.Direct() {
		openssl, ours = 64, 900
	}
	_, beforeSSL := Use(OpenSSLAlloc)
	_, beforeC := Use(CSSLAlloc)
	for range conns {
		c := tlstest.Value(tls.Dial("tcp", v.addr.String(), &tls.Config{InsecureSkipVerify: true}))(t)
		defer func() { c.Close(); tlstest.Receive(t, v.closed, "OnClose") }()
		msg := make([]byte, 1024)
		tlstest.Value(c.Write(msg))(t)
		tlstest.Value(io.ReadFull(c, msg))(t)
	}
	var perSSL, perC int
	waitFor(t, func() string { // until the buffers are given back
		_, ssl := Use(OpenSSLAlloc)
		_, c := Use(CSSLAlloc)
		perSSL, perC = (ssl-beforeSSL)/conns, (c-beforeC)/conns
		if perSSL > openssl || perC > ours {
			return fmt.Sprintf("%d bytes of OpenSSL and %d of cssl for an idle connection", perSSL, perC)
		}
		return ""
	})
	t.Logf("an idle connection: %d bytes of OpenSSL, %d of cssl", perSSL, perC)
}
