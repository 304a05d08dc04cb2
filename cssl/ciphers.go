package cssl

/*
#include "context.h"
#include "library.h"
#include <stdlib.h>
*/
import "C"

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"
)

// ciphers returns the enabled cipher suites in order of preference.
func (b *builder) ciphers() []*C.SSL_CIPHER {
	s := (*C.OPENSSL_STACK)(unsafe.Pointer(C.SSL_CTX_get_ciphers(b.ptr)))
	all := make([]*C.SSL_CIPHER, max(C.OPENSSL_sk_num(s), 0))
	for i := range all {
		all[i] = (*C.SSL_CIPHER)(C.OPENSSL_sk_value(s, C.int(i)))
	}
	return all
}

func cipherName(c *C.SSL_CIPHER) string { return C.GoString(C.SSL_CIPHER_get_name(c)) }

// defaultCiphers removes suites without forward secrecy (static RSA, PSK) and
// those that are not AEAD (CBC) from the TLS 1.2 suites that OpenSSL or the
// system's policy enables. It adds none, so a stricter policy stays in force.
// If no suite would remain, it changes nothing. Without a policy's order, DHE
// comes last, which costs most, and AES-128 first, as in defaultSuites.
func (b *builder) defaultCiphers() bool {
	reorder := b.ownOrder()
	var kept []*C.SSL_CIPHER
	for _, c := range b.ciphers() {
		if C.SSL_CIPHER_is_aead(c) == 0 {
			continue
		}
		kx, auth := C.SSL_CIPHER_get_kx_nid(c), C.SSL_CIPHER_get_auth_nid(c)
		if (kx == C.NID_kx_ecdhe || kx == C.NID_kx_dhe) && (auth == C.NID_auth_rsa || auth == C.NID_auth_ecdsa) {
			kept = append(kept, c)
		}
	}
	if reorder {
		slices.SortStableFunc(kept, byRank)
	}
	return kept == nil || b.command("CipherString", joined(kept))
}

// defaultSuites moves AES-128-GCM to the front of the TLS 1.3 suites, as in
// crypto/tls. Its SHA-256, and its shorter keys, save 7 to 8 % of a handshake.
// A client that prefers ChaCha20 gets that (SSL_OP_PRIORITIZE_CHACHA).
func (b *builder) defaultSuites() bool {
	if !b.ownOrder() {
		return true
	}
	suites := b.suites()
	slices.SortStableFunc(suites, byRank)
	return b.command("Ciphersuites", joined(suites))
}

// ownOrder reports whether the TLS 1.3 suites are in OpenSSL's own order, or a
// part of them. Otherwise the system's policy has chosen it, and it stays in
// force.
func (b *builder) ownOrder() bool {
	own := strings.Split(C.GoString(C.OSSL_default_ciphersuites()), ":")
	for _, c := range b.suites() {
		i := slices.Index(own, cipherName(c))
		if i < 0 {
			return false
		}
		own = own[i+1:]
	}
	return true
}

// suites returns the enabled suites of TLS 1.3.
func (b *builder) suites() []*C.SSL_CIPHER {
	return slices.DeleteFunc(b.ciphers(), func(c *C.SSL_CIPHER) bool { return C.SSL_CIPHER_get_kx_nid(c) != C.NID_kx_any })
}

// byRank compares suites for the default order.
func byRank(x, y *C.SSL_CIPHER) int {
	rank := func(c *C.SSL_CIPHER) (r int) {
		if C.SSL_CIPHER_get_kx_nid(c) == C.NID_kx_dhe {
			r = 2
		}
		if C.SSL_CIPHER_get_cipher_nid(c) != C.NID_aes_128_gcm {
			r++
		}
		return r
	}
	return cmp.Compare(rank(x), rank(y))
}

// joined returns the list of the suites' names.
func joined(suites []*C.SSL_CIPHER) string {
	var names []string
	for _, c := range suites {
		names = append(names, cipherName(c))
	}
	return strings.Join(names, ":")
}

