package cssl

/*
#include "beside.h"
#include "certs.h"
#include "context.h"
#include "decide.h"
#include "library.h"
#include <stdlib.h>
*/
import "C"

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"runtime/cgo"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/features"
	"github.com/spacemonad/go-openssl/internal/hostname"
	"github.com/spacemonad/go-openssl/internal/recordmode"
	"github.com/spacemonad/go-openssl/internal/sessionid"
	"github.com/spacemonad/go-openssl/tlsio"
)

// builder is a Context while it is built.
type builder struct {
	cfg        *Config
	server     bool
	properties *C.char // Config.Properties, or nil
	ptr        *C.SSL_CTX
	lowest     TLSVersion // lowest version enabled
	sessionID  [32]C.uchar
	reasons    C.cssl_reasons
	state      *contextState
	certs      *certificates
	names      map[string]bool // that select a certificate
	peerKeys   []byte          // Config.PeerKeys in PEM
}

func newContext(cfg *Config, server bool) (x *Context, err error) {
	if err := linked.Mismatch(); err != nil {
		return nil, &ConfigError{Setting: "OpenSSL", Err: err}
	}
	if err := cfg.check(server); err != nil {
		return nil, err
	}
	if server && cfg.Records == 0 && cfg.Tail >= 0 {
		c := *cfg
		c.Records = Records(recordmode.Default)
		cfg = &c
	}
	b := &builder{cfg: cfg, server: server, properties: optional(cfg.Properties)}
	lent := cfg.Previous.lend(cfg)
	defer lent.release()
	b.certs = &certificates{from: lent, compress: cfg.compressed(), byText: map[content]*certificate{}, reading: map[content]*reading{}, byFiles: map[files]*reading{}}
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
	for _, step := range []func() error{
		func() error { return b.create(b.identity(certs, trust, crl)) },
		b.lists,
		b.legacy,
		b.compression,
		func() error { return b.certificates(certs) },
		func() error { return b.trust(trust, crl) },
		func() error { return b.rawKeys(trust) },
		b.alpn,
		b.ticketKeys,
		b.records,
		b.extensions,
		b.ech,
		b.psks,
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
	tail := cmp.Or(cfg.Tail, DefaultTail)
	if tail > 0 {
		tail = max(tail, minTail)
	}
	return &Context{
		ptr:       b.ptr,
		server:    server,
		tail:      max(tail, 0),
		alpn:      alpn,
		limits:    [2]C.uint32_t{limit(cfg.MaxMessages, defaultMaxMessages), limit(cfg.MaxRenegotiations, defaultMaxRenegotiations)},
		sessionID: b.sessionID,
		verify: !server && cfg.Verify != VerifyNone &&
			(len(cfg.PSKs) == 0 && (!cfg.peerKeys() || cfg.VerifyPeer != nil) || len(trust) > 0 || cfg.SystemCAs),
		psk:   len(cfg.PSKs) > 0,
		state: b.state,

		commonName: cfg.AllowCommonName, noTickets: cfg.NoTickets,
	}, nil
}

// updateAfter is the number of records after which direct records update a key;
// 0 is the default. Tests change it.
var updateAfter uint32

// kernelRefuses has the directions for which kernel TLS gets an option that no
// kernel knows: CSSL_KERNEL_READ, CSSL_KERNEL_WRITE. Tests change it.
var kernelRefuses int

func limit(n, otherwise int) C.uint32_t { return C.uint32_t(cmp.Or(n, otherwise)) }

func (b *builder) fail(setting, value string) error { return b.failFor(setting, value, nil) }

// failFor is like fail, with a cause, for example that the linked OpenSSL is
// too old.
func (b *builder) failFor(setting, value string, err error) error {
	if len(value) > 200 {
		value = value[:200] + "…"
	}
	return &ConfigError{Setting: setting, Value: value, Reasons: goReasons(&b.reasons), Err: err}
}

// identity returns the session id context: Contexts with the same one can
// resume each other's sessions. Revocation lists are not part of it: session.c
// checks them again at each resumption.
func (b *builder) identity(certs []loaded, trust, crl []byte) [32]byte {
	c := b.cfg
	var chains [][]byte
	for _, cert := range certs {
		chains = append(chains, cert.chain)
	}
	demands := fmt.Sprint(c.Verify, c.VerifyDepth, b.systemCAs(trust), len(crl) > 0, c.VerifyPeer != nil, c.Properties)
	if len(c.CANames) > 0 || c.VerifyConnection != nil || len(c.SessionBinding) > 0 {
		demands += fmt.Sprintf("%x%t%x", c.CANames, c.VerifyConnection != nil, c.SessionBinding)
	}
	if c.peerKeys() {
		demands += fmt.Sprintf("%x", sha256.Sum256(b.peerKeys))
	}
	return sessionid.Context(b.server, chains, trust, demands, c.CipherList, c.SignatureAlgorithms, strings.Join(c.ALPN, "\x00"))
}

// create creates the SSL_CTX, with the settings that OpenSSL cannot refuse.
func (b *builder) create(identity [32]byte) error {
	c := b.cfg
	switch b.ptr = C.cssl_ctx_new(c.Library.pointer(), b.properties, cbool(b.server), &b.reasons); {
	case b.ptr != nil:
	case c.Properties != "":
		return b.failFor("Properties", c.Properties,
			errors.New("no active provider has the algorithms of TLS with these properties, or they are no query (property(7))"))
	case len(c.Library.Providers()) == 0:
		return b.failFor("Library", "", errNoProvider())
	default:
		return b.fail("Library", "")
	}
	for i, v := range identity {
		b.sessionID[i] = C.uchar(v)
	}
	C.SSL_CTX_set_session_id_context(b.ptr, &b.sessionID[0], C.uint(len(b.sessionID)))
	C.cssl_data_of_ctx(b.ptr).session_lifetime = C.uint(c.lifetime() / time.Second)
	if b.lowest = c.lowest(); b.server && len(c.Certificates) == 0 && !c.named() {
		b.lowest = TLS13 // PSKs need it
	}
	if b.ctrl(C.SSL_CTRL_SET_MIN_PROTO_VERSION, int(b.lowest)) == 0 || b.ctrl(C.SSL_CTRL_SET_MAX_PROTO_VERSION, int(c.MaxVersion)) == 0 {
		return refused("MinVersion, MaxVersion", nil, "the linked OpenSSL supports none of these versions")
	}
	if c.ReleaseBuffers {
		b.ctrl(C.SSL_CTRL_MODE, C.SSL_MODE_RELEASE_BUFFERS)
	}
	// If more input is buffered after a HelloRequest, OpenSSL 3.0 gets into a
	// state in which application data is a protocol error.
	if !c.NoReadAhead && !c.Renegotiation {
		b.ctrl(C.SSL_CTRL_SET_READ_AHEAD, 1)
	}
	if n := c.sessionCache(); b.server && n > 0 {
		b.ctrl(C.SSL_CTRL_SET_SESS_CACHE_MODE, C.SSL_SESS_CACHE_SERVER)
		b.ctrl(C.SSL_CTRL_SET_SESS_CACHE_SIZE, n)
	}
	b.options()
	b.verify()
	tickets := cmp.Or(c.Tickets, 1)
	if c.NoTickets {
		// Without tickets, OpenSSL would put each TLS 1.3 session into the
		// cache instead (CVE-2024-2511), so it issues none.
		tickets = 0
	}
	C.SSL_CTX_set_num_tickets(b.ptr, C.size_t(tickets))
	if b.server {
		C.SSL_CTX_set_max_early_data(b.ptr, C.uint32_t(c.MaxEarlyData))
		// How much rejected early data is skipped: as much as a client may send
		// with a ticket from an earlier setting.
		C.SSL_CTX_set_recv_max_early_data(b.ptr, C.uint32_t(max(c.MaxEarlyData, tlsio.MaxPlaintext)))
	}
	if c.Records != RecordsOpenSSL &&
		C.cssl_ctx_direct(b.ptr, C.uint32_t(updateAfter), cbool(c.Records == RecordsKernel), C.int(kernelRefuses)) == 0 {
		return &ConfigError{Setting: "Records", Err: syscall.ENOMEM}
	}
	return nil
}

// ctrl calls SSL_CTX_ctrl(3), for which OpenSSL has macros.
func (b *builder) ctrl(command C.int, n int) C.long {
	return C.SSL_CTX_ctrl(b.ptr, command, C.long(n), nil)
}

func (b *builder) options() {
	c := b.cfg
	var options C.uint64_t
	for _, o := range []struct {
		set    bool
		option C.uint64_t
	}{
		// OpenSSL 3.0 refuses a renegotiation that the client starts, unless
		// this option allows it.
		{c.Renegotiation, C.SSL_OP_ALLOW_CLIENT_RENEGOTIATION},
		// In a renegotiation the peer could resume the session of another one,
		// and VerifyPeer would not be called.
		{c.Renegotiation, C.SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION},
		{!c.Renegotiation, C.SSL_OP_NO_RENEGOTIATION},
		{c.NoTickets, C.SSL_OP_NO_TICKET},
		{c.AllowReplay, C.SSL_OP_NO_ANTI_REPLAY},
		{len(c.CertificateCompression) == 0, C.CSSL_NO_COMPRESSION},
	} {
		if o.set {
			options |= o.option
		}
	}
	C.SSL_CTX_set_options(b.ptr, options)
	if c.NoMiddleboxCompat {
		C.SSL_CTX_clear_options(b.ptr, C.SSL_OP_ENABLE_MIDDLEBOX_COMPAT)
	}
}

// verify sets whether the peer must send a certificate.
func (b *builder) verify() {
	c := b.cfg
	mode := C.int(C.SSL_VERIFY_NONE)
	switch {
	case c.Verify == VerifyOptionalApplication:
		mode = C.SSL_VERIFY_PEER
	case c.Verify >= VerifyRequire:
		mode = C.SSL_VERIFY_PEER | C.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
	case c.Verify == VerifyOptional || c.Verify == VerifyDefault && !b.server:
		mode = C.SSL_VERIFY_PEER
	}
	if b.server && c.PostHandshakeAuth {
		mode |= C.SSL_VERIFY_POST_HANDSHAKE
	}
	C.SSL_CTX_set_verify(b.ptr, mode, nil)
	C.SSL_CTX_set_post_handshake_auth(b.ptr, cbool(!b.server && c.PostHandshakeAuth))
	if c.VerifyDepth > 0 {
		C.SSL_CTX_set_verify_depth(b.ptr, C.int(c.VerifyDepth))
	}
}

func cbool(v bool) C.int {
	if v {
		return 1
	}
	return 0
}

// lists sets the lists that OpenSSL parses.
func (b *builder) lists() error {
	c := b.cfg
	for _, s := range []struct {
		setting, command, value string
		defaults                func() bool
		missing                 func(version uint32, list string) features.Feature
	}{
		{"CipherList", "CipherString", c.CipherList, b.defaultCiphers, nil},
		{"CipherSuites", "Ciphersuites", c.CipherSuites, b.defaultSuites, features.MissingSuite},
		{"Groups", "Groups", c.Groups, b.defaultGroups, features.MissingGroup},
		{"SignatureAlgorithms", "SignatureAlgorithms", c.SignatureAlgorithms, nil, features.MissingSignature},
	} {
		if s.value == "" {
			if s.defaults != nil && !s.defaults() {
				return b.fail(s.setting, "")
			}
			continue
		}
		ok := b.command(s.command, s.value)
		var err error
		switch {
		case ok && s.setting == "CipherSuites": // OpenSSL silently ignores unknown names
			if err = needs(s.missing(linked.Run.series(), s.value)); err == nil {
				err = b.unknown(s.value, func(name string) bool {
					return slices.ContainsFunc(b.ciphers(), func(c *C.SSL_CIPHER) bool { return cipherName(c) == name })
				})
			}
		case !ok && s.missing != nil: // OpenSSL does not say which name it refuses
			reasons := b.reasons
			if err = needs(s.missing(linked.Run.series(), s.value)); err == nil {
				err = b.unknown(s.value, func(name string) bool { return b.command(s.command, name) })
			}
			b.reasons = reasons
		}
		if !ok || err != nil {
			return b.failFor(s.setting, s.value, err)
		}
	}
	if c.signsOnly() {
		if err := b.withoutStaticRSA(); err != nil {
			return err
		}
	}
	if c.CipherList != "" {
		// For the DHE suites in the list. The default list has none.
		b.ctrl(C.SSL_CTRL_SET_DH_AUTO, 1)
	}
	if c.Groups != "" {
		// OpenSSL does not return them, and switching the SSL_CTX must copy
		// them.
		C.cssl_data_of_ctx(b.ptr).groups = C.CString(c.Groups)
	}
	return nil
}

// command runs a command of SSL_CONF_cmd(3). If it fails, b.reasons has the
// errors.
func (b *builder) command(name, value string) bool {
	n, v := C.CString(name), C.CString(value)
	defer C.free(unsafe.Pointer(n))
	defer C.free(unsafe.Pointer(v))
	return C.cssl_ctx_command(b.ptr, n, v, &b.reasons) == 1
}

// compressions are the numbers of the algorithms (IANA, RFC 8879).
var compressions = map[string]C.int{"zlib": 1, "brotli": 2, "zstd": 3}

// compressed returns the algorithms that a server's certificates are compressed
// with when the Context is built: none if Extensions add to a certificate, since
// the compressed form has no room for that.
func (c *Config) compressed() []string {
	if slices.ContainsFunc(c.Extensions, func(e Extension) bool { return e.Add != nil && e.Messages&InCertificate != 0 }) {
		return nil
	}
	return c.CertificateCompression
}

// compression sets how certificates may be compressed.
func (b *builder) compression() error {
	const setting = "CertificateCompression"
	names := b.cfg.CertificateCompression
	if len(names) == 0 {
		return nil
	}
	if err := needsFeature(features.CertificateCompression); err != nil {
		return &ConfigError{Setting: setting, Value: strings.Join(names, ","), Err: err}
	}
	var numbers []C.int
	for _, name := range names {
		n, known := compressions[name]
		switch {
		case !known:
			return refused(setting, name, "must be zlib, brotli or zstd")
		case slices.Contains(numbers, n):
			return refused(setting, name, "is there twice")
		case C.cssl_ctx_compress(b.ptr, &n, 1) == 0:
			return refused(setting, name, "OpenSSL %v was built without it", linked.Run)
		}
		numbers = append(numbers, n)
	}
	C.cssl_ctx_compress(b.ptr, unsafe.SliceData(numbers), C.size_t(len(numbers))) // each of them was taken
	return nil
}

func (b *builder) ticketKeys() error {
	keys := b.cfg.TicketKeys
	if len(keys) == 0 {
		return nil
	}
	all := make([]byte, 0, len(keys[0])*len(keys)) // no reallocation, which would leave a copy
	defer func() { clear(all) }()
	for _, k := range keys {
		all = append(all, k...)
	}
	if C.cssl_ctx_ticket_keys(b.ptr, (*C.uchar)(bytesPtr(all)), C.size_t(len(keys[0])), C.size_t(len(keys)), &b.reasons) == 0 {
		return b.fail("TicketKeys", "")
	}
	return nil
}

// records sets the sizes of records.
func (b *builder) records() error {
	c, d := b.cfg, C.cssl_data_of_ctx(b.ptr)
	if c.MaxFragment != 0 {
		C.SSL_CTX_set_tlsext_max_fragment_length(b.ptr, C.uint8_t(bits.Len(uint(c.MaxFragment))-9)) // 1 to 4, RFC 6066
	}
	if c.MaxSendFragment != 0 {
		b.ctrl(C.SSL_CTRL_SET_MAX_SEND_FRAGMENT, c.MaxSendFragment)
	}
	d.max_send_fragment, d.record_size_limit = C.uint(c.MaxSendFragment), C.uint(c.RecordSizeLimit)
	if (c.RecordSizeLimit != 0 || b.server) && C.cssl_ctx_record_size_limit(b.ptr, &b.reasons) == 0 {
		return b.fail("RecordSizeLimit", fmt.Sprint(c.RecordSizeLimit))
	}
	return nil
}

// systemCAs reports whether the system's CAs are trusted. By default they are
// for a client without CAs, PSKs and PeerKeys.
func (b *builder) systemCAs(trust []byte) bool {
	return b.cfg.SystemCAs || !b.server && len(trust) == 0 && len(b.cfg.PSKs) == 0 && !b.cfg.peerKeys()
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
	for i, name := range b.cfg.CANames {
		if C.cssl_ctx_ca_name(b.ptr, (*C.uchar)(bytesPtr(name)), C.long(len(name)), &b.reasons) == 0 {
			return b.failFor(fmt.Sprintf("CANames[%d]", i), "", errors.New("want a name in DER"))
		}
	}
	if b.cfg.Staples && C.cssl_ctx_staples(b.ptr, &b.reasons) == 0 {
		return b.fail("Staples", "")
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

// rawKeys turns raw public keys on, and trusts those of the peer.
func (b *builder) rawKeys(trust []byte) error {
	c := b.cfg
	setting := "RawPublicKey"
	if c.peerKeys() {
		setting = "PeerKeys"
	} else if !c.RawPublicKey {
		return nil
	}
	if err := needsFeature(features.RawPublicKeys); err != nil {
		return &ConfigError{Setting: setting, Err: err}
	}
	certificates := len(trust) > 0 || c.SystemCAs || c.Verify.byApplication() || c.Verify == VerifyNone
	if C.cssl_ctx_raw_keys(b.ptr, cbool(b.server), cbool(c.RawPublicKey), cbool(c.peerKeys()), cbool(certificates), &b.reasons) == 0 {
		return b.fail(setting, "")
	}
	if c.PeerKeysFile == "" && len(b.peerKeys) == 0 {
		return nil
	}
	if C.cssl_ctx_peer_keys(b.ptr, bytesPtr(b.peerKeys), C.int(len(b.peerKeys)), &b.reasons) <= 0 {
		return b.wrongContent(setting, "PEM", c.PeerKeysFile, b.peerKeys, wantPeerKeys)
	}
	return nil
}

// checkProtocols refuses names that ALPN cannot have.
func checkProtocols(setting string, names []string) error {
	for _, p := range names {
		if len(p) == 0 || len(p) > 255 {
			return refused(setting, p, "a protocol name has 1 to 255 bytes (RFC 7301)")
		}
	}
	return nil
}

// encodeProtocols returns the names, each preceded by its length; nil if there
// are none.
func encodeProtocols(names []string) (wire []byte) {
	for _, p := range names {
		wire = append(append(wire, byte(len(p))), p...)
	}
	return wire
}

func (b *builder) alpn() error {
	wire := encodeProtocols(b.cfg.ALPN)
	switch {
	case wire == nil:
	case b.server:
		d := C.cssl_data_of_ctx(b.ptr)
		d.alpn, d.alpn_len = (*C.uchar)(C.CBytes(wire)), C.uint(len(wire))
	case C.SSL_CTX_set_alpn_protos(b.ptr, (*C.uchar)(bytesPtr(wire)), C.uint(len(wire))) != 0:
		return &ConfigError{Setting: "ALPN", Err: syscall.ENOMEM}
	}
	return nil
}

// bind sets the handle of the SSL_CTX for Go callbacks. It is the last step,
// since from here on freeing the SSL_CTX releases the handle.
func (b *builder) bind() error {
	cfg := b.cfg
	st := &contextState{lib: cfg.Library, properties: cfg.Properties, certs: b.certs, sessionID: b.sessionID,
		clientHello: cfg.ClientHello, verifyPeer: cfg.VerifyPeer, verifyConnection: cfg.VerifyConnection,
		timeout: cfg.DecisionTimeout, extensions: slices.Clone(cfg.Extensions)}
	if st.timeout <= 0 {
		st.timeout = DefaultDecisionTimeout
	}
	// OpenSSL can suspend the verification on a client, but not on a server,
	// and no signature.
	st.offload = cfg.Offload || b.server && cfg.VerifyPeer != nil || cfg.slow()
	st.asksHello = st.clientHello != nil || len(cfg.SNI) > 0
	st.asks = st.asksHello || st.verifyPeer != nil || st.verifyConnection != nil || st.offload || len(st.extensions) > 0
	if cfg.KeyLog != nil {
		st.keyLog = &keyLog{w: cfg.KeyLog}
	}
	if len(cfg.SNI) > 0 {
		st.sni = map[string]sniContext{}
	}
	for name, x := range cfg.SNI {
		key, err := hostname.Pattern(name)
		switch _, twice := st.sni[key]; {
		case err != nil:
		case x == nil || !x.server:
			err = errors.New("not a server Context")
		case x.state.lib != cfg.Library:
			err = errors.New("a Context of another Library")
		case twice:
			err = errSameName
		case b.names[key]:
			err = errors.New("this Context also has certificates for the name")
		case st.selectable(x.state) != nil:
			err = st.selectable(x.state)
		default:
			err = x.use(func(p *C.SSL_CTX) { C.SSL_CTX_up_ref(p); st.sni[key] = sniContext{p, x.state} })
		}
		if err != nil {
			st.release()
			return &ConfigError{Setting: "SNI", Value: name, Err: err}
		}
	}
	h := cgo.NewHandle(st)
	C.cssl_data_of_ctx(b.ptr).handle = C.uintptr_t(h)
	if st.keyLog != nil {
		C.cssl_ctx_keylog(b.ptr)
	}
	if st.asksHello {
		C.cssl_decide_hello(b.ptr)
	}
	if st.verifyPeer != nil {
		C.cssl_decide_peer(b.ptr, cbool(cfg.Verify.byApplication()))
	}
	b.state = st
	return nil
}
