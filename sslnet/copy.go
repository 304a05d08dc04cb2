package sslnet

import (
	"io"
	"os"
	"sync"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/negotiated"
	"github.com/spacemonad/go-openssl/tlsio"
)

// batch is how much one operation of cssl writes: four full records.
const batch = 4 * tlsio.MaxPlaintext

var copyBuffers = sync.Pool{New: func() any { return new([batch]byte) }}

// ReadFrom writes to c what it reads from r, until io.EOF. Its buffer is
// pooled, so io.Copy allocates none. Records are full if r returns 64 KiB at
// once. If r is an *os.File, or an *io.LimitedReader of one, and the kernel
// seals the records (cssl.RecordsKernel), ReadFrom uses sendfile(2).
func (c *Conn) ReadFrom(r io.Reader) (n int64, err error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	if n, err = c.sendFile(r); err != nil {
		return n, err
	}
	buf := copyBuffers.Get().(*[batch]byte)
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

// sendFile writes what r has, as far as sendfile(2) can. If it is not at the
// end, a Read of r or a Write says why.
func (c *Conn) sendFile(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		r = limited.R
	}
	f, isFile := r.(*os.File)
	if !isFile || !c.kernelWrites() {
		return 0, nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, nil
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, nil
	}
	// Not more than there is: before Linux 6.5, the kernel would keep the last
	// record open for more.
	rest := info.Size() - at
	if ok {
		rest = min(rest, limited.N)
	}
	raw, err := f.SyscallConn()
	if err != nil || rest <= 0 {
		return 0, nil
	}
	s := &c.writer
	s.sem <- struct{}{}
	s.file, s.rest = raw, rest
	n, err := s.do("write", taskSendFile, nil)
	s.file = nil
	<-s.sem
	if ok {
		limited.N -= int64(n)
	}
	return int64(n), err
}

// kernelWrites reports whether the kernel may seal what is written.
func (c *Conn) kernelWrites() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready && !c.closing && cssl.Records(negotiated.Of(c.tls).Records) == cssl.RecordsKernel
}

// tryFile sends the next part of the file. c.mu is held.
func (s *half) tryFile() (r tlsio.Result, finished bool) {
	err := s.file.Control(func(fd uintptr) { r = s.c.tls.SendFile(int(fd), int(min(s.rest, 1<<20))) })
	if err != nil || r.Err != nil {
		return tlsio.Result{}, true
	}
	s.n += r.N
	s.rest -= int64(r.N)
	return r, r.Want == tlsio.WantNone && (r.N == 0 || s.rest == 0)
}

// WriteTo writes to w what it reads from c, until io.EOF. Its buffer is pooled.
func (c *Conn) WriteTo(w io.Writer) (n int64, err error) {
	buf := copyBuffers.Get().(*[batch]byte)
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
