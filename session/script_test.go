package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// A script says which calls the engine must get, in which order, and what it
// answers. Its steps are separated by spaces; each is METHOD:ANSWER.
//
//	H handshake   R read   W(hello) write of these bytes   W(#300,#2) write of two buffers, of 300 and 2 bytes
//	F flush       S shutdown   C CloseWrite (no answer)   K, K? key update (? asks the peer too)   N renegotiate
//	A request certificate   E read early data   I(hello) feed these bytes   X feed the end   O(9) take into 9 bytes
//
// An answer is ok, a number of bytes, a want (want_read, want_write, app_read,
// async, …, unknown), or an error (eof, fin, err, state), and may be followed by
// what moved: +in, +out, +unsent, +held, +drained; +cert, the answer to A; and
// a number, of the bytes that were written before an error.

// errBroken is the error that "err" in a script stands for.
var errBroken = errors.New("broken")

var scriptWants = map[string]tlsio.Want{
	"want_read": tlsio.WantRead, "want_write": tlsio.WantWrite, "async": tlsio.WantAsync,
	"client_hello": tlsio.WantClientHello, "retry_verify": tlsio.WantRetryVerify, "app_read": tlsio.WantAppRead,
	"unknown": tlsio.Want(200),
}

var scriptErrors = map[string]error{
	"eof": io.EOF, "fin": io.ErrUnexpectedEOF, "err": errBroken, "state": fmt.Errorf("refused: %w", tlsio.ErrState),
}

// parseStep reads one step of a script.
func parseStep(t testing.TB, text string) (call string, r tlsio.Result) {
	call, answer, _ := strings.Cut(text, ":")
	parts := strings.Split(answer, "+")
	for _, flag := range parts[1:] {
		switch flag {
		case "in":
			r.In = true
		case "out":
			r.Out = true
		case "unsent":
			r.Unsent = true
		case "held":
			r.Held = true
		case "drained":
			r.Drained = true
		case "cert":
			r.Certificate = true
		default:
			n, err := strconv.Atoi(flag)
			if err != nil {
				t.Fatalf("script step %q: flag %q", text, flag)
			}
			r.N = n
		}
	}
	a := parts[0]
	if w, ok := scriptWants[a]; ok {
		r.Want = w
	} else if err, ok := scriptErrors[a]; ok {
		r.Err = err
	} else if n, err := strconv.Atoi(a); err == nil {
		r.N = n
	} else if a != "ok" && !(a == "" && (call == "C" || call == "X")) {
		t.Fatalf("script step %q: answer %q", text, a)
	}
	return call, r
}

// scripted is an Engine that follows a script. Any other call fails the test.
type scripted struct {
	t      testing.TB
	script []string
	// parked is the first buffer of a write that was refused; the next write must carry the same.
	parked []byte
	// more says of each write and each close_notify so far whether more was to follow.
	more []bool
	// out is what was accepted.
	out bytes.Buffer
}

// expect sets the script, when the one before has been used up.
func (e *scripted) expect(script string) {
	e.t.Helper()
	e.done()
	e.script = strings.Fields(script)
}

// done fails the test when steps are left over.
func (e *scripted) done() {
	e.t.Helper()
	if len(e.script) > 0 {
		e.t.Fatalf("calls that did not come: %v", e.script)
	}
}

// step answers a call from the script.
func (e *scripted) step(call string) tlsio.Result {
	e.t.Helper()
	if len(e.script) == 0 {
		e.t.Fatalf("unexpected call %s", call)
	}
	want, r := parseStep(e.t, e.script[0])
	if call != want {
		e.t.Fatalf("call %s, but the script has %s next", call, e.script[0])
	}
	e.script = e.script[1:]
	return r
}

func (e *scripted) Handshake() tlsio.Result { return e.step("H") }

func (e *scripted) Read(p []byte) tlsio.Result {
	r := e.step("R")
	for i := range p[:r.N] {
		p[i] = 'x'
	}
	return r
}

func (e *scripted) Write(p []byte) tlsio.Result { return e.WriteBuffers([][]byte{p}, false) }

func (e *scripted) WriteBuffers(bufs [][]byte, more bool) tlsio.Result {
	e.t.Helper()
	lengths := len(e.script) > 0 && strings.HasPrefix(e.script[0], "W(#")
	var names []string
	for _, p := range bufs {
		if len(p) == 0 || len(p) > tlsio.MaxPlaintext {
			e.t.Fatalf("a write of %d bytes reached the engine", len(p))
		}
		name := string(p)
		if lengths {
			name = fmt.Sprintf("#%d", len(p))
		}
		names = append(names, name)
	}
	if e.parked != nil && !bytes.Equal(bufs[0], e.parked) {
		e.t.Fatalf("a write of %d bytes is retried with %d bytes that are not the same", len(e.parked), len(bufs[0]))
	}
	call := "W(" + strings.Join(names, ",") + ")"
	e.more = append(e.more, more)
	r := e.step(call)
	all := bytes.Join(bufs, nil)
	if r.N > len(all) {
		e.t.Fatalf("the script accepts %d bytes of %s", r.N, call)
	}
	e.parked = nil
	if r.Want != tlsio.WantNone {
		e.parked = bytes.Clone(bufs[0])
	} else {
		e.out.Write(all[:r.N])
	}
	return r
}

func (e *scripted) Flush() tlsio.Result { return e.step("F") }
func (e *scripted) CloseWrite() error   { return e.step("C").Err }

