package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// socketPair is two connected sockets that block. The first one's waits have a limit, so that no test hangs.
func socketPair(t *testing.T) (ours, peers int) {
	t.Helper()
	fds := tlstest.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		tlstest.Must(t, unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, option, &unix.Timeval{Sec: 60}))
	}
	return fds[0], fds[1]
}

// contexts are a client's and a server's of TLS 1.3, the server's with or without read-ahead.
func contexts(t *testing.T, noReadAhead bool) (client, server *cssl.Context) {
	t.Helper()
	client = tlstest.Value(cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem"), MinVersion: cssl.TLS13,
		NoReadAhead: noReadAhead}))(t)
	t.Cleanup(client.Close)
	server = tlstest.Value(cssl.NewServerContext(cssl.Config{NoReadAhead: noReadAhead, Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}))(t)
	t.Cleanup(server.Close)
	return client, server
}

// peer is a client whose bytes a test moves, so that it knows what is in the socket.
type peer struct {
	*cssl.Conn
	t  *testing.T
	fd int
}

// send hands all output over in one piece.
func (p *peer) send() {
	p.t.Helper()
	buf := make([]byte, cssl.DefaultTail)
	if n := p.Take(buf); n > 0 {
		tlstest.Value(unix.Write(p.fd, buf[:n]))(p.t)
	}
}

// connect makes a server over a blocking socket, and its client, and leads them through the handshake.
func connect(t *testing.T, noReadAhead bool) (*cssl.Conn, int, *peer) {
	t.Helper()
	cx, sx := contexts(t, noReadAhead)
	ours, peers := socketPair(t)
	server := tlstest.Value(sx.NewBlockingConn(ours, cssl.ConnConfig{}))(t)
	t.Cleanup(server.Close)
	client := tlstest.Value(cx.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"}))(t)
	t.Cleanup(client.Close)
	p := &peer{client, t, peers}
	done := tlstest.Later(func() error { _, err := finish(server.Handshake); return err })
	buf := make([]byte, 1024)
	for {
		r := p.Handshake()
		tlstest.Must(t, r.Err)
		p.send()
		if r.Want == tlsio.WantNone {
			break
		}
		n, err := unix.Read(p.fd, buf)
		if err != nil || p.Feed(buf[:n]) != n {
			t.Fatalf("read from the server: %d, %v", n, err)
		}
	}
	tlstest.Must(t, <-done)
	return server, ours, p
}

// awaitEmpty waits until all that is in a socket has been received.
func awaitEmpty(t *testing.T, fd int) {
	t.Helper()
	tlstest.Until(t, "the socket is empty", func() bool { return tlstest.Value(unix.IoctlGetInt(fd, unix.TIOCINQ))(t) == 0 })
}

// TestAutoRetry: what Read does on a blocking socket when a KeyUpdate comes and nothing else. Without read-ahead each
// recv brings what it asks for, and OpenSSL goes on to wait for the next record inside the same Read. With read-ahead
// the recv that brings the KeyUpdate is short, and Read answers WantRead; it is the next one that waits. Direct records are always read
// ahead.
func TestAutoRetry(t *testing.T) {
	for _, noReadAhead := range []bool{true, false} {
		server, fd, client := connect(t, noReadAhead)
		read := make(chan tlsio.Result, 2)
		buf := make([]byte, 100)
		go func() {
			for {
				r := server.Read(buf)
				read <- r
				if r.Want == tlsio.WantNone {
					return
				}
			}
		}()
		if r := client.KeyUpdate(false); r.Err != nil || r.Want != tlsio.WantNone {
			t.Fatalf("KeyUpdate: %+v", r)
		}
		client.send()
		awaitEmpty(t, fd)
		if !noReadAhead || testmain.Direct() {
			if r := <-read; r.Want != tlsio.WantRead || !r.In {
				t.Errorf("with read-ahead, Read at a KeyUpdate: %+v, want WantRead and In", r)
			}
		}
		if r := client.Write([]byte("data")); r.N != 4 {
			t.Fatalf("Write: %+v", r)
		}
		client.send()
		if r := <-read; r.Err != nil || string(buf[:r.N]) != "data" {
			t.Errorf("without read-ahead %v: Read behind the KeyUpdate: %+v", noReadAhead, r)
		}
	}
}

// TestTickets: a client's Read does not come back for a ticket, which the server sends unasked.
func TestTickets(t *testing.T) {
	pair := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
	for _, noReadAhead := range []bool{true, false} {
		cx, _ := contexts(t, noReadAhead)
		ours, peers := socketPair(t)
		client := tlstest.Value(cx.NewBlockingConn(ours, cssl.ConnConfig{ServerName: "localhost"}))(t)
		t.Cleanup(client.Close)
		server := goServer(t, peers, pair)
		handshake := tlstest.Later(server.Handshake)
		tlstest.Value(finish(client.Handshake))(t)
		read := tlstest.Later(func() string {
			buf := make([]byte, 100)
			n, err := stream{client}.Read(buf)
			return fmt.Sprint(string(buf[:n]), err)
		})
		tlstest.Must(t, <-handshake) // that it is done means that the ticket is in the socket
		awaitEmpty(t, ours)
		tlstest.Value(io.WriteString(server, "data"))(t)
		tlstest.Equal(t, fmt.Sprintf("without read-ahead %v: Read answers", noReadAhead), <-read, "data<nil>")
		if client.Session() == nil {
			t.Error("there was no ticket, so this proves nothing")
		}
	}
}

// goServer is a server of crypto/tls over a duplicate of fd.
func goServer(t *testing.T, fd int, pair tls.Certificate) *tls.Conn {
	t.Helper()
	dup := tlstest.Value(unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0))(t)
	f := os.NewFile(uintptr(dup), "server")
	defer f.Close()
	c := tlstest.Value(net.FileConn(f))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
}

