package cssl

/*
#include "library.h"
#include <stdlib.h>
*/
import "C"

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/filetype"
	"github.com/spacemonad/go-openssl/internal/libcrypto"
)

// LibraryConfig is what a [Library] is made from.
type LibraryConfig struct {
	// ConfigFile is an openssl.cnf, see config(5). Its providers are activated and
	// its properties hold. Empty: none, not even the system's.
	ConfigFile string
	// Providers are loaded after that, in this order: "default", "base", "fips",
	// "legacy", or the name of a module. With no provider at all, neither here nor
	// in ConfigFile, it is the default one. Where fips is without default, base is
	// needed to read keys.
	Providers []string
	// ProviderPath is the directory of the modules. Empty: OpenSSL's, or that of
	// the variable OPENSSL_MODULES.
	ProviderPath string
}

// Library is an OSSL_LIB_CTX: the providers that do the cryptography, apart
// from those of other Libraries and of the process's default one, which follows
// the system's openssl.cnf. It is immutable and may be used from any goroutine.
// It is never freed, since OpenSSL leaves state in it for threads that end
// later: make one for each set of settings, when the program starts (400 kB),
// and use it for all Contexts.
type Library struct {
	ptr *C.OSSL_LIB_CTX
}

// NewLibrary makes a Library. What is refused comes back as a [*ConfigError].
// It takes as long as a module does to start.
func NewLibrary(c LibraryConfig) (*Library, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var step C.int
	var reasons C.cssl_reasons
	path, config := optional(c.ProviderPath), optional(c.ConfigFile)
	names := C.CString(strings.Join(c.Providers, "\x00") + "\x00")
	l := &Library{ptr: C.cssl_library_new(path, config, names, C.int(len(c.Providers)), &step, &reasons)}
	for _, p := range []*C.char{path, config, names} {
		C.free(unsafe.Pointer(p))
	}
	if l.ptr != nil {
		return l, nil
	}
	e := &ConfigError{Setting: "Library", Reasons: goReasons(&reasons)}
	switch step {
	case C.CSSL_LIBRARY_CREATE:
	case C.CSSL_LIBRARY_PATH:
		e.Setting, e.Value = "ProviderPath", c.ProviderPath
	case C.CSSL_LIBRARY_CONFIG:
		e.Setting, e.Value = "ConfigFile", c.ConfigFile
		for i := range e.Reasons {
			e.Reasons[i].Data = lineNumber(e.Reasons[i].Data)
		}
		p, err := os.ReadFile(c.ConfigFile)
		if e.Err = err; err == nil {
			e.Err = fmt.Errorf("want %s; found %s", wantConf, filetype.Describe(p))
		}
	case C.CSSL_LIBRARY_ACTIVE:
		e.Setting, e.Value = "ConfigFile", c.ConfigFile
		e.Err = errors.New("a provider that it activates is missing or cannot be loaded")
	default:
		e.Setting, e.Value = "Providers", c.Providers[step]
		e.Err = fmt.Errorf("not a provider of OpenSSL itself, or its module in %s cannot be used", modules(c.ProviderPath))
	}
	return nil, e
}

const wantConf = "a configuration of OpenSSL, see config(5)"

// check refuses what OpenSSL would take for nothing: a file that is not there,
// or a directory in place of one.
func (c *LibraryConfig) check() error {
	for _, s := range []struct {
		setting, value string
		dir            bool
		wrong          string
	}{
		{"ConfigFile", c.ConfigFile, false, "want " + wantConf + "; it is a directory"},
		{"ProviderPath", c.ProviderPath, true, "want a directory with modules; it is a file"},
	} {
		if strings.Contains(s.value, "\x00") {
			return refused(s.setting, s.value, "contains a NUL byte")
		}
		if s.value == "" {
			continue
		}
		fi, err := os.Stat(s.value)
		if err != nil {
			return &ConfigError{Setting: s.setting, Err: err}
		}
		if fi.IsDir() != s.dir {
			return refused(s.setting, s.value, "%s", s.wrong)
		}
	}
	for _, p := range c.Providers {
		if p == "" || strings.ContainsAny(p, "/\x00") {
			return refused("Providers", p, "a provider has a name; ProviderPath is where its module is")
		}
	}
	return nil
}

// lineNumber returns "line N" if OpenSSL ends data with that, and else nothing.
// Before it OpenSSL quotes the file, which may be a secret that was mistaken
// for a configuration.
func lineNumber(data string) string {
	at := strings.LastIndex(data, "line ")
	if at < 0 || strings.Trim(data[at+len("line "):], "0123456789") != "" {
		return ""
	}
	return data[at:]
}

// modules is where OpenSSL looks for modules.
func modules(path string) string {
	return cmp.Or(path, os.Getenv("OPENSSL_MODULES"), C.GoString(C.OPENSSL_info(C.OPENSSL_INFO_MODULES_DIR)))
}

// Providers are the names of those that are active, in no order. A nil Library
// is the process's default one.
func (l *Library) Providers() []string {
	var buf [4096]C.char
	C.cssl_library_providers(l.pointer(), &buf[0], C.int(len(buf)))
	return strings.FieldsFunc(C.GoString(&buf[0]), func(r rune) bool { return r == ',' })
}

// Warning returns an error if more than one libcrypto is in the process, and
// nil otherwise. A module that is linked with another libcrypto than this
// program brings that along: a provider, or the PKCS#11 module of a token. Keys
// and algorithms work nevertheless, since OpenSSL and its providers call each
// other through tables of functions. But cssl turns off OpenSSL's questions on
// the terminal in its own libcrypto alone, so such a module may ask there for a
// PIN that [Certificate].PIN does not give, and wait. The error names the files
// and says what to do.
//
// It looks at /proc/self/maps, and returns nil where that cannot be read. A
// libcrypto that is linked into a module statically has no file of its own there
// and is not seen. A module may be loaded when a key is first used, so call it
// after a [Context] was built.
func (l *Library) Warning() error {
	files := libcrypto.Loaded()
	if len(files) < 2 {
		return nil
	}
	return fmt.Errorf("%d libcryptos are in this process: %s; cssl uses OpenSSL %v, and a module that uses another one may ask "+
		"for a PIN on the terminal (the active providers are %s); set PIN, or install modules that are linked with OpenSSL %d",
		len(files), strings.Join(files, ", "), linked.Run, strings.Join(l.Providers(), ", "), linked.Run.Number>>28)
}

func (l *Library) pointer() *C.OSSL_LIB_CTX {
	if l == nil {
		return nil
	}
	return l.ptr
}

// optional is a C string, the caller's to free, or nil if s is empty.
func optional(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(s)
}
