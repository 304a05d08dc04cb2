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

// named adds Config.Names.
func (b *builder) named(n names) error {
	for _, name := range slices.Sorted(maps.Keys(b.cfg.Names)) {
		setting := fmt.Sprintf("Names[%q]", name)
		key, err := sniKey(name)
		switch {
		case err != nil:
		case n[key] != nil:
			err = errors.New("the same name is in the map in another spelling")
		case len(b.cfg.Names[name]) == 0:
			err = errors.New("has no certificate")
		}
		if err != nil {
			return &ConfigError{Setting: "Names", Value: name, Err: err}
		}
		for i := range b.cfg.Names[name] {
			c, err := b.namedBy(fmt.Sprintf("%s[%d]", setting, i), &b.cfg.Names[name][i])
			if err != nil {
				return err
			}
			if other, added := n.add(key, c); !added {
				before := loaded{from: &b.cfg.Names[name][other], setting: fmt.Sprintf("%s[%d]", setting, other)}
				return &ConfigError{Setting: fmt.Sprintf("%s[%d]", setting, i), Value: b.cfg.Names[name][i].ChainFile,
					Err: fmt.Errorf("would never be used: %s has a key of the same type (%s) and is there first; take one of them out", before.called(), c.typ)}
			}
		}
	}
	return nil
}

// namedBy is a certificate of Config.Names. Files that several names have are read once.
func (b *builder) namedBy(setting string, from *Certificate) (*certificate, error) {
	f := files{from.ChainFile, from.KeyFile, from.OCSPFile}
	all := f.chain != "" && len(from.ChainPEM) == 0 && len(from.KeyPEM) == 0 && len(from.OCSP) == 0 && from.KeyURI == ""
	if c := b.certs.byFiles[f]; c != nil && all {
		return c, nil
	}
	l, err := loadCertificate(setting, from)
	defer l.forget()
	if err != nil {
		return nil, err
	}
	c, err := b.certificate(&l)
	if err == nil {
		err = b.use(c, &l, true)
	}
	if err != nil {
		return nil, err
	}
	if all {
		b.certs.byFiles[f] = c
	}
	return c, nil
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