// TestSendTimeout: a peer that does not read holds a Write up no longer than SO_SNDTIMEO.
func TestSendTimeout(t *testing.T) {
	server, fd, _ := connect(t, false)
	tlstest.Must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 50_000}))
	n, err := stream{server}.Write(make([]byte, 16<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n >= 16<<20 {
		t.Errorf("Write: %d, %v, want %v", n, err, os.ErrDeadlineExceeded)
	}
}

// TestOwnKeyUpdate: a KeyUpdate of our own looks for input, and waits for it at the most; none of that is lost.
func TestOwnKeyUpdate(t *testing.T) {
	server, _, client := connect(t, false)
	done := tlstest.Later(func() tlsio.Result { return server.KeyUpdate(false) })
	buf := make([]byte, 1024)
	n := tlstest.Value(unix.Read(client.fd, buf))(t) // the KeyUpdate has left
	client.Feed(buf[:n])
	if r := client.Read(buf); r.Want != tlsio.WantRead {
		t.Fatalf("the client's Read: %+v", r)
	}
	client.Write([]byte("data"))
	client.send()
	if r := <-done; r.Want != tlsio.WantNone || r.Err != nil {
		t.Fatalf("KeyUpdate: %+v", r)
	}
	if n, err := (stream{server}).Read(buf); err != nil || string(buf[:n]) != "data" {
		t.Errorf("Read: %q, %v", buf[:n], err)
	}
}

// TestBlockingKeyUpdate: the program goes on through KeyUpdates of its client.
func TestBlockingKeyUpdate(t *testing.T) {
	s := exampletest.Start(t, run)
	socket := s.Connect(t)
	cx, _ := contexts(t, false)
	client := tlstest.Value(cx.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"}))(t)
	t.Cleanup(client.Close)
	buf := make([]byte, cssl.DefaultTail)
	finish := func(op func() tlsio.Result) (int, error) {
		for {
			r := op()
			if n := client.Take(buf); n > 0 {
				if _, err := socket.Write(buf[:n]); err != nil {
					return 0, err
				}
			}
			if r.Want == tlsio.WantNone {
				return r.N, r.Err
			}
			if r.Want == tlsio.WantRead {
				n, err := socket.Read(buf[:1024])
				if client.Feed(buf[:n]); err != nil {
					return 0, err
				}
			}
		}
	}
	tlstest.Value(finish(client.Handshake))(t)
	sent, got := bytes.Repeat([]byte("0123456789abcdef"), 1024), make([]byte, 16<<10)
	for round := range 20 {
		for i := range round % 4 { // also when none is followed by data yet
			tlstest.Value(finish(func() tlsio.Result { return client.KeyUpdate(i%2 == 0) }))(t)
		}
		if n, err := finish(func() tlsio.Result { return client.Write(sent) }); n != len(sent) || err != nil {
			t.Fatal(n, err)
		}
		for rest := got; len(rest) > 0; {
			n := tlstest.Value(finish(func() tlsio.Result { return client.Read(rest) }))(t)
			rest = rest[n:]
		}
		if !bytes.Equal(got, sent) {
			t.Fatalf("round %d: other bytes came back than were sent", round)
		}
	}
}
