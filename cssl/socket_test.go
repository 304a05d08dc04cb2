package cssl

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestBrokenSocket: writing to a peer that has gone is EPIPE or ECONNRESET and no signal (P28). The
// failure belongs to writing: what the peer sent before can still be read. The kernel tells of a
// reset once, and a write may be the first to ask; reading gets it all the same, and not a peer's
// orderly end.
//
// Go's runtime swallows a SIGPIPE that C code caused, except in a program that asked
// for the signal; so the test asks for it.
func TestBrokenSocket(t *testing.T) {
	signals := make(chan os.Signal, 10)
	signal.Notify(signals, syscall.SIGPIPE, syscall.SIGWINCH)
	defer func() {
		defer signal.Stop(signals)
		// Signals are handed on by another goroutine, those of lower numbers first.
		tlstest.Must(t, syscall.Kill(os.Getpid(), syscall.SIGWINCH))
		for got := range signals {
			if got == syscall.SIGWINCH {
				return
			}
			t.Errorf("got %v", got)
		}
	}()
	for network, end := range map[string]error{"unix": io.ErrUnexpectedEOF, "tcp": syscall.ECONNRESET} {
		for _, version := range versions {
			cx, sx := mode{version: version, ahead: true, cert: "ecdsa"}.contexts(t)
			cfd, sfd := socketPair(t, network, false)
			defer syscall.Close(sfd)
			cc, sc := overSockets(t, cx, sx, cfd, sfd)
			c, s := newEndpoint(t, "client", cc), newEndpoint(t, "server", sc)
			runSockets(t, c, s, func() bool { return c.established() && s.established() })
			if network == "unix" {
				c.turn(readable) // the tickets, so that close does not reset
				send(t, cc, "last words")
				syscall.Close(cfd)
				for range 3 {
					if r := sc.Write([]byte("x")); !errors.Is(r.Err, syscall.EPIPE) && !errors.Is(r.Err, syscall.ECONNRESET) {
						t.Errorf("%v: write: %+v", version, r)
					}
				}
			} else {
				send(t, cc, "last words")
				reset(t, cfd)
				if r := sc.Write([]byte("x")); !errors.Is(r.Err, syscall.ECONNRESET) {
					t.Errorf("%v: write: %+v", version, r)
				}
			}
			if r := sc.Read(s.readBuf); string(s.readBuf[:r.N]) != "last words" {
				t.Errorf("%s, %v: read after the failed write: %+v", network, version, r)
			}
			if r := sc.Read(s.readBuf); !errors.Is(r.Err, end) {
				t.Errorf("%s, %v: end: %+v", network, version, r)
			}
			for name, r := range map[string]tlsio.Result{"flush": sc.Flush(), "shutdown": sc.Shutdown()} {
				var e *tlsio.Error
				if !errors.As(r.Err, &e) || e.Errno == 0 {
					t.Errorf("%s, %v: %s: %+v", network, version, name, r)
				}
			}
		}
	}
}

// TestClientLeavesBeforeTickets: a client that sends its request and closes does not wait for tickets.
// Sending them fails, which must fail neither the server's handshake nor the reading of the request (P14).
func TestClientLeavesBeforeTickets(t *testing.T) {
	cx, sx := mode{version: TLS13, ahead: true, cert: "ecdsa"}.contexts(t)
	cfd, sfd := socketPair(t, "unix", false)
	defer syscall.Close(sfd)
	cc, sc := overSockets(t, cx, sx, cfd, sfd)
	cc.Handshake()
	sc.Handshake()
	if r := cc.Handshake(); r.Want != tlsio.WantNone || r.Err != nil {
		t.Fatalf("client: %+v", r)
	}
	send(t, cc, "request")
	cc.Shutdown()
	syscall.Close(cfd)
	if r := sc.Handshake(); r.Want != tlsio.WantNone || r.Err != nil {
		t.Fatalf("server's handshake: %+v", r)
	}
	buf := make([]byte, 100)
	if r := sc.Read(buf); string(buf[:r.N]) != "request" {
		t.Errorf("read: %+v", r)
	}
	if r := sc.Read(buf); r.Err != io.EOF {
		t.Errorf("end: %+v", r)
	}
}

