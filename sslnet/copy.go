package sslnet

import (
	"io"
	"sync"

	"github.com/spacemonad/go-openssl/cssl"
)

// copyBuffers have room for four full records, which share a send.
var copyBuffers = sync.Pool{New: func() any { return new([4 * cssl.MaxPlaintext]byte) }}

// ReadFrom writes what r has until its end. It fills records to the brim where r gives as much at once, from a buffer that is
// shared, so that io.Copy allocates none.
func (c *Conn) ReadFrom(r io.Reader) (n int64, err error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	buf := copyBuffers.Get().(*[4 * cssl.MaxPlaintext]byte)
	defer copyBuffers.Put(buf)
	for {
		k, rerr := r.Read(buf[:])
		if k > 0 {
			w, err := c.Write(buf[:k])
			n += int64(w)
			if err != nil {
				return n, err
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}

// recordBuffers have room for what one Read answers.
var recordBuffers = sync.Pool{New: func() any { return new([cssl.MaxPlaintext]byte) }}

// WriteTo writes what it reads, until the peer's end, to w. Its buffer is shared, as that of ReadFrom.
func (c *Conn) WriteTo(w io.Writer) (n int64, err error) {
	buf := recordBuffers.Get().(*[cssl.MaxPlaintext]byte)
	defer recordBuffers.Put(buf)
	for {
		k, rerr := c.Read(buf[:])
		if k > 0 {
			wrote, err := w.Write(buf[:k])
			n += int64(wrote)
			if err == nil && wrote < k {
				err = io.ErrShortWrite
			}
			if err != nil {
				return n, err
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}
