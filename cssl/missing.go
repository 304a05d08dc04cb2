package cssl

/*
#include "context.h"
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"
)

// missing is an error that says which names of a list, which OpenSSL took or did not, no provider has; nil if it is not that. OpenSSL leaves
// cipher suites that nobody has out without a word, and refuses groups and signature algorithms without saying which.
func (b *builder) missing(which C.int, list string, taken bool) error {
	var have func(name string) bool
	switch {
	case which == C.CSSL_CIPHERSUITES && taken:
		have = func(name string) bool {
			p := C.CString(name)
			defer C.free(unsafe.Pointer(p))
			return C.cssl_ctx_has_cipher(b.ptr, p) != 0
		}
	case (which == C.CSSL_GROUPS || which == C.CSSL_SIGALGS) && !taken:
		reasons := b.reasons // of the whole list
		defer func() { b.reasons = reasons }()
		have = func(name string) bool { return b.set(which, name) }
	default:
		return nil
	}
	var lost []string
	for _, name := range namesIn(list) {
		if !have(name) {
			lost = append(lost, strconv.Quote(name))
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return fmt.Errorf("OpenSSL %v has no %s%s", linked.Run, strings.Join(lost, ", "), b.searched())
}

// searched ends a sentence about what was not found with where it was looked for.
func (b *builder) searched() string {
	text := ""
	if b.cfg.Properties != "" {
		text = " with the properties " + b.cfg.Properties
	}
	return text + "; the active providers are " + strings.Join(b.cfg.Library.Providers(), ", ")
}
