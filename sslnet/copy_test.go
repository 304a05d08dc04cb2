package sslnet

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestCopy: io.Copy to a Conn and from it, with ReadFrom and WriteTo: the content, and the number of bytes.
func TestCopy(t *testing.T) {
	const size = 3<<20/tlstest.Scale + 17
	everywhere(t, networks, func(t *testing.T, client, server *Conn) {
		p := new(tlstest.Stream).Next(size)
		sent := tlstest.Later(func() error {
			n, err := io.Copy(client, struct{ io.Reader }{bytes.NewReader(p)})
			if n != size {
				err = errors.Join(err, io.ErrShortWrite)
			}
			return errors.Join(err, client.CloseWrite())
		})
		var got bytes.Buffer
		n, err := io.Copy(&got, server)
		if n != size || err != nil || !bytes.Equal(got.Bytes(), p) {
			t.Errorf("got %d bytes and %v, want %d, unchanged", n, err, size)
		}
		done(t, sent, "io.Copy")
	})
}

var errTest = errors.New("of the test")

// shortWriter takes a little less than it is given.
type shortWriter struct{ err error }

func (w shortWriter) Write(p []byte) (int, error) { return len(p) - 1, w.err }

// TestCopyErrors: each end's error is answered, with the number of bytes that went through.
func TestCopyErrors(t *testing.T) {
	client, server := connect(t, networks["tcp"])
	n, err := client.ReadFrom(io.MultiReader(bytes.NewReader(make([]byte, 10)), iotest.ErrReader(errTest)))
	if n != 10 || err != errTest {
		t.Errorf("a reader that fails: %d, %v", n, err)
	}
	for _, want := range []error{io.ErrShortWrite, errTest} {
		w := shortWriter{}
		if want == errTest {
			w.err = errTest
			tlstest.Must(t, send(client, 10, 10))
		}
		if n, err := server.WriteTo(w); n != 9 || err != want {
			t.Errorf("a writer that fails: %d, %v, want 9, %v", n, err, want)
		}
	}
	tlstest.Must(t, server.SetReadDeadline(longAgo))
	n, err = server.WriteTo(io.Discard)
	timedOut(t, err)
	tlstest.Equal(t, "bytes", n, 0)
	tlstest.Must(t, client.SetWriteDeadline(longAgo))
	n, err = client.ReadFrom(bytes.NewReader(make([]byte, 10)))
	timedOut(t, err)
	tlstest.Equal(t, "bytes", n, 0)
	// Data and the end in one, as some readers have them.
	tlstest.Must(t, client.SetWriteDeadline(noDeadline))
	if n, err := client.ReadFrom(iotest.DataErrReader(bytes.NewReader(make([]byte, 10)))); n != 10 || err != nil {
		t.Errorf("%d, %v, want 10", n, err)
	}
}
