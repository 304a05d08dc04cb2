package cssl

/*
#include "context.h"
#include <stdlib.h>

// These never call Go and keep no pointer.
#cgo noescape cssl_conn_new
#cgo nocallback cssl_conn_new
#cgo noescape cssl_free_buffers
#cgo nocallback cssl_free_buffers
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/hostname"
)

// conns counts SSL objects.
var conns atomic.Int64

// NewConn makes a connection over fd, a stream socket. The socket stays the
// caller's: Close does not close it. The Context's role decides who begins. cfg
// is for clients; a server passes the zero value. The operations do not wait,
// also if the socket is a blocking one, or is made one later, as Fd of an os.File
// does it to a duplicate.
func (x *Context) NewConn(fd int, cfg ConnConfig) (*Conn, error) {
	if fd < 0 {
		return nil, negativeFD(fd)
	}
	return x.newConn(fd, cfg, false)
}

// NewBlockingConn is NewConn for a socket that blocks, and whose recv and send
// are to wait: as long as the socket's O_NONBLOCK, SO_RCVTIMEO and SO_SNDTIMEO
// say. Then a want of an operation that moved nothing means that the time is
// over.
func (x *Context) NewBlockingConn(fd int, cfg ConnConfig) (*Conn, error) {
	if fd < 0 {
		return nil, negativeFD(fd)
	}
	return x.newConn(fd, cfg, true)
}

func negativeFD(fd int) error {
	return &ConfigError{Setting: "fd", Value: fmt.Sprint(fd), Err: errors.New("negative")}
}

// NewEngineConn makes a connection without a socket: the caller hands it
// ciphertext with Feed and gets ciphertext with Take.
func (x *Context) NewEngineConn(cfg ConnConfig) (*Conn, error) {
	return x.newConn(-1, cfg, false)
}

func (x *Context) newConn(fd int, cfg ConnConfig, blocking bool) (*Conn, error) {
	var reasons C.cssl_reasons
	c := &Conn{fd: fd, server: x.server, psk: x.psk}
	tail := x.tail
	if fd < 0 {
		tail = max(tail, minTail)
	}
	s := C.cssl_conn_settings{server: cbool(x.server), fd: C.int(fd), blocking: cbool(blocking), tail: C.size_t(tail),
		max_messages: x.limits[0], max_renegotiations: x.limits[1], decide: cbool(x.state.asks), ask_hello: cbool(x.state.asksHello)}
	err := x.use(func(p *C.SSL_CTX) { c.c = C.cssl_conn_new(p, &s, &reasons) })
	if err != nil {
		return nil, err
	}
	if c.c == nil {
		return nil, &ConfigError{Setting: "connection", Reasons: goReasons(&reasons), Err: syscall.ENOMEM}
	}
	conns.Add(1)
	c.hs = newHandshaker(c.c, x.state)
	if x.server {
		return c, nil
	}
	if err := c.configure(x, &cfg); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// configure applies what a client sets for each connection.
func (c *Conn) configure(x *Context, cfg *ConnConfig) error {
	var reasons C.cssl_reasons
	ssl := C.cssl_conn_ssl(c.c)
	name, isIP := hostname.Peer(cfg.ServerName)
	if name == "" && x.verify && !cfg.InsecureSkipNameCheck {
		return &ConfigError{Setting: "ServerName", Value: cfg.ServerName, Err: errors.New("empty: set it, or InsecureSkipNameCheck")}
	}
	var s *C.char
	if name != "" {
		if !isIP {
			if err := hostname.Check(name); err != nil {
				return &ConfigError{Setting: "ServerName", Value: cfg.ServerName, Err: err}
			}
		}
		s = C.CString(name)
		defer C.free(unsafe.Pointer(s))
		if !isIP && C.cssl_ssl_server_name(ssl, s, &reasons) == 0 {
			return &ConfigError{Setting: "ServerName", Value: name, Reasons: goReasons(&reasons)}
		}
		if !cfg.InsecureSkipNameCheck && C.cssl_ssl_verify_name(ssl, s, cbool(isIP), cbool(x.commonName), &reasons) == 0 {
			return &ConfigError{Setting: "ServerName", Value: name, Reasons: goReasons(&reasons)}
		}
	}
	if cfg.Session != nil {
		der := cfg.Session.der
		if C.cssl_ssl_set_session(ssl, (*C.uchar)(bytesPtr(der)), C.long(len(der)), &x.sessionID[0], s, cbool(isIP),
			cbool(s != nil && x.verify && !cfg.InsecureSkipNameCheck), &reasons) == 0 {
			return &ConfigError{Setting: "Session", Reasons: goReasons(&reasons)}
		}
	}
	return nil
}

// Close frees the SSL. It sends nothing: that is Shutdown's. The socket is left
// as it is. Close may be called more than once.
func (c *Conn) Close() {
	if c.c == nil {
		return
	}
	p, h := c.c, c.hs
	c.c, c.fatal = nil, net.ErrClosed
	if h != nil {
		h.close()
	} else {
		freeConn(p)
	}
}

func freeConn(p *C.cssl_conn) {
	C.cssl_conn_free(p)
	conns.Add(-1)
}

// FreeBuffers gives OpenSSL's record buffers back, 17 KiB for reading and 17
// for writing; the next operation allocates what it needs again. It returns
// false, and does nothing, while a part of a record is in them. With
// Config.ReleaseBuffers that happens after each operation anyway.
func (c *Conn) FreeBuffers() bool { return c.c == nil || c.usable() && C.cssl_free_buffers(c.c) == 1 }
