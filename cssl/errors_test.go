package cssl

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

func enginePair(t testing.TB, version TLSVersion) *pair {
	t.Helper()
	c := clientUpTo(version)
	p := newPair(t, mustClient(t, c), mustServer(t, serverConfig("ecdsa")))
	return p
}

// TestEveryAnswer goes through all values of SSL_get_error, and those of this package's C side: each is a Want or an error.
func TestEveryAnswer(t *testing.T) {
	tests := map[int]struct {
		want tlsio.Want
		is   error
	}{
		1: {}, 2: {want: tlsio.WantRead}, 3: {want: tlsio.WantWrite}, 4: {is: tlsio.ErrUnknown}, 5: {}, 6: {is: io.EOF},
		7: {is: tlsio.ErrUnknown}, 8: {is: tlsio.ErrUnknown}, 9: {is: tlsio.ErrUnknown}, 10: {is: tlsio.ErrUnknown},
		11: {want: tlsio.WantClientHello}, 12: {want: tlsio.WantRetryVerify}, 13: {is: tlsio.ErrUnknown},
		99: {is: tlsio.ErrUnknown}, 100: {want: tlsio.WantAppRead}, 101: {is: io.ErrUnexpectedEOF}, 102: {is: syscall.EPIPE},
		103: {is: syscall.EPIPE}, 104: {is: tlsio.ErrLimit}, 105: {is: tlsio.ErrState},
	}
	for code, tt := range tests {
		if w := wantOf(code); w != tt.want {
			t.Errorf("%d: %v, want %v", code, w, tt.want)
		}
		if tt.want != tlsio.WantNone {
			continue
		}
		var errno syscall.Errno
		if tt.is == syscall.EPIPE {
			errno = syscall.EPIPE
		}
		for op := range tlsio.Op(tlsio.Ops) {
			p := enginePair(t, TLS13)
			err := p.client.failure(op, code, errno)
			var e *tlsio.Error
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v %d: %v", op, code, err)
			}
			if err == io.EOF && (op == tlsio.OpRead || op == tlsio.OpPeek) {
				continue
			}
			if !errors.As(err, &e) || e.Errno != errno || (e.Err == nil) != (tt.is == nil || errno != 0) || e.Op != op || !strings.Contains(err.Error(), op.String()) {
				t.Errorf("%v %d: %#v", op, code, err)
			}
		}
	}
	if wantOf(0) != tlsio.WantNone {
		t.Error("SSL_ERROR_NONE is a want")
	}
}

// TestEndOfStream: close_notify is io.EOF, a bare FIN is io.ErrUnexpectedEOF (P15), both after the
// data and both again and again; writing goes on.
func TestEndOfStream(t *testing.T) {
	for _, version := range versions {
		for _, bare := range []bool{false, true} {
			p := enginePair(t, version).opened()
			p.client.Write([]byte("last"))
			want := io.EOF
			if bare {
				want = io.ErrUnexpectedEOF
			} else if r := p.client.Shutdown(); r.Want != tlsio.WantNone || r.Err != nil {
				t.Fatalf("shutdown: %+v", r)
			}
			p.move(p.client, p.server)
			p.server.FeedEOF()
			if r := p.server.Read(p.buf); string(p.buf[:r.N]) != "last" {
				t.Errorf("read: %+v", r)
			}
			for range 3 {
				if r := p.server.Read(p.buf); !errors.Is(r.Err, want) || (r.Err == io.EOF) != !bare {
					t.Errorf("%v, bare %v: %+v", version, bare, r)
				}
			}
			if r := p.server.Write([]byte("still")); r.N != 5 {
				t.Errorf("%v, bare %v: write after the peer's end: %+v", version, bare, r)
			}
			if r := p.server.Shutdown(); r.Err != nil {
				t.Errorf("%v, bare %v: shutdown: %+v", version, bare, r)
			}
			if r := p.server.Write([]byte("x")); !errors.Is(r.Err, tlsio.ErrShutdown) {
				t.Errorf("write after shutdown: %+v", r)
			}
			p.move(p.server, p.client)
			if r := p.client.Read(p.buf); r.N != 5 {
				t.Errorf("%v, bare %v: the client reads %+v", version, bare, r)
			}
			if r := p.client.Read(p.buf); r.Err != io.EOF {
				t.Errorf("%v, bare %v: the client's end: %+v", version, bare, r)
			}
		}
	}
}

