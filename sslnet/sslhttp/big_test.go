package sslhttp

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// size is how much TestBig moves each way: HTTP_FULL=1 makes it a gigabyte.
func size() int {
	if os.Getenv("HTTP_FULL") != "" {
		return 1 << 30
	}
	return 64 << 20
}

// maxHeap is how much of the heap may be in use while TestBig moves any amount.
const maxHeap = 48 << 20

// source is a Reader of the first n bytes of a Stream. It watches the heap if there is a t.
type source struct {
	tlstest.Stream
	n    int
	t    *testing.T
	next int // look at the heap when so many bytes were read
}

func (s *source) Read(p []byte) (int, error) {
	n := copy(p, s.Next(min(len(p), s.n-s.N)))
	if s.t != nil && s.N >= s.next {
		s.next = s.N + 8<<20
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapAlloc > maxHeap {
			s.t.Errorf("%d bytes of the heap are in use after %d bytes", m.HeapAlloc, s.N)
		}
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// sink is a Writer that demands a Stream.
type sink struct{ tlstest.Stream }

func (s *sink) Write(p []byte) (int, error) {
	s.Check(p)
	return len(p), s.Bad
}

// whole reads n bytes of a Stream, and the end.
func whole(r io.Reader, n int) error {
	var s sink
	if _, err := io.Copy(&s, r); err != nil {
		return err
	}
	if s.N != n {
		return fmt.Errorf("%d bytes of %d came", s.N, n)
	}
	return nil
}

// TestBig: much data, up and down at once, arrives unchanged in a constant amount of memory: over each protocol, to our server from
// net/http's client and from ours, and from our client to net/http's server. HTTP_FULL=1 moves a gigabyte each way.
func TestBig(t *testing.T) {
	n := size()
	// The handler answers a Stream while it reads one.
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
			t.Error(err)
		}
		read := tlstest.Later(func() error { return whole(r.Body, n) })
		if _, err := io.Copy(w, &source{n: n, t: t}); err != nil {
			t.Error("the server writes:", err)
		}
		if err := <-read; err != nil {
			t.Error("the server reads:", err)
		}
	})
	eachProtocol(t, func(t *testing.T, alpn string, major int) {
		s := serve(t, &http.Server{Handler: h}, serverContext(t))
		theirs := goServer(t, alpn, h)
		own := first(ourClient(t, clientContext(t, only(alpn))))
		for _, c := range []struct {
			name   string
			client *http.Client
			url    string
		}{
			{"go to ours", goClient(t, alpn), s.url}, {"ours to ours", own, s.url}, {"ours to go", own, theirs.URL},
		} {
			t.Run(c.name, func(t *testing.T) {
				c.client.Timeout = 0
				runtime.GC() // what other tests have left
				resp := tlstest.Value(c.client.Post(c.url, "application/octet-stream", &source{n: n, t: t}))(t)
				defer resp.Body.Close()
				tlstest.Must(t, whole(resp.Body, n))
				tlstest.Equal(t, "version of HTTP", resp.ProtoMajor, major)
			})
		}
	})
}
