package cssl

/*
#include "context.h"
*/
import "C"

import (
	"fmt"
	"io"
	"unsafe"

	"github.com/spacemonad/go-openssl/tlsio"
)

// EarlyDataStatus says whether the server accepted early data.
type EarlyDataStatus uint8

const (
	// EarlyDataNone means that the client sent none.
	EarlyDataNone EarlyDataStatus = iota
	// EarlyDataRejected means that the server discarded it; the client must
	// send it again after the handshake. On a client it is also the state
	// before the server has responded.
	EarlyDataRejected
	// EarlyDataAccepted means that the server accepted it.
	EarlyDataAccepted
)

// String returns "none", "rejected" or "accepted".
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

// ReadEarlyData starts a server's handshake and reads up to len(p) bytes of
// early data (0-RTT; RFC 8446, section 2.3). It must be called before the first
// Handshake. At the end of the early data, at once if there is none, Result.Err
// is io.EOF; this is not permanent, and Handshake continues. A server that does
// not call ReadEarlyData rejects early data. After the first call, the server
// must repeat it until io.EOF; until then all other operations but
// WriteEarlyData and Flush return [tlsio.ErrState].
//
// Early data may be a replay of data sent to this server or another one before:
// see [Config].MaxEarlyData. Once Handshake is done, the client is known to be
// present. If a client sends more than MaxEarlyData, the connection fails.
func (c *Conn) ReadEarlyData(p []byte) tlsio.Result {
	if c.fatal != nil || len(p) == 0 {
		return tlsio.Result{Err: c.fatal}
	}
	if c.first() && c.hs.offload {
		if !c.usable() {
			return tlsio.Result{Want: tlsio.WantAsync}
		}
		return tlsio.Result{Err: io.EOF} // rejected: it would be read on this goroutine
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
			C.cssl_early_give_up(c.c) // OpenSSL has not processed the ClientHello yet
			return tlsio.Result{Err: io.EOF, In: out.In}
		}
	}
}

// WriteEarlyData sends p, or a part of it, with a client's first message,
// before the first Handshake. It may be called again for more, as long as
// [Conn.EarlyDataRoom] is not 0. It needs a tail ([Config].Tail), and a
// ConnConfig.Session of a server that accepts early data, for the same
// ServerName. If the Session had to be ignored, or there is no room left, it
// returns [tlsio.ErrState]: use Write after the handshake. After a Want, the
// next call must have the same bytes. After Handshake, State.EarlyData says
// whether the server accepted the data. If not, the application must Write it
// again.
//
// Early data can be replayed by an attacker who records it. It has no forward
// secrecy: the server's ticket key, or the session of either side, decrypts it.
// So use it only for requests that do no harm if repeated.
//
// A server may also call it, between the first early data and Handshake, to
// respond before the client's handshake is done. Only the peer that holds the
// session can read this response.
func (c *Conn) WriteEarlyData(p []byte) tlsio.Result {
	if c.fatal != nil || len(p) == 0 {
		return tlsio.Result{Err: c.fatal}
	}
	if !c.usable() {
		return tlsio.Result{Want: tlsio.WantAsync}
	}
	return c.result(tlsio.OpWriteEarlyData, C.cssl_write_early(c.c, (*C.uchar)(unsafe.SliceData(p)), C.size_t(len(p))))
}

// EarlyDataRoom returns how many more bytes of early data a client can write.
// It is 0 if the session allows none.
func (c *Conn) EarlyDataRoom() int {
	if !c.usable() || c.server || c.established() {
		return 0
	}
	return int(C.cssl_early_room(c.c))
}

// ExportEarlyKeyingMaterial is like ExportKeyingMaterial, with the early
// exporter secret (RFC 8446, section 7.5). It is available before the handshake
// is done: as soon as a client has written early data, or a server has accepted
// some. A replay has the same keying material.
func (c *Conn) ExportEarlyKeyingMaterial(label string, context []byte, n int) ([]byte, error) {
	if c.fatal != nil {
		return nil, c.fatal
	}
	if !c.usable() {
		return nil, &tlsio.Error{Op: tlsio.OpHandshake, Err: tlsio.ErrState}
	}
	out, err := keyingMaterial(n)
	if err != nil {
		return nil, err
	}
	var reasons C.cssl_reasons
	l := []byte(label)
	if C.cssl_conn_export(c.c, 1, (*C.uchar)(bytesPtr(out)), C.size_t(n), (*C.char)(bytesPtr(l)), C.size_t(len(l)),
		(*C.uchar)(bytesPtr(context)), C.size_t(len(context)), 0, &reasons) == 0 {
		return nil, exportError(label, &reasons, "there is no early data")
	}
	return out, nil
}

// MaxEarlyData returns how many bytes of early data the server of s accepts
// with it; 0 means none.
func (s *Session) MaxEarlyData() int {
	return int(C.cssl_session_early((*C.uchar)(bytesPtr(s.der)), C.long(len(s.der))))
}
