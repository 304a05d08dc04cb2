package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spacemonad/go-openssl/tlsio"
)

// world is all that a session meets, the engine and the handler. Wherever there is a
// choice, it takes the one that the script names, and the first one where the script has ended.
type world struct {
	BaseHandler
	memory
	s       Session
	p       *profile
	cfg     *Config
	engines [2]Engine // the second one is that of an Upgrade
	handler Handler

	draw    func(n int) int // makes the choices instead of the script, if set
	script  []byte          // the choices of this step
	limits  []byte          // between how many each of them was
	at      int
	tokens  []string // instead of script: the choices by name
	history []string // the choices that were taken by name, if record
	record  bool
	kind    bool // no choices: engine and peer are willing, and the handler does nothing

	calls    int // of the engine in this turn
	accepted int // bytes in this step
	given    int // bytes that Read has given and OnData has not
	expect   string
	chance   bool // an alert is left after a failure: one Flush is due
	alert    output
	dead     bool // an operation failed that ends the session
	inside   bool // a handler's act is under way
	panicked bool
}

// violation is what a step panics with when a rule was broken.
type violation string

func (w *world) fail(format string, args ...any) { panic(violation(fmt.Sprintf(format, args...))) }

// pick makes a choice. It is who's, if that is a handler's method and not the engine.
func (w *world) pick(who string, list []answer) answer {
	name := func(a answer) string {
		if who != "" {
			return who + ">" + a.text
		}
		return a.text
	}
	i := 0
	switch {
	case w.draw != nil:
		i = w.draw(len(list))
	case w.tokens != nil:
		i = slices.IndexFunc(list, func(a answer) bool { return len(w.tokens) > 0 && name(a) == w.tokens[0] })
		if i >= 0 {
			w.tokens = w.tokens[1:]
		} else if i = 0; who == "" {
			w.fail("the replay has %q next, of %v", w.tokens[0], list)
		}
	default:
		if w.at == len(w.script) {
			w.script = append(w.script, 0)
			w.limits = append(w.limits, 0)
		}
		w.limits[w.at] = byte(len(list))
		i = int(w.script[w.at])
		w.at++
	}
	if w.record && (who == "" || i > 0) {
		w.history = append(w.history, name(list[i]))
	}
	return list[i]
}

// answer chooses what the engine answers.
func (w *world) answer(c call, units int) answer {
	if w.kind || w.tokens != nil && len(w.tokens) == 0 { // a replay may end in the midst of a turn
		return w.p.kind[kindness{c, uint8(units), w.out != outClean, w.fin}]
	}
	return w.pick("", w.p.answers[question{c, w.out, uint8(units), w.ended != endNone}])
}

// call is what all operations share: the rules, the answer, and what follows from it.
func (w *world) call(op operation, c call, units int) tlsio.Result {
	if w.chance && c == callFlush {
		w.chance = false
		now := w.out
		w.out = w.alert
		a := w.answer(c, units)
		w.out = now
		return a.Result
	}
	w.mayCall(op, c)
	a := w.answer(c, units)
	w.learn(op, a)
	switch {
	case a.failed:
		w.failure(op, c, a)
	case a.Want == tlsio.WantNone:
		w.success(op, a)
	}
	return a.Result
}

// learn takes note of what an answer says about waiting.
func (w *world) learn(op operation, a answer) {
	w.out = outClean
	if a.Held {
		w.out = outHeld
	} else if a.Unsent {
		w.out = outUnsent
	}
	w.blocked[op] = tlsio.WantNone
	if !a.failed {
		w.blocked[op] = a.Want
	}
	for o := range operations {
		b := w.blocked[o]
		if o != op && (a.In && b == tlsio.WantRead || a.Out && b == tlsio.WantWrite || op == read && b == tlsio.WantAppRead) {
			w.blocked[o] = tlsio.WantNone
		}
	}
	if a.Want == tlsio.WantAppRead || op == read && a.Drained {
		w.blocked[read] = tlsio.WantNone // for a read finds data, or ...
		if a.Drained {
			w.blocked[read] = tlsio.WantRead // ... certainly none
		}
	}
	switch w.out {
	case outHeld:
		w.blocked[flush] = tlsio.WantNone
	case outUnsent:
		w.blocked[flush] = tlsio.WantWrite
		if w.blocked[write] == tlsio.WantNone {
			w.blocked[write] = tlsio.WantWrite
		}
	}
}

