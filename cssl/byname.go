package cssl

/*
#include "byname.h"
*/
import "C"

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/hostname"
)

// names maps server names to certificates, one for each type of key.
type names map[string][]*certificate

// add adds c for a name. If the name has a certificate with the same type of
// key, add returns its index and false.
func (n names) add(name string, c *certificate) (other int, added bool) {
	other = slices.IndexFunc(n[name], func(o *certificate) bool { return o.typ == c.typ })
	if other < 0 {
		n[name] = append(n[name], c)
	}
	return other, other < 0
}

// choice has the certificates for a server name, each with another type of key.
// A client gets one of the first ones if it supports any of them, and otherwise
// one of the rest.
type choice struct {
	certs []*certificate
	first int
}

// choices returns the certificates for each server name: those in Config.Names,
// and the Context's own ones (Config.Certificates) by the names in them, if
// these differ. first has the index of the default among the own ones, by type
// of key; a client has only these defaults. unused is the index of an own
// certificate that would never be selected, or -1.
func (b *builder) choices(given names, own []*certificate, first map[string]int) (all map[string]choice, unused int) {
	named := names{} // own, by the names in them
	in := make([][]string, len(own))
	for i, c := range own {
		if b.server && len(own)+len(given) > 1 {
			in[i] = c.names()
		}
		slices.Sort(in[i])
		in[i] = slices.Compact(in[i])
	}
	differ := slices.ContainsFunc(in, func(names []string) bool { return !slices.Equal(names, in[0]) })
	for i, c := range own {
		in[i] = slices.DeleteFunc(in[i], func(name string) bool { _, added := named.add(name, c); return !added })
	}
	all, b.names = map[string]choice{}, map[string]bool{}
	for name := range given {
		all[name], b.names[name] = choose(given, named, name, true), true
	}
	for name := range named {
		if b.names[name] = b.names[name] || differ; differ || given[wildcardOf(name)] != nil {
			all[name] = choose(given, named, name, differ || given[name] != nil)
		}
	}
	for i, c := range own {
		if first[c.typ] != i && !slices.ContainsFunc(in[i], func(name string) bool { return slices.Contains(all[name].certs, c) }) {
			return all, i
		}
	}
	return all, -1
}

// wildcardOf returns the wildcard that matches name, or an empty string if name
// is a wildcard.
func wildcardOf(name string) string {
	label, domain, _ := strings.Cut(name, ".")
	if label == "*" {
		return ""
	}
	return "*." + domain
}

// choose returns the choice for a name. Exact names come before wildcards, and
// Config.Names before own certificates. Without ownExact, a wildcard in
// Config.Names comes before an exact name of an own certificate.
func choose(given, own names, name string, ownExact bool) (c choice) {
	wild := wildcardOf(name)
	groups := [][]*certificate{given[name], own[name], given[wild], own[wild]}
	if !ownExact {
		groups[1], groups[2] = groups[2], groups[1]
	}
	for _, group := range groups {
		for _, cert := range group {
			if !slices.ContainsFunc(c.certs, func(o *certificate) bool { return o.typ == cert.typ }) {
				c.certs = append(c.certs, cert)
			}
		}
		if c.first == 0 {
			c.first = len(c.certs)
		}
	}
	return c
}

// namedCertificate is a certificate of Config.Names while it is loaded.
type namedCertificate struct {
	name string // in the form of the table
	key  string // of Config.Names
	i    int
	l    loaded // empty if another name has the same files
	r    *reading
	err  error
}

// errSameName is for a map by host name.
var errSameName = errors.New("the map has the same name in another spelling")

// placeOf returns the name of a certificate of Config.Names in errors.
func placeOf(key string, i int) string { return fmt.Sprintf("Names[%q][%d]", key, i) }

