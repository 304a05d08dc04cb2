package reactor

import (
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testktls"
)

// TestKernelRecords: Stats count the handshakes whose records are the kernel's, or direct with the reason why not. An echo of more
// than the buffers hold goes through either, and both sides close.
func TestKernelRecords(t *testing.T) {
	h := echo()
	ended := make(chan error, 1)
	h.closed = func(_ *Conn, err error) { ended <- err }
	s := &Server{Handler: h, Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.Records = cssl.RecordsKernel })}
	c := goDial(t, start(t, s))
	for range 20 {
		roundTrip(t, c, strings.Repeat("0123456789abcdef", 4096))
	}
	c.Close()
	if err := receive(t, ended, "OnClose"); err != nil {
		t.Errorf("the end: %v", err)
	}
	for got, n := range s.Stats().Records {
		if testktls.Available() && got != "kernel" || !strings.HasPrefix(got, "kernel") && !strings.HasPrefix(got, "direct: the kernel has no TLS for this socket: ") || n != 1 {
			t.Errorf("%d are %q", n, got)
		}
	}
}
