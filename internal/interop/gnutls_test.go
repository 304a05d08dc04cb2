package interop

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
)

// gnutlsParty is our server's side of a stream of volume to us and of slowVolume back.
func gnutlsParty() *party {
	p := newParty(false, true, volume)
	p.send = newSender(down, true, slowVolume)
	return p.set(true, true)
}

// gnutlsPriority allows one version of TLS.
func gnutlsPriority(v cssl.TLSVersion) string {
	return "--priority=NORMAL:-VERS-ALL:+VERS-" + strings.Replace(v.String(), "TLSv", "TLS", 1)
}

// gnutlsClient is a gnutls-cli of a row, whose standard output has the peer's data alone.
func (c combo) gnutlsClient(t *testing.T, addr string, more ...string) *exec.Cmd {
	t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	args := []string{"--port", port, gnutlsPriority(c.version), "--x509cafile", testcerts.Path("root.pem"),
		"--sni-hostname", c.serverName(), "--verify-hostname", c.serverName(), "--logfile", filepath.Join(t.TempDir(), "log")}
	if c.mtls {
		args = append(args, "--x509certfile", testcerts.Path("client.pem"), "--x509keyfile", testcerts.Path("client.key"))
	}
	if c.alpn {
		args = append(args, "--alpn", alpnSecond, "--alpn", alpnFirst)
	}
	return exec.Command("gnutls-cli", append(append(args, more...), host)...)
}

// TestGnuTLSClient: gnutls-cli with our server. Its resumption is a connection without data that it closes, and
// then one that resumes: there the first close is the peer's, elsewhere it is ours.
func TestGnuTLSClient(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-bin")
	eachCombo(t, func(t *testing.T, c combo) {
		srv := newServer(t, c.serverConfig(t), 0)
		var first *party
		var more []string
		if c.resume {
			first = srv.expect(newParty(false, true, 0))
			more = []string{"--resume", "--waitresumption"}
		}
		s := srv.expect(gnutlsParty())
		o := startProgram(t, c.gnutlsClient(t, srv.addr, more...))
		o.exchangeUneven(up, down, volume, slowVolume).and(t, s)
		if first != nil {
			first.wait(t)
			c.check(t, first, false)
		}
		o.end()
		tlstest.Must(t, o.status)
		c.check(t, s, true)
	})
}

// gnutlsServer starts a gnutls-serv that echoes, and answers its address. What it prints is of no use.
func (c combo) gnutlsServer(t *testing.T) (addr string) {
	t.Helper()
	port := freePort(t)
	args := []string{"--echo", "--port", fmt.Sprint(port), "--quiet", gnutlsPriority(c.version),
		"--x509certfile", testcerts.Path(c.cert + ".pem"), "--x509keyfile", testcerts.Path(c.cert + ".key")}
	if c.mtls {
		args = append(args, "--x509cafile", testcerts.Path("root.pem"), "--require-client-cert", "--verify-client-cert")
	} else {
		args = append(args, "--disable-client-cert")
	}
	if c.alpn {
		args = append(args, "--alpn", alpnFirst, "--alpn-fatal") // of two it takes the client's first
	}
	if c.sni {
		args = append(args, "--sni-hostname", sniName, "--sni-hostname-fatal")
	}
	o := startProgram(t, exec.Command("gnutls-serv", args...))
	go func() { _, _ = io.Copy(io.Discard, o.out) }()
	return o.listens(port)
}

// echoed makes p a client of a server that echoes lines, one at a time: gnutls-serv may drop what comes before it has
// answered.
func echoed(p *party) *party {
	p.receive = newStream(up, p.high)
	p.wrote = func(c *reactor.Conn, n int64) {
		_, _ = c.Write([]byte("\n")) // OnClose says why not
		tlstest.Soon(func() bool { return p.over.Load() || p.got.Load() == n })
	}
	return p.set(true, true)
}

// TestGnuTLSServer: our client with gnutls-serv.
func TestGnuTLSServer(t *testing.T) {
	need(t, "gnutls-serv", "gnutls-bin")
	eachCombo(t, func(t *testing.T, c combo) {
		c.clients(t, c.gnutlsServer(t), func(int) *party { return echoed(newParty(true, true, slowVolume)) }, func(*party, int) {})
	})
}

// inline gives gnutls-cli one of its commands, which it knows only at the beginning of a line: anywhere else it is data.
// The end of the line before is data too, which our side ignores.
func (c *program) inline(command string) error {
	if err := c.command(""); err != nil {
		return err
	}
	return c.command(command)
}

// TestGnuTLSRenegotiation: gnutls-cli starts renegotiations while both sides stream.
func TestGnuTLSRenegotiation(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-bin")
	var hs handshakes
	srv := newServer(t, rekeyServer(ecdsa12, &hs), 0)
	s := srv.expect(gnutlsParty())
	o := startProgram(t, ecdsa12.gnutlsClient(t, srv.addr, "--inline-commands"))
	s.opened(t)
	hs.follow(&o.peer, s, 100, func() error { return o.inline("^renegotiate^") })
	o.exchangeUneven(up, down, volume, slowVolume).and(t, s)
	o.end()
	hs.expect(t)
	tlstest.Must(t, o.status)
}

// TestGnuTLSRekey: KeyUpdates that gnutls-cli makes (^rekey1^) or makes and asks for (^rekey^) while both stream, and
// ours between them. We ask for none where it does: GnuTLS takes a request that crosses its own for an illegal parameter.
// And it refuses more than eight in a second, so there are three of each.
func TestGnuTLSRekey(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-bin")
	for inline, sends := range map[string]string{"^rekey^": "sending key update (1)", "^rekey1^": "sending key update (0)"} {
		t.Run(inline, func(t *testing.T) {
			srv := newServer(t, rekeyServer(ecdsa13, nil), 0)
			s := srv.expect(gnutlsParty())
			o := startProgram(t, ecdsa13.gnutlsClient(t, srv.addr, "--inline-commands", "--debug", "4")) // it logs to standard error
			conn := s.opened(t)
			logged := func(text string) int { return strings.Count(o.text.String(), text) }
			asked := 0
			o.every = 300 * volume / 10_000_003
			o.pause = func() error {
				asked++
				if err := o.inline(inline); err != nil {
					return err
				}
				conn.KeyUpdate(inline == "^rekey1^")
				return eventually("KeyUpdates", func() bool {
					ours := srv.Stats().Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone]
					return ours >= uint64(asked) && logged(sends) >= asked || len(s.done) > 0
				})
			}
			o.exchangeUneven(up, down, volume, slowVolume).and(t, s)
			o.end()
			tlstest.Must(t, o.status)
			if sent, received := logged(sends), logged("received TLS 1.3 key update"); asked < 3 || sent < asked || received < asked {
				t.Errorf("%d commands, gnutls-cli sent %d KeyUpdates and received %d", asked, sent, received)
			}
		})
	}
}
