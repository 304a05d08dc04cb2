package cssl

/*
#include "byname.h"
#include "context.h"
#include <stdlib.h>
*/
import "C"

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/features"
	"github.com/spacemonad/go-openssl/internal/hostname"
)

// content identifies a certificate by a hash of everything that it was read
// from.
type content [32]byte

// contentKey makes the hash depend on a secret, so that a content in memory
// reveals nothing about a key.
var contentKey = func() (k content) {
	rand.Read(k[:])
	return k
}()

// certificate is a chain with its key and OCSP response. It is immutable and
// shared by Contexts.
type certificate struct {
	ptr   *C.cssl_cert
	refs  atomic.Int64
	again bool   // key by URI or encrypted: each Context loads it again
	typ   string // of the key
}

func (c *certificate) release() {
	if c.refs.Add(-1) == 0 {
		C.cssl_cert_free(c.ptr)
	}
}

// names returns the DNS names in the leaf, as keys of the table; none if the
// leaf cannot be parsed.
func (c *certificate) names() []string {
	var p *C.uchar
	n := C.cssl_put_chain(c.ptr.leaf, nil, 0, &p)
	defer C.free(unsafe.Pointer(p))
	chain, err := parseChain(C.GoBytes(unsafe.Pointer(p), C.int(n)))
	if err != nil || len(chain) == 0 {
		return nil
	}
	return namesOf(chain[0])
}

func namesOf(leaf *x509.Certificate) (names []string) {
	for _, name := range leaf.DNSNames {
		if key, err := hostname.Pattern(name); err == nil {
			names = append(names, key)
		}
	}
	return names
}

// certificates are the certificates of a Context, each read once.
type certificates struct {
	byText   map[content]*certificate
	released bool

	// The fields below are used only while the Context is built.
	compress []string      // Config.CertificateCompression
	from     *certificates // of Config.Previous; nil if none can be shared
	scratch  *C.SSL        // tries certificates that are selected by name
	work     chan *reading
	parsers  sync.WaitGroup
	reading  map[content]*reading // being parsed
	byFiles  map[files]*reading
	queue    []*namedCertificate // in order
}

// files are the files of a certificate that is read from files only.
type files struct{ chain, key, ocsp string }

// release drops a reference to each certificate.
func (s *certificates) release() {
	if s == nil || s.released {
		return
	}
	s.released = true
	for _, c := range s.byText {
		c.release()
	}
}

// use sets c as the certificate for its type of key in the SSL_CTX. If it is
// selected by name, use only tries it on a scratch SSL.
func (b *builder) use(c *certificate, l *loaded, byName bool) error {
	ok := C.int(0)
	if byName {
		ok = C.cssl_ssl_use(b.certs.scratch, c.ptr, &b.reasons)
	} else {
		ok = C.cssl_ctx_use(b.ptr, c.ptr, &b.reasons)
	}
	if ok == 0 {
		return b.unusable(l)
	}
	return nil
}

// unusable returns the error for a chain or key that OpenSSL can parse but not
// use.
func (b *builder) unusable(l *loaded) error {
	_, err := needsForKeys(l.chain)
	files := l.source()
	if l.from.KeyFile != "" {
		files = strings.TrimPrefix(files+", "+l.from.KeyFile, ", ")
	}
	return b.failFor(l.setting, files, err)
}

// content identifies l with its compressed forms.
func (l *loaded) content(compress []string) (id content) {
	h := sha256.New()
	for _, part := range [][]byte{contentKey[:], l.chain, l.key, l.ocsp, []byte(l.from.keyURI()), fmt.Append(nil, l.signer), fmt.Append(nil, compress)} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	h.Sum(id[:0])
	return id
}

