package cssl

/*
#include "context.h"
*/
import "C"

import (
	"errors"
	"io"
	"runtime/cgo"
	"strings"
	"sync"
	"unsafe"
)

// contextState is what the callbacks of an SSL_CTX need on the Go side. It lives
// until the last reference to the SSL_CTX goes.
type contextState struct {
	keyLog *keyLog
	sni    map[string]*C.SSL_CTX // each holds a reference
}

type keyLog struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *contextState) addSNI(key string, p *C.SSL_CTX) {
	if s.sni == nil {
		s.sni = map[string]*C.SSL_CTX{}
	}
	s.sni[key] = p
}

func (s *contextState) release() {
	for _, p := range s.sni {
		C.SSL_CTX_free(p)
	}
	s.sni = nil
}

// sniKey checks a name of Config.SNI and brings it into the form of the map.
func sniKey(name string) (string, error) {
	key := strings.ToLower(strings.TrimSuffix(name, "."))
	rest := strings.TrimPrefix(key, "*.")
	if rest == "" || strings.ContainsAny(rest, "* \x00") {
		return "", errors.New(`a name is exact or "*." and a domain`)
	}
	return key, nil
}

// lookup finds the Context for a server name: exact first, then the wildcard for its first label.
func (s *contextState) lookup(name string) *C.SSL_CTX {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if p := s.sni[name]; p != nil {
		return p
	}
	if _, domain, ok := strings.Cut(name, "."); ok {
		return s.sni["*."+domain]
	}
	return nil
}

// serverNameOf reads the host name from a server_name extension (RFC 6066, section 3).
func serverNameOf(ext []byte) (string, bool) {
	if len(ext) < 5 {
		return "", false
	}
	list := int(ext[0])<<8 | int(ext[1])
	size := int(ext[3])<<8 | int(ext[4])
	if list != len(ext)-2 || ext[2] != 0 || size == 0 || size > len(ext)-5 {
		return "", false
	}
	return string(ext[5 : 5+size]), true
}

// The exported functions run inside a C call of the goroutine that drives the
// handshake. A panic must not unwind through C frames, so each recovers.

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

//export cssl_go_hello
func cssl_go_hello(handle C.uintptr_t, ext *C.uchar, n C.size_t) (p *C.SSL_CTX) {
	defer func() {
		if recover() != nil {
			p = nil
		}
	}()
	name, ok := serverNameOf(unsafe.Slice((*byte)(ext), int(n)))
	if !ok {
		return nil
	}
	return cgo.Handle(handle).Value().(*contextState).lookup(name)
}
