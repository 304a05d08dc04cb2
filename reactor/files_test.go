package reactor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGrowFiles: the kernel's table of descriptors has its size before anybody is served. While it grows, nobody is.
func TestGrowFiles(t *testing.T) {
	start(t, &Server{Handler: echo()})
	var l unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &l))
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, size, _ := strings.Cut(string(status), "FDSize:")
	var n uint64
	if _, err := fmt.Sscan(size, &n); err != nil {
		t.Fatal(err)
	}
	if want := min(l.Cur, mostFiles); n < want {
		t.Errorf("there is room for %d descriptors, not for %d", n, want)
	}
}
