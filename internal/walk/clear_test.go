package walk

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// clearEngine is the engine of a walk that begins in plain text: each side sends its first bytes as they are, and calls
// Upgrade when it has those of its peer. It reads no further than to their end.
type clearEngine struct {
	e  *end
	fd int
}

func (c clearEngine) Read(p []byte) tlsio.Result {
	most := min(len(p), c.e.peer.inClear-c.e.got)
	if most == 0 {
		return tlsio.Result{Want: tlsio.WantRead}
	}
	n, err := unix.Read(c.fd, p[:most])
	switch {
	case err == unix.EAGAIN:
		return tlsio.Result{Want: tlsio.WantRead}
	case err != nil:
		return tlsio.Result{Err: os.NewSyscallError("read", err)}
	case n == 0:
		return tlsio.Result{Err: io.EOF}
	}
	return tlsio.Result{N: n, In: true, Drained: n < most}
}

func (c clearEngine) Write(p []byte) tlsio.Result {
	n, err := unix.SendmsgN(c.fd, p, nil, nil, unix.MSG_NOSIGNAL)
	switch {
	case err == unix.EAGAIN:
		return tlsio.Result{Want: tlsio.WantWrite}
	case err != nil:
		return tlsio.Result{Err: os.NewSyscallError("sendmsg", err)}
	}
	return tlsio.Result{N: n, Out: true}
}

func (clearEngine) Handshake() tlsio.Result { return tlsio.Result{} }
func (clearEngine) Flush() tlsio.Result     { return tlsio.Result{} }
func (clearEngine) Shutdown() tlsio.Result  { return tlsio.Result{} }
func (c clearEngine) CloseWrite() error     { return unix.Shutdown(c.fd, unix.SHUT_WR) }

// isClear reports whether e has not called Upgrade yet.
func (e *end) isClear() bool { return e.inClear > 0 && !e.upgraded }

// upgrade begins TLS, with some bytes behind those in the clear.
func (e *end) upgrade() {
	e.upgraded = true
	clear := e.sent
	e.write(e.w.r.IntN(2000))
	e.w.trace.add(step{who: e.name, what: "Upgrade", n: e.sent - clear})
	if err := e.s.Upgrade(e.e, e.sent-clear, e.begin); err != nil {
		e.fail("Upgrade answers %v", err)
	}
	e.w.count.of["Upgrade"]++
}

// begin is called when all that is in the clear was sent.
func (e *end) begin() error {
	e.want = [len(e.want)]tlsio.Want{}
	if e == e.w.ends[1] && e.w.one(2) {
		e.s.ExpectPeer()
		e.want[tlsio.OpHandshake] = tlsio.WantRead
		if e.w.one(2) {
			e.s.Ready(session.Readable)
		}
	}
	return nil
}
