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

// conns is the number of SSL objects.
var conns atomic.Int64

// NewConn returns a connection over fd, a stream socket. The caller still owns
// fd: Close does not close it. The Context says whether it is a server or a
// client. cfg is for clients; a server passes the zero value. Operations never
// wait, even if the socket is in blocking mode, or enters it later, as
// (*os.File).Fd does to a duplicate. If cfg is refused, the error is a
// [*ConfigError]; if the Context is closed, it matches [os.ErrClosed].
func (x *Context) NewConn(fd int, cfg ConnConfig) (*Conn, error) {
	if fd < 0 {
		return nil, negativeFD(fd)
	}
	return x.newConn(fd, cfg, false)
}

// NewBlockingConn is like NewConn, but recv and send wait as the socket's
// O_NONBLOCK, SO_RCVTIMEO and SO_SNDTIMEO say. On a timeout, an operation
// returns a want without having moved bytes.
func (x *Context) NewBlockingConn(fd int, cfg ConnConfig) (*Conn, error) {
	if fd < 0 {
		return nil, negativeFD(fd)
	}
	return x.newConn(fd, cfg, true)
}

func negativeFD(fd int) error {
	return &ConfigError{Setting: "fd", Value: fmt.Sprint(fd), Err: errors.New("negative")}
}

// NewEngineConn returns a connection without a socket: the caller passes
// ciphertext in with Feed and takes ciphertext out with Take. Errors are those
// of NewConn.
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

// configure applies a client's settings for this connection.
func (c *Conn) configure(x *Context, cfg *ConnConfig) error {
	var reasons C.cssl_reasons
	ssl := c.ssl()
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
		if c.hs != nil && !cfg.InsecureSkipNameCheck {
			c.hs.peer = name
		}
		if !cfg.InsecureSkipNameCheck && C.cssl_ssl_verify_name(ssl, s, cbool(isIP), cbool(x.commonName), &reasons) == 0 {
			return &ConfigError{Setting: "ServerName", Value: name, Reasons: goReasons(&reasons)}
		}
	}
	if err := c.encryptHello(x, cfg); err != nil {
		return err
	}
	if cfg.Session != nil && !x.noTickets {
		der := cfg.Session.der
		if C.cssl_ssl_set_session(ssl, (*C.uchar)(bytesPtr(der)), C.long(len(der)), &x.sessionID[0], s, cbool(isIP),
			cbool(s != nil && x.verify && !cfg.InsecureSkipNameCheck), &reasons) == 0 {
			return &ConfigError{Setting: "Session", Reasons: goReasons(&reasons)}
		}
	}
	return nil
}

// Close frees the SSL. It sends nothing (Shutdown sends close_notify) and does
// not touch the socket. If a handshake step runs on its own goroutine, the SSL
// is freed when that step ends. Close may be called more than once. Later
// operations return [net.ErrClosed].
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

// FreeBuffers frees OpenSSL's record buffers, 33 KiB for both directions. The
// next operation allocates what it needs. While a part of a record is buffered,
// it frees nothing and returns false. With Config.ReleaseBuffers OpenSSL does
// this after each operation. With direct records it frees the contexts of the
// ciphers.
func (c *Conn) FreeBuffers() bool { return c.c == nil || c.usable() && C.cssl_free_buffers(c.c) == 1 }
