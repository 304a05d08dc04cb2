package session

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/spacemonad/go-openssl/tlsio"
)

// model is an honest Engine over a transport that the test controls. It keeps
// to what the real one does (OpenSSL's rules among it) and reports each call that OpenSSL
// would not allow. Its answers depend on what is in the transport and on chance.
type model struct {
	r *rand.Rand
	// tail: a write that does not fit is accepted and the rest is Unsent, as
	// cssl does; otherwise the write stays unfinished.
	tail bool

	in   []string // from the peer: "data…", "hs" (a handshake message), "eof", "fin"
	room int      // how many bytes the transport takes
	held int      // ciphertext that the transport refused

	plain  []byte // decrypted and not read yet, at most one record
	got    string // what ended the input: "eof", "fin"
	parked []byte // of an unfinished write
	await  int    // handshake messages that must still come
	flight int    // bytes of a handshake message that must still be sent
	own    bool   // this side began the handshake that is under way
	opened bool
	async  bool // a callback of the application is under way
	notify bool // close_notify left
	fin    bool
	dead   string // which operation failed

	moved                bool
	took, sent           bool
	accepted, read       bytes.Buffer
	calls                int
	fault                string
	lastWant             [operations]tlsio.Want
	lastUnsent           bool
	failWrites, failRead bool
}

// blame notes the first call that broke a rule.
func (m *model) blame(format string, args ...any) {
	if m.fault == "" {
		m.fault = fmt.Sprintf(format, args...)
	}
}

// noMore is the model's own: the handshake cannot go on, for the peer's direction has ended.
const noMore = tlsio.Want(255)

// begin is what all operations share.
func (m *model) begin(op string) {
	m.calls++
	m.took, m.sent = false, false
	if m.dead != "" && op != "flush" && !(m.dead == "write" && op == "read") {
		m.blame("%s after %s failed", op, m.dead)
	}
}

// end fills in what was moved.
func (m *model) end(op operation, r tlsio.Result) tlsio.Result {
	r.In, r.Out, r.Unsent = m.took, m.sent, m.held > 0
	if m.took || m.sent {
		m.moved = true
	}
	m.lastWant[op] = r.Want
	if r.Drained {
		m.lastWant[op] = tlsio.WantRead
	}
	m.lastUnsent = r.Unsent
	return r
}

// send hands n bytes to the transport, and answers how many it did not take.
func (m *model) send(n int) int {
	k := min(n, m.room)
	m.room -= k
	if k > 0 {
		m.sent = true
	}
	return n - k
}

// flush sends what is held.
func (m *model) flush() bool {
	m.held = m.send(m.held)
	return m.held == 0
}

// handshakes carries a handshake on until it is done. data says whether
// application data may be taken off the transport on the way.
func (m *model) handshakes(data bool) tlsio.Want {
	for m.flight > 0 || m.await > 0 {
		if m.flight > 0 {
			if m.tail {
				m.held += m.flight
				m.flight = 0
				m.flush()
			} else if m.flight = m.send(m.flight); m.flight > 0 {
				return tlsio.WantWrite
			}
			continue
		}
		switch {
		case len(m.plain) > 0:
			return tlsio.WantAppRead
		case m.got != "":
			return noMore
		case len(m.in) == 0:
			return tlsio.WantRead
		case m.in[0] == "hs":
			m.in = m.in[1:]
			m.took = true
			m.await--
			if m.r.IntN(2) == 0 {
				m.flight += m.r.IntN(50)
			}
		case m.in[0] == "eof", m.in[0] == "fin":
			return noMore
		case data:
			return tlsio.WantNone
		default:
			m.plain = []byte(m.in[0])
			m.in = m.in[1:]
			m.took = true
		}
	}
	return tlsio.WantNone
}

func (m *model) Handshake() tlsio.Result {
	m.begin("handshake")
	if m.opened && m.fin {
		m.blame("handshake after FIN")
	}
	if !m.opened && m.r.IntN(10) == 0 {
		m.async = true
	}
	if m.async {
		return m.end(handshake, tlsio.Result{Want: tlsio.WantRetryVerify})
	}
	switch w := m.handshakes(false); w {
	case tlsio.WantNone:
		m.opened, m.own = true, false
		return m.end(handshake, tlsio.Result{})
	case noMore:
		m.dead = "handshake"
		return m.end(handshake, tlsio.Result{Err: fmt.Errorf("handshake: %w", io.ErrUnexpectedEOF)})
	default:
		return m.end(handshake, tlsio.Result{Want: w})
	}
}

func (m *model) Read(p []byte) tlsio.Result {
	m.begin("read")
	if !m.opened {
		m.blame("read in the handshake")
	}
	if m.got != "" {
		m.blame("read after the end")
	}
	if m.failRead && m.r.IntN(20) == 0 {
		m.dead = "read"
		return m.end(read, tlsio.Result{Err: errBroken})
	}
	for {
		if len(m.plain) > 0 {
			n := copy(p, m.plain)
			m.plain = m.plain[n:]
			m.read.Write(p[:n])
			return m.end(read, tlsio.Result{N: n, Drained: len(m.plain) == 0 && len(m.in) == 0 && m.r.IntN(2) == 0})
		}
		if w := m.handshakes(true); w == tlsio.WantWrite || w == tlsio.WantRead {
			return m.end(read, tlsio.Result{Want: w})
		}
		if len(m.in) == 0 {
			return m.end(read, tlsio.Result{Want: tlsio.WantRead})
		}
		next := m.in[0]
		m.in = m.in[1:]
		m.took = true
		switch next {
		case "hs": // the peer asks for a KeyUpdate
			m.flight += 5
		case "eof", "fin":
			m.got = next
			return m.end(read, tlsio.Result{Err: scriptErrors[next]})
		default:
			m.plain = []byte(next)
		}
	}
}

