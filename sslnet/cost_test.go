package sslnet

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// echoOver makes c answer what it reads until its end, with buffers of its own.
func echoOver(c net.Conn) {
	p := make([]byte, 4096)
	for {
		n, err := c.Read(p)
		if err != nil {
			return
		}
		if _, err := c.Write(p[:n]); err != nil {
			return
		}
	}
}

// roundTrip sends p and has it back, in another buffer.
func roundTrip(t testing.TB, c net.Conn, p, back []byte) {
	tlstest.Value(c.Write(p))(t)
	tlstest.Value(io.ReadFull(c, back))(t)
}

// TestEchoDoesNotAllocate: an echo of 1 KiB, there and back, allocates nothing at either end, in Go's memory.
func TestEchoDoesNotAllocate(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("the sanitizers allocate themselves")
	}
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		go echoOver(server)
		p, back := make([]byte, 1024), make([]byte, 1024)
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		roundTrip(t, client, p, back)
		tlstest.Equal(t, "allocations for one echo", testing.AllocsPerRun(1000, func() { roundTrip(t, client, p, back) }), 0)
		tlstest.Must(t, client.Close())
	})
}

// chunks is a Reader of n chunks of one size. It has no WriterTo.
type chunks struct{ n, size int }

func (c *chunks) Read(p []byte) (int, error) {
	if c.n == 0 {
		return 0, io.EOF
	}
	c.n--
	return min(c.size, len(p)), nil
}

// TestCopyDoesNotAllocate: io.Copy of many chunks allocates no more than of one.
func TestCopyDoesNotAllocate(t *testing.T) {
	if tlstest.Sanitized {
		t.Skip("the sanitizers allocate themselves, and sync.Pool drops at random")
	}
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		copied := tlstest.Later(func() error { _, err := io.Copy(io.Discard, server); return err })
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		src := &chunks{}
		allocs := func(n int) float64 {
			return testing.AllocsPerRun(20, func() {
				*src = chunks{n: n, size: 5000}
				tlstest.Value(io.Copy(client, src))(t)
			})
		}
		allocs(1)
		if one, many := allocs(1), allocs(100); many > one {
			t.Errorf("%v allocations for 100 chunks, %v for one", many, one)
		}
		tlstest.Must(t, client.CloseWrite())
		done(t, copied, "io.Copy")
	})
}

// TestNoGoroutines: an ordinary connection over a socket starts no goroutine, and asks for no event of the other direction.
func TestNoGoroutines(t *testing.T) {
	for version, v := range versions {
		t.Run(version, func(t *testing.T) {
			each(t, sockets, func(t *testing.T, network network) {
				before := runtime.NumGoroutine()
				client, server := connect(t, network, v)
				tlstest.Must(t, send(client, 10_000, 1000))
				tlstest.Must(t, expect(server, 10_000))
				tlstest.Must(t, client.SetReadDeadline(longAgo))
				timedOut(t, reading(client)())
				tlstest.Must(t, client.SetReadDeadline(noDeadline))
				var got bytes.Buffer
				tlstest.Must(t, send(server, 10_000, 1000))
				tlstest.Must(t, server.CloseWrite())
				tlstest.Value(client.WriteTo(&got))(t)
				// Those of the test itself have ended, or are about to.
				tlstest.Until(t, "no new goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
				for _, c := range []*Conn{client, server} {
					if c.transport.(*socket).key != 0 {
						t.Error("it has waited for the other direction")
					}
				}
			})
		})
	}
}
