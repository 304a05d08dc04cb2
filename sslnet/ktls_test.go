package sslnet

import (
	"crypto/sha256"
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

// bigFile makes a file of n bytes that never repeat at a record's distance.
func bigFile(t *testing.T, n int) *os.File {
	t.Helper()
	f := tlstest.Value(os.Create(filepath.Join(t.TempDir(), "file")))(t)
	t.Cleanup(func() { f.Close() })
	var s sequence
	p := make([]byte, 1<<20)
	for left := n; left > 0; left -= len(p) {
		p = p[:min(len(p), left)]
		s.fill(p)
		tlstest.Value(f.Write(p))(t)
	}
	tlstest.Value(f.Seek(0, io.SeekStart))(t)
	return f
}

// TestKernelSendFile: 100 MB by sendfile, compared by their hash, while the client sends too.
func TestKernelSendFile(t *testing.T) {
	testktls.Needs(t)
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			size := 100<<20 + 12345
			if name != "TLS 1.3" {
				size /= 10
			}
			client, server := connect(t, networks["tcp"], version, kernelRecords)
			if s := server.State(); s.Records != cssl.RecordsKernel || s.RecordsReason != "" && testktls.Reads(t, s.RecordsReason) {
				t.Fatalf("records: %v %q", s.Records, s.RecordsReason)
			}
			f := bigFile(t, size)
			want := sha256.New()
			tlstest.Value(io.Copy(want, f))(t)
			tlstest.Value(f.Seek(0, io.SeekStart))(t)
			sent := tlstest.Later(func() error {
				n, err := server.sendFile(f)
				if n != int64(size) {
					err = errors.Join(err, io.ErrShortWrite)
				}
				return errors.Join(err, server.CloseWrite())
			})
			upload := make([]byte, 1<<20)
			var up sequence
			up.fill(upload)
			uploaded := tlstest.Later(func() error { _, err := client.Write(upload); return errors.Join(err, client.CloseWrite()) })
			read := tlstest.Later(func() error {
				got, err := io.ReadAll(server)
				if err == nil && string(got) != string(upload) {
					err = errors.New("the server got something else")
				}
				return err
			})
			got := sha256.New()
			if n, err := io.Copy(got, client); n != int64(size) || err != nil {
				t.Errorf("got %d bytes and %v, want %d", n, err, size)
			}
			if string(got.Sum(nil)) != string(want.Sum(nil)) {
				t.Error("the hash differs")
			}
			done(t, sent, "sendfile")
			done(t, uploaded, "the client's Write")
			done(t, read, "the server's Read")
		})
	}
}

// TestReadFromFile: ReadFrom of a file, whole and a part of it, from an offset. It uses sendfile where the kernel has TLS.
func TestReadFromFile(t *testing.T) {
	const size = 3<<20/scale + 17
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			client, server := connect(t, networks["tcp"], version, kernelRecords)
			want := "direct"
			if testktls.Available() {
				want = "kernel"
			}
			tlstest.Equal(t, "records", server.State().Records.String(), want)
			f := bigFile(t, size)
			all := tlstest.Value(os.ReadFile(f.Name()))(t)
			tlstest.Value(f.Seek(5, io.SeekStart))(t)
			part := &io.LimitedReader{R: f, N: 1000}
			sent := tlstest.Later(func() error {
				n, err := server.ReadFrom(part)
				m, err2 := server.ReadFrom(f)
				if n != 1000 || part.N != 0 || m != size-1005 {
					err = errors.Join(err, err2, io.ErrShortWrite)
				}
				closed, _ := os.Open(f.Name())
				closed.Close()
				if n, err3 := server.ReadFrom(closed); n != 0 || !errors.Is(err3, os.ErrClosed) {
					err = errors.Join(err, errors.New("a closed file was sent"))
				}
				return errors.Join(err, server.CloseWrite())
			})
			got, err := io.ReadAll(client)
			if err != nil || string(got) != string(all[5:]) {
				t.Errorf("got %d bytes and %v, want %d", len(got), err, size-5)
			}
			done(t, sent, "ReadFrom")
		})
	}
}
