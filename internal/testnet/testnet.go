// Package testnet gives tests network namespaces. They have no names: they go when the last process in them does.
package testnet

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// Namespace is a network namespace. What runs in it runs on a thread of its own, which is never given back and ends with the test.
type Namespace struct {
	// File is the namespace as a file of /proc, good as long as the thread lives.
	File string
	work chan func()
}

// New makes a namespace. Where that is not allowed, the test is skipped unless it must not be.
func New(t *testing.T, must bool) *Namespace {
	t.Helper()
	n := &Namespace{work: make(chan func())}
	made := make(chan error)
	var gone sync.WaitGroup
	gone.Go(func() {
		runtime.LockOSThread()
		n.File = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), syscall.Gettid())
		made <- os.NewSyscallError("unshare", syscall.Unshare(syscall.CLONE_NEWNET))
		for f := range n.work {
			f()
		}
	})
	err := <-made
	t.Cleanup(func() { close(n.work); gone.Wait() })
	if errors.Is(err, syscall.EPERM) && !must {
		t.Skipf("needs CAP_SYS_ADMIN: %v", err)
	}
	tlstest.Must(t, err)
	return n
}

// In runs f in the namespace. A socket stays in the one that it was made in, and so does a process.
func (n *Namespace) In(f func()) {
	done := make(chan struct{})
	n.work <- func() { defer close(done); f() }
	<-done
}
