package cssl

/*
#include "conn.h"
#include "extension.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime/cgo"
	"slices"
	"unsafe"

	"github.com/spacemonad/go-openssl/tlsio"
)

// Messages is a set of handshake messages that can have an [Extension].
type Messages uint8

const (
	InClientHello Messages = C.CSSL_CLIENT_HELLO
	// InServerHello is the EncryptedExtensions message in TLS 1.3, and the
	// ServerHello before. A server sends an extension only if the client did.
	InServerHello Messages = C.CSSL_SERVER_HELLO
	// InCertificateRequest is a server's request for a certificate in TLS 1.3.
	InCertificateRequest Messages = C.CSSL_CERTIFICATE_REQUEST
	// InCertificate is the list of extensions of each certificate in TLS 1.3. A
	// server sends an extension only if the ClientHello had it, a client if the
	// CertificateRequest had it.
	InCertificate Messages = C.CSSL_IN_CERTIFICATE
)

// Extension is a TLS extension of the application (RFC 8446, section 4.2).
//
// Add and Parse are called during handshakes, also those that resume a session,
// on the goroutine that runs the handshake or, with Config.Offload, its step,
// and for several connections at once. They must not block, and must not use
// the connection. An error or a panic ([ErrCallbackPanic]) fails this
// connection alone, whose error wraps it; a [tlsio.Alert] in the error is the
// alert that the peer gets.
type Extension struct {
	// Type is the IANA number. OpenSSL's own extensions are refused, except
	// signed_certificate_timestamp (18).
	Type uint16
	// Messages says which messages have the extension. In others, a peer that
	// sends it is refused with illegal_parameter. Everybody can read what is
	// InClientHello, also with ConnConfig.ECHConfigList: OpenSSL 4.0 copies it to
	// the unencrypted ClientHello.
	Messages Messages
	// Add returns the content for a message that this side sends, at most
	// [MaxExtension] bytes, which are copied; with send false the message does
	// not have the extension. (A ClientHello with ConnConfig.ECHConfigList must:
	// OpenSSL 4.0 cannot leave it out.) After a HelloRetryRequest it is called
	// again for the second ClientHello. Without Add, a client sends an empty
	// extension in its ClientHello, and other messages do not have it. The
	// default alert is internal_error.
	Add func(c ExtensionCall) (data []byte, send bool, err error)
	// Parse gets the content that the peer sent, which it may keep. A server
	// calls it before its own Add. Without Parse, any content is accepted. The
	// default alert is illegal_parameter.
	Parse func(c ExtensionCall, data []byte) error
}

// ExtensionCall says what [Extension].Add or Parse is called for.
type ExtensionCall struct {
	Type    uint16
	Message Messages // one of them
	// Certificate is the place in the chain, InCertificate: 0 is the leaf.
	Certificate int
	Server      bool // whether this side is the server
	// Owner is the owner passed to [Conn.Bind]: a *reactor.Conn, a
	// *sslnet.Conn, or your own.
	Owner any
	// Value is a variable that all calls for a connection share, nil at first.
	// State.Extensions has it after the handshake.
	Value *any
}

// MaxExtension is the most bytes of an [Extension] that Add may return, and
// MaxExtensions how many a Context may have.
const (
	MaxExtension  = 8192
	MaxExtensions = 16
)

// recordSizeLimit is the number of the extension behind RecordSizeLimit.
const recordSizeLimit = 28

// checkExtensions refuses extensions that can never work.
func (c *Config) checkExtensions() error {
	if len(c.Extensions) > MaxExtensions {
		return refused("Extensions", len(c.Extensions), "more than %d", MaxExtensions)
	}
	for i, e := range c.Extensions {
		const all = InClientHello | InServerHello | InCertificateRequest | InCertificate
		const sct = C.TLSEXT_TYPE_signed_certificate_timestamp
		why := ""
		switch {
		case C.SSL_extension_supported(C.uint(e.Type)) == 1 && e.Type != sct || e.Type == recordSizeLimit:
			why = "OpenSSL or this package has this extension itself"
		case e.Type == sct && c.Staples:
			why = "Staples requests it already"
		case slices.ContainsFunc(c.Extensions[:i], func(o Extension) bool { return o.Type == e.Type }):
			why = "duplicate"
		case e.Messages&^all != 0 || e.Messages&(InClientHello|InCertificateRequest) == 0:
			why = "its Messages need InClientHello or InCertificateRequest, and have only those that are defined: no other message may begin"
		case e.Messages&InServerHello != 0 && e.Messages&InClientHello == 0:
			why = "InServerHello responds to InClientHello, which is not in its Messages"
		}
		if why != "" {
			return refused(fmt.Sprintf("Extensions[%d]", i), e.Type, "%s", why)
		}
	}
	return nil
}

// selectable returns an error if a connection that st has accepted cannot
// switch to the Context of to. OpenSSL has listed the ClientHello's extensions
// for the first SSL_CTX, and then reads as many as the second one has: beyond
// the list if these are more.
func (st *contextState) selectable(to *contextState) error {
	for i, e := range to.extensions {
		if i == len(st.extensions) || st.extensions[i].Type != e.Type {
			return fmt.Errorf("a Context whose Extensions[%d] is %d, unlike that of the Context that accepts the connection", i, e.Type)
		}
	}
	return nil
}

// extensions adds Config.Extensions.
func (b *builder) extensions() error {
	for i, e := range b.cfg.Extensions {
		if C.cssl_ctx_extension(b.ptr, C.uint(e.Type), C.int(e.Messages), cbool(e.Add != nil), cbool(e.Parse != nil), &b.reasons) == 0 {
			return b.fail(fmt.Sprintf("Extensions[%d]", i), fmt.Sprint(e.Type))
		}
	}
	return nil
}

// extension calls f for an extension. If f fails or panics, it keeps the error
// for the connection, and returns false with the alert.
func (h *handshaker) extension(kind C.uint, message C.int, chain C.size_t, alert *C.int, otherwise C.int,
	f func(*Extension, ExtensionCall) error) bool {
	call := ExtensionCall{Type: uint16(kind), Message: Messages(message), Certificate: int(chain), Owner: h.owner, Value: &h.value,
		Server: C.SSL_is_server(C.cssl_conn_ssl(h.c)) == 1}
	i := slices.IndexFunc(h.st.extensions, func(e Extension) bool { return e.Type == call.Type })
	*alert = otherwise
	err := func() (err error) {
		defer recovered(&err)
		err = f(&h.st.extensions[i], call)
		var a tlsio.Alert
		if err != nil && errors.As(err, &a) { // calls methods of the application's error
			*alert = C.int(a)
		}
		return err
	}()
	if err == nil {
		return true
	}
	h.refused = fmt.Errorf("extension %d: %w", kind, err)
	return false
}

//export cssl_go_extension_add
func cssl_go_extension_add(handle C.uintptr_t, kind C.uint, message C.int, chain C.size_t, out **C.uchar, n *C.size_t, alert *C.int) C.int {
	h, send := cgo.Handle(handle).Value().(*handshaker), false
	ok := h.extension(kind, message, chain, alert, C.SSL_AD_INTERNAL_ERROR, func(e *Extension, c ExtensionCall) error {
		data, s, err := e.Add(c)
		switch {
		case err != nil:
			return err
		case !s && h.encrypts && c.Message == InClientHello: // OpenSSL would fail with an internal error
			return errors.New("its Add sends nothing, and OpenSSL cannot leave an extension out of an Encrypted Client Hello")
		case len(data) > MaxExtension:
			return fmt.Errorf("its Add returned %d bytes, at most %d may be sent", len(data), MaxExtension)
		}
		if send = s; send {
			*out, *n = (*C.uchar)(C.CBytes(data)), C.size_t(len(data))
		}
		return nil
	})
	if !ok {
		return -1
	}
	return cbool(send)
}

//export cssl_go_extension_parse
func cssl_go_extension_parse(handle C.uintptr_t, kind C.uint, message C.int, chain C.size_t, in *C.uchar, n C.size_t, alert *C.int) C.int {
	h := cgo.Handle(handle).Value().(*handshaker)
	return cbool(h.extension(kind, message, chain, alert, C.SSL_AD_ILLEGAL_PARAMETER, func(e *Extension, c ExtensionCall) error {
		return e.Parse(c, C.GoBytes(unsafe.Pointer(in), C.int(n)))
	}))
}
