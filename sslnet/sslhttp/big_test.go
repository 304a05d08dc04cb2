package sslhttp

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// size is how much TestBig moves each way: HTTP_FULL=1 makes it a gigabyte.
func size() int64 {
	if os.Getenv("HTTP_FULL") != "" {
		return 1 << 30
	}
	return 64 << 20
}

// maxHeap is how much of the heap may be in use while TestBig moves any amount.
const maxHeap = 48 << 20

// block is what a pattern repeats; its length is a prime, so that no buffer's is a multiple of it.
var block = tlstest.Bytes(1_000_003, 0)

// pattern is a stream of n bytes. Reading it hashes it, and watches the heap.
type pattern struct {
	t    *testing.T // nil: the heap is not watched
	n    int64      // left
	at   int        // in block
	next int64      // look at the heap when n is there
	sum  hash.Hash
}

func newPattern(t *testing.T, n int64) *pattern {
	return &pattern{t: t, n: n, next: n, sum: sha256.New()}
}

func (p *pattern) Read(b []byte) (int, error) {
	if p.n == 0 {
		return 0, io.EOF
	}
	b = b[:min(int64(len(b)), p.n)]
	b = b[:copy(b, block[p.at:])]
	p.at = (p.at + len(b)) % len(block)
	p.sum.Write(b)
	p.n -= int64(len(b))
	if p.t != nil && p.n <= p.next {
		p.next = p.n - 8<<20
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		if m.HeapAlloc > maxHeap {
			p.t.Errorf("%d bytes of the heap are in use with %d bytes to go", m.HeapAlloc, p.n)
		}
	}
	return len(b), nil
}

func (p *pattern) hash() string { return fmt.Sprintf("%x", p.sum.Sum(nil)) }

// TestBig: much data, up and down at once, arrives unchanged in a constant amount of memory: over each protocol, to our server from
// net/http's client and from ours, and from our client to net/http's server. HTTP_FULL=1 moves a gigabyte each way.
func TestBig(t *testing.T) {
	n := size()
	// The handler answers a pattern while it reads one, and says in trailers what it read and wrote.
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
			t.Error(err)
		}
		w.Header().Set("Trailer", "Read, Wrote, Length")
		got, length := sha256.New(), make(chan int64, 1)
		go func() {
			k, err := io.Copy(got, r.Body)
			if err != nil {
				t.Error("the server reads:", err)
			}
			length <- k
		}()
		down := newPattern(t, n)
		if _, err := io.Copy(w, down); err != nil {
			t.Error("the server writes:", err)
		}
		w.Header().Set("Length", strconv.FormatInt(<-length, 10))
		w.Header().Set("Read", fmt.Sprintf("%x", got.Sum(nil)))
		w.Header().Set("Wrote", down.hash())
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
				up := newPattern(t, n)
				resp := tlstest.Value(c.client.Post(c.url, "application/octet-stream", up))(t)
				defer resp.Body.Close()
				got := sha256.New()
				k := tlstest.Value(io.Copy(got, resp.Body))(t)
				tlstest.Equal(t, "version of HTTP", resp.ProtoMajor, major)
				if sum := fmt.Sprintf("%x", got.Sum(nil)); k != n || sum != resp.Trailer.Get("Wrote") {
					t.Errorf("down: %d bytes of %d, %s", k, n, sum)
				}
				if up.n != 0 || resp.Trailer.Get("Length") != strconv.FormatInt(n, 10) || up.hash() != resp.Trailer.Get("Read") {
					t.Errorf("up: %d bytes are left of %d, trailers %v", up.n, n, resp.Trailer)
				}
			})
		}
	})
}
