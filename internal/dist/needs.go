package main

import (
	"debug/elf"
	"fmt"
	"strconv"
	"strings"
)

// needs are the versions of libraries that a program must find, and the names of their files.
type needs struct {
	libc    string   // GLIBC's
	ssl     string   // that of the symbols of libssl and libcrypto
	libssl  string   // that of libssl's soname, such as 3
	sonames []string // such as libssl.so.3
}

// needsOf reads them in the program's file: each symbol of these libraries has the version that it came with.
func needsOf(file string) (needs, error) {
	f, err := elf.Open(file)
	if err != nil {
		return needs{}, err
	}
	defer f.Close()
	symbols, err := f.ImportedSymbols()
	if err != nil {
		return needs{}, fmt.Errorf("%s: %w", file, err)
	}
	n := needs{}
	if n.sonames, err = f.ImportedLibraries(); err != nil {
		return needs{}, fmt.Errorf("%s: %w", file, err)
	}
	for _, s := range n.sonames {
		if v, ok := strings.CutPrefix(s, "libssl.so."); ok {
			n.libssl = v
		}
	}
	for _, s := range symbols {
		if v, ok := strings.CutPrefix(s.Version, "GLIBC_"); ok {
			n.libc = newest(n.libc, v)
		}
		if v, ok := strings.CutPrefix(s.Version, "OPENSSL_"); ok {
			n.ssl = newest(n.ssl, v)
		}
	}
	if n.libc == "" || n.ssl == "" || n.libssl == "" {
		return needs{}, fmt.Errorf("%s asks for libc %q and OpenSSL %q: it is not linked to both as shared libraries", file, n.libc, n.ssl)
	}
	return n, nil
}

// openssl is the oldest OpenSSL for the program: one that has its symbols, and no older minor version than
// the headers, whose constants it was compiled with.
func (n needs) openssl(headers string) string {
	parts := strings.SplitN(headers, ".", 3)
	if len(parts) < 2 {
		return newest(n.ssl, headers)
	}
	return newest(n.ssl, parts[0]+"."+parts[1]+".0")
}

// debian returns what Debian's package depends on to have the program's libssl,
// in this version of OpenSSL or a newer one. A package of a library is named
// after its soname; that of libssl.so.3 has another name since Debian 13, which
// has 64 bits for a time everywhere.
func (n needs) debian(version string) string {
	if n.libssl == "3" {
		return fmt.Sprintf("libssl3t64 (>= %s) | libssl3 (>= %[1]s)", version)
	}
	return fmt.Sprintf("libssl%s (>= %s)", n.libssl, version)
}

// newest is the higher one of two versions made of numbers and dots; "" is below all.
func newest(a, b string) string {
	if a == "" {
		return b
	}
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(x), len(y)) {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		switch {
		case m > n:
			return a
		case m < n:
			return b
		}
	}
	if len(x) >= len(y) {
		return a
	}
	return b
}
