package cssl

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestTrimMemory: what lives is left alone.
func TestTrimMemory(t *testing.T) {
	p := plainPair(t).shaken()
	for range 100 {
		engineConn(t, mustServer(t, serverConfig("ecdsa")), ConnConfig{}).Close()
	}
	TrimMemory()
	tlstest.Must(t, p.client.Write([]byte("after")).Err)
	p.move(p.client, p.server)
	reads(t, p.server, "after")
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
					newPair(t, cx, sx).handshake()
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

// TestClosed: Close twice and every operation afterwards are harmless (P27).
func TestClosed(t *testing.T) {
	p := enginePair(t, TLS13).shaken()
	before := live.Conns()
	c := p.client
	c.Close()
	c.Close()
	if n := live.Conns(); n != before-1 {
		t.Errorf("%d connections live, want %d", n, before-1)
	}
	for i, r := range []tlsio.Result{c.Handshake(), c.Read(p.buf), c.Peek(p.buf), c.Write([]byte("x")), c.Flush(), c.Shutdown(), c.KeyUpdate(true), c.Renegotiate()} {
		if r.Err == nil || !strings.Contains(r.Err.Error(), "closed") {
			t.Errorf("operation %d: %+v", i, r)
		}
	}
	c.FeedEOF()
	if c.Feed([]byte("x")) != 0 || c.Take(p.buf) != 0 || c.Unsent() != 0 || c.hasPending() || c.State().VerifyError != nil || fmt.Sprint(c.State().Version) == "" {
		t.Error("a closed connection has facts")
	}
}

// TestClosedContext makes no connections, and Close twice is harmless.
func TestClosedContext(t *testing.T) {
	x := mustServer(t, serverConfig("ecdsa"))
	x.Close()
	x.Close()
	if _, err := x.NewEngineConn(ConnConfig{}); !errors.Is(err, os.ErrClosed) || err.Error() != "cssl: the Context is closed" {
		t.Errorf("got %v", err)
	}
}
