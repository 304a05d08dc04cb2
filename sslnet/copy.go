package sslnet

import (
	"io"
	"sync"

	"github.com/spacemonad/go-openssl/tlsio"
)

// copyBuffers hold the plaintext of four full records.
var copyBuffers = sync.Pool{New: func() any { return new([4 * tlsio.MaxPlaintext]byte) }}

// ReadFrom writes to c what it reads from r, until io.EOF. Its buffer is
// pooled, so io.Copy allocates none. Records are full if r returns 64 KiB at
// once.
func (c *Conn) ReadFrom(r io.Reader) (n int64, err error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	buf := copyBuffers.Get().(*[4 * tlsio.MaxPlaintext]byte)
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

// WriteTo writes to w what it reads from c, until io.EOF. Its buffer is pooled.
func (c *Conn) WriteTo(w io.Writer) (n int64, err error) {
	buf := copyBuffers.Get().(*[4 * tlsio.MaxPlaintext]byte)
	defer copyBuffers.Put(buf)
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
