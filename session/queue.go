package session

import (
	"sync"

	"github.com/spacemonad/go-openssl/tlsio"
)

// chunk holds the bytes of at most one record.
type chunk struct {
	next *chunk
	r, w int // data[r:w] is to be written
	data [tlsio.MaxPlaintext]byte
}

// batch is the most chunks that one call of the engine is given.
const batch = 4

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// queue holds bytes to be written, in order, in chunks of at most one record.
// The zero value is empty. It copies what is added.
type queue struct {
	head, tail *chunk
	n          int
	// frozen: the engine has been given the head and has not accepted it yet.
	// The head must not grow. The chunks behind it may.
	frozen bool
}

// len returns the number of bytes in the queue.
func (q *queue) len() int { return q.n }

// add copies p to the end.
func (q *queue) add(p []byte) {
	q.n += len(p)
	for len(p) > 0 {
		c := q.tail
		if c == nil || c.w == tlsio.MaxPlaintext || q.frozen && c == q.head {
			c = chunks.Get().(*chunk)
			q.push(c)
		}
		n := copy(c.data[c.w:], p)
		c.w += n
		p = p[n:]
	}
}

func (q *queue) push(c *chunk) {
	if q.tail == nil {
		q.head = c
	} else {
		q.tail.next = c
	}
	q.tail = c
}

// moveFrom moves everything from o, whose head must not be frozen, to q.
func (q *queue) moveFrom(o *queue) {
	for c := o.head; c != nil; {
		next := c.next
		if t := q.tail; t != nil && !(q.frozen && t == q.head) && c.w-c.r <= tlsio.MaxPlaintext-t.w {
			t.w += copy(t.data[t.w:], c.data[c.r:c.w])
			recycle(c)
		} else {
			c.next = nil
			q.push(c)
		}
		c = next
	}
	q.n += o.n
	*o = queue{}
}

// freeze returns the head's bytes. They do not change until accept.
func (q *queue) freeze() []byte {
	q.frozen = true
	return q.head.data[q.head.r:q.head.w]
}

// first appends the bytes of the first chunks to bufs, as many as it has room
// for, and returns how many bytes these are.
func (q *queue) first(bufs [][]byte) ([][]byte, int) {
	n := 0
	for c := q.head; c != nil && len(bufs) < cap(bufs); c = c.next {
		bufs = append(bufs, c.data[c.r:c.w])
		n += c.w - c.r
	}
	return bufs, n
}

// accept drops the first n bytes, which the engine has accepted. What is left
// is no longer frozen.
func (q *queue) accept(n int) {
	q.frozen = false
	q.n -= n
	for c := q.head; n > 0; c = q.head {
		k := min(n, c.w-c.r)
		n -= k
		if c.r += k; c.r < c.w {
			return
		}
		if q.head = c.next; q.head == nil {
			q.tail = nil
		}
		recycle(c)
	}
}

// free empties the queue.
func (q *queue) free() {
	for c := q.head; c != nil; {
		next := c.next
		recycle(c)
		c = next
	}
	*q = queue{}
}

// recycle does not wipe the bytes; they stay in memory, like those of any freed
// Go object.
func recycle(c *chunk) {
	c.next, c.r, c.w = nil, 0, 0
	chunks.Put(c)
}
