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

// choice is what a client gets that asks for a name: one of the first certificates if it can do with any of them, or else one of all. Each
// has another type of key.
type choice struct {
	certs []*certificate
	first int
}

// choices are what names lead to: those given in Config.Names, and those in the Context's own certificates, if these differ in that. first
// are the own ones for who asks for none of the names; for a client that is all. unused is one that nobody would get, or -1.
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

// wildcardOf is the wildcard that is good for a name, or empty for one that is a wildcard.
func wildcardOf(name string) string {
	label, domain, _ := strings.Cut(name, ".")
	if label == "*" {
		return ""
	}
	return "*." + domain
}

// choose is the choice for a name. An exact one comes before a wildcard, and what is given before what is own; but unless ownExact, a
// wildcard that is given before what is own.
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
		name, err := hostname.Pattern(key)
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
