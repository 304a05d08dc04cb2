package session

import (
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// wire is a Transport whose room is a number of bytes, and which writes down what it is told.
type wire struct {
	in   string
	end  bool
	room []byte
	told []string
	lost func() // the connection is found to be broken by Send
}

func (w *wire) Received() ([]byte, bool) { return []byte(w.in), w.end }
func (w *wire) Consume(n int)            { w.in = w.in[n:] }
func (w *wire) Room() []byte             { return w.room }
func (w *wire) CloseWrite()              { w.told = append(w.told, "FIN") }

func (w *wire) Send(n int) {
	w.told = append(w.told, string(w.room[:n]))
	if w.lost != nil {
		w.lost()
	}
}

// exchange calls Exchange and checks "calls | what the handler hears | what the transport is told", and what is
// returned.
func (r *rig) exchange(w *wire, want string, done bool) *rig {
	r.t.Helper()
	parts := append(strings.Split(want, "|"), "", "")
	r.e.expect(parts[0])
	got := r.Exchange(w)
	r.e.done()
	if h := r.h.take(); h != strings.TrimSpace(parts[1]) {
		r.t.Fatalf("after %q the handler heard %q", want, h)
	}
	if told := strings.Join(w.told, " "); told != strings.TrimSpace(parts[2]) {
		r.t.Fatalf("after %q the transport was told %q", want, told)
	}
	w.told = nil
	tlstest.Equal(r.t, "Exchange after "+want, got, done)
	return r
}

// TestExchange: what is fed is read, and what is written is taken, in one call, until nothing moves; the engine is not
// asked for what is known.
func TestExchange(t *testing.T) {
	w := &wire{in: "hello", room: make([]byte, 9)}
	r := newRig(t, Config{})
	r.ExpectPeer()
	r.h.on["data"] = func() { r.write("reply") }
	r.exchange(w, "I(hello):5 H:want_read+in+out+unsent O(9):5 | | ooooo", false).waits("R")
	w.in = "finished"
	// The engine takes a part; what is left must wait for a Read.
	r.exchange(w, "I(finished):3 H:ok+in R:want_read I(ished):3 R:4+in+drained W(reply):5+out+unsent O(9):7"+
		" I(ed):2 R:want_read+in | open data(4) | ooooooo", false).waits("R")
	r.exchange(w, "", false)
}

// TestExchangeTakesInParts: what is more than the room is taken in parts, and the write that waits for it goes on.
func TestExchangeTakesInParts(t *testing.T) {
	w := &wire{room: make([]byte, 3)}
	r := openRig(t, Config{}).write("hello")
	r.exchange(w, "W(hello):2+out+unsent O(3):3 O(3):3 O(3):1 W(llo):3+out+unsent O(3):2 | | ooo ooo o oo", false).waits("R")
}

// TestExchangeWithoutRoom: while the transport takes nothing, nothing is taken, at the high watermark nothing is read,
// and what has come is left with the transport.
func TestExchangeWithoutRoom(t *testing.T) {
	w := &wire{in: "ask"}
	r := openRig(t, Config{HighWater: 6, LowWater: 1})
	r.h.on["data"] = func() { r.write("replies") }
	r.exchange(w, "I(ask):3 R:3+in+drained W(replies):1+out+unsent | data(3)", false)
	w.in = "again"
	r.exchange(w, "I(again):2 I(ain):0", false)
	tlstest.Equal(t, "left with the transport", w.in, "ain")
	w.room = make([]byte, 9)
	r.exchange(w, "I(ain):0 O(9):1 I(ain):0 W(eplies):6+out+unsent R:want_read+unsent O(9):1 I(ain):3 R:want_read+in | drain | o o", false).waits("R")
}

// TestExchangeEnd: the peer's FIN is fed behind all that came before it, once. Ours is sent when close_notify was.
func TestExchangeEnd(t *testing.T) {
	w := &wire{in: "close_notify", end: true}
	r := openRig(t, Config{})
	r.exchange(w, "I(close_notify):6 R:want_read+in I(notify):6 X R:eof S:ok+out+unsent", false).waits("W")
	w.room = make([]byte, 9)
	r.exchange(w, "O(9):5 C O(9):0 | close(nil) | ooooo FIN", true).ended()
	r.exchange(w, "O(9):0", true)
}

// TestExchangeAlert: Exchange is done when the alert that says why was sent.
func TestExchangeAlert(t *testing.T) {
	w := &wire{in: "rubbish"}
	r := newRig(t, Config{})
	r.ExpectPeer()
	r.exchange(w, "I(rubbish):7 H:err+in+out+unsent F:want_write+unsent | close(err)", false)
	w.room = make([]byte, 3)
	r.exchange(w, "O(3):3 O(3):1 | | ooo o", true)
}

// TestExchangeBroken: a transport whose Send finds the connection broken ends the session from there.
func TestExchangeBroken(t *testing.T) {
	w := &wire{room: make([]byte, 9)}
	r := openRig(t, Config{}).write("hello")
	w.lost = func() { r.Abort(errBroken); r.Ready(0) }
	r.exchange(w, "W(hello):5+out+unsent O(9):5 | close(err) | ooooo", true).ended()
}

// TestExchangeBrokenAtEnd: it is no error that a peer which has closed its direction does not wait for our close_notify,
// unless data is lost. What came before can be read.
func TestExchangeBrokenAtEnd(t *testing.T) {
	w := &wire{in: "close_notify", end: true, room: make([]byte, 9)}
	r := openRig(t, Config{})
	w.lost = func() { r.Broken(errBroken); r.Ready(0) }
	r.exchange(w, "I(close_notify):12 X R:eof S:ok+out+unsent O(9):5 | close(nil) | ooooo", true).ended()

	w = &wire{in: "data", room: make([]byte, 9)}
	r = openRig(t, Config{})
	r.h.on["data"] = func() { r.h.on["data"] = nil; r.write("reply") }
	w.lost = func() { r.Broken(errBroken) }
	r.exchange(w, "I(data):4 R:2+in R:2+in+drained W(reply):5+out+unsent O(9):5 O(9):0 | data(2) data(2) close(err) | ooooo", true).ended()

	r = newRig(t, Config{})
	r.ExpectPeer()
	r.Broken(errBroken)
	r.exchange(w, "O(9):0 | close(err)", true).ended()
}

// TestExchangeInHandler: inside a handler nothing is moved.
func TestExchangeInHandler(t *testing.T) {
	w := &wire{in: "hello", room: make([]byte, 9)}
	r := openRig(t, Config{})
	r.h.on["data"] = func() { tlstest.Equal(t, "done", r.Exchange(w), false) }
	r.exchange(w, "I(hello):5 R:5+in+drained | data(5)", false)
}

// TestExchangeUpgrade: from Upgrade on nothing is fed until the second engine is there, which gets all that follows, and
// the end. What it has for the peer is taken in the same call, behind all of the first engine.
func TestExchangeUpgrade(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		end  bool
		want string
		done bool
	}{
		{"the hello behind it", "askhello", false, "I(askhello):3 R:3+in+drained W(clear):5+out+unsent O(9):5 I(hello):5" +
			" H:ok+in+out+unsent R:want_read+unsent O(9):4 W(secret):6+out+unsent O(9):6 | data(3) open | ooooo oooo oooooo", false},
		{"the hello comes later", "ask", false, "I(ask):3 R:3+in+drained W(clear):5+out+unsent O(9):5 | data(3) | ooooo", false},
		{"the end, told to the first engine", "ask", true, "I(ask):3 X R:3+in+drained W(clear):5+out+unsent O(9):5 X H:fin O(9):0" +
			" | data(3) close(fin) | ooooo", true},
		{"the end behind the hello", "askhello", true, "I(askhello):3 R:3+in+drained W(clear):5+out+unsent O(9):5 I(hello):5 X H:err+in+out+unsent" +
			" F:want_write+unsent O(9):2 | data(3) close(err) | ooooo oo", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &rig{t: t, e: &scripted{t: t}, h: &recorder{t: t, on: map[string]func(){}}}
			r.Init(struct{ MemoryEngine }{r.e}, r.h, new(Config))
			r.ready(0, "H:ok R:want_read | open")
			r.h.on["data"] = func() {
				next := &scripted{t: t}
				tlstest.Must(t, r.write("clear").Upgrade(next, 0, func() error {
					next.script, r.e.script, r.e = r.e.script, nil, next
					r.ExpectPeer()
					return nil
				}))
				r.write("secret")
			}
			r.exchange(&wire{in: tc.in, end: tc.end, room: make([]byte, 9)}, tc.want, tc.done)
		})
	}
}