func (e *scripted) Shutdown() tlsio.Result {
	e.more = append(e.more, false)
	return e.step("S")
}

// ShutdownMore is the same step as Shutdown; more tells them apart.
func (e *scripted) ShutdownMore() tlsio.Result {
	r := e.Shutdown()
	e.more[len(e.more)-1] = true
	return r
}

func (e *scripted) KeyUpdate(request bool) tlsio.Result {
	if request {
		return e.step("K?")
	}
	return e.step("K")
}

func (e *scripted) Renegotiate() tlsio.Result        { return e.step("N") }
func (e *scripted) RequestCertificate() tlsio.Result { return e.step("A") }

func (e *scripted) ReadEarlyData(p []byte) tlsio.Result {
	r := e.step("E")
	for i := range p[:r.N] {
		p[i] = 'e'
	}
	return r
}

func (e *scripted) Feed(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	return e.step("I(" + string(p) + ")").N
}

func (e *scripted) FeedEOF() { e.step("X") }

func (e *scripted) Take(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	n := e.step(fmt.Sprintf("O(%d)", len(p))).N
	copy(p[:n], "ooooooooo")
	return n
}

// recorder is a Handler that writes down what it hears: open, data(n), drain, eof,
// close(nil) or close(err). on holds what it does inside a call, by the call's name.
type recorder struct {
	t      testing.TB
	heard  []string
	on     map[string]func()
	closed bool
}

func (h *recorder) hear(name, arg string) {
	h.t.Helper()
	if h.closed {
		h.t.Fatalf("%s came after OnClose", name)
	}
	h.closed = name == "close"
	h.heard = append(h.heard, name+arg)
	if f := h.on[name]; f != nil {
		f()
	}
}

func (h *recorder) OnOpen()           { h.hear("open", "") }
func (h *recorder) OnData(p []byte)   { h.hear("data", fmt.Sprintf("(%d)", len(p))) }
func (h *recorder) OnDrain()          { h.hear("drain", "") }
func (h *recorder) OnEOF()            { h.hear("eof", "") }
func (h *recorder) OnClose(err error) { h.hear("close", "("+nameOf(err)+")") }

func (h *recorder) OnRekeyError(err error)  { h.hear("rekey", "("+nameOf(err)+")") }
func (h *recorder) OnCertificate(err error) { h.hear("certificate", "("+nameOf(err)+")") }
func (h *recorder) OnEarlyData(p []byte)    { h.hear("early", fmt.Sprintf("(%d)", len(p))) }

// nameOf is the name that scripts have for err.
func nameOf(err error) string {
	if err == nil {
		return "nil"
	}
	for n, e := range scriptErrors {
		if err == e {
			return n
		}
	}
	return err.Error()
}

// take answers what was heard since the last take.
func (h *recorder) take() string {
	s := strings.Join(h.heard, " ")
	h.heard = nil
	return s
}

// rig is a Session between a scripted engine and a recorder.
type rig struct {
	Session
	t testing.TB
	e *scripted
	h *recorder
}

// newRig makes a Session before its handshake.
func newRig(t testing.TB, c Config) *rig {
	r := &rig{t: t, e: &scripted{t: t}, h: &recorder{t: t, on: map[string]func(){}}}
	r.Init(r.e, r.h, &c)
	return r
}

// openRig makes a Session that is open and waits to read.
func openRig(t testing.TB, c Config) *rig {
	t.Helper()
	return newRig(t, c).ready(0, "H:ok R:want_read | open")
}

// What follows returns the rig, so that a line can say what was written, what comes of it, and what is waited for then.

// ready calls Ready and checks "calls | what the handler hears".
func (r *rig) ready(got Event, want string) *rig {
	r.t.Helper()
	script, hears, _ := strings.Cut(want, "|")
	r.e.expect(script)
	r.Ready(got)
	r.e.done()
	if h := r.h.take(); h != strings.TrimSpace(hears) {
		r.t.Fatalf("after %q the handler heard %q, want %q", script, h, strings.TrimSpace(hears))
	}
	return r
}

// waits checks Interest and Runnable: "R", "RW", "-", and "R run" if runnable too.
func (r *rig) waits(want string) *rig {
	r.t.Helper()
	got := r.Interest().String()
	if r.Runnable() {
		got += " run"
	}
	if got != want {
		r.t.Fatalf("interest %q, want %q", got, want)
	}
	return r
}

// write queues s, which must be taken.
func (r *rig) write(s string) *rig {
	r.t.Helper()
	if err := r.Write([]byte(s)); err != nil {
		r.t.Fatalf("Write(%d bytes): %v", len(s), err)
	}
	return r
}

// ended checks that nothing is left.
func (r *rig) ended() {
	r.t.Helper()
	r.waits("-")
	if r.Phase() != Closed || !r.h.closed || r.Queued() != 0 || r.queue.head != nil || r.queue.tail != nil {
		r.t.Fatalf("phase %v, OnClose %v, %d bytes queued, chunk held: %v",
			r.Phase(), r.h.closed, r.Queued(), r.queue.head != nil)
	}
	r.ready(Readable|Writable, "")
}

// waitsForApplication reports whether an operation waits for something that only
// the application can bring about; see [tlsio.Want.Application].
func (s *Session) waitsForApplication() bool {
	for op := range operations {
		if s.want[op].Application() && s.live(op) {
			return true
		}
	}
	return false
}
