package cssl

/*
#include "conn.h"
#include "ech.h"
#include <stdlib.h>
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/features"
	"github.com/spacemonad/go-openssl/internal/hostname"
)

// ECHKey is a server's key for Encrypted Client Hello (RFC 9849), with the
// configurations that clients use it by: a file or PEM bytes, as openssl-ech(1)
// of OpenSSL 4.0 writes them (a PRIVATE KEY and an ECHCONFIG).
type ECHKey struct {
	File string
	PEM  []byte
}

// ECHStatus says what became of a connection's Encrypted Client Hello.
type ECHStatus uint8

const (
	// ECHNone: the client did not send one, or this side is not set up for it.
	ECHNone ECHStatus = C.CSSL_ECH_NONE
	// ECHAccepted: the server has decrypted the ClientHello. All else in State
	// and decisions is about that one.
	ECHAccepted ECHStatus = C.CSSL_ECH_ACCEPTED
	// ECHRejected: the server could not decrypt it: it was for another key, or
	// GREASE. The handshake was about the unencrypted ClientHello, and its
	// client fails with an [ECHRejectionError] unless it was GREASE.
	ECHRejected ECHStatus = C.CSSL_ECH_REJECTED
	// ECHGrease: this client has sent one that only looks real
	// (Config.ECHGrease).
	ECHGrease ECHStatus = C.CSSL_ECH_GREASE
)

// String returns "none", "accepted", "rejected" or "GREASE".
func (s ECHStatus) String() string {
	if names := [...]string{"none", "accepted", "rejected", "GREASE"}; int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("ECHStatus(%d)", uint8(s))
}

// ECHRejectionError is in a client's error if the server could not decrypt its
// ClientHello, as its configuration is outdated.
type ECHRejectionError struct {
	// RetryConfigList is the ConnConfig.ECHConfigList for another try. It is nil
	// if the server has sent none, and so does without, or if it is not
	// authenticated for the public name (RFC 9849, section 6.1.7), whatever
	// Config.Verify is. A server is authenticated by a certificate that OpenSSL
	// has verified, or the application with [PeerVerification.AcceptChains], and
	// that is for the public name and for ECHOuterName; or by a raw public key in
	// PeerKeys.
	RetryConfigList []byte
}

// Error says whether another try can succeed.
func (e *ECHRejectionError) Error() string {
	if e.RetryConfigList == nil {
		return "the server has rejected the Encrypted Client Hello, and has sent no other configuration"
	}
	return "the server has rejected the Encrypted Client Hello, and has sent other configurations: try again with RetryConfigList"
}

// needsECH returns an error if OpenSSL has no Encrypted Client Hello.
func needsECH(setting string) error {
	const since = 0x400
	switch {
	case C.cssl_ech_supported() == 1:
		return nil
	case linked.Run.series() < since:
		return &ConfigError{Setting: setting, Err: needs(features.Feature{Name: "Encrypted Client Hello", Since: since})}
	}
	return refused(setting, nil, "this OpenSSL was built without Encrypted Client Hello")
}

// checkECH refuses settings of Encrypted Client Hello that cannot work.
func (c *Config) checkECH(server bool) error {
	before13 := c.MaxVersion != 0 && c.MaxVersion < TLS13
	for _, r := range []struct {
		set, servers bool
		setting      string
	}{{len(c.ECHKeys) > 0, true, "ECHKeys"}, {c.ECHTrialDecryption, true, "ECHTrialDecryption"}, {c.ECHGrease, false, "ECHGrease"}} {
		switch {
		case !r.set:
			continue
		case r.servers != server:
			return refused(r.setting, nil, "is for the other side: a server has ECHKeys, and a client ECHGrease or ConnConfig.ECHConfigList")
		case before13:
			return refused(r.setting, nil, "needs TLS 1.3, but MaxVersion is lower")
		}
		if err := needsECH(r.setting); err != nil {
			return err
		}
	}
	if c.ECHTrialDecryption && len(c.ECHKeys) == 0 {
		return refused("ECHTrialDecryption", nil, "there are no ECHKeys to try")
	}
	return nil
}

// ech sets what Encrypted Client Hello needs.
func (b *builder) ech() error {
	const want = "a PRIVATE KEY and its ECHCONFIG in PEM, as openssl ech writes them"
	for i, k := range b.cfg.ECHKeys {
		setting := fmt.Sprintf("ECHKeys[%d].", i)
		pem, err := contentOf(setting+"File", k.File, k.PEM, want)
		if err != nil {
			return err
		}
		if C.cssl_ctx_ech_key(b.ptr, bytesPtr(pem), C.int(len(pem)), cbool(i == 0), &b.reasons) == 0 {
			err = b.wrongContent(setting, "PEM", k.File, pem, want)
		}
		if k.File != "" {
			clear(pem)
		}
		if err != nil {
			return err
		}
	}
	if b.cfg.ECHTrialDecryption {
		C.cssl_ctx_ech_trial(b.ptr)
	}
	if b.cfg.ECHGrease {
		C.cssl_ctx_ech_grease(b.ptr)
	}
	return nil
}

// encryptHello applies ConnConfig.ECHConfigList.
func (c *Conn) encryptHello(x *Context, cfg *ConnConfig) error {
	if len(cfg.ECHConfigList) == 0 {
		if cfg.ECHOuterName != "" {
			return refused("ECHOuterName", cfg.ECHOuterName, "needs ECHConfigList")
		}
		if len(cfg.ECHOuterALPN) > 0 {
			return refused("ECHOuterALPN", cfg.ECHOuterALPN, "needs ECHConfigList")
		}
		return nil
	}
	if err := needsECH("ECHConfigList"); err != nil {
		return err
	}
	if v := C.SSL_ctrl(c.ssl(), C.SSL_CTRL_GET_MAX_PROTO_VERSION, 0, nil); v != 0 && v < C.TLS1_3_VERSION {
		return refused("ECHConfigList", nil, "needs TLS 1.3, but MaxVersion is lower")
	}
	var outer *C.char
	if cfg.ECHOuterName != "" {
		if err := hostname.Check(cfg.ECHOuterName); err != nil {
			return &ConfigError{Setting: "ECHOuterName", Value: cfg.ECHOuterName, Err: err}
		}
		outer = C.CString(cfg.ECHOuterName)
		defer C.free(unsafe.Pointer(outer))
	}
	protocols := encodeProtocols(cfg.ECHOuterALPN)
	switch err := checkProtocols("ECHOuterALPN", cfg.ECHOuterALPN); {
	case err != nil:
		return err
	case len(protocols) > C.CSSL_OUTER_ALPN:
		return refused("ECHOuterALPN", nil, "more than %d bytes in all", C.CSSL_OUTER_ALPN)
	case protocols != nil && len(x.alpn) == 0:
		return refused("ECHOuterALPN", cfg.ECHOuterALPN, "needs Config.ALPN")
	}
	var reasons C.cssl_reasons
	if C.cssl_ssl_ech(c.ssl(), (*C.uchar)(bytesPtr(cfg.ECHConfigList)), C.size_t(len(cfg.ECHConfigList)), outer,
		(*C.uchar)(bytesPtr(protocols)), C.size_t(len(protocols)), &reasons) == 0 {
		return &ConfigError{Setting: "ECHConfigList", Reasons: goReasons(&reasons),
			Err: errors.New("want an ECHConfigList (RFC 9849, section 4), as in an HTTPS record, with a version and a key exchange that OpenSSL knows")}
	}
	if c.hs != nil {
		c.hs.encrypts = true
	}
	return nil
}

// echRejection returns an ECHRejectionError if that is why the handshake
// failed, or nil.
func (c *Conn) echRejection() error {
	var list *C.uchar
	var n C.size_t
	ssl := c.ssl()
	if ssl == nil || C.cssl_ssl_ech_retry(ssl, C.cssl_conn_reasons(c.c), &list, &n) == 0 {
		return nil
	}
	return &ECHRejectionError{RetryConfigList: takeBytes(list, C.long(n))}
}
