package walk

import (
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// walk is the life of one pair of connections.
type walk struct {
	seed  uint64
	r     *rand.Rand
	combo combo
	count *counts
	trace trace
	ends  [2]*end // client, server
	lanes [2]*lane

	grain  int  // the most bytes that pass in one step, most of the time
	calm   bool // nobody acts of his own accord
	broken bool // the network was cut
	silent bool // and nobody is told
}

// run leads one walk from its seed, and answers what broke a rule, or "".
func run(x *contexts, seed uint64, count *counts) (what string) {
	w := &walk{seed: seed, r: rand.New(rand.NewPCG(seed, 4)), combo: comboOf(seed), count: count}
	defer func() {
		for _, e := range w.ends {
			if e != nil {
				e.e.Close()
				e.port.close()
			}
		}
		switch v := recover().(type) {
		case nil:
		case violation:
			what = fmt.Sprintf("%s\n%v%v", string(v), w.combo, &w.trace)
		default:
			what = fmt.Sprintf("panic: %v\n%s\n%v%v", v, debug.Stack(), w.combo, &w.trace)
		}
	}()
	w.begin(x)
	w.live()
	w.finish()
	count.of["walk"]++
	count.combos[seed%uint64(combos)]++
	return ""
}

// clear reports whether the walk begins in plain text.
func (w *walk) clear() bool { return w.seed/uint64(combos)%3 == 0 }

// one reports true once in n times.
func (w *walk) one(n int) bool { return w.r.IntN(n) == 0 }

// begin makes the two sides.
func (w *walk) begin(x *contexts) {
	c, r := w.combo, w.r
	cs := setting{combo: c}
	cs.overBytes = false
	if c.version == cssl.TLS12 && !c.ahead {
		cs.reneg = !w.one(4) // it has no read-ahead
	}
	cs.clientAuth = w.one(8)
	ss := cs
	ss.server, ss.cert = true, "ed25519"
	if w.one(12) || cs.reneg && w.one(3) {
		ss.cert = "big" // so that a Read that renegotiates has more to write than there is room for
	}
	ss.tickets = []int{0, 1, 4}[r.IntN(3)]
	cc := cssl.ConnConfig{ServerName: "localhost"}
	if w.one(8) {
		cc.Session = w.ticket(x.get(cs), x.get(ss))
	}
	grains := []int{1, 30, 500, 3000, 20_000}
	w.grain = grains[r.IntN(len(grains))]
	for i, s := range []setting{cs, ss} {
		e := &end{name: [...]string{"client", "server"}[i], w: w, bytes: tables[i], limit: 1 << (8 + r.IntN(11)), e: new(engine)}
		var err error
		if c.overBytes {
			e.port = &bytesPort{e: e.e}
			e.e.Conn, err = x.get(s).NewEngineConn(cc)
		} else {
			p := newSocketPort(e.e)
			e.port = p
			e.e.Conn, err = x.get(s).NewConn(p.fd, cc)
		}
		cc = cssl.ConnConfig{}
		mustBe(err)
		w.ends[i] = e
	}
	w.ends[r.IntN(2)].answers = true
	for i, e := range w.ends {
		e.peer = w.ends[1-i]
		w.lanes[i] = &lane{from: e, to: e.peer, room: 1 + r.IntN(1<<(8+r.IntN(9)))}
		cfg := w.config()
		e.cfg = &cfg
		cfg.HalfClose = w.one(2)
		if p, ok := e.port.(*socketPort); ok && w.clear() {
			e.inClear = 1 + r.IntN(1<<(1+r.IntN(15)))
			e.limit = max(e.limit, e.inClear)
			e.s.Init(clearEngine{e, p.fd}, e, e.cfg)
		} else {
			e.s.Init(e.e, e, e.cfg)
		}
		e.s.SetTrace(e.heard)
	}
	if w.one(2) {
		w.ends[1].s.ExpectPeer()
		w.ends[1].want[tlsio.OpHandshake] = tlsio.WantRead
	}
}

// config is one with small sizes, or the default ones.
func (w *walk) config() session.Config {
	r := w.r
	c := session.Config{Buffer: make([]byte, 1+r.IntN(tlsio.MaxPlaintext))}
	if !w.one(3) {
		c.HighWater = 1 + r.IntN(5000)
		c.LowWater = r.IntN(c.HighWater) // 0 is a quarter
		c.TurnBytes = 1 + r.IntN(6000)
		c.MaxQueue = 60_000
	}
	if w.one(4) {
		c.LingerBytes = 1 + r.IntN(3000)
	}
	if w.one(8) {
		c.Buffer = c.Buffer[:1+r.IntN(min(len(c.Buffer), 20))]
	}
	return c
}

// ticket makes a connection for its session alone.
func (w *walk) ticket(cx, sx *cssl.Context) *cssl.Session {
	c, err := cx.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"})
	mustBe(err)
	defer c.Close()
	s, err := sx.NewEngineConn(cssl.ConnConfig{})
	mustBe(err)
	defer s.Close()
	buf := make([]byte, 1<<16)
	pass := func(from, to *cssl.Conn) {
		for p := buf[:from.Take(buf)]; len(p) > 0; {
			n := to.Feed(p)
			if p = p[n:]; n == 0 {
				to.Handshake()
			}
		}
	}
	for range 30 {
		c.Handshake()
		pass(c, s)
		s.Handshake()
		pass(s, c)
	}
	s.Write([]byte("x"))
	pass(s, c)
	c.Read(make([]byte, 1))
	ticket := c.Session()
	if ticket == nil {
		panic(violation("there is no session to resume"))
	}
	w.count.of["resumption"]++
	return ticket
}

// live takes random steps until both sides have ended, or it has been long enough.
func (w *walk) live() {
	r := w.r
	steps := 50 + r.IntN(1000)
	cut := -1
	if w.one(3) {
		cut = r.IntN(steps)
		if w.one(3) {
			cut = r.IntN(60) // early, in the handshake
		}
	}
	for i := range steps {
		w.count.of["step"]++
		if i == cut {
			w.cut()
		}
		if w.ends[0].closes+w.ends[1].closes == 2 {
			return
		}
		e, l := w.ends[r.IntN(2)], w.lanes[r.IntN(2)]
		switch k := r.IntN(1000); {
		case k < 300:
			e.turn([...]session.Event{session.Readable, session.Writable, session.Readable | session.Writable}[r.IntN(3)])
		case k < 500:
			w.pass(l, l.collect)
		case k < 700:
			w.pass(l, l.deliver)
		case k < 850:
			w.act(e)
		case k < 890:
			if e.closes == 0 {
				w.count.of["event for nothing"]++
				e.ready(session.Event(r.IntN(4)))
				e.idle = 0
			}
		case k < 900:
			l.starved = r.IntN(100)
			w.count.of["starve"]++
		case k < 980:
			w.stream(l)
		case k < 983 && !w.silent:
			w.settle()
		default:
			for range 1 + r.IntN(5) {
				e.turn(session.Readable | session.Writable)
			}
		}
		for _, l := range w.lanes {
			l.starved = max(0, l.starved-1)
		}
	}
}

// amount is how many bytes pass at once.
func (w *walk) amount() int {
	if w.one(10) {
		return 1 + w.r.IntN(40_000)
	}
	return 1 + w.r.IntN(w.grain)
}

// pass lets some bytes through one half of a lane.
func (w *walk) pass(l *lane, half func(int) bool) {
	if l.starved > 0 || w.silent {
		return
	}
	n := w.amount()
	if half(n) {
		w.trace.add(step{who: l.from.name, what: "network: passed up to", n: n})
	}
}

// stream lets a lane flow for a while, in small pieces, with both loops turning.
func (w *walk) stream(l *lane) {
	if l.starved > 0 || w.silent {
		return
	}
	w.trace.add(step{who: l.from.name, what: "network: flows"})
	for range 1 + w.r.IntN(100) {
		n := w.amount()
		l.from.turn(session.Writable)
		l.collect(n)
		l.deliver(n)
		l.to.turn(session.Readable)
		w.count.of["step"]++
	}
	w.count.of["stream"]++
}

// act is something that an application does.
func (w *walk) act(e *end) {
	r := w.r
	if w.calm || e.closes > 0 && !w.one(4) {
		return
	}
	e.idle = 0
	switch k := r.IntN(1000); {
	case e.isClear() && k >= 700 && k < 940: // one that ends, or has no engine for it, does not come to TLS
	case k < 350:
		w.count.of["Write"]++
		if e.inside {
			w.count.of["Write inside a handler"]++
		}
		e.write(1 + r.IntN(300))
	case k < 400:
		e.write(1 + r.IntN(3*tlsio.MaxPlaintext))
	case k < 500:
		w.trace.add(step{who: e.name, what: "Pause"})
		w.count.of["Pause"]++
		e.paused = true
		e.s.Pause()
	case k < 700:
		w.trace.add(step{who: e.name, what: "Resume"})
		w.count.of["Resume"]++
		e.paused = false
		e.s.Resume()
	case k < 780:
		w.rekey(e, "KeyUpdate")
	case k < 850:
		w.rekey(e, "KeyUpdate asked of both")
	case k < 930:
		w.rekey(e, "Renegotiate")
	case k < 935:
		w.closing(e, "CloseWrite", nil)
	case k < 938:
		w.closing(e, "Close", nil)
	case k < 940:
		w.closing(e, "Abort", errAsked)
	default:
		if e.inside {
			w.count.of["Ready inside a handler"]++
			got := session.Event(r.IntN(4))
			e.port.told(got)
			e.s.Ready(got)
		}
	}
}

// cut breaks the network.
func (w *walk) cut() {
	how := [...]string{"cut: FIN", "cut: FIN one way", "cut: reset", "cut: silence"}[w.r.IntN(4)]
	w.trace.add(step{who: "network", what: how})
	w.count.of[how]++
	w.count.of["cut"]++
	w.broken = true
	switch how {
	case "cut: FIN":
		w.lanes[0].ended, w.lanes[1].ended = true, true
	case "cut: FIN one way":
		w.lanes[w.r.IntN(2)].ended = true
	case "cut: reset":
		for _, e := range w.ends {
			e.port.cut()
		}
		for _, l := range w.lanes {
			l.ended = true
		}
	case "cut: silence":
		w.silent = true
	}
}
