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
)

// names are the certificates for server names, one for each type of key.
type names map[string][]*certificate

// add adds c for a name, or answers the index of the one there that has the same type of key.
func (n names) add(name string, c *certificate) (other int, added bool) {
	other = slices.IndexFunc(n[name], func(o *certificate) bool { return o.typ == c.typ })
	if other < 0 {
		n[name] = append(n[name], c)
	}
	return other, other < 0
}

// own adds a Context's own certificates by the names that are in them, if they differ in that. It answers which one would never be
// used, or -1. first are those for who asks for none of the names; for a client that is all.
func (n names) own(own []*certificate, first map[string]int, server bool) (unused int) {
	if len(own) < 2 {
		return -1
	}
	all := make([][]string, len(own))
	for i, c := range own {
		if server {
			all[i] = c.names()
		}
		slices.Sort(all[i])
		all[i] = slices.Compact(all[i])
	}
	differ := slices.ContainsFunc(all, func(names []string) bool { return !slices.Equal(names, all[0]) })
	given := maps.Clone(n)
	for i, c := range own {
		used := first[c.typ] == i
		for _, name := range all[i] {
			if given[name] == nil && differ {
				_, added := n.add(name, c)
				used = used || added
			}
		}
		if !used {
			return i
		}
	}
	// A wildcard's certificates are good for an exact name too, where that has none of their type.
	for name := range n {
		label, domain, _ := strings.Cut(name, ".")
		if label == "*" || given[name] != nil || given["*."+domain] != nil {
			continue
		}
		for _, c := range n["*."+domain] {
			n.add(name, c)
		}
	}
	return -1
}

// namedCertificate is one of Config.Names on its way.
type namedCertificate struct {
	name string // in the form of the table
	key  string // of Config.Names
	i    int
	l    loaded // empty if another one has the same files
	r    *reading
	err  error
}

// placeOf is how an error names a certificate of Config.Names.
func placeOf(key string, i int) string { return fmt.Sprintf("Names[%q][%d]", key, i) }

// named adds Config.Names. The error is that of the first in order, however many are on their way.
func (b *builder) named(n names) error {
	s := b.certs
	for _, key := range slices.Sorted(maps.Keys(b.cfg.Names)) {
		name, err := sniKey(key)
		_, twice := n[name]
		switch {
		case err != nil:
		case twice:
			err = errors.New("the same name is in the map in another spelling")
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

// beginNamed reads the files of a certificate, unless another name has the same, and begins to parse them.
func (b *builder) beginNamed(c *namedCertificate) (err error) {
	s, from := b.certs, &b.cfg.Names[c.key][c.i]
	f := files{from.ChainFile, from.KeyFile, from.OCSPFile}
	all := f.chain != "" && len(from.ChainPEM) == 0 && len(from.KeyPEM) == 0 && len(from.OCSP) == 0 && from.KeyURI == ""
	if c.r = s.byFiles[f]; c.r != nil && all {
		return nil
	}
	if c.l, err = loadCertificate(placeOf(c.key, c.i), from); err != nil {
		return err
	}
	c.r = s.begin(&c.l)
	if all {
		s.byFiles[f] = c.r
	}
	return nil
}

// finishNamed adds what was begun, until no more than left are on their way.
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
			return &ConfigError{Setting: placeOf(c.key, c.i), Value: certs[c.i].ChainFile,
				Err: fmt.Errorf("would never be used: %s has a key of the same type (%s) and is there first; take one of them out", before.called(), cert.typ)}
		}
		c.l.forget()
		s.queue = s.queue[1:]
	}
	return nil
}

// table gives the Context its names.
func (b *builder) table(n names, own []*certificate) error {
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
		p, count := add(pointers(n[name]))
		key := []byte(name)
		if C.cssl_ctx_name(b.ptr, (*C.char)(bytesPtr(key)), C.size_t(len(key)), p, count, (*C.uchar)(bytesPtr(id))) == 0 {
			return &ConfigError{Setting: "Certificates", Err: syscall.ENOMEM}
		}
	}
	b.names = n
	return nil
}
