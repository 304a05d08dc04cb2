package cssl

/*
#include "certs.h"
*/
import "C"

import (
	"runtime"
	"syscall"
)

// ahead is how many certificates of Config.Names may be loaded at once. One
// goroutine reads the files in order, others parse.
const ahead = 64

// reading is a certificate that is being parsed, or is known.
type reading struct {
	l      *loaded
	id     content
	cert   *certificate  // nil until it is known
	parsed chan struct{} // closed when ptr and reasons are set
	ptr    *C.cssl_cert  // without the key if that needs a passphrase or a token
	// reasons are OpenSSL's errors about the chain; ptr is nil then.
	reasons *C.cssl_reasons
}

// start starts the goroutines that parse count certificates.
func (s *certificates) start(ctx *C.SSL_CTX, count int) error {
	s.work = make(chan *reading, ahead)
	if s.scratch = C.SSL_new(ctx); s.scratch == nil {
		return &ConfigError{Setting: "Certificates", Err: syscall.ENOMEM}
	}
	for range min(count, runtime.GOMAXPROCS(0)) {
		reader := C.cssl_reader_new(ctx)
		if reader == nil {
			return &ConfigError{Setting: "Certificates", Err: syscall.ENOMEM}
		}
		s.parsers.Go(func() {
			defer C.cssl_reader_free(reader)
			for r := range s.work {
				r.parse(reader)
				close(r.parsed)
			}
		})
	}
	return nil
}

// parse parses the chain, and the key unless it needs a passphrase or a token.
func (r *reading) parse(reader *C.cssl_reader) {
	var reasons C.cssl_reasons
	key := plainKey(r.l.key)
	r.ptr = C.cssl_cert_new(reader, bytesPtr(r.l.chain), C.int(len(r.l.chain)), bytesPtr(key), C.int(len(key)), &reasons)
	if r.ptr == nil {
		r.reasons = &reasons
	}
}

// done frees what only building needs.
func (s *certificates) done() {
	close(s.work)
	s.parsers.Wait()
	for _, r := range s.reading { // left after an error
		C.cssl_cert_free(r.ptr)
	}
	for _, n := range s.queue {
		n.l.forget()
	}
	C.SSL_free(s.scratch)
	*s = certificates{byText: s.byText}
}

// begin starts to parse a chain and its key, unless the same one is known, here
// or in the Context before.
func (s *certificates) begin(l *loaded) *reading {
	id := l.content(s.compress)
	if r := s.reading[id]; r != nil {
		return r
	}
	c := s.byText[id]
	if c == nil && s.from != nil {
		if c = s.from.byText[id]; c != nil && c.again {
			c = nil
		} else if c != nil {
			c.refs.Add(1)
			s.byText[id] = c // which now owns the reference
		}
	}
	r := &reading{l: l, id: id, cert: c}
	if c == nil {
		r.parsed = make(chan struct{})
		s.reading[id] = r
		s.work <- r
	}
	return r
}

// finish waits until the certificate is parsed, and completes it.
func (b *builder) finish(r *reading) (*certificate, error) {
	if r.cert == nil {
		<-r.parsed
		delete(b.certs.reading, r.id)
		var err error
		if r.cert, err = b.complete(r); err != nil {
			return nil, err
		}
		b.certs.byText[r.id], r.l = r.cert, nil
	}
	return r.cert, nil
}
