package cssl

/*
#include "context.h"
#include <stdlib.h>
*/
import "C"

import (
	"strings"
	"unsafe"
)

// missing says what in a list that OpenSSL took, or did not, no provider has; empty if it is not that. OpenSSL leaves
// cipher suites that nobody has out without a word, and refuses groups without saying which.
func (b *builder) missing(which C.int, list string, taken bool) string {
	var have func(*C.char) C.int
	switch {
	case which == C.CSSL_CIPHERSUITES && taken:
		have = func(name *C.char) C.int { return C.cssl_ctx_has_cipher(b.ptr, name) }
	case which == C.CSSL_GROUPS && !taken:
		var ignored C.cssl_reasons
		have = func(name *C.char) C.int { return C.cssl_ctx_string(b.ptr, which, name, &ignored) }
	default:
		return ""
	}
	var lost []string
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(":/*?", r) }) {
		p := C.CString(name)
		if have(p) == 0 {
			lost = append(lost, name)
		}
		C.free(unsafe.Pointer(p))
	}
	if len(lost) == 0 {
		return ""
	}
	return "the providers have no " + strings.Join(lost, ", ") + b.searched()
}

// searched ends a sentence about what was not found with where it was looked for.
func (b *builder) searched() string {
	text := ""
	if b.cfg.Properties != "" {
		text = " with the properties " + b.cfg.Properties
	}
	return text + "; those that are active are " + strings.Join(b.cfg.Library.Providers(), ", ")
}
