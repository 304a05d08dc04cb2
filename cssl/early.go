package cssl

/*
#include "context.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"unsafe"

	"github.com/spacemonad/go-openssl/tlsio"
)

// EarlyDataStatus says what became of early data.
type EarlyDataStatus uint8

const (
	// EarlyDataNone: the client has sent none.
	EarlyDataNone EarlyDataStatus = iota
	// EarlyDataRejected: the server has thrown it away; the client must send it again, after the handshake. A client also has this
	// before the server has answered.
	EarlyDataRejected
	// EarlyDataAccepted: the server has taken it.
	EarlyDataAccepted
)

// String is "none", "rejected" or "accepted".
func (s EarlyDataStatus) String() string {
	switch s {
	case EarlyDataNone:
		return "none"
	case EarlyDataRejected:
		return "rejected"
	case EarlyDataAccepted:
		return "accepted"
	}
	return fmt.Sprintf("EarlyDataStatus(%d)", uint8(s))
}

// ReadEarlyData makes a server read early data (0-RTT; RFC 8446, section 2.3), before the first Handshake: it begins the handshake, and
// reads up to len(p) bytes of what the client has sent along with its first message. The end of it, at once if there is none, is a
// Result whose Err is io.EOF; it does not stick, and Handshake goes on from there. A server that does not call it rejects early data; one
// that has begun must go on until io.EOF, and everything else but WriteEarlyData and Flush is ErrState until then.
//
// What is read may have been sent before, by somebody else, to this server or another one: see Config.MaxEarlyData. Once Handshake
// is done, it is certain that the client is there now. A client that sends more than MaxEarlyData fails the connection.
func (c *Conn) ReadEarlyData(p []byte) tlsio.Result {
	if c.fatal != nil || len(p) == 0 {
		return tlsio.Result{Err: c.fatal}
	}
	if c.first() && c.hs.offload {
		if !c.usable() {
			return tlsio.Result{Want: tlsio.WantAsync}
		}
		return tlsio.Result{Err: io.EOF} // none is taken: it would come on this goroutine
	}
	for {
		r := C.cssl_read_early(c.c, (*C.uchar)(unsafe.SliceData(p)), C.size_t(len(p)))
		ended := r.code == C.CSSL_END
		if ended {
			r.code = C.SSL_ERROR_NONE
		}
		out := c.result(tlsio.OpReadEarlyData, r)
		if ended {
			out.Err = io.EOF
		}
		if c.hs == nil || !c.hs.decide(out.Want) {
			return out
		}
		if c.hs.offload {
			C.cssl_early_give_up(c.c) // nothing of the ClientHello has been worked on yet
			return tlsio.Result{Err: io.EOF, In: out.In}
		}
	}
}

// WriteEarlyData makes a client send p, or a part of it, along with its first message, before the first Handshake; it may be called
// again for more, as far as EarlyDataRoom goes. It needs ConnConfig.Session of a server that takes early data, for the same ServerName; where
// Session had to be left out, or the room is used up, it is ErrState, and Write after the handshake is the way. After a Want
// the next one must be given the same bytes. Handshake ends it; then State.EarlyData says whether the server has taken the data. If not,
// the application must Write it again.
//
// Early data can be replayed by whoever records it, and it is not forward secret: who learns the server's ticket key, or either
// side's session, reads it. So it is for requests that do no harm when they come twice.
//
// A server may call it too, between the first early data and Handshake, to answer before the client's handshake is done; what
// it sends then is for whoever the session was with.
//
// It needs a tail (Config.Tail).
func (c *Conn) WriteEarlyData(p []byte) tlsio.Result {
	if c.fatal != nil || len(p) == 0 {
		return tlsio.Result{Err: c.fatal}
	}
	if !c.usable() {
		return tlsio.Result{Want: tlsio.WantAsync}
	}
	return c.result(tlsio.OpWriteEarlyData, C.cssl_write_early(c.c, (*C.uchar)(unsafe.SliceData(p)), C.size_t(len(p))))
}

// EarlyDataRoom is how many bytes of early data a client can (still) write: 0 where its session allows none.
func (c *Conn) EarlyDataRoom() int {
	if !c.usable() || c.server || c.established() {
		return 0
	}
	return int(C.cssl_early_room(c.c))
}

// ExportEarlyKeyingMaterial is ExportKeyingMaterial from the secret of early data (RFC 8446, section 7.5): as soon as
// a client has written some or a server has accepted some, before the handshake is done. Like early data, it is the same in a replay.
func (c *Conn) ExportEarlyKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	if c.fatal != nil {
		return nil, c.fatal
	}
	if n <= 0 || n > 1<<16 {
		return nil, fmt.Errorf("exporter: %d bytes asked for, want 1 to 65536", n)
	}
	if !c.usable() {
		return nil, &tlsio.Error{Op: tlsio.OpHandshake, Err: tlsio.ErrState}
	}
	var reasons C.cssl_reasons
	out := make([]byte, n)
	l := []byte(label)
	if C.cssl_ssl_export_early(C.cssl_conn_ssl(c.c), bytesPtr(out), C.size_t(n), (*C.char)(bytesPtr(l)), C.size_t(len(l)),
		bytesPtr(context), C.size_t(len(context)), &reasons) == 0 {
		return nil, &ConfigError{Setting: "early exporter", Value: label, Reasons: goReasons(&reasons), Err: errors.New("no early data, no keying material")}
	}
	return out, nil
}

// MaxEarlyData is how many bytes of early data the server of s takes with it; 0: none.
func (s *Session) MaxEarlyData() int {
	return int(C.cssl_session_early((*C.uchar)(bytesPtr(s.der)), C.long(len(s.der))))
}
