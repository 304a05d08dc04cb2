package cssl

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

func enginePair(t testing.TB, version TLSVersion) *pair {
	t.Helper()
	return pairOf(t, clientUpTo(version), serverConfig("ecdsa"))
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
		equal(t, wantOf(code), tt.want, "%d", code)
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
			check(t, tt.is == nil || errors.Is(err, tt.is), "%v %d: %v", op, code, err)
			if err == io.EOF && (op == tlsio.OpRead || op == tlsio.OpPeek) {
				continue
			}
			own := tt.is == nil || errno != 0
			check(t, errors.As(err, &e) && e.Errno == errno && (e.Err == nil) == own && e.Op == op, "%v %d: %#v", op, code, err)
			says(t, op.String(), err, op.String())
		}
	}
	check(t, wantOf(0) == tlsio.WantNone, "SSL_ERROR_NONE is a want")
}

// TestEndOfStream: close_notify is io.EOF, a bare FIN is io.ErrUnexpectedEOF (P15), both after the
// data and both again and again; writing goes on.
func TestEndOfStream(t *testing.T) {
	for _, version := range versions {
		for _, bare := range []bool{false, true} {
			p := enginePair(t, version).opened()
			p.client.Write([]byte("last"))
			want := io.ErrUnexpectedEOF
			if !bare {
				want = io.EOF
				wants(t, "shutdown", p.client.Shutdown(), tlsio.WantNone)
			}
			p.move(p.client, p.server)
			p.server.FeedEOF()
			reads(t, p.server, "last")
			for range 3 {
				r := p.server.Read(p.buf)
				check(t, errors.Is(r.Err, want) && (r.Err == io.EOF) == !bare, "%v, bare %v: %+v", version, bare, r)
			}
			send(t, p.server, "still")
			tlstest.Must(t, p.server.Shutdown().Err)
			tlstest.IsError(t, "write after shutdown", p.server.Write([]byte("x")).Err, tlsio.ErrShutdown)
			p.move(p.server, p.client)
			reads(t, p.client, "still")
			tlstest.Equal(t, fmt.Sprintf("%v, bare %v: the client's end", version, bare), p.client.Read(p.buf).Err, io.EOF)
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
				a, b := socketEnds(t, "unix", false, mustClient(t, clientUpTo(version)), mustServer(t, serverConfig("ecdsa")))
				client, server, buf := a.c, b.c, a.readBuf
				for range 3 { // what one has written, the other can read at once
					client.Handshake()
					server.Handshake()
				}
				send(t, client, "last")
				tlstest.Must(t, syscall.Shutdown(client.fd, syscall.SHUT_WR))
				reads(t, server, "last")
				find(server, buf)
				for range 2 {
					send(t, server, "still")
					tlstest.IsError(t, "read", server.Read(buf).Err, io.ErrUnexpectedEOF)
				}
				tlstest.Must(t, server.Shutdown().Err)
				for _, want := range []string{"still", "still", ""} {
					r := client.Read(buf)
					demand(t, string(buf[:r.N]) == want && (r.Err == io.EOF) == (want == ""), "the client reads %+v, want %q", r, want)
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
			tlstest.IsError(t, fmt.Sprint(version), c.Handshake().Err, io.ErrUnexpectedEOF)
		}
	}
}

// TestKeyUpdateAfterPeersEnd: the peer's close_notify closes its own direction only.
func TestKeyUpdateAfterPeersEnd(t *testing.T) {
	p := enginePair(t, TLS13).shaken()
	p.client.Shutdown()
	p.move(p.client, p.server)
	equal(t, p.server.Read(p.buf).Err, io.EOF, "the client's end")
	for range 3 {
		wants(t, "key update", p.server.KeyUpdate(false), tlsio.WantNone)
		send(t, p.server, "x")
	}
	p.move(p.server, p.client)
	for range 3 {
		reads(t, p.client, "x")
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
			wants(t, "handshake", op(), tlsio.WantRead)
		}
		p.opened()
		for name, op := range map[string]func() tlsio.Result{
			"read": func() tlsio.Result { return p.client.Read(p.buf) },
			"peek": func() tlsio.Result { return p.client.Peek(p.buf) },
		} {
			for range 2 {
				leaveError()
				wants(t, fmt.Sprint(name), op(), tlsio.WantRead)
			}
		}
		p.server.FeedEOF()
		leaveError()
		tlstest.IsError(t, "bare FIN", p.server.Read(p.buf).Err, io.ErrUnexpectedEOF)
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
				e, ok := errors.AsType[*tlsio.Error](r.Err)
				check(t, ok && len(e.Reasons) == 1 && e.Reasons[0].Text == want, "%q: %+v", want, r)
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
			check(t, r == (tlsio.Result{}), "%+v", r)
		}
	}
	check(t, p.client.Unsent() == 0, "an empty write sends")
	p.client.Close()
	check(t, p.client.Write(nil).Err != nil, "an empty write hides that the connection is closed")
}

// TestOperationsInWrongState: each is ErrState and does no harm; Shutdown is not tried in the handshake or after a fatal error (P12).
func TestOperationsInWrongState(t *testing.T) {
	p := enginePair(t, TLS12)
	for name, op := range map[string]func() tlsio.Result{
		"write": func() tlsio.Result { return p.client.Write([]byte("x")) }, "shutdown": p.client.Shutdown,
		"key update": func() tlsio.Result { return p.client.KeyUpdate(true) }, "renegotiate": p.client.Renegotiate,
	} {
		tlstest.IsError(t, fmt.Sprintf("%s before the handshake", name), op().Err, tlsio.ErrState)
	}
	p.handshake()
	tlstest.IsError(t, "key update in TLS 1.2", p.client.KeyUpdate(true).Err, tlsio.ErrState)
	send(t, p.client, "x")
	p.server.Feed([]byte("this is no record at all"))
	first := p.server.Read(p.buf).Err
	e, ok := errors.AsType[*tlsio.Error](first)
	demand(t, ok && e.Errno == 0 && e.Err == nil, "garbage: %v", first)
	for name, op := range map[string]func() tlsio.Result{
		"read": func() tlsio.Result { return p.server.Read(p.buf) }, "write": func() tlsio.Result { return p.server.Write([]byte("x")) },
		"shutdown": p.server.Shutdown, "handshake": p.server.Handshake,
	} {
		equal(t, op().Err, first, "%s after a fatal error", name)
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
	r := p.client.Handshake()
	check(t, errors.As(r.Err, &e) && e.AlertSide == tlsio.AlertSent, "the client's own alert ended it, but the error is %v", r.Err)
}