// named adds Config.Names to n. Many certificates are loaded at once; the error
// is that of the first one in order.
func (b *builder) named(n names) error {
	s := b.certs
	for _, key := range slices.Sorted(maps.Keys(b.cfg.Names)) {
		name, err := hostname.Pattern(key)
		_, twice := n[name]
		switch {
		case err != nil:
		case twice:
			err = errSameName
		case len(b.cfg.Names[key]) == 0:
			err = errors.New("has no certificate")
		}
		if err != nil {
			s.queue = append(s.queue, &namedCertificate{err: &ConfigError{Setting: "Names", Value: key, Err: err}})
			return b.finishNamed(n, 0)
		}
		n[name] = nil
		for i := range b.cfg.Names[key] {
			c := &namedCertificate{name: name, key: key, i: i}
			s.queue = append(s.queue, c)
			if c.err = b.beginNamed(c); c.err != nil {
				return b.finishNamed(n, 0)
			}
			if err := b.finishNamed(n, ahead); err != nil {
				return err
			}
		}
	}
	return b.finishNamed(n, 0)
}

// beginNamed reads the files of a certificate and begins to parse them, unless
// another name has the same files.
func (b *builder) beginNamed(c *namedCertificate) (err error) {
	s, from := b.certs, &b.cfg.Names[c.key][c.i]
	f := files{from.ChainFile, from.KeyFile, from.OCSPFile}
	all := f.chain != "" && len(from.ChainPEM) == 0 && from.ChainURI == "" && len(from.KeyPEM) == 0 && len(from.OCSP) == 0 && from.KeyURI == "" && from.Signer == nil
	if c.r = s.byFiles[f]; c.r != nil && all {
		return nil
	}
	if c.l, err = b.loadCertificate(placeOf(c.key, c.i), from); err != nil {
		return err
	}
	c.r = s.begin(&c.l)
	if all {
		s.byFiles[f] = c.r
	}
	return nil
}

// finishNamed waits for certificates and adds them, until no more than left are
// being loaded.
func (b *builder) finishNamed(n names, left int) error {
	s := b.certs
	for len(s.queue) > left {
		c := s.queue[0]
		if c.err != nil {
			return c.err
		}
		cert, err := b.finish(c.r)
		if err == nil && c.l.from != nil {
			err = b.use(cert, &c.l, true)
		}
		if err != nil {
			return err
		}
		if other, added := n.add(c.name, cert); !added {
			certs := b.cfg.Names[c.key]
			before := loaded{from: &certs[other], setting: placeOf(c.key, other)}
			this := loaded{from: &certs[c.i]}
			return &ConfigError{Setting: placeOf(c.key, c.i), Value: this.source(),
				Err: fmt.Errorf("would never be used: %s has a key of the same type (%s) and comes first; remove one of them", before.called(), cert.typ)}
		}
		c.l.forget()
		s.queue = s.queue[1:]
	}
	return nil
}

// table sets the certificates for server names in the SSL_CTX.
func (b *builder) table(n map[string]choice, own []*certificate) error {
	pointers := func(certs []*certificate) []*C.cssl_cert {
		p := make([]*C.cssl_cert, len(certs))
		for i, c := range certs {
			p[i] = c.ptr
		}
		return p
	}
	add := func(certs []*C.cssl_cert) (**C.cssl_cert, C.size_t) {
		return unsafe.SliceData(certs), C.size_t(len(certs))
	}
	p, count := add(pointers(own))
	if C.cssl_ctx_names(b.ptr, C.size_t(len(n)), p, count) == 0 {
		return &ConfigError{Setting: "Certificates", Err: syscall.ENOMEM}
	}
	for _, name := range slices.Sorted(maps.Keys(n)) {
		h := sha256.New()
		for _, v := range b.sessionID {
			h.Write([]byte{byte(v)})
		}
		h.Write([]byte(name))
		id := h.Sum(nil)
		p, count := add(pointers(n[name].certs))
		key := []byte(name)
		if C.cssl_ctx_name(b.ptr, (*C.char)(bytesPtr(key)), C.size_t(len(key)), p, count, C.size_t(n[name].first), (*C.uchar)(bytesPtr(id))) == 0 {
			return &ConfigError{Setting: "Certificates", Err: syscall.ENOMEM}
		}
	}
	return nil
}
