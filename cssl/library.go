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

// LibraryConfig has the settings of a [Library].
type LibraryConfig struct {
	// ConfigFile is an openssl.cnf, see config(5). Its providers are activated
	// and its default properties apply. If it is empty, no file is loaded, not
	// even the system's.
	ConfigFile string
	// Providers are loaded after ConfigFile, in this order: "default", "base",
	// "fips", "legacy", or the name of a module. If neither Providers nor
	// ConfigFile name one, "default" is loaded. With "fips" and without
	// "default", "base" is needed to read keys.
	Providers []string
	// ProviderPath is the directory of the modules. If it is empty, it is the
	// environment variable OPENSSL_MODULES or OpenSSL's built-in directory.
	ProviderPath string
}

// Library is an OSSL_LIB_CTX: a set of providers, separate from those of other
// Libraries and of the process's default library context, which follows the
// system's openssl.cnf. It is immutable and may be used from any goroutine. It
// is never freed, since OpenSSL keeps state in it for threads that end later.
// Create one for each set of settings when the program starts (400 kB each),
// and use it for all Contexts.
type Library struct {
	ptr *C.OSSL_LIB_CTX
}

// NewLibrary loads the providers and returns a Library. It may block on a
// provider's self-tests or on a token. If a setting is refused, the error is a
// [*ConfigError].
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
		e.Err = fmt.Errorf("not a built-in provider, or its module in %s cannot be loaded", modules(c.ProviderPath))
	}
	return nil, e
}

const wantConf = "an OpenSSL configuration file, see config(5)"

// check refuses a missing file, and a directory instead of a file or the
// reverse, which OpenSSL would silently ignore.
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
			return refused("Providers", p, "must be a provider's name; set ProviderPath to the directory of its module")
		}
	}
	return nil
}

// lineNumber returns "line N" if data ends with that, and an empty string
// otherwise. OpenSSL quotes the file before it, which may be a secret that was
// passed as a configuration by mistake.
func lineNumber(data string) string {
	at := strings.LastIndex(data, "line ")
	if at < 0 || strings.Trim(data[at+len("line "):], "0123456789") != "" {
		return ""
	}
	return data[at:]
}

// modules returns the directory in which OpenSSL looks for modules.
func modules(path string) string {
	return cmp.Or(path, os.Getenv("OPENSSL_MODULES"), C.GoString(C.OPENSSL_info(C.OPENSSL_INFO_MODULES_DIR)))
}

// Providers returns the names of the active providers, in no order. For a nil
// Library it returns those of the process's default library context.
func (l *Library) Providers() []string {
	var buf [4096]C.char
	C.cssl_library_providers(l.pointer(), &buf[0], C.int(len(buf)))
	return strings.FieldsFunc(C.GoString(&buf[0]), func(r rune) bool { return r == ',' })
}

// Warning returns an error if more than one libcrypto is loaded in the process,
// and nil otherwise. A module may be linked with another libcrypto than this
// program: a provider, or the PKCS #11 module of a token. Keys and algorithms
// still work, since OpenSSL and its providers call each other through function
// tables. But this package disables OpenSSL's terminal prompts only in its own
// libcrypto. So such a module may prompt for a PIN that [Certificate].PIN does
// not give it, and block. The error names the files and says what to do.
//
// Warning reads /proc/self/maps, and returns nil if it cannot. It does not see
// a libcrypto that is linked statically into a module. Since a module may be
// loaded when a key is first used, call Warning after a [Context] was built.
func (l *Library) Warning() error {
	files := libcrypto.Loaded()
	if len(files) < 2 {
		return nil
	}
	return fmt.Errorf("%d libcrypto libraries are loaded: %s; cssl uses OpenSSL %v, and a module that uses another one may prompt "+
		"for a PIN on the terminal (the active providers are %s); set PIN, or install modules linked with OpenSSL %d",
		len(files), strings.Join(files, ", "), linked.Run, strings.Join(l.Providers(), ", "), linked.Run.Number>>28)
}

func (l *Library) pointer() *C.OSSL_LIB_CTX {
	if l == nil {
		return nil
	}
	return l.ptr
}

// optional returns s as a C string, which the caller frees, or nil if s is
// empty.
func optional(s string) *C.char {
	if s == "" {
		return nil
	}
	return C.CString(s)
}
