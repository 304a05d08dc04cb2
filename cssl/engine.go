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

// CloseWrite closes the sending direction of the socket: it sends a FIN
// (shutdown(2) with SHUT_WR). Without a socket the caller does this itself,
// after Take has taken everything; output that OpenSSL produces after
// CloseWrite, such as the response to a KeyUpdate, is discarded.
func (c *Conn) CloseWrite() error {
	if c.c == nil {
		return net.ErrClosed // fd may be another socket now
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

// Feed copies ciphertext from the peer and returns how many bytes it took. If
// it took less than len(p), Read first, then feed the rest. With a socket it is
// for bytes that were read from the socket before the connection was made. Call
// it before the first operation; it then takes all of p, or nothing if there is
// no memory.
func (c *Conn) Feed(p []byte) int {
	if c.c == nil || len(p) == 0 {
		return 0
	}
	if !c.usable() {
		return c.hs.step.feed(p)
	}
	return int(C.cssl_feed(c.c, (*C.uchar)(unsafe.SliceData(p)), C.size_t(len(p))))
}

// FeedEOF reports the end of the peer's stream (NewEngineConn).
func (c *Conn) FeedEOF() {
	switch {
	case c.c == nil:
	case c.usable():
		C.cssl_feed_eof(c.c)
	default:
		c.hs.step.eof = true
	}
}

// Take moves ciphertext for the peer into p and returns how many bytes
// (NewEngineConn). It returns 0 while an operation waits with WantAsync.
func (c *Conn) Take(p []byte) int {
	if !c.usable() || c.fd >= 0 || len(p) == 0 {
		return 0
	}
	return int(C.cssl_take(c.c, (*C.uchar)(unsafe.SliceData(p)), C.size_t(len(p))))
}

// Unsent returns the number of bytes of ciphertext that the transport has not
// taken.
func (c *Conn) Unsent() int {
	if !c.usable() {
		return 0
	}
	return int(C.cssl_unsent(c.c))
}

// hasPending reports whether OpenSSL holds input that no Read has returned,
// even a part of a record. Only tests call it.
func (c *Conn) hasPending() bool {
	return c.usable() && C.cssl_has_pending(c.c) == 1
}
