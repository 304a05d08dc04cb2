package cssl

/*
#include "context.h"
#include "decide.h"
#include "library.h"
#include <stdlib.h>
*/
import "C"

import (
	"os"
	"slices"
	"sync"
)

// Context is an SSL_CTX: settings, certificates and keys shared by many
// connections. It is immutable: to change a setting, build another one and use
// it for new connections. It may be used from any goroutine. The caller closes
// it.
type Context struct {
	mu     sync.RWMutex // guards ptr against Close
	ptr    *C.SSL_CTX
	server bool
	tail   int
	alpn   []string      // Config.ALPN, and that of the Contexts in Config.SNI
	limits [2]C.uint32_t // MaxMessages, MaxRenegotiations
	verify bool          // a client that checks certificates, so names too
	psk    bool          // it has pre-shared keys
	// commonName is Config.AllowCommonName.
	commonName bool
	noTickets  bool // Config.NoTickets
	// sessionID is the session id context: Contexts with the same one can
	// resume each other's sessions.
	sessionID [32]C.uchar
	state     *contextState
}

// NewServerContext builds a Context for connections that a server accepts. It
// reads all files of c, and blocks on tokens. If a setting is refused, the
// error is a [*ConfigError].
func NewServerContext(c Config) (*Context, error) { return newContext(&c, true) }

// NewClientContext builds a Context for connections that a client makes. It
// reads all files of c, and blocks on tokens. If a setting is refused, the
// error is a [*ConfigError].
func NewClientContext(c Config) (*Context, error) { return newContext(&c, false) }

// Close releases the SSL_CTX. Connections made from it keep it alive and go on.
// Close may be called more than once.
func (x *Context) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ptr != nil {
		C.SSL_CTX_free(x.ptr)
		x.ptr = nil
	}
}

// lend returns the certificates of x that a Context with the settings c may
// share. It takes a reference to each, so that x can be closed meanwhile. The
// caller calls release on the result.
func (x *Context) lend(c *Config) (lent *certificates) {
	if x == nil {
		return nil
	}
	_ = x.use(func(*C.SSL_CTX) { // a closed Context shares nothing
		if st := x.state; st.lib == c.Library && st.properties == c.Properties {
			lent = &certificates{byText: st.certs.byText}
			for _, cert := range lent.byText {
				cert.refs.Add(1)
			}
		}
	})
	return lent
}

// Tail returns the maximum number of bytes of ciphertext that a connection over
// a socket keeps for it; see [Config.Tail]. If it is 0, a Write can remain
// unfinished.
func (x *Context) Tail() int { return x.tail }

// IsServer reports whether x was built by NewServerContext.
func (x *Context) IsServer() bool { return x.server }

// OffersALPN reports whether a connection of x may negotiate protocol with
// ALPN: whether Config.ALPN of x, or of a Context in Config.SNI, contains it.
// It does not know the Contexts that Config.ClientHello selects.
func (x *Context) OffersALPN(protocol string) bool { return slices.Contains(x.alpn, protocol) }

var errContextClosed error = closedError{}

// closedError is os.ErrClosed for errors.Is.
type closedError struct{}

func (closedError) Error() string { return "cssl: the Context is closed" }
func (closedError) Unwrap() error { return os.ErrClosed }

// cached returns the number of sessions in a server's cache.
func (x *Context) cached() (n int) {
	_ = x.use(func(p *C.SSL_CTX) { n = int(C.SSL_CTX_ctrl(p, C.SSL_CTRL_SESS_NUMBER, 0, nil)) })
	return n
}

// use runs f with the SSL_CTX, which Close does not free meanwhile.
func (x *Context) use(f func(*C.SSL_CTX)) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.ptr == nil {
		return errContextClosed
	}
	f(x.ptr)
	return nil
}