// withoutStaticRSA removes the suites of static RSA key exchange, which need a
// key that decrypts.
func (b *builder) withoutStaticRSA() error {
	var kept []*C.SSL_CIPHER
	found := false
	for _, c := range b.ciphers() {
		switch C.SSL_CIPHER_get_kx_nid(c) {
		case C.NID_kx_rsa, C.NID_kx_rsa_psk:
			found = true
		case C.NID_kx_any: // TLS 1.3
		default:
			kept = append(kept, c)
		}
	}
	switch {
	case !found:
		return nil
	case kept == nil:
		return refused("CipherList", b.cfg.CipherList, "has only suites of static RSA key exchange; for these a Signer must be a crypto.Decrypter")
	case !b.command("CipherString", joined(kept)):
		return b.fail("CipherList", b.cfg.CipherList)
	}
	return nil
}

// defaultGroups sets the elliptic-curve groups, and the hybrid with ML-KEM if
// OpenSSL has it. OpenSSL's own default also has ffdhe2048 to ffdhe8192, and
// the client chooses among them: the largest costs a server 77 times as much as
// X25519 (CVE-2002-20001). Groups that no provider has are left out.
//
// With OpenSSL 3.5 and newer the list has the syntax of
// SSL_CTX_set1_groups_list(3). A client sends a key share for each group with
// an asterisk, so a server without ML-KEM needs no second round trip. A server
// selects from the first part (up to a slash) that has a group in common, and
// there prefers groups with a key share.
//
// With OpenSSL 4.0 and newer, if a TLS 1.2 client offers any finite-field
// group, a server uses DHE only in a group of its list (RFC 7919, section 4).
// So if DHE is among the suites, the two smallest groups come last. Older
// versions use the group of SSL_CTX_set_dh_auto(3).
func (b *builder) defaultGroups() bool {
	const hybrid, dhe = "?*X25519MLKEM768 / ?*X25519:?P-256 / ?X448:?P-384:?P-521", " / ?ffdhe2048:?ffdhe3072"
	switch v := linked.Run.series(); {
	case v >= 0x400 && b.server && b.cfg.CipherList != "" && slices.ContainsFunc(b.ciphers(),
		func(c *C.SSL_CIPHER) bool { return C.SSL_CIPHER_get_kx_nid(c) == C.NID_kx_dhe }):
		return b.command("Groups", hybrid+dhe)
	case v >= 0x305:
		return b.command("Groups", hybrid)
	}
	there := slices.DeleteFunc([]string{"X25519", "P-256", "X448", "P-384", "P-521"}, func(name string) bool { return !b.command("Groups", name) })
	return len(there) == 0 || b.command("Groups", strings.Join(there, ":"))
}

// legacy checks that TLS 1.0 or 1.1 can be negotiated if MinVersion enables it.
// That needs security level 0, since the signatures use SHA-1 and MD5
// (SSL_CTX_set_security_level(3)); their digest, which no FIPS provider has;
// and a suite older than TLS 1.2.
func (b *builder) legacy() error {
	if b.lowest >= TLS12 {
		return nil
	}
	const list = `"DEFAULT:@SECLEVEL=0"`
	md5sha1 := C.CString("MD5-SHA1")
	defer C.free(unsafe.Pointer(md5sha1))
	if C.cssl_library_digest(b.cfg.Library.pointer(), b.properties, md5sha1) == 0 {
		return refused("MinVersion", b.lowest, "needs the digest MD5-SHA1, which no provider has%s", b.searched())
	}
	if level := C.SSL_CTX_get_security_level(b.ptr); level > 0 {
		return refused("MinVersion", b.lowest, "needs security level 0, but the level is %d: "+
			"set a CipherList with @SECLEVEL=0, such as %s", level, list)
	}
	if !slices.ContainsFunc(b.ciphers(), func(c *C.SSL_CIPHER) bool {
		since := C.GoString(C.SSL_CIPHER_get_version(c))
		return since != "TLSv1.2" && since != "TLSv1.3"
	}) {
		return refused("CipherList", b.cfg.CipherList, "has no suite of %v, the lowest version; use %s", b.lowest, list)
	}
	return nil
}
