package reactor

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testtoken"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestHandshakesWait: when many begin their handshake at once, an established connection is served first, and few of
// them in one turn.
func TestHandshakesWait(t *testing.T) {
	type step struct {
		turn, conn uint64
		op         tlsio.Op
	}
	var steps []step // the loop's own until the server is closed
	s := &Server{Handler: echo()}
	s.Trace = func(c *Conn, op tlsio.Op, _ tlsio.Result, _ session.Event) {
		steps = append(steps, step{c.loop.stats.Turns, c.id, op})
	}
	addr := start(t, s)
	old := goDial(t, addr)
	roundTrip(t, old, "hello")

	const crowd = 7
	var raw []net.Conn
	for range crowd {
		raw = append(raw, rawDial(t, addr))
	}
	tlstest.Until(t, "the crowd to be accepted", func() bool { return s.Stats().Accepted == crowd+1 })
	l := s.loops[0]
	release := hold(l)
	before := len(steps)
	shaken := make(chan error, crowd)
	for _, c := range raw {
		go func() { shaken <- tls.Client(c, goConfig(t)).Handshake() }()
	}
	tlstest.Value(old.Write([]byte("first")))(t)
	tlstest.Until(t, "all input", func() bool { _, n := unread(l); return n == crowd+1 })
	release()
	for range crowd {
		tlstest.Must(t, tlstest.Receive(t, shaken, "a handshake"))
	}
	tlstest.Must(t, s.Close())

	oldID := steps[0].conn
	if first := steps[before]; first.conn != oldID || first.op != tlsio.OpRead {
		t.Errorf("%v of connection %d came first", first.op, first.conn)
	}
	inTurn := map[uint64][]uint64{}
	for _, st := range steps[before:] {
		if conns := inTurn[st.turn]; st.op == tlsio.OpHandshake && !slices.Contains(conns, st.conn) {
			inTurn[st.turn] = append(conns, st.conn)
		}
	}
	for _, conns := range inTurn {
		atMost(t, "handshakes in a turn", len(conns), handshakeBatch)
	}
}

// patience is what a handshake has in these tests when the loop is full. Time is what the tests make of it.
const patience = 2 * tlstest.Hang

// TestHandshakeEvicted: a full loop gives the places of peers that keep their handshake waiting to those in the
// backlog, the oldest first and long before HandshakeTimeout has passed.
func TestHandshakeEvicted(t *testing.T) {
	const places, silent = 4, 12
	s := &Server{Handler: echo(), Limits: Limits{MaxHandshakes: places, HandshakeTimeout: patienceShare * patience}}
	addr := start(t, s)
	l := s.loops[0]
	var conns []net.Conn
	for range silent {
		conns = append(conns, rawDial(t, addr))
	}
	tlstest.Until(t, "a full loop", func() bool { return s.Stats().Handshaking == places })
	assertQuiet(t, s.Stats)
	honest := dialLater(t, addr)
	for n := places; n < silent; n += places {
		tlstest.Equal(t, "accepted before their time is over", s.Stats().Accepted, uint64(n))
		l.Do(func() { l.start = l.start.Add(-patience) })
		tlstest.Until(t, "all places to change hands", func() bool { return s.Stats().Accepted == uint64(n+places) })
		assertQuiet(t, s.Stats)
	}
	l.Do(func() { l.start = l.start.Add(-patience) })
	tlstest.Must(t, tlstest.Receive(t, honest, "the honest one, behind the last of the silent"))
	// The oldest went first, and one more place was all that the honest one needed.
	const gone = silent - places + 1
	for _, c := range conns[:gone] {
		wantEnd(t, c)
	}
	tlstest.Until(t, "the server's side of the handshake", func() bool { return s.Stats().Handshakes == 1 })
	tlstest.Equal(t, "evicted", s.Stats().HandshakeFailures["handshake evicted"], gone)
	tlstest.Equal(t, "handshakes under way", s.Stats().Handshaking, places-1)
}

