package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

// socketPair is two connected sockets that block. The first one's waits have a limit, so that no test hangs.
func socketPair(t *testing.T) (ours, peers int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Close(fds[0])
		unix.Close(fds[1])
	})
	for _, option := range []int{unix.SO_RCVTIMEO, unix.SO_SNDTIMEO} {
		if err := unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, option, &unix.Timeval{Sec: 60}); err != nil {
			t.Fatal(err)
		}
	}
	return fds[0], fds[1]
}

// contexts are a client's and a server's of TLS 1.3, the server's with or without read-ahead.
func contexts(t *testing.T, noReadAhead bool) (client, server *cssl.Context) {
	t.Helper()
	client, err := cssl.NewClientContext(cssl.Config{CAFile: testcerts.Path("root.pem"), MinVersion: cssl.TLS13,
		NoReadAhead: noReadAhead})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	server, err = cssl.NewServerContext(cssl.Config{NoReadAhead: noReadAhead, Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}})
	if err != nil {
		t.Fatal(err)
	}
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
		if _, err := unix.Write(p.fd, buf[:n]); err != nil {
			p.t.Fatal(err)
		}
	}
}

// connect makes a server over a blocking socket, and its client, and leads them through the handshake.
func connect(t *testing.T, noReadAhead bool) (*cssl.Conn, int, *peer) {
	t.Helper()
	cx, sx := contexts(t, noReadAhead)
	ours, peers := socketPair(t)
	server, err := sx.NewBlockingConn(ours, cssl.ConnConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	client, err := cx.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	p := &peer{client, t, peers}
	done := make(chan error, 1)
	go func() {
		_, err := finish(server.Handshake)
		done <- err
	}()
	buf := make([]byte, 1024)
	for {
		r := p.Handshake()
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		p.send()
		if r.Want == tlsio.WantNone {
			break
		}
		n, err := unix.Read(p.fd, buf)
		if err != nil || p.Feed(buf[:n]) != n {
			t.Fatalf("read from the server: %d, %v", n, err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return server, ours, p
}

// awaitEmpty waits until all that is in a socket has been received.
func awaitEmpty(t *testing.T, fd int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
		if err != nil || time.Now().After(end) {
			t.Fatalf("%d bytes are left in the socket: %v", n, err)
		}
		if n == 0 {
			return
		}
	}
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

// TestReadWaits: stream's Read does not come back for a KeyUpdate, nor for a part of a record.
func TestReadWaits(t *testing.T) {
	for _, noReadAhead := range []bool{true, false} {
		server, fd, client := connect(t, noReadAhead)
		read := make(chan string, 1)
		go func() {
			buf := make([]byte, 100)
			n, err := stream{server}.Read(buf)
			if err != nil {
				t.Error(err)
			}
			read <- string(buf[:n])
		}()
		client.KeyUpdate(true)
		client.send()
		awaitEmpty(t, fd)
		client.Write([]byte("data"))
		record := make([]byte, 1000)
		record = record[:client.Take(record)]
		for _, b := range record {
			if _, err := unix.Write(client.fd, []byte{b}); err != nil {
				t.Fatal(err)
			}
			awaitEmpty(t, fd)
		}
		if got := <-read; got != "data" {
			t.Errorf("without read-ahead %v: Read answers %q", noReadAhead, got)
		}
	}
}

// TestTickets: a client's Read does not come back for a ticket, which the server sends unasked.
func TestTickets(t *testing.T) {
	pair, err := tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, noReadAhead := range []bool{true, false} {
		cx, _ := contexts(t, noReadAhead)
		ours, peers := socketPair(t)
		client, err := cx.NewBlockingConn(ours, cssl.ConnConfig{ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		server := goServer(t, peers, pair)
		handshake := make(chan error, 1)
		go func() { handshake <- server.Handshake() }()
		if _, err := finish(client.Handshake); err != nil {
			t.Fatal(err)
		}
		read := make(chan string, 1)
		go func() {
			buf := make([]byte, 100)
			n, err := stream{client}.Read(buf)
			if err != nil {
				t.Error(err)
			}
			read <- string(buf[:n])
		}()
		if err := <-handshake; err != nil { // that it is done means that the ticket is in the socket
			t.Fatal(err)
		}
		awaitEmpty(t, ours)
		if _, err := io.WriteString(server, "data"); err != nil {
			t.Fatal(err)
		}
		if got := <-read; got != "data" {
			t.Errorf("without read-ahead %v: Read answers %q", noReadAhead, got)
		}
		if client.Session() == nil {
			t.Error("there was no ticket, so this proves nothing")
		}
	}
}

// goServer is a server of crypto/tls over a duplicate of fd.
func goServer(t *testing.T, fd int, pair tls.Certificate) *tls.Conn {
	t.Helper()
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(dup), "server")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})
}

// TestSendTimeout: a peer that does not read holds a Write up no longer than SO_SNDTIMEO.
func TestSendTimeout(t *testing.T) {
	server, fd, _ := connect(t, false)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
		t.Fatal(err)
	}
	n, err := stream{server}.Write(make([]byte, 16<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n >= 16<<20 {
		t.Errorf("Write: %d, %v, want %v", n, err, os.ErrDeadlineExceeded)
	}
}

// TestOwnKeyUpdate: a KeyUpdate of our own looks for input, and waits for it at the most; none of that is lost.
func TestOwnKeyUpdate(t *testing.T) {
	server, _, client := connect(t, false)
	done := make(chan tlsio.Result, 1)
	go func() { done <- server.KeyUpdate(false) }()
	buf := make([]byte, 1024)
	n, err := unix.Read(client.fd, buf) // the KeyUpdate has left
	if err != nil {
		t.Fatal(err)
	}
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
	s := exampletest.Start(t, run, certificate...)
	socket := s.Connect(t)
	cx, _ := contexts(t, false)
	client, err := cx.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
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
	if _, err := finish(client.Handshake); err != nil {
		t.Fatal(err)
	}
	sent, got := bytes.Repeat([]byte("0123456789abcdef"), 1024), make([]byte, 16<<10)
	for round := range 20 {
		for i := range round % 4 { // also when none is followed by data yet
			if _, err := finish(func() tlsio.Result { return client.KeyUpdate(i%2 == 0) }); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := finish(func() tlsio.Result { return client.Write(sent) }); n != len(sent) || err != nil {
			t.Fatal(n, err)
		}
		for rest := got; len(rest) > 0; {
			n, err := finish(func() tlsio.Result { return client.Read(rest) })
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if !bytes.Equal(got, sent) {
			t.Fatalf("round %d: other bytes came back than were sent", round)
		}
	}
}
