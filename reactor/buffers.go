package reactor

import "time"

const (
	// keepBuffers is how many connections of a loop keep OpenSSL's record buffers, of 33 KiB together, from one turn to
	// the next. It bounds what they take to 17 MB for each loop.
	keepBuffers = 512
	// buffersRest is how often those are looked for that have not been used since the last look.
	buffersRest = time.Second
)

// buffers knows which connections hold record buffers. OpenSSL can free them after each operation
// (cssl.Config.ReleaseBuffers), which costs a busy connection two malloc and free of 17 KiB for each message, or never, which
// costs an idle one 33 KiB. So a busy one keeps them, up to keepBuffers of a loop, and gives them back when it has
// been idle for one to two times buffersRest. After a handshake they are given back at once: many connections rest then.
type buffers struct {
	conns  []*Conn
	lookAt time.Duration
}

// used notes that c has just used its buffers.
func (b *buffers) used(c *Conn, now time.Duration) {
	c.bufferUse = true
	if c.buffered {
		return
	}
	if len(b.conns) == keepBuffers {
		c.tls.FreeBuffers()
		return
	}
	if len(b.conns) == 0 {
		b.lookAt = now + buffersRest
	}
	c.buffered, c.bufferIndex = true, uint16(len(b.conns))
	b.conns = append(b.conns, c)
}

// remove forgets c, which has ended or given its buffers back.
func (b *buffers) remove(c *Conn) {
	if !c.buffered {
		return
	}
	last := len(b.conns) - 1
	moved := b.conns[last]
	b.conns[c.bufferIndex], moved.bufferIndex = moved, c.bufferIndex
	b.conns[last] = nil
	b.conns = b.conns[:last]
	c.buffered = false
}

// look frees the buffers of those that have not used them since the last time.
func (b *buffers) look(now time.Duration) {
	if len(b.conns) == 0 || now < b.lookAt {
		return
	}
	b.lookAt = now + buffersRest
	for i := len(b.conns) - 1; i >= 0; i-- { // backwards: the last one takes the place of one that is removed
		c := b.conns[i]
		if c.bufferUse {
			c.bufferUse = false
		} else if c.tls.FreeBuffers() {
			b.remove(c)
		}
	}
}

// next is when to look, if there is a reason to.
func (b *buffers) next() (time.Duration, bool) { return b.lookAt, len(b.conns) > 0 }
