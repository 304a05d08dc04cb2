package cssl

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

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

// TestResetDuringWriteIsNotLost: the kernel reports a reset once. When the peek that a
// Write makes during a renegotiation takes the report, the next Read must still have it.
func TestResetDuringWriteIsNotLost(t *testing.T) {
	s := serverConfig("ecdsa")
	s.Renegotiation = true
	cfd, sfd := socketPair(t, "tcp", false)
	defer syscall.Close(sfd)
	cc, sc := overSockets(t, mustClient(t, clientUpTo(TLS12)), mustServer(t, s), cfd, sfd)
	c, e := newEndpoint(t, "client", cc), newEndpoint(t, "server", sc)
	runSockets(t, c, e, func() bool { return c.established() && e.established() })
	tlstest.Must(t, sc.Renegotiate().Err)
	reset(t, cfd)
	for range 100 { // the reset arrives at once on loopback, but not before close returns
		if r := sc.Write([]byte("x")); r.Err != nil {
			break
		}
	}
	if r := sc.Read(make([]byte, 10)); !errors.Is(r.Err, syscall.ECONNRESET) {
		t.Errorf("read: %v", r.Err)
	}
}

// reset closes a socket of TCP so that its peer gets a reset.
func reset(t *testing.T, fd int) {
	t.Helper()
	tlstest.Must(t, syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1}))
	syscall.Close(fd)
}

// TestNoResumptionAcrossTrust: a session whose peer only the system's CAs vouch for is
// not resumed by a Context that does not trust those (P22).
func TestNoResumptionAcrossTrust(t *testing.T) {
	t.Setenv("SSL_CERT_FILE", writeFile(t, "system.pem", string(testcerts.Read(t, "root.pem"))))
	other := testcerts.Read(t, "other-root.pem")
	lax := mustClient(t, Config{CAPEM: other, SystemCAs: true})
	sx := mustServer(t, serverConfig("ecdsa"))
	for name, strict := range map[string]Config{
		"other CAs":    {CAPEM: other},
		"lesser depth": {CAPEM: other, SystemCAs: true, VerifyDepth: 1},
		"other rules":  {CAPEM: other, SystemCAs: true, SignatureAlgorithms: "ECDSA+SHA256"},
	} {
		p, _, _ := shakeAs(t, mustClient(t, strict), sx, ConnConfig{ServerName: "localhost", Session: ticketOf(t, lax, sx)})
		if p.client.State().Resumed {
			t.Errorf("%s: resumed", name)
		}
	}
}

// TestCloseWriteAfterClose: the number of the descriptor may be another's by then (P32).
func TestCloseWriteAfterClose(t *testing.T) {
	c := tlstest.Value(mustClient(t, clientConfig()).NewConn(0, ConnConfig{ServerName: "localhost"}))(t)
	c.Close()
	if err := c.CloseWrite(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("CloseWrite: %v", err)
	}
}
