package faults

/*
#cgo pkg-config: openssl
#cgo CFLAGS: -std=c11 -D_GNU_SOURCE -Wall -Wextra
#cgo LDFLAGS: -Wl,--wrap=recv -Wl,--wrap=send -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc -Wl,--wrap=strdup -Wl,--wrap=free
#include "shim.h"
*/
import "C"

import (
	"fmt"
	"math"
	"path/filepath"
	"sync"
)

// Kind is what kind of call a Fault is in.
type Kind int

// The kinds.
const (
	Recv         Kind = C.SHIM_RECV
	Send         Kind = C.SHIM_SEND
	OpenSSLAlloc Kind = C.SHIM_OPENSSL
	CSSLAlloc    Kind = C.SHIM_CSSL // calloc, realloc and strdup of cssl itself
	// Those of Go.
	Accept Kind = iota + 100
	EpollCtl
	EpollWait
)

func (k Kind) String() string {
	switch k {
	case Recv:
		return "recv"
	case Send:
		return "send"
	case Accept:
		return "accept4"
	case EpollCtl:
		return "epoll_ctl"
	case EpollWait:
		return "epoll_wait"
	case OpenSSLAlloc:
		return "malloc of OpenSSL"
	}
	return "malloc of cssl"
}

// Answers besides an errno.
const (
	End   = C.SHIM_END   // recv: the end of the stream
	Short = C.SHIM_SHORT // recv and send: one byte moves
)

// Fault is a call, or several in a row, that get an answer of our choice.
type Fault struct {
	Kind Kind
	// FD is the descriptor of whose calls it is (the poller's own, for epoll_ctl and
	// epoll_wait); 0: of any. Accepted: that of the next connection that is accepted.
	FD       int
	Accepted bool
	// Peer, with Accepted, is the port that the connection must come from; 0: any.
	Peer int
	// Call is the number of the first one, counted from 1; 0: none, they are counted only. Forever: all that follow too.
	Call    int
	Forever bool
	// Answer is an errno, or one of the above. Allocations answer NULL.
	Answer int
}

// Report is what became of a Fault.
type Report struct {
	// Calls of that kind there were.
	Calls int
	// Hit: the call came. Then Op and FD say of epoll_ctl which it was.
	Hit    bool
	Op, FD int
}

// plan is the fault that waits for calls of Go; C has its own.
var plan struct {
	mu     sync.Mutex
	armed  Fault
	report Report
	// pollers are those that were made, oldest first; first is what each was given first.
	pollers []int
	first   map[int]int
}

// Arm makes f happen until Disarm.
func Arm(f Fault) {
	plan.mu.Lock()
	plan.armed, plan.report = f, Report{}
	plan.mu.Unlock()
	if f.Kind >= Accept {
		return
	}
	fd, last := f.FD, C.long(f.Call)
	if f.Accepted {
		fd = -1
	}
	if f.Forever {
		last = math.MaxInt32
	}
	C.shim_arm(C.int(f.Kind), C.int(fd), C.long(f.Call), last, C.int(f.Answer))
}

// Disarm ends it, and says what became of it.
func Disarm() Report {
	n := int(C.shim_disarm())
	plan.mu.Lock()
	defer plan.mu.Unlock()
	f, r := plan.armed, plan.report
	plan.armed = Fault{}
	if f.Kind < Accept {
		r.Calls, r.Hit = n, f.Call > 0 && n >= f.Call
	}
	return r
}

// Site is where in OpenSSL's source the allocation was that was made to fail, or empty.
func Site() string {
	var line C.int
	file := C.shim_site(&line)
	if file == nil {
		return ""
	}
	return site(file, line)
}

// noFile is the site of what OpenSSL allocates without saying where.
const noFile = "none:0"

func site(file *C.char, line C.int) string {
	name := C.GoString(file)
	if name == "" {
		return noFile
	}
	return fmt.Sprintf("%s/%s:%d", filepath.Base(filepath.Dir(name)), filepath.Base(name), line)
}

// Installed reports whether OpenSSL allocates through the shim.
func Installed() bool { return C.shim_installed() == 1 }

// Mark begins a new generation of the blocks that OpenSSL has.
func Mark() { C.shim_mark() }

// Left is where those of this generation came from that were not freed, with how many there are.
func Left() map[string]int {
	const most = 1 << 10
	files, lines := make([]*C.char, most), make([]C.int, most)
	n := min(most, int(C.shim_left(&files[0], &lines[0], most)))
	out := map[string]int{}
	for i := range n {
		out[site(files[i], lines[i])]++
	}
	return out
}

// Use is how many blocks of C, and bytes in them, have not been freed: those of OpenSSL (OpenSSLAlloc), or those of
// cssl and of what Go itself allocates in C (CSSLAlloc).
func Use(k Kind) (blocks, bytes int) {
	var n, size C.long
	C.shim_use(C.int(k), &n, &size)
	return int(n), int(size)
}

// Trim gives memory that C has freed back to the system.
func Trim() { C.shim_trim() }