// TestLateLoop: what a peer has sent and the loop has not read yet is not held against the peer.
func TestLateLoop(t *testing.T) {
	s := &Server{Handler: echo(), Limits: Limits{MaxHandshakes: 2, HandshakeTimeout: patienceShare * patience}}
	addr := start(t, s)
	l := s.loops[0]
	spoke := rawDial(t, addr)
	rawDial(t, addr) // is silent
	tlstest.Until(t, "a full loop", func() bool { return s.Stats().Handshaking == 2 })
	release := hold(l)
	defer release()
	tlstest.Value(spoke.Write([]byte{22}))(t)
	tlstest.Until(t, "the byte", func() bool { n, _ := unread(l); return n > 0 })
	first, second := l.pending.oldest, l.pending.newest
	l.now = first.waiting + patience - 1
	if none, due := l.slowest(); none != nil || due != l.now+1 {
		t.Errorf("a place was found before the time: %v; or the answer was to ask again after %v", none, due-l.now)
	}
	l.now = second.waiting + patience
	if slow, _ := l.slowest(); slow != second {
		t.Error("the silent peer's place was not found")
	}
}

// TestAnsweredIsNotLate: a peer whose hello the loop has just answered, however late, has time for its own answer,
// also if somebody waits for its place in the same turn.
func TestAnsweredIsNotLate(t *testing.T) {
	s := &Server{Handler: echo(), Limits: Limits{MaxHandshakes: 1, HandshakeTimeout: patienceShare * patience}}
	addr := start(t, s)
	l := s.loops[0]
	c := rawDial(t, addr)
	tlstest.Until(t, "a full loop", func() bool { return s.Stats().Handshaking == 1 })
	release := hold(l)
	tlstest.Value(c.Write(clientHello(t)))(t)
	rawDial(t, addr) // waits for the place
	l.start = l.start.Add(-patience)
	release()
	tlstest.Value(io.ReadFull(c, make([]byte, 100)))(t)
	for range 20 {
		turn(t, l)
	}
	tlstest.Equal(t, "accepted", s.Stats().Accepted, 1)
	tlstest.Equal(t, "handshakes under way", s.Stats().Handshaking, 1)
}

// TestDecisionsLater: while the application has not decided about one client, the loop serves others; then that
// one goes on.
func TestDecisionsLater(t *testing.T) {
	mutual := func(c *cssl.Config) {
		c.CAFile, c.Verify = testcerts.Path("root.pem"), cssl.VerifyRequire
		c.DecisionTimeout = tlstest.Hang
	}
	type held struct {
		owner  any
		accept func()
	}
	for name, ask := range map[string]func(c *cssl.Config, ask func(held)){
		"client hello": func(c *cssl.Config, ask func(held)) {
			c.ClientHello = func(h *cssl.ClientHello) { ask(held{h.Owner, func() { h.Accept(nil) }}) }
		},
		"verification": func(c *cssl.Config, ask func(held)) {
			c.VerifyPeer = func(v *cssl.PeerVerification) { ask(held{v.Owner, v.Accept}) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan held, 2)
			x := serverContext(t, "ecdsa", func(c *cssl.Config) { mutual(c); ask(c, func(h held) { asked <- h }) })
			addr := start(t, &Server{Context: x, Handler: echo()})
			cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("client.pem"), testcerts.Path("client.key")))(t)
			dial := func() <-chan error {
				cfg := goConfig(t)
				cfg.Certificates = []tls.Certificate{cert}
				c := tls.Client(rawDial(t, addr), cfg)
				return tlstest.Later(func() error { return tryRoundTrip(c, "hello") })
			}
			first := dial()
			one := tlstest.Receive(t, asked, "the first client's question")
			if c, ok := one.owner.(*Conn); !ok || c.RemoteAddr() == nil {
				t.Errorf("owner %T", one.owner)
			}
			second := dial()
			tlstest.Receive(t, asked, "the second client's question").accept()
			tlstest.Must(t, tlstest.Receive(t, second, "the second client"))
			tlstest.Nothing(t, first, "the first client's answer")
			one.accept()
			tlstest.Must(t, tlstest.Receive(t, first, "the first client"))
		})
	}
}

