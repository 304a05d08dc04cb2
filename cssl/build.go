package cssl

/*
#include "certs.h"
#include "context.h"
#include "decide.h"
#include "library.h"
#include <stdlib.h>
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"runtime/cgo"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/features"
	"github.com/spacemonad/go-openssl/internal/sessionid"
)

// builder holds a Context under construction.
type builder struct {
	cfg        *Config
	server     bool
	properties *C.char // Config.Properties, or nil
	ptr        *C.SSL_CTX
	lowest     TLSVersion // that is spoken
	sessionID  [32]C.uchar
	reasons    C.cssl_reasons
	state      *contextState
	certs      *certificates
	names      map[string]bool // that are chosen by
}

func newContext(cfg *Config, server bool) (x *Context, err error) {
	if err := linked.Mismatch(); err != nil {
		return nil, &ConfigError{Setting: "OpenSSL", Err: err}
	}
	b := &builder{cfg: cfg, server: server, properties: optional(cfg.Properties)}
	lent := cfg.Previous.lend(cfg)
	defer lent.release()
	b.certs = &certificates{from: lent, byText: map[content]*certificate{}, reading: map[content]*reading{}, byFiles: map[files]*reading{}}
	defer C.free(unsafe.Pointer(b.properties))
	certs, trust, crl, err := b.load()
	defer func() {
		for i := range certs {
			certs[i].forget()
		}
		if err != nil && b.ptr != nil {
			C.SSL_CTX_free(b.ptr)
		}
		if err != nil {
			b.certs.release()
		}
	}()
	if err != nil {
		return nil, err
	}
	if err := b.create(certs, trust, crl); err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		b.lists,
		b.legacy,
		func() error { return b.certificates(certs) },
		func() error { return b.trust(trust, crl) },
		b.alpn,
		b.ticketKeys,
		b.earlyData,
		b.sessions,
		b.checkClientAuth,
		b.recordSizes,
		func() error { return b.psks(len(certs) == 0) },
		b.bind,
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	alpn := slices.Clone(cfg.ALPN)
	for _, sni := range cfg.SNI {
		alpn = append(alpn, sni.alpn...)
	}
	tail := cfg.Tail
	switch {
	case tail < 0:
		tail = 0
	case tail == 0:
		tail = DefaultTail
	case tail < minTail:
		tail = minTail
	}
	return &Context{
		ptr:       b.ptr,
		server:    server,
		tail:      tail,
		alpn:      alpn,
		limits:    [2]C.uint32_t{limit(cfg.MaxMessages, defaultMaxMessages), limit(cfg.MaxRenegotiations, defaultMaxRenegotiations)},
		sessionID: b.sessionID,
		verify:    !server && cfg.Verify != VerifyNone && (len(cfg.PSKs) == 0 || len(trust) > 0 || cfg.SystemCAs),
		psk:       len(cfg.PSKs) > 0,
		state:     b.state,

		commonName: cfg.AllowCommonName,
	}, nil
}

func limit(n, otherwise int) C.uint32_t {
	if n <= 0 {
		n = otherwise
	}
	return C.uint32_t(min(n, 1<<31))
}

func (b *builder) fail(setting, value string) error { return b.failFor(setting, value, nil) }

// failFor is fail with a cause, such as that the linked OpenSSL is too old.
func (b *builder) failFor(setting, value string, err error) error {
	if len(value) > 200 {
		value = value[:200] + "…"
	}
	return &ConfigError{Setting: setting, Value: value, Reasons: goReasons(&b.reasons), Err: err}
}

// create makes the SSL_CTX with all settings that are numbers.
func (b *builder) create(certs []loaded, trust, crl []byte) error {
	c := b.cfg
	if b.server && len(certs) == 0 && !c.named() && len(c.PSKs) == 0 {
		return &ConfigError{Setting: "Certificates", Err: errors.New("a server needs a certificate, or PSKs")}
	}
	var err error
	if b.lowest, err = b.versions(len(certs) > 0 || c.named()); err != nil {
		return err
	}
	if !b.server && len(c.SNI) > 0 {
		return &ConfigError{Setting: "SNI", Err: errors.New("only a server chooses by server name")}
	}
	if b.server && c.AllowCommonName {
		return &ConfigError{Setting: "AllowCommonName", Err: errors.New("only a client checks its peer's name")}
	}
	if !b.server && len(c.Names) > 0 {
		return &ConfigError{Setting: "Names", Err: errors.New("only a server chooses by server name")}
	}
	if strings.IndexByte(c.Properties, 0) >= 0 {
		return &ConfigError{Setting: "Properties", Value: c.Properties, Err: errors.New("contains a NUL byte")}
	}
	for setting, n := range map[string]int{
		"VerifyDepth": c.VerifyDepth, "Tickets": c.Tickets, "SessionCache": c.SessionCache,
		"MaxMessages": c.MaxMessages, "MaxRenegotiations": c.MaxRenegotiations,
	} {
		if n < 0 || n > 1<<30 {
			return &ConfigError{Setting: setting, Value: fmt.Sprint(n), Err: errors.New("out of range")}
		}
	}
	s := C.cssl_settings{
		library:         c.Library.pointer(),
		properties:      b.properties,
		server:          cbool(b.server),
		min_version:     C.int(b.lowest),
		max_version:     C.int(c.MaxVersion),
		verify_depth:    -1,
		tickets:         1,
		no_tickets:      cbool(c.NoTickets),
		session_cache:   C.long(c.sessionCache()),
		renegotiation:   cbool(c.Renegotiation),
		release_buffers: cbool(c.ReleaseBuffers),
		// A HelloRequest with more input buffered behind it puts OpenSSL 3.0 into a
		// state in which application data is a protocol error.
		read_ahead:          cbool(!c.NoReadAhead && !c.Renegotiation),
		post_handshake_auth: cbool(c.PostHandshakeAuth),
		no_middlebox_compat: cbool(c.NoMiddleboxCompat),
	}
	switch c.Verify {
	case VerifyDefault:
		if !b.server {
			s.verify_mode = C.SSL_VERIFY_PEER
		}
	case VerifyNone:
	case VerifyOptional:
		s.verify_mode = C.SSL_VERIFY_PEER
	case VerifyRequire, VerifyApplication:
		s.verify_mode = C.SSL_VERIFY_PEER | C.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
	default:
		return &ConfigError{Setting: "Verify", Value: fmt.Sprint(uint8(c.Verify)), Err: errors.New("unknown mode")}
	}
	if c.Verify == VerifyApplication && c.VerifyPeer == nil {
		return &ConfigError{Setting: "Verify", Value: "VerifyApplication", Err: errors.New("VerifyPeer, which is to decide, is not set")}
	}
	if c.VerifyPeer != nil && s.verify_mode == C.SSL_VERIFY_NONE {
		return &ConfigError{Setting: "VerifyPeer", Err: errors.New("would never be asked: Verify asks for no certificate")}
	}
	if c.VerifyPeer != nil && !b.server && C.cssl_can_retry_verify() == 0 {
		return &ConfigError{Setting: "VerifyPeer", Err: errors.New("a client's needs OpenSSL 3.0.2 or newer when this package is built")}
	}
	if c.ClientHello != nil && !b.server {
		return &ConfigError{Setting: "ClientHello", Err: errors.New("only a server hears one")}
	}
	if c.VerifyDepth > 0 {
		s.verify_depth = C.int(c.VerifyDepth)
	}
	if c.NoTickets {
		// Without a ticket TLS 1.3 would put each session into the cache instead
		// (CVE-2024-2511), so none are issued.
		s.tickets = 0
	} else if c.Tickets > 0 {
		s.tickets = C.int(c.Tickets)
	}
	var chains [][]byte
	for _, cert := range certs {
		chains = append(chains, cert.chain)
	}
	demands := fmt.Sprint(c.Verify, c.VerifyDepth, b.systemCAs(trust), len(crl) > 0, c.VerifyPeer != nil, c.Properties)
	// Revocation lists are not in it: session.c looks those up anew.
	for i, v := range sessionid.Context(b.server, chains, trust, demands, c.CipherList, c.SignatureAlgorithms, strings.Join(c.ALPN, "\x00")) {
		b.sessionID[i] = C.uchar(v)
	}
	s.session_id_context = b.sessionID
	if b.ptr = C.cssl_ctx_new(&s, &b.reasons); b.ptr == nil {
		switch {
		case c.Properties != "":
			return b.fail("Properties", c.Properties)
		case len(c.Library.Providers()) == 0:
			return b.failFor("Library", "", errNoProvider())
		}
		return b.fail("MinVersion, MaxVersion, Tickets", "")
	}
	return nil
}

func cbool(v bool) C.int {
	if v {
		return 1
	}
	return 0
}

// lists sets what is passed to OpenSSL in its own syntax.
func (b *builder) lists() error {
	c := b.cfg
	for _, s := range []struct {
		which          C.int
		setting, value string
		missing        func(version uint32, list string) features.Feature
	}{
		{C.CSSL_CIPHERS, "CipherList", c.CipherList, nil},
		{C.CSSL_CIPHERSUITES, "CipherSuites", c.CipherSuites, nil},
		{C.CSSL_GROUPS, "Groups", c.Groups, features.MissingGroup},
		{C.CSSL_SIGALGS, "SignatureAlgorithms", c.SignatureAlgorithms, features.MissingSignature},
	} {
		if s.value == "" {
			continue
		}
		if strings.IndexByte(s.value, 0) >= 0 {
			return &ConfigError{Setting: s.setting, Value: s.value, Err: errors.New("contains a NUL byte")}
		}
		ok := b.set(s.which, s.value)
		var err error
		switch {
		case ok && s.which == C.CSSL_CIPHERSUITES: // what nobody has, OpenSSL leaves out without a word
			err = b.unknown(s.value, b.hasCipher)
		case !ok && s.missing != nil: // OpenSSL does not say which name it refuses
			reasons := b.reasons
			if err = needs(s.missing(linked.Run.series(), s.value)); err == nil {
				err = b.unknown(s.value, func(name string) bool { return b.set(s.which, name) })
			}
			b.reasons = reasons
		}
		if !ok || err != nil {
			return b.failFor(s.setting, s.value, err)
		}
	}
	return nil
}

// set sets what is passed to OpenSSL in its own syntax. The reasons of a failure are kept.
func (b *builder) set(which C.int, value string) bool {
	v := C.CString(value)
	defer C.free(unsafe.Pointer(v))
	return C.cssl_ctx_string(b.ptr, which, v, &b.reasons) == 1
}

func (b *builder) hasCipher(name string) bool {
	p := C.CString(name)
	defer C.free(unsafe.Pointer(p))
	return C.cssl_ctx_has_cipher(b.ptr, p) != 0
}

func (b *builder) ticketKeys() error {
	keys := b.cfg.TicketKeys
	if len(keys) == 0 {
		return nil
	}
	if !b.server {
		return &ConfigError{Setting: "TicketKeys", Err: errors.New("only a server has ticket keys")}
	}
	size := len(keys[0])
	all := make([]byte, 0, size*len(keys)) // in one piece, so that no copy is left behind
	defer func() { clear(all) }()
	for i, k := range keys {
		if len(k) != C.CSSL_TICKET_KEY_SHORT && len(k) != C.CSSL_TICKET_KEY_LONG || len(k) != size {
			return &ConfigError{Setting: fmt.Sprintf("TicketKeys[%d]", i), Err: fmt.Errorf("has %d bytes; all must have %d, or all %d",
				len(k), C.CSSL_TICKET_KEY_SHORT, C.CSSL_TICKET_KEY_LONG)}
		}
		all = append(all, k...)
	}
	if C.cssl_ctx_ticket_keys(b.ptr, (*C.uchar)(bytesPtr(all)), C.size_t(size), C.size_t(len(keys)), &b.reasons) == 0 {
		return b.fail("TicketKeys", "")
	}
	return nil
}

// maxSessionLifetime is RFC 8446's for a ticket (section 4.6.1), and so for what comes of it.
const maxSessionLifetime = 7 * 24 * time.Hour

// sessions sets how long sessions live.
func (b *builder) sessions() error {
	d := cmp.Or(b.cfg.SessionLifetime, DefaultSessionLifetime)
	if d < time.Second || d > maxSessionLifetime {
		return &ConfigError{Setting: "SessionLifetime", Value: d.String(), Err: errors.New("must be from a second to 7 days (168h)")}
	}
	if C.cssl_ctx_sessions(b.ptr, cbool(b.server), C.uint(d/time.Second), &b.reasons) == 0 {
		return b.fail("SessionLifetime", "")
	}
	return nil
}

// systemCAs reports whether the system's CAs are trusted: by default, where a client has nothing else to know a server by.
func (b *builder) systemCAs(trust []byte) bool {
	return b.cfg.SystemCAs || !b.server && len(trust) == 0 && len(b.cfg.PSKs) == 0
}

func (b *builder) trust(trust, crl []byte) error {
	if len(trust) > 0 || b.cfg.CAFile != "" {
		if C.cssl_ctx_trust(b.ptr, bytesPtr(trust), C.int(len(trust)), cbool(b.server), &b.reasons) <= 0 {
			return b.wrongContent("CA", "PEM", b.cfg.CAFile, trust, wantCA)
		}
		if usable, err := needsForKeys(trust); usable == 0 && err != nil {
			return &ConfigError{Setting: "CAFile", Value: b.cfg.CAFile, Err: err}
		}
	}
	if b.systemCAs(trust) {
		if C.cssl_ctx_trust_system(b.ptr, &b.reasons) == 0 {
			return b.fail("SystemCAs", "")
		}
	}
	if len(crl) == 0 && b.cfg.CRLFile == "" {
		return nil
	}
	if C.cssl_ctx_crl(b.ptr, bytesPtr(crl), C.int(len(crl)), &b.reasons) <= 0 {
		return b.wrongContent("CRL", "PEM", b.cfg.CRLFile, crl, wantCRL)
	}
	return nil
}

func (b *builder) alpn() error {
	if len(b.cfg.ALPN) == 0 {
		return nil
	}
	var wire []byte
	for _, p := range b.cfg.ALPN {
		if len(p) == 0 || len(p) > 255 {
			return &ConfigError{Setting: "ALPN", Value: p, Err: errors.New("a protocol name has 1 to 255 bytes (RFC 7301)")}
		}
		wire = append(append(wire, byte(len(p))), p...)
	}
	if len(wire) > 65535 {
		return &ConfigError{Setting: "ALPN", Err: errors.New("more than 65535 bytes in all (RFC 7301)")}
	}
	if C.cssl_ctx_alpn(b.ptr, cbool(b.server), (*C.uchar)(bytesPtr(wire)), C.uint(len(wire)), &b.reasons) == 0 {
		return b.fail("ALPN", strings.Join(b.cfg.ALPN, ","))
	}
	return nil
}

// bind ties the Go side of the callbacks to the SSL_CTX. It comes last, since
// from here on freeing the SSL_CTX releases the handle.
func (b *builder) bind() error {
	cfg := b.cfg
	st := &contextState{lib: cfg.Library, properties: cfg.Properties, certs: b.certs, sessionID: b.sessionID, clientHello: cfg.ClientHello, verifyPeer: cfg.VerifyPeer, timeout: cfg.DecisionTimeout}
	if st.timeout <= 0 {
		st.timeout = DefaultDecisionTimeout
	}
	// OpenSSL can suspend a client's verification alone, and no signature.
	st.offload = cfg.Offload || b.server && cfg.VerifyPeer != nil || cfg.slow()
	st.asksHello = st.clientHello != nil || len(cfg.SNI) > 0
	st.asks = st.asksHello || st.verifyPeer != nil || st.offload
	if cfg.KeyLog != nil {
		st.keyLog = &keyLog{w: cfg.KeyLog}
	}
	if len(cfg.SNI) > 0 {
		st.sni = map[string]sniContext{}
	}
	for name, x := range cfg.SNI {
		key, err := sniKey(name)
		if err == nil && (x == nil || !x.server) {
			err = errors.New("not a server Context")
		}
		if err == nil && x.state.lib != cfg.Library {
			err = errors.New("a Context of another Library")
		}
		if _, twice := st.sni[key]; err == nil && twice {
			err = errors.New("the same name is in the map in another spelling")
		}
		if err == nil && b.names[key] && cfg.SNI[name] != nil {
			err = errors.New("the name has certificates of this Context too")
		}
		if err == nil {
			err = x.use(func(p *C.SSL_CTX) { C.SSL_CTX_up_ref(p); st.sni[key] = sniContext{p, x.state} })
		}
		if err != nil {
			st.release()
			return &ConfigError{Setting: "SNI", Value: name, Err: err}
		}
	}
	h := cgo.NewHandle(st)
	C.cssl_ctx_bind(b.ptr, C.uintptr_t(h), cbool(st.keyLog != nil))
	if st.asksHello {
		C.cssl_decide_hello(b.ptr)
	}
	if st.verifyPeer != nil {
		C.cssl_decide_peer(b.ptr, cbool(cfg.Verify == VerifyApplication))
	}
	b.state = st
	return nil
}