// success is what follows from progress.
func (w *world) success(op operation, a answer) {
	switch op {
	case handshake:
		w.rekeying = rekeyingNone
		if !w.opened {
			w.opened = true
			w.expect = "open"
		}
	case read:
		switch {
		case !w.closing:
			w.given, w.expect = a.N, "data"
		case w.notified:
			w.lingered += uint8(a.N / w.p.unit)
			if int(w.lingered) > w.p.linger {
				w.dead = true
				w.because(ErrLinger)
			}
		}
	case write:
		w.parked = 0
		w.accepted += a.N
		w.left -= uint8(a.N / w.p.unit)
		if w.upgrading {
			w.clear -= uint8(a.N / w.p.unit)
		}
		if w.left == 0 {
			w.fed, w.own = false, false
		}
		if w.full && int(w.left) <= w.p.low {
			w.full = false
			if !w.closing && !w.p.plainHandler {
				w.expect = "drain"
			}
		}
	case shutdown:
		w.notified = true
	}
}

// failure is what follows from an error.
func (w *world) failure(op operation, c call, a answer) {
	err := a.Err
	if err == nil {
		err = errUnwaitable
	}
	later := op == handshake && c != callHandshake
	switch {
	case op == read && (err == io.EOF || err == io.ErrUnexpectedEOF):
		w.ended = endEOF
		if err != io.EOF {
			w.ended = endFIN
		}
		if w.closing {
			return
		}
		if err == io.EOF && !w.p.plainHandler {
			w.expect = "eof"
			return
		}
		w.closing, w.last = true, true
		if err != io.EOF {
			w.because(err)
		}
	case later && (errors.Is(err, tlsio.ErrState) || err == io.EOF):
		if w.rekeying = rekeyingNone; !w.closing {
			w.expect = "rekey"
		}
	case op == write || op == flush || op == shutdown:
		w.broken = true
		w.lost = w.left > 0
		if !(w.ended != endNone || err == io.EOF) || w.lost {
			w.because(err)
		}
		w.chance, w.alert = w.out == outUnsent && op != flush, w.out
		w.left, w.parked, w.fed, w.own, w.out = 0, 0, false, false, outClean
	default:
		w.dead = true
		w.chance, w.alert = w.out == outUnsent, w.out
		w.because(err)
	}
}

// because notes the first cause.
func (w *world) because(err error) {
	if w.cause == 0 {
		w.cause = causeOf(err)
	}
}

// begin is what Upgrade calls when the first engine has written all that is its own.
func (w *world) begin() error {
	if !w.upgrading || w.clear > 0 || w.out != outClean || w.broken || w.aborted || w.dead || w.closed || w.expect != "" {
		w.fail("begin with %d units of the first engine left, output %v, expected: %q", w.clear, w.out, w.expect)
	}
	w.calls++
	w.upgrading, w.second, w.opened, w.blocked = false, true, false, [operations]tlsio.Want{}
	how := "none"
	if !w.kind {
		how = w.pick("begin", begins).text
	}
	switch how {
	case "expectpeer", "ready":
		w.act("expectpeer", false)
		if how == "ready" {
			w.inside = true
			w.ready(Readable)
			w.inside = false
		}
	case "err":
		w.dead = true
		w.because(errBroken)
		return errBroken
	}
	return nil
}

// begins are what begin may do.
var begins = []answer{{text: "none"}, {text: "expectpeer"}, {text: "ready"}, {text: "err"}}

// clearEngine is the world as an engine without TLS.
type clearEngine struct{ *world }

func (w clearEngine) Handshake() tlsio.Result     { return w.first().Handshake() }
func (w clearEngine) Read(p []byte) tlsio.Result  { return w.first().Read(p) }
func (w clearEngine) Write(p []byte) tlsio.Result { return w.first().write([][]byte{p}) }
func (w clearEngine) Flush() tlsio.Result         { return w.first().Flush() }
func (w clearEngine) Shutdown() tlsio.Result      { return w.first().Shutdown() }
func (w clearEngine) CloseWrite() error           { return w.first().CloseWrite() }

// first fails the step if the second engine is there already.
func (w clearEngine) first() engine {
	if w.second {
		w.fail("the first engine is called after begin")
	}
	return engine(w)
}

// engine is the world as the session's engine.
type engine struct{ *world }

