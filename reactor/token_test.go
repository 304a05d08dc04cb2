package reactor

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testtoken"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// tokenContext is a server's whose key is in a token that takes its time.
func tokenContext(t testing.TB, delay time.Duration) *cssl.Context {
	t.Helper()
	tok := testtoken.Build(t, map[string][]byte{"ec": testcerts.Read(t, "ecdsa.key")})
	tok.Delay(t, delay)
	lib, err := cssl.NewLibrary(cssl.LibraryConfig{Providers: []string{"default", testtoken.Provider}, ProviderPath: tok.Dir})
	if err != nil {
		t.Fatal(err)
	}
	x := tlstest.Value(cssl.NewServerContext(cssl.Config{Library: lib,
		Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyURI: "token:ec"}}}))(t)
	t.Cleanup(x.Close)
	return x
}

// TestSlowToken: handshakes with a slow token are made off the loop, many at once.
func TestSlowToken(t *testing.T) {
	var async atomic.Int64
	addr := start(t, &Server{Context: tokenContext(t, 50*time.Millisecond), Handler: echo(), Limits: Limits{HandshakeTimeout: tlstest.Hang},
		Trace: func(_ *Conn, _ tlsio.Op, r tlsio.Result, _ session.Event) {
			if r.Want == tlsio.WantAsync {
				async.Add(1)
			}
		}})
	loop := startLoop(t, LoopConfig{Limits: Limits{HandshakeTimeout: tlstest.Hang}})
	const clients = 50
	ended := make(chan error, clients)
	for range clients {
		dial(t, loop, clientContext(t, nil), addr, &hooks{
			open:   func(c *Conn) { c.Write([]byte("x")) },
			data:   func(c *Conn, _ []byte) { c.Close() },
			closed: func(_ *Conn, err error) { ended <- err },
		})
	}
	for range clients {
		tlstest.Must(t, tlstest.Receive(t, ended, "a client"))
	}
	if async.Load() < clients {
		t.Errorf("%d waits off the loop for %d handshakes", async.Load(), clients)
	}
}

// BenchmarkSlowToken makes handshakes with a token that takes 50 ms for a signature, 64 at a time, on one loop, while a connection that
// is there already sends messages back and forth on the same loop. A loop that signed itself would make at most 20 a second, and each message would wait
// for the signatures before it.
func BenchmarkSlowToken(b *testing.B) {
	const at = 64
	addr := start(b, &Server{Context: tokenContext(b, 50*time.Millisecond), Handler: echo(), Limits: Limits{HandshakeTimeout: tlstest.Hang}})
	other := goDial(b, addr)
	clients := clientContext(b, nil)
	loop := startLoop(b, LoopConfig{Limits: Limits{HandshakeTimeout: tlstest.Hang}})
	echoes := func(while func() bool) (trips []time.Duration) {
		p := make([]byte, 1)
		for while() || len(trips) < 100 {
			began := time.Now()
			tlstest.Value(other.Write(p))(b)
			tlstest.Value(other.Read(p))(b)
			trips = append(trips, time.Since(began))
			time.Sleep(time.Millisecond)
		}
		slices.Sort(trips)
		return trips
	}
	quiet := echoes(func() bool { return false })
	b.ResetTimer()
	places := make(chan struct{}, at)
	var running atomic.Bool
	running.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range b.N {
			places <- struct{}{}
			dial(b, loop, clients, addr, &hooks{
				open:   func(c *Conn) { c.Close() },
				closed: func(*Conn, error) { <-places },
			})
		}
		for range at {
			places <- struct{}{}
		}
		running.Store(false)
	})
	trips := echoes(running.Load)
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "handshakes/s")
	b.ReportMetric(float64(quiet[len(quiet)/2].Microseconds()), "quiet-p50-µs")
	b.ReportMetric(float64(trips[len(trips)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(trips[len(trips)*99/100].Microseconds()), "p99-µs")
}
