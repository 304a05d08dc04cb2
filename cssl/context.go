package cssl

/*
#include "context.h"
#include "decide.h"
#include "library.h"
#include <stdlib.h>
*/
import "C"

import (
	"fmt"
	"os"
	"slices"
	"sync"
)

// Context is an SSL_CTX: the settings, certificates and keys that many
// connections share. It is immutable; to change something build another one and
// use it for the connections that come next. It may be used from any goroutine.
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
	// sessionID says which Contexts may resume each other's sessions.
	sessionID [32]C.uchar
	state     *contextState
}

// NewServerContext builds a Context for connections that are accepted. What is
// refused comes back as a [*ConfigError].
func NewServerContext(c Config) (*Context, error) { return newContext(&c, true) }

// NewClientContext builds a Context for connections that are dialled.
func NewClientContext(c Config) (*Context, error) { return newContext(&c, false) }

// Close drops this reference to the SSL_CTX. Connections made from it live on.
func (x *Context) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ptr != nil {
		C.SSL_CTX_free(x.ptr)
		x.ptr = nil
	}
}

// lend is what a Context with these settings may take over from x, with a
// reference to each certificate, so that x can be closed meanwhile. The caller
// releases it.
func (x *Context) lend(c *Config) (lent *certificates) {
	if x == nil {
		return nil
	}
	_ = x.use(func(*C.SSL_CTX) { // one that is closed has nothing to give
		if st := x.state; st.lib == c.Library && st.properties == c.Properties {
			lent = &certificates{byText: st.certs.byText}
			for _, cert := range lent.byText {
				cert.refs.Add(1)
			}
		}
	})
	return lent
}

// Tail is the greatest number of bytes of ciphertext that a connection over a
// socket keeps for it; see [Config.Tail]. 0: none, so that a Write can stay
// half done.
func (x *Context) Tail() int { return x.tail }

// IsServer reports whether x is for connections that are accepted.
func (x *Context) IsServer() bool { return x.server }

// OffersALPN reports whether a connection of x may agree on protocol in ALPN:
// it is in Config.ALPN of x, or of a Context in Config.SNI. What a ClientHello
// decides is not known here.
func (x *Context) OffersALPN(protocol string) bool { return slices.Contains(x.alpn, protocol) }

// errContextClosed is found by errors.Is(err, os.ErrClosed).
var errContextClosed = fmt.Errorf("tls context: %w", os.ErrClosed)

// cached is the number of sessions in a server's cache.
func (x *Context) cached() (n int) {
	_ = x.use(func(p *C.SSL_CTX) { n = int(C.SSL_CTX_ctrl(p, C.SSL_CTRL_SESS_NUMBER, 0, nil)) })
	return n
}

// use runs f with the SSL_CTX, which Close cannot take away meanwhile.
func (x *Context) use(f func(*C.SSL_CTX)) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.ptr == nil {
		return errContextClosed
	}
	f(x.ptr)
	return nil
}
