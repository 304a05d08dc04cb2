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
	for range 5 {
		out, err := runAlone(t, "CSSL_TEST_EXIT=1", "ASAN_OPTIONS=detect_leaks=0")
		var e *exec.ExitError
		demand(t, errors.As(err, &e) && e.ExitCode() == 42, "%v\n%s", err, out)
	}
}

// TestContextsComeAndGo builds and closes Contexts while handshakes run on others and
// connections of closed ones live on (P31). The race detector watches.
func TestContextsComeAndGo(t *testing.T) {
	var mu sync.RWMutex
	build := func() *Context {
		inner := tlstest.Value(NewServerContext(serverConfig("ed25519")))(t)
		defer inner.Close()
		c := serverConfig("ecdsa")
		c.SNI = map[string]*Context{"localhost": inner}
		return tlstest.Value(NewServerContext(c))(t)
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
				cerr, serr := p.try()
				check(t, cerr == nil && serr == nil, "%v, %v", cerr, serr)
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
	equal(t, live.Contexts(), before, "SSL_CTX")
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
			cerr, _ := p.try()
			demand(t, (cerr != nil) == (i%3 == 1), "connection %d: %v", i, cerr)
			p.server.Write(make([]byte, 20000))
		}
		c.Handshake()
		c.Close()
		s.Close()
	}
	equal(t, live.Conns(), before, "connections live")
}

// TestClosed: Close twice and every operation afterwards are harmless (P27).
func TestClosed(t *testing.T) {
	p := enginePair(t, TLS13).shaken()
	before := live.Conns()
	c := p.client
	c.Close()
	c.Close()
	equal(t, live.Conns(), before-1, "connections live")
	for i, r := range []tlsio.Result{c.Handshake(), c.Read(p.buf), c.Peek(p.buf), c.Write([]byte("x")), c.Flush(), c.Shutdown(), c.KeyUpdate(true), c.Renegotiate()} {
		check(t, r.Err != nil && strings.Contains(r.Err.Error(), "closed"), "operation %d: %+v", i, r)
	}
	c.FeedEOF()
	check(t, c.Feed([]byte("x")) == 0 && c.Take(p.buf) == 0 && c.Unsent() == 0 && !c.hasPending() && c.State().VerifyError == nil &&
		fmt.Sprint(c.State().Version) != "", "a closed connection has facts")
}

// TestClosedContext makes no connections, and Close twice is harmless.
func TestClosedContext(t *testing.T) {
	x := mustServer(t, serverConfig("ecdsa"))
	x.Close()
	x.Close()
	_, err := x.NewEngineConn(ConnConfig{})
	check(t, errors.Is(err, os.ErrClosed) && err.Error() == "cssl: the Context is closed", "got %v", err)
}
