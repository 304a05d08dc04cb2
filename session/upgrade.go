package session

import (
	"errors"
	"net"

	"github.com/spacemonad/go-openssl/tlsio"
)

// upgrade is an Upgrade that has not begun yet.
type upgrade struct {
	engine Engine
	begin  func() error
	left   int // bytes at the front of the queue that the current engine writes
}

// Upgrade makes an open Session go on over e, with a handshake: STARTTLS. The
// current engine is then one without TLS, whose Handshake is done at once.
//
// What was written before, except for the last later bytes of the queue, leaves
// through the current engine; what is written from now on leaves through e,
// after OnOpen, which is called again. The current engine is not read any more.
// When it has sent everything, begin is called, as a part of Ready. It may call
// ExpectPeer, and Ready(Readable) if e has input already. An error of begin
// ends the session. Until OnOpen, Close ends the session at once.
//
// The error is net.ErrClosed if the session is not open, if the peer has ended
// its direction, after CloseWrite, and if an Upgrade has not begun yet, or
// errors.ErrUnsupported if the current engine is a FullEngine. Call Ready(0)
// afterwards when not inside a handler.
func (s *Session) Upgrade(e Engine, later int, begin func() error) error {
	if !s.mayRekey() || s.readDone || s.upgrade != nil {
		return net.ErrClosed
	}
	if _, ok := s.engine.(FullEngine); ok {
		return errors.ErrUnsupported
	}
	s.upgrade = &upgrade{engine: e, begin: begin, left: s.queue.len() - later}
	return nil
}

// begin changes to the next engine.
func (s *Session) begin() {
	u := s.upgrade
	s.upgrade, s.input = nil, inputNone
	s.engine, s.phase, s.want = u.engine, Handshaking, [operations]tlsio.Want{}
	if err := u.begin(); err != nil {
		s.Abort(err)
	}
}
