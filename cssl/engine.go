package cssl

/*
#include "conn.h"

// These never call Go and keep no pointer.
#cgo noescape cssl_feed
#cgo nocallback cssl_feed
#cgo noescape cssl_take
#cgo nocallback cssl_take
*/
import "C"

import (
	"net"
	"syscall"
	"unsafe"
)

// CloseWrite ends our direction of the transport: a FIN (shutdown(2) with
// SHUT_WR). In engine mode that is the caller's to do, when Take has taken all
// that is there; what OpenSSL writes later, such as the answer to a KeyUpdate,
// is dropped.
func (c *Conn) CloseWrite() error {
	if c.c == nil {
		return net.ErrClosed // the number may be another socket's by now
	}
	if c.fd < 0 {
		if c.usable() {
			C.cssl_take_end(c.c)
		} else {
			c.hs.step.ended = true
		}
		return nil
	}
	return syscall.Shutdown(c.fd, syscall.SHUT_WR)
}

// Feed takes ciphertext that came from the peer (engine mode). It returns how
// much it took: when that is less than all, Read first and feed the rest again.
func (c *Conn) Feed(p []byte) int {
	if c.c == nil || c.fd >= 0 || len(p) == 0 {
		return 0
	}
	if !c.usable() {
		return c.hs.step.feed(p)
	}
	return int(C.cssl_feed(c.c, (*C.uchar)(unsafe.SliceData(p)), C.size_t(len(p))))
}

// FeedEOF says that the peer's stream has ended (engine mode).
func (c *Conn) FeedEOF() {
	switch {
	case c.c == nil:
	case c.usable():
		C.cssl_feed_eof(c.c)
	default:
		c.hs.step.eof = true
	}
}

// Take moves ciphertext for the peer into p and returns how much (engine mode):
// nothing while an operation waits with WantAsync.
func (c *Conn) Take(p []byte) int {
	if !c.usable() || c.fd >= 0 || len(p) == 0 {
		return 0
	}
	return int(C.cssl_take(c.c, (*C.uchar)(unsafe.SliceData(p)), C.size_t(len(p))))
}

// Unsent is the number of bytes of ciphertext that the transport has not taken.
func (c *Conn) Unsent() int {
	if !c.usable() {
		return 0
	}
	return int(C.cssl_unsent(c.c))
}

// hasPending reports whether OpenSSL holds input that no Read has returned, be
// it only a part of a record. Only tests call it.
func (c *Conn) hasPending() bool {
	return c.usable() && C.cssl_has_pending(c.c) == 1
}
