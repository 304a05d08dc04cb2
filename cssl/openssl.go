package cssl

/*
#cgo pkg-config: openssl
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE -Wall -Wextra
#include "certs.h"
#include "context.h"
#include <openssl/err.h>
#include <openssl/opensslv.h>
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "go-openssl needs OpenSSL 3.0 or newer; these headers are from an older OpenSSL, LibreSSL or BoringSSL"
#endif

static int trim(void)
{
#ifdef __GLIBC__
	return malloc_trim(0);
#else
	return 0;
#endif
}

static int leave_error(int reason)
{
	ERR_raise(ERR_LIB_USER, reason);
	return 0;
}
*/
import "C"

import (
	"strings"
	"syscall"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/negotiated"
	"github.com/spacemonad/go-openssl/tlsio"
)

func init() {
	live.Conns = conns.Load
	live.Contexts = func() int64 { return int64(C.cssl_contexts()) }
	live.Certificates = func() int64 { return int64(C.cssl_certs()) }
	negotiated.Of = func(c any) negotiated.Facts { return c.(*Conn).facts() }
	if linked.Mismatch() != nil {
		return // call nothing in it; NewServerContext and NewClientContext return the error
	}
	// OpenSSL is never cleaned up at exit: other threads may still run code in
	// it.
	if C.cssl_init() != 1 {
		var r C.cssl_reasons
		C.cssl_take_reasons(&r)
		panic("cssl: OpenSSL could not be initialised: " + reasonText(&r))
	}
}

// TrimMemory gives memory that OpenSSL has freed back to the operating system,
// with malloc_trim(3). glibc keeps nearly all memory of closed connections for
// later ones. A program may call TrimMemory after their number has fallen:
// sslecho shrank from 105 to 25 MB after 6,000 idle connections had gone.
// malloc_trim walks the whole heap and blocks threads that allocate meanwhile,
// so do not call it under load. With another C library it does nothing.
func TrimMemory() { C.trim() }

// goReasons converts a copy of the error queue. OpenSSL's texts for codes are
// static, so it may run on any thread.
func goReasons(r *C.cssl_reasons) []tlsio.Reason {
	if r == nil || r.count == 0 {
		return nil
	}
	out := make([]tlsio.Reason, r.count)
	for i := range out {
		e := &r.entry[i]
		out[i] = tlsio.Reason{Code: uint64(e.code), Data: C.GoString(&e.data[0])}
		if s := C.ERR_lib_error_string(e.code); s != nil {
			out[i].Library = C.GoString(s)
		}
		if C.ERR_GET_LIB(e.code) == C.ERR_LIB_SYS {
			out[i].Text = syscall.Errno(C.ERR_GET_REASON(e.code)).Error()
		} else if s := C.ERR_reason_error_string(e.code); s != nil {
			out[i].Text = C.GoString(s)
		} else {
			out[i].Text = "unknown reason"
		}
	}
	return out
}

// reasonText returns the reasons as one text, empty if there are none.
func reasonText(r *C.cssl_reasons) string {
	var texts []string
	for _, reason := range goReasons(r) {
		texts = append(texts, reason.String())
	}
	return strings.Join(texts, "; ")
}

// leaveError leaves an entry on the thread's error queue, as careless C code in
// the same process might. Only tests call it; it is here because test files
// cannot use cgo.
func leaveError() { C.leave_error(1) }

// bytesPtr returns the address of the first byte, or nil.
func bytesPtr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