// TestWriteAfterBareFIN: the end of the peer's direction leaves our own as it is,
// whichever operation finds it (P53).
func TestWriteAfterBareFIN(t *testing.T) {
	for name, find := range map[string]func(*Conn, []byte) tlsio.Result{
		"read":       (*Conn).Read,
		"peek":       (*Conn).Peek,
		"handshake":  func(c *Conn, _ []byte) tlsio.Result { return c.Handshake() },
		"key update": func(c *Conn, _ []byte) tlsio.Result { return c.KeyUpdate(false) }, // reads on its way
	} {
		for _, version := range versions {
			if name == "key update" && version != TLS13 {
				continue
			}
			t.Run(name+" "+version.String(), func(t *testing.T) {
				config := clientConfig()
				config.MinVersion, config.MaxVersion = version, version
				cfd, sfd := socketPair(t, "unix", false)
				client, server := overSockets(t, mustClient(t, config), mustServer(t, serverConfig("ecdsa")), cfd, sfd)
				for range 3 { // what one has written, the other can read at once
					client.Handshake()
					server.Handshake()
				}
				if r := client.Write([]byte("last")); r.N != 4 {
					t.Fatalf("%+v", r)
				}
				tlstest.Must(t, syscall.Shutdown(cfd, syscall.SHUT_WR))
				buf := make([]byte, 64)
				if r := server.Read(buf); string(buf[:r.N]) != "last" {
					t.Fatalf("%+v", r)
				}
				find(server, buf)
				for range 2 {
					if r := server.Write([]byte("still")); r.N != 5 {
						t.Fatalf("write: %+v", r)
					}
					if r := server.Read(buf); !errors.Is(r.Err, io.ErrUnexpectedEOF) {
						t.Fatalf("read: %+v", r)
					}
				}
				if r := server.Shutdown(); r.Err != nil {
					t.Fatalf("shutdown: %+v", r)
				}
				for _, want := range []string{"still", "still", ""} {
					if r := client.Read(buf); string(buf[:r.N]) != want || (r.Err == io.EOF) != (want == "") {
						t.Fatalf("the client reads %+v, want %q", r, want)
					}
				}
			})
		}
	}
}

// TestEndInHandshake: a FIN in the midst of the handshake is io.ErrUnexpectedEOF on both sides (P15).
func TestEndInHandshake(t *testing.T) {
	for _, version := range versions {
		p := enginePair(t, version)
		for i, c := range []*Conn{p.server, p.client} {
			if i == 1 {
				c.Handshake()
			}
			c.FeedEOF()
			if r := c.Handshake(); !errors.Is(r.Err, io.ErrUnexpectedEOF) {
				t.Errorf("%v: %+v", version, r)
			}
		}
	}
}

// TestKeyUpdateAfterPeersEnd: the peer's close_notify closes its own direction only.
func TestKeyUpdateAfterPeersEnd(t *testing.T) {
	p := enginePair(t, TLS13).shaken()
	p.client.Shutdown()
	p.move(p.client, p.server)
	if r := p.server.Read(p.buf); r.Err != io.EOF {
		t.Fatalf("%+v", r)
	}
	for range 3 {
		if r := p.server.KeyUpdate(false); r.Want != tlsio.WantNone || r.Err != nil {
			t.Fatalf("key update: %+v", r)
		}
		if r := p.server.Write([]byte("x")); r.N != 1 {
			t.Fatalf("write: %+v", r)
		}
	}
	p.move(p.server, p.client)
	for range 3 {
		if r := p.client.Read(p.buf); r.N != 1 {
			t.Fatalf("read: %+v", r)
		}
	}
}

// TestStaleErrorQueue: an entry that other code left on the thread's error queue must not turn
// a want or the end of the stream into a failure (P10, P33).
func TestStaleErrorQueue(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, version := range versions {
		p := enginePair(t, version)
		for _, op := range []func() tlsio.Result{p.client.Handshake, p.server.Handshake} {
			leaveError()
			if r := op(); r.Want != tlsio.WantRead {
				t.Errorf("handshake: %+v", r)
			}
		}
		p.opened()
		for name, op := range map[string]func() tlsio.Result{
			"read": func() tlsio.Result { return p.client.Read(p.buf) },
			"peek": func() tlsio.Result { return p.client.Peek(p.buf) },
		} {
			for range 2 {
				leaveError()
				if r := op(); r.Want != tlsio.WantRead {
					t.Errorf("%s: %+v", name, r)
				}
			}
		}
		p.server.FeedEOF()
		leaveError()
		if r := p.server.Read(p.buf); !errors.Is(r.Err, io.ErrUnexpectedEOF) {
			t.Errorf("bare FIN: %+v", r)
		}
		leaveError()
	}
}