// TestExitUnderLoad calls os.Exit while goroutines are inside OpenSSL. With OpenSSL's own cleanup at exit
// that is a crash now and then (P29).
func TestExitUnderLoad(t *testing.T) {
	if os.Getenv("CSSL_TEST_EXIT") != "" {
		cx, sx := mustClient(t, clientConfig()), mustServer(t, serverConfig("rsa"))
		const workers = 8
		busy := make(chan struct{}, workers)
		for range workers {
			go func() {
				for n := 0; ; n++ {
					p := newPair(t, cx, sx)
					p.handshake()
					if n == 0 {
						busy <- struct{}{}
					}
				}
			}()
		}
		for range workers {
			<-busy
		}
		os.Exit(42)
	}
	exe := tlstest.Value(os.Executable())(t)
	for range 5 {
		cmd := exec.Command(exe, "-test.run=^TestExitUnderLoad$")
		cmd.Env = append(os.Environ(), "CSSL_TEST_EXIT=1", "ASAN_OPTIONS=detect_leaks=0")
		out, err := cmd.CombinedOutput()
		var e *exec.ExitError
		if !errors.As(err, &e) || e.ExitCode() != 42 {
			t.Fatalf("%v\n%s", err, out)
		}
	}
}

// TestContextsComeAndGo builds and closes Contexts while handshakes run on others and
// connections of closed ones live on (P31). The race detector watches.
func TestContextsComeAndGo(t *testing.T) {
	var mu sync.RWMutex
	build := func() *Context {
		inner, err := NewServerContext(serverConfig("ed25519"))
		if err != nil {
			t.Error(err)
			return nil
		}
		defer inner.Close()
		c := serverConfig("ecdsa")
		c.SNI = map[string]*Context{"localhost": inner}
		x, err := NewServerContext(c)
		if err != nil {
			t.Error(err)
		}
		return x
	}
	cx := mustClient(t, clientConfig())
	before := live.Contexts()
	current := build()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 30 {
				mu.RLock()
				x := current
				mu.RUnlock()
				s, err := x.NewEngineConn(ConnConfig{})
				if errors.Is(err, os.ErrClosed) {
					continue // closed between the two lines
				}
				c, err2 := cx.NewEngineConn(ConnConfig{ServerName: "localhost"})
				if err != nil || err2 != nil {
					t.Error(err, err2)
					return
				}
				p := &pair{t: t, client: c, server: s, buf: make([]byte, 1<<16)}
				if cerr, serr := p.try(); cerr != nil || serr != nil {
					t.Error(cerr, serr)
				}
				c.Close()
				s.Close()
			}
		})
	}
	for range 30 {
		next := build()
		mu.Lock()
		old := current
		current = next
		mu.Unlock()
		old.Close()
	}
	wg.Wait()
	current.Close()
	if n := live.Contexts(); n != before {
		t.Errorf("%d SSL_CTX before, %d after", before, n)
	}
}

// TestNothingIsLeft opens and closes 2000 connections, some before the handshake, some failed, some in use.
func TestNothingIsLeft(t *testing.T) {
	before := live.Conns()
	cx, sx := mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa"))
	stranger := mustClient(t, Config{CAPEM: nil})
	for i := range 1000 {
		x := cx
		if i%3 == 1 {
			x = stranger
		}
		c := tlstest.Value(x.NewEngineConn(ConnConfig{ServerName: "localhost"}))(t)
		s := tlstest.Value(sx.NewEngineConn(ConnConfig{}))(t)
		p := &pair{t: t, client: c, server: s, buf: make([]byte, 1<<16)}
		if i%3 != 0 && i < 300 {
			if cerr, _ := p.try(); (cerr != nil) != (i%3 == 1) {
				t.Fatal(fmt.Errorf("connection %d: %w", i, cerr))
			}
			p.server.Write(make([]byte, 20000))
		}
		c.Handshake()
		c.Close()
		s.Close()
	}
	if n := live.Conns(); n != before {
		t.Errorf("%d connections live, want %d", n, before)
	}
}
