package cssl

/*
#include "context.h"

// cssl_flush never calls Go and keeps no pointer. The other operations may call
// Go.
#cgo noescape cssl_flush
#cgo nocallback cssl_flush
*/
import "C"

import (
	"fmt"
	"io"
	"net"
	"syscall"
	"unsafe"

	"github.com/spacemonad/go-openssl/tlsio"
)

// Conn is one TLS connection: an SSL, or direct records in its place. It may be used by one goroutine at a
// time: no two of its methods may run at once. Its methods do not block, except
// on a Conn made by [Context.NewBlockingConn], in [Config].KeyLog, and when a
// renegotiation or a certificate request after the handshake needs a token's
// signature: Config.Offload covers the first handshake only. The operations
// return a [tlsio.Result]; its error is usually a [*tlsio.Error]. The caller
// closes it.
type Conn struct {
	c  *C.cssl_conn
	fd int
	// Errors are permanent, as in OpenSSL: readErr for reading only (the end of
	// the stream), fatal for all operations.
	readErr error
	fatal   error
	server  bool
	hs      *handshaker // nil if no operation waits for the application
	psk     bool        // the Context has pre-shared keys
}

// Handshake starts or continues the first handshake. Later it continues a
// renegotiation, or a KeyUpdate or certificate request that is not sent yet.
func (c *Conn) Handshake() tlsio.Result { return c.operate(tlsio.OpHandshake, false) }

// Read reads up to len(p) bytes: of one record or, with [RecordsDirect], of
// several; all of p is then its workspace. It may return WantWrite. At the
// end of the stream the error is io.EOF (close_notify) or io.ErrUnexpectedEOF
// (a FIN without close_notify). With an empty p it returns at once, without
// calling OpenSSL.
func (c *Conn) Read(p []byte) tlsio.Result { return c.read(tlsio.OpRead, p) }

// Peek is like Read but leaves the bytes in place, for the next Read.
func (c *Conn) Peek(p []byte) tlsio.Result { return c.read(tlsio.OpPeek, p) }

func (c *Conn) read(op tlsio.Op, p []byte) tlsio.Result {
	if c.fatal == nil && (c.readErr != nil || len(p) == 0) {
		return tlsio.Result{Err: c.readErr}
	}
	return c.operate(op, false, p)
}

// Write writes p, or its first 64 KiB, in records of up to 16 KiB that are sent
// together. It writes fewer if the transport does not take them and Config.Tail
// has no room. It may return WantRead.
// After a Want, the next Write must begin with the same bytes (the address may
// differ). If p was shorter than 16 KiB, its length must be the same too. With
// an empty p it returns at once, without calling OpenSSL, which cannot tell an
// empty write from a failure.
func (c *Conn) Write(p []byte) tlsio.Result { return c.WriteBuffers([][]byte{p}, false) }

// WriteBuffers is Write for the bytes of bufs in order, or of the first four of
// them. A record holds bytes of one buffer. After a Want, the rule for p applies
// to the first buffer that is not empty; the others may differ. more says that
// others follow at once: the kernel may hold the last record back for up to 200
// ms and send them together (tcp(7), TCP_CORK).
func (c *Conn) WriteBuffers(bufs [][]byte, more bool) tlsio.Result {
	bufs = bufs[:min(len(bufs), C.CSSL_BUFFERS)]
	n := 0
	for _, p := range bufs {
		n += len(p)
	}
	if c.fatal == nil && n == 0 {
		return tlsio.Result{}
	}
	return c.operate(tlsio.OpWrite, more, bufs...)
}

// Shutdown sends close_notify; no Write may follow. Progress means that OpenSSL
// has written it. Result.Unsent reports that the transport has not taken all of
// it yet. Reading goes on until the peer closes. Before the handshake is done,
// and after a fatal error, Shutdown returns an error.
func (c *Conn) Shutdown() tlsio.Result { return c.operate(tlsio.OpShutdown, false) }

// ShutdownMore is Shutdown for a close_notify that CloseWrite follows at once:
// the kernel may hold it back for up to 200 ms and send it with the FIN
// (tcp(7), TCP_CORK).
func (c *Conn) ShutdownMore() tlsio.Result { return c.operate(tlsio.OpShutdown, true) }

// KeyUpdate changes this side's sending key (TLS 1.3). If request is true, it
// asks the peer to change its own. After a Want, Handshake continues it; so do
// Read and Write.
func (c *Conn) KeyUpdate(request bool) tlsio.Result {
	return c.operate(tlsio.OpKeyUpdate, request)
}

