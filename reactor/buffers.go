package reactor

import "time"

const (
	// keepBuffers is how many connections of a loop keep OpenSSL's record
	// buffers (33 KiB) between turns. This bounds their memory to 17 MB for
	// each loop.
	keepBuffers = 512
	// buffersRest is the interval at which unused buffers are freed.
	buffersRest = time.Second
)

// buffers tracks the connections that hold record buffers. OpenSSL can free
// them after each operation (cssl.Config.ReleaseBuffers), which costs a busy
// connection two malloc and free for each message, or never, which
// costs an idle one 33 KiB. Here a busy connection keeps them, up to
// keepBuffers connections of a loop, until it has been idle for one to two
// times buffersRest. After a handshake they are freed at once, because many
// connections are idle then.
type buffers struct {
	conns  []*Conn
	lookAt time.Duration
}

// used records that c has just used its buffers.
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

// remove removes c, which has ended or whose buffers were freed.
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

// look frees the buffers that were not used since the last look.
func (b *buffers) look(now time.Duration) {
	if len(b.conns) == 0 || now < b.lookAt {
		return
	}
	b.lookAt = now + buffersRest
	for i := len(b.conns) - 1; i >= 0; i-- { // backwards: remove moves the last one
		c := b.conns[i]
		if c.bufferUse {
			c.bufferUse = false
		} else if c.tls.FreeBuffers() {
			b.remove(c)
		}
	}
}

// next returns when to look next, if there is anything to look at.
func (b *buffers) next() (time.Duration, bool) { return b.lookAt, len(b.conns) > 0 }
