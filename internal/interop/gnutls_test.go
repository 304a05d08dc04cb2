package interop

import (
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

// gnutlsParty is our server's side of a stream of volume to us and of slowVolume back.
func gnutlsParty() *party {
	p := newParty(false, true, volume)
	p.send = newSender(downSeed, true, slowVolume)
	p.outside, p.closes = true, true
	return p
}

// gnutlsPriority allows one version of TLS.
func gnutlsPriority(v cssl.TLSVersion) string {
	return "--priority=NORMAL:-VERS-ALL:+VERS-" + strings.Replace(v.String(), "TLSv", "TLS", 1)
}

// gnutlsClient is a gnutls-cli of a row, whose standard output has the peer's data alone.
func (c combo) gnutlsClient(t *testing.T, addr string, more ...string) *exec.Cmd {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
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
		srv := newServer(t, c.serverConfig(t), 0, 0)
		var first *party
		var more []string
		if c.resume {
			first = srv.expect(newParty(false, true, 0))
			more = []string{"--resume", "--waitresumption"}
		}
		s := gnutlsParty()
		srv.expect(s)
		o := startProgram(t, c.gnutlsClient(t, srv.addr, more...))
		o.exchangeUneven(upSeed, downSeed, volume, slowVolume).wait2(t, s)
		if first != nil {
			first.wait(t)
			c.check(t, first, false)
		}
		o.end()
		if o.status != nil {
			t.Errorf("gnutls-cli: %v", o.status)
		}
		c.check(t, s, true)
	})
}

// gnutlsServer starts a gnutls-serv that echoes, and answers its address. What it prints is of no use.
func (c combo) gnutlsServer(t *testing.T, more ...string) (*command, string) {
	t.Helper()
	args := []string{"--echo", "--port", "0", "--quiet", gnutlsPriority(c.version),
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
	o := startProgram(t, exec.Command("gnutls-serv", append(args, more...)...))
	go func() { _, _ = io.Copy(io.Discard, o.out) }()
	return o, o.listening()
}

// echoed makes p a client of a server that echoes lines, one at a time: gnutls-serv may drop what comes before it has
// answered.
func echoed(p *party) *party {
	p.receive = newStream(upSeed, p.high)
	p.outside = true
	p.wrote = func(c *reactor.Conn, n int64) {
		_, _ = c.Write([]byte("\n")) // OnClose says why not
		_ = eventually("echo", func() bool {
			select {
			case <-p.over:
				return true
			default:
				return p.got.Load() == n
			}
		})
	}
	return p
}

// TestGnuTLSServer: our client with gnutls-serv.
func TestGnuTLSServer(t *testing.T) {
	need(t, "gnutls-serv", "gnutls-bin")
	eachCombo(t, func(t *testing.T, c combo) {
		_, addr := c.gnutlsServer(t)
		x := clientContext(t, c.clientConfig())
		loop := newLoop(t, nil)
		conf := cssl.ConnConfig{ServerName: c.serverName()}
		rounds := c.connections()
		for i := range rounds {
			p := echoed(newParty(true, true, slowVolume))
			p.outside, p.closes = true, true
			dial(t, loop, addr, x, conf, 0, 0, p)
			p.wait(t)
			if t.Failed() {
				return
			}
			c.check(t, p, i == len(rounds)-1)
			conf.Session = p.resume
		}
	})
}
