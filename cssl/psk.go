package cssl

/*
#include "context.h"
#include <stdlib.h>
*/
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"
)

// psks gives the SSL_CTX the pre-shared keys. alone says that there is no certificate.
func (b *builder) psks(alone bool) error {
	c := b.cfg
	if len(c.PSKs) == 0 {
		return nil
	}
	refuse := func(setting, why string) error { return &ConfigError{Setting: setting, Err: errors.New(why)} }
	switch {
	case c.before13():
		return refuse("PSKs", "need TLS 1.3, and MaxVersion is below")
	case !b.server && len(c.PSKs) > 1:
		return refuse("PSKs", "a client has one: OpenSSL offers no more")
	case !b.server && c.Verify == VerifyNone:
		return refuse("PSKs", "with VerifyNone, a server that has neither the key nor a certificate would do")
	}
	// The memory of Go that C looks at must not move while it does.
	var pins runtime.Pinner
	defer pins.Unpin()
	keys := make([]C.cssl_psk, len(c.PSKs))
	mixed := false
	for i, k := range c.PSKs {
		setting := fmt.Sprintf("PSKs[%d]", i)
		switch {
		case len(k.Identity) == 0 || len(k.Identity) > C.CSSL_MAX_IDENTITY:
			return refuse(setting+".Identity", fmt.Sprintf("has %d bytes, want 1 to 1024", len(k.Identity)))
		case len(k.Key) < 16 || len(k.Key) > 256:
			return refuse(setting+".Key", fmt.Sprintf("has %d bytes, want 16 to 256", len(k.Key)))
		case k.Hash != "" && k.Hash != "SHA256" && k.Hash != "SHA384":
			return &ConfigError{Setting: setting + ".Hash", Value: k.Hash, Err: errors.New("must be SHA256 or SHA384")}
		}
		pins.Pin(&k.Identity[0])
		pins.Pin(&k.Key[0])
		keys[i] = C.cssl_psk{
			identity: (*C.uchar)(&k.Identity[0]), identity_len: C.size_t(len(k.Identity)),
			key: (*C.uchar)(&k.Key[0]), key_len: C.size_t(len(k.Key)), sha384: cbool(k.Hash == "SHA384"),
		}
		mixed = mixed || keys[i].sha384 != keys[0].sha384
	}
	sorted := slices.Clone(c.PSKs)
	slices.SortFunc(sorted, func(x, y PSK) int { return bytes.Compare(x.Identity, y.Identity) })
	for i := 1; i < len(sorted); i++ {
		if bytes.Equal(sorted[i-1].Identity, sorted[i].Identity) {
			return &ConfigError{Setting: "PSKs", Value: string(sorted[i].Identity), Err: errors.New("the identity is there twice")}
		}
	}
	onlyKey := b.server && alone && !c.named() || !b.server && !c.SystemCAs && c.CAFile == "" && len(c.CAPEM) == 0
	var bad C.size_t
	switch C.cssl_ctx_psks(b.ptr, cbool(b.server), unsafe.SliceData(keys), C.size_t(len(keys)), cbool(c.CipherSuites == "" && !mixed),
		cbool(onlyKey), &b.sessionID[0], &bad, &b.reasons) {
	case 0:
		return b.fail("PSKs", "")
	case -1:
		return &ConfigError{Setting: fmt.Sprintf("PSKs[%d].Hash", bad), Value: c.PSKs[bad].Hash,
			Err: errors.New("no cipher suite with this hash is enabled; see CipherSuites")}
	}
	return nil
}

// PSK is the identity of the external pre-shared key that authenticated the handshake, or the one that it resumes; nil if it was
// none. Negotiated.Resumed is true in both cases, since TLS 1.3 makes no difference.
func (c *Conn) PSK() []byte {
	if !c.established() {
		return nil
	}
	var p *C.uchar
	n := C.cssl_ssl_psk(C.cssl_conn_ssl(c.c), &p)
	if n == 0 {
		return nil
	}
	return C.GoBytes(unsafe.Pointer(p), C.int(n))
}

// pskRefused reports whether e, of a handshake, is what it looks like when no pre-shared key was agreed on.
func (c *Conn) pskRefused(e *Error) bool {
	if !c.server {
		// OpenSSL's server says the first for lack of a certificate, the second or the third when the key is another one; RFC 8446 has the last too.
		return e.AlertSide == AlertReceived && slices.Contains([]Alert{40, 47, 51, 115}, e.Alert)
	}
	return slices.ContainsFunc(e.Reasons, func(r Reason) bool {
		return r.Text == "no suitable signature algorithm" || r.Text == "no shared cipher" || r.Text == "binder does not verify"
	})
}
