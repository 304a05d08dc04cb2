package sslnet

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testktls"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func kernelRecords(server, client *cssl.Config) {
	server.Records, server.Renegotiation, client.Renegotiation = cssl.RecordsKernel, false, false
}

// checker is a Writer that demands what comes next in a Stream.
type checker struct{ *tlstest.Stream }

func (c checker) Write(p []byte) (int, error) {
	c.Check(p)
	return len(p), c.Bad
}

// TestReadFromFile: ReadFrom of a file, a part of it and then the rest, from an offset, while the client sends too. Where the
// kernel has TLS, sendfile sends all of it.
func TestReadFromFile(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, networks["tcp"], version, kernelRecords)
			size, readFrom, want := 3<<20/tlstest.Scale+17, server.ReadFrom, "direct"
			if testktls.Available() {
				size, readFrom, want = 100<<20+12345, server.sendFile, "kernel"
				if name == "TLS 1.2" {
					size /= 10
				}
			}
			s := server.State()
			if s.Records.String() != want || want == "kernel" && s.RecordsReason != "" && testktls.Reads(t, s.RecordsReason) {
				t.Fatalf("records: %v %q", s.Records, s.RecordsReason)
			}
			f := tlstest.Value(os.Create(filepath.Join(t.TempDir(), "file")))(t)
			defer f.Close()
			for s := new(tlstest.Stream); s.N < size; {
				tlstest.Value(f.Write(s.Next(min(1<<20, size-s.N))))(t)
			}
			tlstest.Value(f.Seek(5, io.SeekStart))(t)
			part := &io.LimitedReader{R: f, N: 1000}
			sent := tlstest.Later(func() error {
				n, err := readFrom(part)
				m, err2 := readFrom(f)
				if n != 1000 || part.N != 0 || m != int64(size)-1005 {
					err = errors.Join(err, err2, io.ErrShortWrite)
				}
				closed, _ := os.Open(f.Name())
				closed.Close()
				if n, err3 := server.ReadFrom(closed); n != 0 || !errors.Is(err3, os.ErrClosed) {
					err = errors.Join(err, errors.New("a closed file was sent"))
				}
				return errors.Join(err, server.CloseWrite())
			})
			const upload = 1 << 20
			uploaded := tlstest.Later(func() error { return errors.Join(send(client, upload, upload), client.CloseWrite()) })
			read := tlstest.Later(func() error { return errors.Join(expect(server, upload), reading(server)()) })
			in := tlstest.Stream{N: 5}
			_, err := io.Copy(checker{&in}, client)
			tlstest.Must(t, err)
			tlstest.Equal(t, "bytes that came", in.N, size)
			done(t, sent, "ReadFrom")
			done(t, uploaded, "the client's Write")
			fails(t, read, "the server's Read", io.EOF)
		})
	}
}