func (m *model) Write(p []byte) tlsio.Result { return m.WriteBuffers([][]byte{p}, false) }

// WriteBuffers takes what it likes of the buffers, or parks the first of them.
func (m *model) WriteBuffers(bufs [][]byte, _ bool) tlsio.Result {
	m.begin("write")
	for _, p := range bufs {
		if !m.opened || m.notify || len(p) == 0 || len(p) > tlsio.MaxPlaintext {
			m.blame("write of %d bytes, opened %v, after close_notify %v", len(p), m.opened, m.notify)
		}
	}
	first, p := bufs[0], bytes.Join(bufs, nil)
	if m.parked != nil && !bytes.Equal(m.parked, first) {
		m.blame("bad write retry: %d bytes instead of %d", len(first), len(m.parked))
	}
	if m.failWrites && m.r.IntN(20) == 0 {
		m.dead = "write"
		n := m.r.IntN(len(p))
		m.accepted.Write(p[:n])
		return m.end(write, tlsio.Result{N: n, Err: errBroken})
	}
	if !m.flush() {
		m.parked = bytes.Clone(first)
		return m.end(write, tlsio.Result{Want: tlsio.WantWrite})
	}
	switch w := m.handshakes(false); w {
	case tlsio.WantNone:
	case noMore:
		m.dead = "write"
		return m.end(write, tlsio.Result{Err: fmt.Errorf("write: %w", io.ErrUnexpectedEOF)})
	default:
		m.parked = bytes.Clone(first)
		return m.end(write, tlsio.Result{Want: w})
	}
	n := len(p)
	if m.r.IntN(2) == 0 {
		n = len(first)
	}
	switch {
	case m.tail:
		m.held = n + 20
		m.flush()
	case m.room == 0:
		m.parked = bytes.Clone(first)
		return m.end(write, tlsio.Result{Want: tlsio.WantWrite})
	default:
		n = n - m.send(n)
	}
	m.parked = nil
	m.accepted.Write(p[:n])
	return m.end(write, tlsio.Result{N: n})
}

func (m *model) Flush() tlsio.Result {
	m.begin("flush")
	if !m.flush() {
		return m.end(write, tlsio.Result{Want: tlsio.WantWrite})
	}
	return m.end(write, tlsio.Result{})
}

func (m *model) Shutdown() tlsio.Result {
	m.begin("shutdown")
	// What this side began must be waited for (P12, P35).
	if m.own || !m.opened {
		m.blame("shutdown while in init")
	}
	switch {
	case m.flight > 0, m.await > 0:
		// What the peer asked for is carried on here.
		if w := m.handshakes(false); w == noMore {
			m.dead = "write"
			return m.end(shutdown, tlsio.Result{Err: io.ErrUnexpectedEOF})
		} else if w != tlsio.WantNone {
			return m.end(shutdown, tlsio.Result{Want: w})
		}
	case m.notify:
		m.blame("a second shutdown")
	}
	if m.parked != nil {
		m.blame("shutdown while a write is unfinished")
	}
	if m.tail {
		m.held += 30
		m.flush()
	} else if m.room == 0 {
		return m.end(shutdown, tlsio.Result{Want: tlsio.WantWrite})
	} else {
		m.send(min(30, m.room))
	}
	m.notify = true
	return m.end(shutdown, tlsio.Result{})
}

func (m *model) CloseWrite() error {
	m.calls++
	if m.fin || !m.notify || m.held > 0 {
		m.blame("FIN: again %v, after close_notify %v, %d bytes unsent", m.fin, m.notify, m.held)
	}
	m.fin = true
	m.moved = true
	return nil
}

func (m *model) KeyUpdate(bool) tlsio.Result { return m.rekey(0) }

func (m *model) Renegotiate() tlsio.Result         { return m.rekey(1) }
func (m *model) ShutdownMore() tlsio.Result        { return m.Shutdown() }
func (m *model) RequestCertificate() tlsio.Result  { panic("nobody asks for a certificate") }
func (m *model) ReadEarlyData([]byte) tlsio.Result { panic("nobody sends early data") }

func (m *model) rekey(await int) tlsio.Result {
	m.begin("key update")
	if m.parked != nil || m.notify || !m.opened {
		m.blame("key update: write unfinished %v, after close_notify %v", m.parked != nil, m.notify)
	}
	if m.flight > 0 || m.await > 0 || m.r.IntN(10) == 0 {
		return m.end(handshake, tlsio.Result{Err: tlsio.ErrState})
	}
	m.own = true
	m.await = await
	m.flight = 1 + m.r.IntN(100)
	m.calls--
	return m.Handshake()
}