// Renegotiate starts a new handshake (TLS 1.2, with Config.Renegotiation). On a
// server, progress means that the HelloRequest was sent. After a Want,
// Handshake continues it; so do Read and Write.
func (c *Conn) Renegotiate() tlsio.Result { return c.operate(tlsio.OpRenegotiate, false) }

// Flush sends ciphertext that the transport has not taken yet. Without a socket
// it returns WantWrite until Take has taken all of it.
func (c *Conn) Flush() tlsio.Result {
	if c.fatal == net.ErrClosed {
		return tlsio.Result{Err: c.fatal}
	}
	if !c.usable() {
		return tlsio.Result{Want: tlsio.WantAsync}
	}
	return c.result(tlsio.OpFlush, C.cssl_flush(c.c))
}

// SendFile writes up to n bytes of a file, by sendfile(2) from its offset on,
// which moves. The kernel must seal what is written ([RecordsKernel]): otherwise
// the error is [tlsio.ErrState]. Result.N is 0 at the file's end. An errno may
// be that of the file; the connection then goes on. SendFile waits for the
// socket if that is blocking.
func (c *Conn) SendFile(file, n int) tlsio.Result {
	if c.fatal != nil {
		return tlsio.Result{Err: c.fatal}
	}
	if c.first() {
		return tlsio.Result{Err: &tlsio.Error{Op: tlsio.OpWrite, Err: tlsio.ErrState}}
	}
	return c.result(tlsio.OpWrite, C.cssl_send_file(c.c, C.int(file), C.size_t(n)))
}

// operate performs op with one cgo call; conn.c has a function for each op.
// flag is more for Write and Shutdown, and request for KeyUpdate. bufs are one
// buffer for Read and Peek, and up to four for Write. If op needs a decision of
// the application and the application decides at once, op continues.
func (c *Conn) operate(op tlsio.Op, flag bool, bufs ...[]byte) tlsio.Result {
	if c.fatal != nil {
		return tlsio.Result{Err: c.fatal}
	}
	if c.first() {
		switch op {
		case tlsio.OpHandshake, tlsio.OpRead, tlsio.OpPeek:
			if r := c.firstHandshake(); op == tlsio.OpHandshake || r.Want != tlsio.WantNone || r.Err != nil {
				return r
			}
		default:
			return tlsio.Result{Err: &tlsio.Error{Op: op, Err: tlsio.ErrState}}
		}
	}
	var b C.cssl_buffers
	for i, p := range bufs {
		b.data[i], b.len[i] = (*C.uchar)(unsafe.SliceData(p)), C.size_t(len(p))
	}
	for {
		var r C.cssl_result
		switch op {
		case tlsio.OpHandshake:
			r = C.cssl_handshake(c.c)
		case tlsio.OpRead:
			r = C.cssl_read(c.c, b.data[0], b.len[0])
		case tlsio.OpPeek:
			r = C.cssl_peek(c.c, b.data[0], b.len[0])
		case tlsio.OpWrite:
			r = C.cssl_write(c.c, b, cbool(flag))
		case tlsio.OpShutdown:
			r = C.cssl_shutdown(c.c, cbool(flag))
		case tlsio.OpKeyUpdate:
			r = C.cssl_key_update(c.c, cbool(flag))
		case tlsio.OpRenegotiate:
			r = C.cssl_renegotiate(c.c)
		case tlsio.OpRequestCertificate:
			r = C.cssl_request_certificate(c.c)
		}
		out := c.result(op, r)
		if c.hs == nil || !c.hs.decide(out.Want) {
			return out
		}
		if op == tlsio.OpRenegotiate {
			op = tlsio.OpHandshake // it has started
		}
	}
}

// result translates the C result. It does not allocate for progress and wants.
func (c *Conn) result(op tlsio.Op, r C.cssl_result) tlsio.Result {
	out := tlsio.Result{
		In:     r.flags&C.CSSL_MOVED_IN != 0,
		Out:    r.flags&C.CSSL_MOVED_OUT != 0,
		Unsent: r.flags&C.CSSL_UNSENT != 0,
		Held:   r.flags&C.CSSL_HELD != 0,

		Certificate: r.flags&C.CSSL_CERTIFICATE != 0,
	}
	switch op {
	case tlsio.OpRead, tlsio.OpPeek, tlsio.OpWrite, tlsio.OpReadEarlyData, tlsio.OpWriteEarlyData:
		out.N = int(r.n)
	}
	if r.code == C.SSL_ERROR_NONE {
		out.Drained = r.flags&C.CSSL_DRAINED != 0
		return out
	}
	if out.Want = wantOf(int(r.code)); out.Want == tlsio.WantNone {
		out.Certificate = false
		out.Err = c.failure(op, int(r.code), syscall.Errno(r.err))
	}
	return out
}

