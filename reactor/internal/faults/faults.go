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

// Kind is the kind of call that a Fault affects.
type Kind int

// The kinds.
const (
	Recv         Kind = C.SHIM_RECV
	Send         Kind = C.SHIM_SEND
	OpenSSLAlloc Kind = C.SHIM_OPENSSL
	CSSLAlloc    Kind = C.SHIM_CSSL // calloc, realloc and strdup called by cssl
	// Calls of Go.
	Accept Kind = iota + 100
	EpollCtl
	EpollWait
	PlainRecv
	PlainSend
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
	case PlainRecv:
		return "recv in plain text"
	case PlainSend:
		return "send in plain text"
	case OpenSSLAlloc:
		return "malloc of OpenSSL"
	}
	return "malloc of cssl"
}

// Values of Fault.Answer other than an errno.
const (
	End   = C.SHIM_END   // recv: end of stream
	Short = C.SHIM_SHORT // recv and send, also in plain text: one byte is transferred
)

// Fault makes one call, or several in a row, return a chosen result.
type Fault struct {
	Kind Kind
	// FD is the descriptor whose calls are affected (the poller's own for
	// epoll_ctl and epoll_wait); 0 means any. Accepted means that of the next
	// accepted connection.
	FD       int
	Accepted bool
	// Peer, with Accepted, is the port that the connection must come from; 0
	// means any.
	Peer int
	// Call is the number of the first affected call, counted from 1; 0 only
	// counts calls. Forever affects all later calls too.
	Call    int
	Forever bool
	// Answer is an errno, End or Short. Allocations return NULL.
	Answer int
}

// Report is the outcome of a Fault.
type Report struct {
	// Calls is the number of calls of that kind.
	Calls int
	// Hit is set if the fault was injected. Op and FD then identify the call of
	// epoll_ctl.
	Hit    bool
	Op, FD int
}

// plan is the fault for calls of Go; C has its own.
var plan struct {
	mu     sync.Mutex
	armed  Fault
	report Report
	// pollers are those that were made, oldest first; first has the first
	// descriptor added to each.
	pollers []int
	first   map[int]int
}

// Arm activates f until Disarm.
func Arm(f Fault) {
	plan.mu.Lock()
	plan.armed, plan.report = f, Report{}
	if f.Accepted {
		plan.armed.FD = -1
	}
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

// Disarm deactivates the fault and returns its outcome.
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

// Site returns the place in OpenSSL's source of the allocation that was made to
// fail, or "".
func Site() string {
	var line C.int
	file := C.shim_site(&line)
	if file == nil {
		return ""
	}
	return site(file, line)
}

// noFile is the site of allocations for which OpenSSL passes none.
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

// Mark begins a new generation of OpenSSL's blocks.
func Mark() { C.shim_mark() }

// Left returns the sites of this generation's blocks that were not freed, with
// the number of blocks.
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

// Use returns how many blocks of C, and bytes in them, have not been freed:
// OpenSSL's (OpenSSLAlloc), or cssl's and those that Go allocates in C
// (CSSLAlloc).
func Use(k Kind) (blocks, bytes int) {
	var n, size C.long
	C.shim_use(C.int(k), &n, &size)
	return int(n), int(size)
}

// Trim returns freed C memory to the system.
func Trim() { C.shim_trim() }