func (w engine) Handshake() tlsio.Result {
	if w.opened {
		return w.call(handshake, callCarryOn, 0)
	}
	return w.call(handshake, callHandshake, 0)
}

func (w engine) Read(p []byte) tlsio.Result {
	c := callRead
	if w.closing && w.notified {
		c = callDiscard
	}
	r := w.call(read, c, 0)
	copy(p, w.p.bytes[:r.N])
	return r
}

func (w engine) Write([]byte) tlsio.Result { panic("WriteBuffers takes its place") }

func (w engine) WriteBuffers(bufs [][]byte, more bool) tlsio.Result {
	if follows := len(bytes.Join(bufs, nil)) < int(w.left)*w.p.unit || w.last && w.rekeying == rekeyingNone; more != follows {
		w.fail("WriteBuffers of %d buffers says that more follows: %v", len(bufs), more)
	}
	if w.upgrading {
		w.fail("the second engine is written to before begin")
	}
	return w.write(bufs)
}

func (w engine) write(bufs [][]byte) tlsio.Result {
	p, first := bytes.Join(bufs, nil), len(bufs[0])/w.p.unit
	units := len(p) / w.p.unit
	if w.upgrading && units > int(w.clear) {
		w.fail("the first engine is given %d units, and %d are its own", units, w.clear)
	}
	if len(p)%w.p.unit != 0 || units > int(w.left) || string(p) != string(w.p.bytes[w.accepted:w.accepted+len(p)]) {
		w.fail("WriteBuffers(%q) is not what comes next", bufs)
	}
	if w.parked > 0 && first != int(w.parked) {
		w.fail("a write of %d units is tried again with %d", w.parked, first)
	}
	for _, b := range bufs {
		if len(b) == 0 || len(b) > tlsio.MaxPlaintext || len(bufs) > 4 {
			w.fail("%d buffers, one of %d bytes", len(bufs), len(b))
		}
	}
	r := w.call(write, callWrite, units)
	if r.Err == nil && r.Want != tlsio.WantNone && !w.broken {
		w.parked = uint8(first)
	}
	return r
}

func (w engine) Flush() tlsio.Result    { return w.call(flush, callFlush, 0) }
func (w engine) Shutdown() tlsio.Result { return w.call(shutdown, callShutdown, 0) }

func (w engine) CloseWrite() error {
	w.mayCall(operations, callNames)
	w.fin = true
	return errBroken // that the peer is gone is for reading to find out
}

func (w engine) KeyUpdate(bool) tlsio.Result { return w.call(handshake, callKeyUpdate, 0) }

func (w engine) ShutdownMore() tlsio.Result        { return w.Shutdown() }
func (w engine) RequestCertificate() tlsio.Result  { panic("no act asks for a certificate") }
func (w engine) ReadEarlyData([]byte) tlsio.Result { panic("no early data comes") }
func (w engine) Renegotiate() tlsio.Result         { return w.call(handshake, callRenegotiate, 0) }

// undrained is a Handler that does nothing in OnDrain.
type undrained struct{ Handler }

func (undrained) OnDrain() {}

// The world is the handler itself.

func (w *world) OnOpen()  { w.hear("open") }
func (w *world) OnDrain() { w.hear("drain") }
func (w *world) OnEOF()   { w.hear("eof") }

func (w *world) OnRekeyError(error) { w.hear("rekey") }

func (w *world) OnData(p []byte) {
	if len(p) != w.given || string(p) != string(w.p.bytes[:len(p)]) || w.paused {
		w.fail("OnData(%q) after a read of %d, paused %v", p, w.given, w.paused)
	}
	w.given = 0
	w.hear("data")
}

func (w *world) OnClose(err error) {
	w.mayClose(err)
	w.closed, w.left, w.parked, w.out = true, 0, 0, outClean
	w.expect = "close"
	w.hear("close")
}

// hear is what all of the handler's methods share: it must be this one's turn, and it may act.
func (w *world) hear(name string) {
	if w.expect != name || w.closed && name != "close" {
		w.fail("%s was heard; expected: %q, closed %v", name, w.expect, w.closed)
	}
	w.expect = ""
	if w.kind || w.inside {
		return
	}
	act := w.pick(name, w.p.acts).text
	if act == "none" {
		return
	}
	w.inside = true
	defer func() { w.inside = false }()
	w.act(act, name == "data")
}
