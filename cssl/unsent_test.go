package cssl

import (
	"errors"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestUnsentFlight: a side whose send fails while recv finds nothing (here for its own direction was shut down) does
// not wait for the answer to what was never sent: whatever finds nothing left to read says why.
func TestUnsentFlight(t *testing.T) {
	buf := make([]byte, 100)
	for _, version := range versions {
		cx, sx := mode{version: version, ahead: true, cert: "ecdsa"}.contexts(t)
		ends := func(t *testing.T) (cc, sc *Conn, cfd, sfd int) {
			cfd, sfd = socketPair(t, "unix", false)
			t.Cleanup(func() { syscall.Close(cfd); syscall.Close(sfd) })
			cc, sc = overSockets(t, cx, sx, cfd, sfd)
			return
		}
		broken := func(t *testing.T, fd int) {
			if err := syscall.Shutdown(fd, syscall.SHUT_WR); err != nil {
				t.Fatal(err)
			}
		}
		fails := func(t *testing.T, r tlsio.Result) {
			t.Helper()
			if !errors.Is(r.Err, syscall.EPIPE) {
				t.Errorf("%v: %+v, want EPIPE", version, r)
			}
		}
		established := func(t *testing.T, cc, sc *Conn) {
			c, s := newEndpoint(t, "client", cc), newEndpoint(t, "server", sc)
			runSockets(t, c, s, func() bool { return c.established() && s.established() })
		}
		t.Run(version.String()+" client's hello", func(t *testing.T) {
			cc, _, cfd, _ := ends(t)
			broken(t, cfd)
			fails(t, cc.Handshake())
		})
		t.Run(version.String()+" server's answer", func(t *testing.T) {
			cc, sc, _, sfd := ends(t)
			cc.Handshake()
			broken(t, sfd)
			fails(t, sc.Handshake())
		})
		t.Run(version.String()+" last flight", func(t *testing.T) {
			cc, sc, cfd, sfd := ends(t)
			cc.Handshake()
			sc.Handshake()
			last, fd := cc, cfd
			if version == TLS12 {
				cc.Handshake()
				last, fd = sc, sfd
			}
			broken(t, fd)
			if r := last.Handshake(); r.Err != nil || r.Want != tlsio.WantNone {
				t.Fatalf("handshake: %+v", r)
			}
			fails(t, last.Read(buf))
		})
		if version != TLS13 {
			continue
		}
		t.Run("tickets", func(t *testing.T) {
			cc, sc, _, sfd := ends(t)
			cc.Handshake()
			sc.Handshake()
			cc.Handshake()
			send(t, cc, "data")
			if r := sc.Handshake(); !r.Held {
				t.Fatalf("handshake: %+v", r)
			}
			broken(t, sfd)
			sc.Flush()
			if r := sc.Read(buf); string(buf[:r.N]) != "data" || r.Drained {
				t.Errorf("read: %+v", r)
			}
			fails(t, sc.Read(buf))
		})
		t.Run("answer to a KeyUpdate after the end", func(t *testing.T) {
			cc, sc, _, _ := ends(t)
			established(t, cc, sc)
			if r := sc.Shutdown(); r.Err != nil {
				t.Fatalf("shutdown: %+v", r)
			}
			if err := sc.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			for _, msg := range []string{"one", "two"} {
				cc.KeyUpdate(true)
				send(t, cc, msg)
				if r := sc.Read(buf); string(buf[:r.N]) != msg {
					t.Errorf("read: %+v", r)
				}
				// Nothing of ours is missing, so reading goes on.
				if r := sc.Read(buf); r.Err != nil || r.Want != tlsio.WantRead {
					t.Errorf("read with nothing there: %+v", r)
				}
			}
		})
	}
}

// TestUnsentAfterCloseWrite: in engine mode too, what OpenSSL writes after our FIN goes nowhere, and nobody waits for
// it to be taken. OpenSSL puts the answer to a KeyUpdate off, even until after close_notify.
func TestUnsentAfterCloseWrite(t *testing.T) {
	p := newPair(t, mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa")))
	p.handshake()
	ask := func(request bool) tlsio.Result {
		t.Helper()
		if r := p.client.KeyUpdate(request); r.Want != tlsio.WantNone || r.Err != nil {
			t.Fatalf("key update: %+v", r)
		}
		p.move(p.client, p.server)
		return p.server.Read(p.buf)
	}
	ask(true)
	if r := p.server.Shutdown(); r.Want != tlsio.WantNone || r.Err != nil {
		t.Fatalf("shutdown: %+v", r)
	}
	before := p.server.Unsent()
	if err := p.server.CloseWrite(); err != nil || before == 0 || p.server.Unsent() != before {
		t.Fatalf("CloseWrite: %v, with %d bytes to be taken and then %d", err, before, p.server.Unsent())
	}
	p.move(p.server, p.client)
	for _, request := range []bool{false, true} {
		if r := ask(request); r.Want != tlsio.WantRead || !r.In || r.Unsent {
			t.Errorf("read: %+v", r)
		}
		if n := p.server.Unsent(); n > 0 {
			t.Errorf("%d bytes wait to be taken after the FIN", n)
		}
	}
}

// TestReadAfterCloseWrite: ending our direction leaves the other one as it is, over either transport.
func TestReadAfterCloseWrite(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa"))
	check := func(name string, reader, writer *Conn, move func()) {
		t.Helper()
		if err := reader.CloseWrite(); err != nil {
			t.Fatal(name, err)
		}
		buf := make([]byte, 100)
		for range 3 {
			if r := writer.Write([]byte("hello")); r.Err != nil {
				t.Fatalf("%s: write: %+v", name, r)
			}
			move()
			if r := reader.Read(buf); r.N != 5 {
				t.Errorf("%s: read: %+v", name, r)
			}
			if r := reader.Read(buf); r.Want != tlsio.WantRead {
				t.Errorf("%s: read with nothing there: %+v", name, r)
			}
		}
		if r := reader.Write([]byte("x")); !errors.Is(r.Err, syscall.EPIPE) {
			t.Errorf("%s: write: %+v", name, r)
		}
	}
	p := newPair(t, cx, sx)
	p.handshake()
	check("engine", p.server, p.client, func() { p.move(p.client, p.server) })
	c, s := socketEnds(t, "unix", false, cx, sx)
	runSockets(t, c, s, func() bool { return c.established() && s.established() && !s.unsent })
	check("socket", s.c, c.c, func() {})
}
