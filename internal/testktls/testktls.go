// Package testktls says whether this machine's kernel has TLS.
package testktls

import (
	"fmt"
	"net"
	"os"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Available reports whether a TCP socket takes TLS.
var Available = sync.OnceValue(func() bool {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return false
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return false
	}
	defer c.Close()
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		ok = unix.SetsockoptString(int(fd), unix.SOL_TCP, unix.TCP_ULP, "tls") == nil
	})
	return ok && err == nil
})

// Needs skips a test without kernel TLS. scripts/ktls sets KTLS, so that none
// is skipped in its guest.
func Needs(t testing.TB) {
	t.Helper()
	if Available() {
		return
	}
	if os.Getenv("KTLS") != "" {
		t.Fatal("the guest's kernel has no TLS")
	}
	t.Skip("the kernel has no TLS; make test-ktls runs this in a guest")
}

// PartOfRecord begins State.RecordsReason where the kernel must not open
// records: a part of one makes the socket readable.
const PartOfRecord = "reading is direct: the kernel reports a part of a record as readable"

// Reads reports whether the kernel may open records. From Linux 6.5 on it may;
// before, reason, a State.RecordsReason, says whether it may.
func Reads(t testing.TB, reason string) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 5 || reason != PartOfRecord
}