// wantOf translates the codes of SSL_get_error that name something to wait for.
// For others it returns WantNone.
func wantOf(code int) tlsio.Want {
	switch code {
	case C.SSL_ERROR_WANT_READ:
		return tlsio.WantRead
	case C.SSL_ERROR_WANT_WRITE:
		return tlsio.WantWrite
	case C.SSL_ERROR_WANT_CLIENT_HELLO_CB:
		return tlsio.WantClientHello
	case C.SSL_ERROR_WANT_RETRY_VERIFY:
		return tlsio.WantRetryVerify
	case C.CSSL_WANT_APP_READ:
		return tlsio.WantAppRead
	}
	return tlsio.WantNone
}

// failure returns the error for a code that is not a want, and makes it
// permanent if it is.
func (c *Conn) failure(op tlsio.Op, code int, errno syscall.Errno) error {
	e := &tlsio.Error{Op: op, Errno: errno}
	switch code {
	case C.SSL_ERROR_ZERO_RETURN:
		e.Err = io.EOF
		if op == tlsio.OpRead || op == tlsio.OpPeek {
			c.readErr = io.EOF // not wrapped, as for an io.Reader
			return io.EOF
		}
		return e
	case C.CSSL_BARE_FIN:
		e.Err = io.ErrUnexpectedEOF
		if op == tlsio.OpHandshake || op == tlsio.OpReadEarlyData || op == tlsio.OpWriteEarlyData {
			c.fatal = e
		} else {
			c.readErr = e
		}
		return e
	case C.CSSL_SEND_FAILED:
		return e // of the write direction only; the BIO remembers it
	case C.CSSL_BAD_STATE:
		e.Err = tlsio.ErrState
		if op == tlsio.OpWrite && c.c != nil && C.cssl_shutdown_sent(c.c) != 0 {
			e.Err = tlsio.ErrShutdown
		}
		if c.c != nil {
			e.Reasons = goReasons(C.cssl_conn_reasons(c.c))
		}
		return e
	case C.CSSL_LIMIT:
		e.Err = tlsio.ErrLimit
	case C.CSSL_RECV_FAILED:
	case C.SSL_ERROR_SYSCALL:
		e.Reasons = goReasons(C.cssl_conn_reasons(c.c))
	case C.SSL_ERROR_SSL:
		e.Reasons = goReasons(C.cssl_conn_reasons(c.c))
		c.describe(e)
		if c.hs != nil && c.hs.refused != nil {
			e.Err = c.hs.refused
		}
		if err := signerError(c.c); err != nil {
			e.Err = err
		} else if err := c.echRejection(); err != nil {
			e.Err = err
		}
	default:
		e.Err = fmt.Errorf("%w: %d", tlsio.ErrUnknown, code)
	}
	c.fatal = e
	return e
}

// ssl returns the SSL; nil after the switch to direct records.
func (c *Conn) ssl() *C.SSL { return C.cssl_conn_ssl(c.c) }

// describe adds which side sent an alert, and why a certificate was refused.
func (c *Conn) describe(e *tlsio.Error) {
	if a := C.cssl_alert_received(c.c); a > 0 {
		e.Alert, e.AlertSide = tlsio.Alert(a), tlsio.AlertReceived
	} else if a := C.cssl_alert_sent(c.c); a > 0 {
		e.Alert, e.AlertSide = tlsio.Alert(a), tlsio.AlertSent
	}
	for _, r := range e.Reasons {
		if ssl := c.ssl(); ssl != nil && r.Text == "certificate verify failed" {
			e.Verify = verifyText(C.SSL_get_verify_result(ssl))
			if why := C.cssl_data_of_ssl(ssl).refused; why != nil {
				e.Verify = C.GoString(why)
			}
		}
	}
	if c.psk && !c.established() && c.pskRefused(e) {
		e.Err = tlsio.ErrPSK
	}
}
