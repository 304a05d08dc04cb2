package session

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/tlsio"
)

var seedFlag = flag.Uint64("seed", 0, "seed of TestQueueRandom; 0 means a new one each time")

// pattern is n bytes that differ from their neighbours, beginning at offset from.
func pattern(from, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte((from + i) * 7 >> ((from + i) / 251 % 3))
	}
	return p
}

// lens are the lengths of the queue's chunks. It also checks that they add up.
func lens(t testing.TB, q *queue) []int {
	t.Helper()
	var l []int
	sum := 0
	var last *chunk
	for c := q.head; c != nil; c = c.next {
		l = append(l, c.w-c.r)
		sum += c.w - c.r
		last = c
	}
	if sum != q.len() || last != q.tail {
		t.Fatalf("chunks %v hold %d bytes, Len says %d; tail is the last: %v", l, sum, q.len(), last == q.tail)
	}
	return l
}

// TestQueueMerges: small writes share a chunk, up to one record; a frozen head
// does not grow (P06), but what stands behind it does.
func TestQueueMerges(t *testing.T) {
	const full = tlsio.MaxPlaintext
	tests := []struct {
		name string
		do   func(q *queue)
		want []int
	}{
		{"empty", func(q *queue) {}, nil},
		{"nothing appended", func(q *queue) { q.add(nil) }, nil},
		{"three small ones", func(q *queue) { q.add(pattern(0, 1)); q.add(pattern(1, 2)); q.add(pattern(3, 3)) }, []int{6}},
		{"exactly a record", func(q *queue) { q.add(pattern(0, full)) }, []int{full}},
		{"a record and one byte", func(q *queue) { q.add(pattern(0, full+1)) }, []int{full, 1}},
		{"filled up", func(q *queue) { q.add(pattern(0, full-1)); q.add(pattern(full-1, 3)) }, []int{full, 2}},
		{"frozen head, new chunk", func(q *queue) { q.add(pattern(0, 5)); q.freeze(); q.add(pattern(5, 7)) }, []int{5, 7}},
		{"frozen head, later chunk grows", func(q *queue) {
			q.add(pattern(0, 5))
			q.freeze()
			q.add(pattern(5, 7))
			q.add(pattern(12, 8))
		}, []int{5, 15}},
		{"accepted, no longer frozen", func(q *queue) {
			q.add(pattern(0, 5))
			q.freeze()
			q.accept(2)
			q.add(pattern(5, 4))
		}, []int{7}},
		{"accepted whole", func(q *queue) { q.add(pattern(0, 5)); q.freeze(); q.accept(5) }, nil},
		{"accepted whole, next one in front", func(q *queue) {
			q.add(pattern(0, full+5))
			q.freeze()
			q.accept(full)
		}, []int{5}},
		{"freed", func(q *queue) { q.add(pattern(0, 3*full)); q.freeze(); q.free() }, nil},
		{"used again after Free", func(q *queue) { q.add(pattern(0, 9)); q.freeze(); q.free(); q.add(pattern(0, 4)) }, []int{4}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var q queue
			test.do(&q)
			if got := lens(t, &q); !slices.Equal(got, test.want) {
				t.Errorf("chunks %v, want %v", got, test.want)
			}
			q.free()
		})
	}
}

// TestQueueMoveFrom: chunks are taken over or merged, in order, and a frozen
// head is left alone.
func TestQueueMoveFrom(t *testing.T) {
	const full = tlsio.MaxPlaintext
	tests := []struct {
		name   string
		to     int
		frozen bool
		from   int
		want   []int
	}{
		{"nothing to nothing", 0, false, 0, nil},
		{"all to nothing", 0, false, full + 3, []int{full, 3}},
		{"nothing to some", 3, false, 0, []int{3}},
		{"merged", 10, false, 20, []int{30}},
		{"merged to the brim", 10, false, full - 10, []int{full}},
		{"does not fit", 10, false, full - 9, []int{10, full - 9}},
		{"frozen", 10, true, 20, []int{10, 20}},
		{"frozen, last chunk merges", full + 5, true, 20, []int{full, 25}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var q, o queue
			q.add(pattern(0, test.to))
			if test.frozen {
				q.freeze()
			}
			o.add(pattern(test.to, test.from))
			q.moveFrom(&o)
			if got := lens(t, &q); !slices.Equal(got, test.want) {
				t.Errorf("chunks %v, want %v", got, test.want)
			}
			if o.len() != 0 || o.head != nil || o.tail != nil {
				t.Errorf("%d bytes are left behind", o.len())
			}
			var got []byte
			for q.len() > 0 {
				p := q.freeze()
				got = append(got, p...)
				q.accept(len(p))
			}
			if !bytes.Equal(got, pattern(0, test.to+test.from)) {
				t.Error("the bytes are not the same, or not in order")
			}
			q.free()
		})
	}
}

// TestQueueRandom compares a Queue with a bytes.Buffer. While the head is
// frozen, its bytes must not change (P06).
func TestQueueRandom(t *testing.T) {
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for round := 0; round < 20; round++ {
		var q queue
		var model bytes.Buffer
		var frozen []byte
		fed := 0
		for i := 0; i < 2000; i++ {
			n := r.IntN(200)
			if r.IntN(10) == 0 {
				n = r.IntN(3 * tlsio.MaxPlaintext)
			}
			switch k := r.IntN(8); {
			case k < 3 && q.len() < 1<<20:
				q.add(pattern(fed, n))
				model.Write(pattern(fed, n))
				fed += n
			case k == 3 && q.len() < 1<<20:
				var o queue
				o.add(pattern(fed, n/2))
				o.add(pattern(fed+n/2, n-n/2))
				q.moveFrom(&o)
				model.Write(pattern(fed, n))
				fed += n
			case k == 4 && r.IntN(200) == 0:
				q.free()
				model.Reset()
				frozen = nil
			case q.len() > 0:
				p := q.freeze()
				if frozen != nil && !bytes.Equal(p, frozen) {
					t.Fatalf("round %d, step %d: the frozen head changed from %d bytes to %d", round, i, len(frozen), len(p))
				}
				frozen = bytes.Clone(p)
				if len(p) > tlsio.MaxPlaintext || len(p) == 0 {
					t.Fatalf("round %d, step %d: a head of %d bytes", round, i, len(p))
				}
				if r.IntN(2) == 0 {
					break
				}
				n := 1 + r.IntN(len(p))
				if r.IntN(2) == 0 {
					n = len(p)
				}
				if want := model.Next(n); !bytes.Equal(p[:n], want) {
					t.Fatalf("round %d, step %d: the bytes are not those that were appended", round, i)
				}
				q.accept(n)
				frozen = nil
			}
			if q.len() != model.Len() {
				t.Fatalf("round %d, step %d: Len %d, want %d", round, i, q.len(), model.Len())
			}
			lens(t, &q)
		}
		q.free()
	}
}