// TestReasonsAreOnesOwn fails many connections for different reasons at once: each error has the reasons of its own connection (P25).
func TestReasonsAreOnesOwn(t *testing.T) {
	sx := mustServer(t, serverConfig("ecdsa"))
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			for range 50 {
				c, err := sx.NewEngineConn(ConnConfig{})
				if err != nil {
					t.Error(err)
					return
				}
				input, want := "GET / HTTP/1.1\r\n\r\n", "http request"
				switch g % 3 {
				case 1:
					input, want = "\x16\x03\x01\xff\xff\x01", "packet length too long"
					if linked.Run.series() >= 0x302 {
						want = "data length too long"
					}
				case 2:
					input, want = "\x99\x99\x99\x99\x99\x99\x99\x99\x99\x99\x99\x99", "wrong version number"
				}
				c.Feed([]byte(input))
				r := c.Handshake()
				runtime.Gosched()
				if e, ok := errors.AsType[*tlsio.Error](r.Err); !ok || len(e.Reasons) != 1 || e.Reasons[0].Text != want {
					t.Errorf("%q: %+v", want, r)
				}
				c.Close()
			}
		})
	}
	wg.Wait()
}

// TestEmptyReadAndWrite: length 0 never reaches OpenSSL, and does not hide an error (P23).
func TestEmptyReadAndWrite(t *testing.T) {
	p := enginePair(t, TLS13).shaken()
	for range 3 {
		for _, r := range []tlsio.Result{p.client.Write(nil), p.client.Read(nil), p.client.Peek([]byte{}), p.client.Write([]byte{})} {
			if r != (tlsio.Result{}) {
				t.Errorf("%+v", r)
			}
		}
	}
	if p.client.Unsent() != 0 {
		t.Error("an empty write sends")
	}
	p.client.Close()
	if r := p.client.Write(nil); r.Err == nil {
		t.Error("an empty write hides that the connection is closed")
	}
}

// TestOperationsInWrongState: each is ErrState and does no harm; Shutdown is not tried in the handshake or after a fatal error (P12).
func TestOperationsInWrongState(t *testing.T) {
	p := enginePair(t, TLS12)
	for name, op := range map[string]func() tlsio.Result{
		"write": func() tlsio.Result { return p.client.Write([]byte("x")) }, "shutdown": p.client.Shutdown,
		"key update": func() tlsio.Result { return p.client.KeyUpdate(true) }, "renegotiate": p.client.Renegotiate,
	} {
		if r := op(); !errors.Is(r.Err, tlsio.ErrState) {
			t.Errorf("%s before the handshake: %+v", name, r)
		}
	}
	p.handshake()
	if r := p.client.KeyUpdate(true); !errors.Is(r.Err, tlsio.ErrState) {
		t.Errorf("key update in TLS 1.2: %+v", r)
	}
	if r := p.client.Write([]byte("x")); r.N != 1 {
		t.Errorf("write after a refused operation: %+v", r)
	}
	p.server.Feed([]byte("this is no record at all"))
	first := p.server.Read(p.buf).Err
	if e, ok := errors.AsType[*tlsio.Error](first); !ok || e.Errno != 0 || e.Err != nil {
		t.Fatalf("garbage: %v", first)
	}
	for name, op := range map[string]func() tlsio.Result{
		"read": func() tlsio.Result { return p.server.Read(p.buf) }, "write": func() tlsio.Result { return p.server.Write([]byte("x")) },
		"shutdown": p.server.Shutdown, "handshake": p.server.Handshake,
	} {
		if r := op(); r.Err != first {
			t.Errorf("%s after a fatal error: %+v", name, r)
		}
	}
}

// TestWarningIsNotBlamed: a warning that came earlier is not the alert that ended the connection.
func TestWarningIsNotBlamed(t *testing.T) {
	p := plainPair(t)
	p.client.Handshake()
	p.client.Feed([]byte{21, 3, 3, 0, 2, 1, 112}) // warning: unrecognized name
	p.move(p.client, p.server)
	p.server.Handshake()
	n := p.server.Take(p.buf)
	p.buf[5] = 99 // no such handshake message
	p.client.Feed(p.buf[:n])
	var e *tlsio.Error
	if r := p.client.Handshake(); !errors.As(r.Err, &e) || e.AlertSide != tlsio.AlertSent {
		t.Errorf("the client's own alert ended it, but the error is %v", r.Err)
	}
}
