package sslnet

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"testing"
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
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, back); err != nil {
		t.Fatal(err)
	}
}

// TestEchoDoesNotAllocate: an echo of 1 KiB, there and back, allocates nothing at either end, in Go's memory.
func TestEchoDoesNotAllocate(t *testing.T) {
	if sanitized {
		t.Skip("the sanitizers allocate themselves")
	}
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		go echoOver(server)
		p, back := make([]byte, 1024), make([]byte, 1024)
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		roundTrip(t, client, p, back)
		if n := testing.AllocsPerRun(1000, func() { roundTrip(t, client, p, back) }); n != 0 {
			t.Errorf("%v allocations for one echo", n)
		}
		must(t, client.Close())
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
	if sanitized {
		t.Skip("the sanitizers allocate themselves, and sync.Pool drops at random")
	}
	everywhere(t, networks, func(t *testing.T, connect func(...change) (client, server *Conn)) {
		client, server := connect()
		copied := later(func() error { _, err := io.Copy(io.Discard, server); return err })
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		src := &chunks{}
		allocs := func(n int) float64 {
			return testing.AllocsPerRun(20, func() {
				*src = chunks{n: n, size: 5000}
				if _, err := io.Copy(client, src); err != nil {
					t.Fatal(err)
				}
			})
		}
		allocs(1)
		if one, many := allocs(1), allocs(100); many > one {
			t.Errorf("%v allocations for 100 chunks, %v for one", many, one)
		}
		must(t, client.CloseWrite())
		must(t, receive(t, copied, "io.Copy"))
	})
}

// TestNoGoroutines: an ordinary connection over a socket starts no goroutine, and asks for no event of the other direction.
func TestNoGoroutines(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for version, v := range versions {
			t.Run(network+" "+version, func(t *testing.T) {
				before := runtime.NumGoroutine()
				client, server := connect(t, networks[network], v)
				must(t, send(client, 10_000, 1000))
				must(t, expect(server, 10_000))
				must(t, client.SetReadDeadline(longAgo))
				timedOut(t, reading(client)())
				must(t, client.SetReadDeadline(noDeadline))
				var got bytes.Buffer
				must(t, send(server, 10_000, 1000))
				must(t, server.CloseWrite())
				_, err := client.WriteTo(&got)
				must(t, err)
				fewGoroutines(t, before) // those of the test itself have ended, or are about to
				for _, c := range []*Conn{client, server} {
					if c.transport.(*socket).key != 0 {
						t.Error("it has waited for the other direction")
					}
				}
			})
		}
	}
}

// TestWatchersEnd: what waits for the other direction ends when the connection
// is closed, also while what it waits for has not come.
func TestWatchersEnd(t *testing.T) {
	crossings(t, func(t *testing.T, client, server *Conn) {
		before := runtime.NumGoroutine()
		read, rekeyed, _ := readMustWrite(t, client, server)
		client.SetCloseTimeout(0)
		server.SetCloseTimeout(0)
		server.Close()
		client.Close()
		receive(t, read, "Read")
		receive(t, rekeyed, "Renegotiate")
		fewGoroutines(t, before)
	})
}