// complete finishes a parsed chain: it loads a key that is encrypted or in a
// token, and the OCSP response.
func (b *builder) complete(r *reading) (*certificate, error) {
	l, p := r.l, r.ptr
	if p == nil {
		b.reasons = *r.reasons
		return nil, b.wrongContent(l.setting+".Chain", "PEM", l.from.ChainFile, l.chain, wantChain)
	}
	asked, err := false, error(nil)
	if p.key == nil {
		p.key, asked, err = b.key(l, p)
	}
	if err == nil && (len(l.ocsp) > 0 || l.from.OCSPFile != "") {
		err = b.staple(l, p)
	}
	if err != nil {
		C.cssl_cert_free(p)
		return nil, err
	}
	if b.server && len(b.certs.compress) > 0 {
		C.cssl_cert_compress(p, b.certs.scratch)
	}
	c := &certificate{ptr: p, again: asked, typ: C.GoString(C.cssl_cert_type(p))}
	c.refs.Store(1)
	return c, nil
}

// staple adds the OCSP responses to a certificate.
func (b *builder) staple(l *loaded, p *C.cssl_cert) error {
	if C.cssl_cert_staple(p, (*C.uchar)(bytesPtr(l.ocsp)), C.int(len(l.ocsp)), &b.reasons) == 0 {
		return b.wrongContent(l.setting+".OCSP", "", l.from.OCSPFile, l.ocsp, wantOCSP)
	}
	sent := 1 + int(C.OPENSSL_sk_num((*C.OPENSSL_STACK)(unsafe.Pointer(p.chain))))
	err := needs(features.MissingStaples(linked.Run.series(), int(p.staples)))
	if err == nil && int(p.staples) > sent {
		err = fmt.Errorf("has %d responses for a chain of %d: want one for each certificate, in order", p.staples, sent)
	}
	if err != nil {
		return &ConfigError{Setting: field(l.setting+".OCSP", "", l.from.OCSPFile), Value: l.from.OCSPFile, Err: err}
	}
	return nil
}

// plainKey returns pem from its first private key on, or nil if that key is
// encrypted or there is none.
func plainKey(pem []byte) []byte {
	at := bytes.Index(pem, []byte("PRIVATE KEY-----"))
	if at < 0 {
		return nil
	}
	line := bytes.LastIndexByte(pem[:at], '\n') + 1
	label, ok := bytes.CutPrefix(pem[line:at], []byte("-----BEGIN "))
	if !ok || string(label) == "ENCRYPTED " {
		return nil
	}
	return pem[line:]
}

// certificates sets the certificates of the SSL_CTX, and those selected by
// name.
func (b *builder) certificates(loaded []loaded) error {
	s := b.certs
	count := len(loaded)
	for _, certs := range b.cfg.Names {
		count += len(certs)
	}
	defer s.done()
	if err := s.start(b.ptr, count); err != nil {
		return err
	}
	var begun []*reading
	for i := range loaded {
		begun = append(begun, s.begin(&loaded[i]))
	}
	own := make([]*certificate, len(loaded))
	first := map[string]int{} // of each type of key
	for i := range loaded {
		l := &loaded[i]
		if err := b.staples(l); err != nil {
			return err
		}
		c, err := b.finish(begun[i])
		if err != nil {
			return err
		}
		own[i] = c
		_, later := first[c.typ]
		if !later {
			first[c.typ] = i
		}
		if err := b.use(c, l, later); err != nil {
			return err
		}
	}
	n := names{}
	if err := b.named(n); err != nil {
		return err
	}
	choices, unused := b.choices(n, own, first)
	if unused >= 0 {
		l := &loaded[unused]
		return &ConfigError{Setting: l.setting, Value: l.source(), Err: fmt.Errorf(
			"would never be used: %s has a key of the same type (%s) and comes first, and no server name selects this one; remove one of them",
			loaded[first[own[unused].typ]].called(), own[unused].typ)}
	}
	if !b.server {
		return nil
	}
	return b.table(choices, own)
}

// staples returns an error for an OCSP response in a client's Config.
func (b *builder) staples(l *loaded) error {
	if (len(l.ocsp) > 0 || l.from.OCSPFile != "") && !b.server {
		return &ConfigError{Setting: l.setting + ".OCSP", Err: errors.New("only a server staples an OCSP response")}
	}
	return nil
}

// called returns the name of the certificate in errors.
func (l *loaded) called() string {
	return cmp.Or(l.source(), l.setting)
}
