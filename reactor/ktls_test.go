package reactor

import (
	"io"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testktls"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
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
	tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
	for got, n := range s.Stats().Records {
		if testktls.Available() && got != "kernel" && testktls.Reads(t, strings.TrimPrefix(got, "kernel: ")) || !strings.HasPrefix(got, "kernel") && !strings.HasPrefix(got, "direct: the kernel has no TLS for this socket: ") || n != 1 {
			t.Errorf("%d are %q", n, got)
		}
	}
}

// TestKernelPartialRecord: a connection with a part of a record costs a loop nothing until the rest is there, although an event
// loop of this kind asks again for what is readable. Another connection's echoes count the turns.
func TestKernelPartialRecord(t *testing.T) {
	const rounds = 50
	s := &Server{Handler: echo(), Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.Records = cssl.RecordsKernel })}
	addr := start(t, s)
	raw := rawDial(t, addr)
	roundTrip(t, goOver(t, raw), "hello")
	other := goDial(t, addr)
	vain := func() uint64 { // reads that found nothing, in so many echoes
		before := s.Stats().Sessions.Results[tlsio.OpRead][tlsio.WantRead]
		for range rounds {
			roundTrip(t, other, "hello")
		}
		return s.Stats().Sessions.Results[tlsio.OpRead][tlsio.WantRead] - before
	}
	usual := vain()
	tlstest.Value(io.WriteString(raw, "\x17\x03\x03\x10\x00part of a record"))(t)
	if n := vain(); n > usual+rounds/2 {
		t.Errorf("%d reads in vain during %d echoes, and %d before", n, rounds, usual)
	}
}
