package reactor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestGrowFiles: the kernel's table of descriptors has its size before anybody is served. While it grows, nobody is.
func TestGrowFiles(t *testing.T) {
	start(t, &Server{Handler: echo()})
	var l unix.Rlimit
	tlstest.Must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &l))
	status := tlstest.Value(os.ReadFile("/proc/self/status"))(t)
	_, size, _ := strings.Cut(string(status), "FDSize:")
	var n uint64
	tlstest.Value(fmt.Sscan(size, &n))(t)
	if want := min(l.Cur, mostFiles); n < want {
		t.Errorf("there is room for %d descriptors, not for %d", n, want)
	}
}
