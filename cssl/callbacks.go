package cssl

/*
#include "context.h"
*/
import "C"

import (
	"io"
	"runtime/cgo"
	"strings"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/internal/hostname"
)

// contextState is what the callbacks of an SSL_CTX need in Go. It lives until
// the SSL_CTX is freed.
type contextState struct {
	lib              *Library
	properties       string
	certs            *certificates
	sessionID        [32]C.uchar // of the Context
	keyLog           *keyLog
	sni              map[string]sniContext
	clientHello      func(*ClientHello)
	verifyPeer       func(*PeerVerification)
	verifyConnection func(*ConnectionVerification)
	extensions       []Extension
	timeout          time.Duration // for a decision
	offload          bool
	asks             bool // connections have a handshaker
	asksHello        bool // a ClientHello needs a decision
}

// sniContext is a Context in Config.SNI, with a reference to its SSL_CTX.
type sniContext struct {
	ptr   *C.SSL_CTX
	state *contextState
}

type keyLog struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *contextState) release() {
	for _, e := range s.sni {
		C.SSL_CTX_free(e.ptr)
	}
	s.sni = nil
	s.certs.release()
}

// lookup returns the Context for a server name: the exact one, or else the
// wildcard for its first label.
func (s *contextState) lookup(name string) (e sniContext, ok bool) {
	name = hostname.Key(name)
	if e, ok = s.sni[name]; ok || name == "" {
		return e, ok
	}
	if _, domain, cut := strings.Cut(name, "."); cut {
		e, ok = s.sni["*."+domain]
	}
	return e, ok
}

// C calls the exported functions on the goroutine that runs the handshake. A
// panic must not unwind C frames, so each of them recovers.

//export cssl_go_release
func cssl_go_release(handle C.uintptr_t) {
	defer func() { _ = recover() }()
	h := cgo.Handle(handle)
	h.Value().(*contextState).release()
	h.Delete()
}

//export cssl_go_keylog
func cssl_go_keylog(handle C.uintptr_t, line *C.char) {
	defer func() { _ = recover() }()
	k := cgo.Handle(handle).Value().(*contextState).keyLog
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	io.WriteString(k.w, C.GoString(line)+"\n")
}
