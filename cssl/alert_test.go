package cssl

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestWarningIsNotBlamed: a warning that came earlier is not the alert that ended the connection.
func TestWarningIsNotBlamed(t *testing.T) {
	p := newPair(t, mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa")))
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

// TestResetDuringWriteIsNotLost: the kernel reports a reset once. When the peek that a
// Write makes during a renegotiation takes the report, the next Read must still have it.
func TestResetDuringWriteIsNotLost(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	c.MaxVersion, s.Renegotiation = TLS12, true
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	connect := func(x *Context, nc net.Conn, cfg ConnConfig) (tls *Conn) {
		rc, err := nc.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if cerr := rc.Control(func(fd uintptr) { tls, err = x.NewConn(int(fd), cfg) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		t.Cleanup(tls.Close)
		return tls
	}
	cc := connect(mustClient(t, c), peer, ConnConfig{ServerName: "localhost"})
	sc := connect(mustServer(t, s), ours, ConnConfig{})
	for done := 0; done < 2; {
		done = 0
		for _, x := range []*Conn{cc, sc} {
			r := x.Handshake()
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			if r.Want == tlsio.WantNone {
				done++
			}
		}
	}
	if r := sc.Renegotiate(); r.Err != nil {
		t.Fatal(r.Err)
	}
	_ = peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
	for range 100 { // the reset arrives at once on loopback, but not before close returns
		if r := sc.Write([]byte("x")); r.Err != nil {
			break
		}
	}
	if r := sc.Read(make([]byte, 10)); !errors.Is(r.Err, syscall.ECONNRESET) {
		t.Errorf("read: %v", r.Err)
	}
}

// TestNoResumptionAcrossTrust: a session whose peer only the system's CAs vouch for is
// not resumed by a Context that does not trust those (P22).
func TestNoResumptionAcrossTrust(t *testing.T) {
	system := filepath.Join(t.TempDir(), "system.pem")
	if err := os.WriteFile(system, testcerts.Read(t, "root.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", system)
	other := testcerts.Read(t, "other-root.pem")
	lax := mustClient(t, Config{CAPEM: other, SystemCAs: true})
	sx := mustServer(t, serverConfig("ecdsa"))
	for name, strict := range map[string]Config{
		"other CAs":    {CAPEM: other},
		"lesser depth": {CAPEM: other, SystemCAs: true, VerifyDepth: 1},
		"other rules":  {CAPEM: other, SystemCAs: true, SignatureAlgorithms: "ECDSA+SHA256"},
	} {
		p := newPair(t, lax, sx)
		p.handshake()
		p.finish()
		c, err := mustClient(t, strict).NewEngineConn(ConnConfig{ServerName: "localhost", Session: p.client.Session()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		s, err := sx.NewEngineConn(ConnConfig{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		q := &pair{t: t, client: c, server: s, buf: make([]byte, 1<<16)}
		q.try()
		if c.State().Resumed {
			t.Errorf("%s: resumed", name)
		}
	}
}

// TestCloseWriteAfterClose: the number of the descriptor may be another's by then (P32).
func TestCloseWriteAfterClose(t *testing.T) {
	c, err := mustClient(t, clientConfig()).NewConn(0, ConnConfig{ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := c.CloseWrite(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("CloseWrite: %v", err)
	}
}