// TestDecisionNever: the handshake's deadline holds for a client about which nobody decides, and a decision that
// comes after it is nobody's.
func TestDecisionNever(t *testing.T) {
	held := make(chan *cssl.ClientHello, 1)
	x := serverContext(t, "ecdsa", func(c *cssl.Config) {
		c.DecisionTimeout = tlstest.Hang
		c.ClientHello = func(h *cssl.ClientHello) { held <- h }
	})
	hooks, closed := ends(&hooks{})
	s := &Server{Context: x, Handler: hooks}
	addr := start(t, s)
	c := tls.Client(rawDial(t, addr), goConfig(t))
	done := tlstest.Later(c.Handshake)
	h := tlstest.Receive(t, held, "the question")
	pass(t, s.loops[0], 2*tlstest.Hang)
	tlstest.Equal(t, "OnClose", tlstest.Receive(t, closed, "the end"), ErrHandshakeTimeout)
	h.Accept(nil)
	if tlstest.Receive(t, done, "the client") == nil {
		t.Error("the client's handshake succeeded")
	}
}

// TestOffloadedLoop: many handshakes off the loop, of clients and of the server, with one that is refused among them.
func TestOffloadedLoop(t *testing.T) {
	mine := errors.New("not this one")
	n := 0
	server, ended := ends(echo())
	addr := start(t, &Server{Handler: server, Context: serverContext(t, "big", func(c *cssl.Config) {
		c.Offload = true
		c.ClientHello = func(h *cssl.ClientHello) {
			if n++; n == 10 {
				h.Refuse(mine)
				return
			}
			go h.Accept(nil)
		}
	})})
	answers := echoAll(t, addr, clientContext(t, func(c *cssl.Config) { c.Offload = true }), 20)
	refused, known := 0, 0
	for _, err := range answers {
		if errors.Is(err, tlsio.AlertHandshakeFailure) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
		if errors.Is(tlstest.Receive(t, ended, "the server's end"), mine) {
			known++
		}
	}
	tlstest.Equal(t, "clients that were refused", refused, 1)
	tlstest.Equal(t, "ends with the application's error", known, 1)
}

// echoAll lets n clients of one loop have an echo at the same time, and returns how each ended.
func echoAll(t *testing.T, addr net.Addr, x *cssl.Context, n int) (answers []error) {
	h, ended := ends(&hooks{open: func(c *Conn) { c.Write([]byte("x")) }, data: func(c *Conn, _ []byte) { c.Close() }})
	l := startLoop(t, LoopConfig{})
	for range n {
		dial(t, l, x, addr, h)
	}
	for range n {
		answers = append(answers, tlstest.Receive(t, ended, "a client"))
	}
	return answers
}

// TestSlowToken: handshakes with a slow token are made off the loop, many at once.
func TestSlowToken(t *testing.T) {
	tok := testtoken.Build(t, map[string][]byte{"ec": testcerts.Read(t, "ecdsa.key")})
	tok.Delay(t, 50*time.Millisecond)
	lib := tlstest.Value(cssl.NewLibrary(cssl.LibraryConfig{Providers: []string{"default", testtoken.Provider}, ProviderPath: tok.Dir}))(t)
	var async atomic.Int64
	addr := start(t, &Server{Handler: echo(), Context: serverContext(t, "ecdsa", func(c *cssl.Config) {
		c.Library, c.Certificates[0].KeyFile, c.Certificates[0].KeyURI = lib, "", "token:ec"
	}), Trace: func(_ *Conn, _ tlsio.Op, r tlsio.Result, _ session.Event) {
		if r.Want == tlsio.WantAsync {
			async.Add(1)
		}
	}})
	const clients = 50
	tlstest.Must(t, errors.Join(echoAll(t, addr, clientContext(t, nil), clients)...))
	if async.Load() < clients {
		t.Errorf("%d waits off the loop for %d handshakes", async.Load(), clients)
	}
}
