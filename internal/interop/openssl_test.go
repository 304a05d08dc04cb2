package interop

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

func versionFlag(v cssl.TLSVersion) string {
	return map[cssl.TLSVersion]string{cssl.TLS10: "-tls1", cssl.TLS11: "-tls1_1", cssl.TLS12: "-tls1_2", cssl.TLS13: "-tls1_3"}[v]
}

// certFlags are those of s_client and s_server for one of testdata/certs.
func certFlags(name string) []string {
	return []string{"-cert", testcerts.Path(name + ".pem"), "-key", testcerts.Path(name + ".key"),
		"-cert_chain", testcerts.Path(name + ".pem")}
}

// clientFlags are for an s_client of a row.
func (c combo) clientFlags(addr string, more ...string) []string {
	args := []string{"s_client", "-connect", addr, versionFlag(c.version), "-CAfile", testcerts.Path("root.pem"),
		"-verify_return_error", "-servername", c.serverName(), "-verify_hostname", c.serverName()}
	if c.ciphers != "" {
		args = append(args, "-cipher", c.ciphers)
	}
	if c.mtls {
		args = append(args, certFlags("client")...)
	}
	if c.alpn {
		args = append(args, "-alpn", alpnSecond+","+alpnFirst)
	}
	return append(args, more...)
}

// TestSClient: openssl s_client with our server.
func TestSClient(t *testing.T) { eachCombo(t, sClient) }

func sClient(t *testing.T, c combo) {
	srv := newServer(t, c.serverConfig(t), 0)
	saved := filepath.Join(t.TempDir(), "session")
	rounds := c.connections()
	for i, n := range rounds {
		s := srv.expect(newParty(false, true, n).set(false, true))
		args := c.clientFlags(srv.addr, "-quiet")
		if c.resume {
			args = append(args, []string{"-sess_out", "-sess_in"}[i], saved)
		}
		o := start(t, args...)
		o.exchange(up, down, n).and(t, s)
		o.end()
		c.check(t, s, i == len(rounds)-1)
	}
}

// startServer runs s_server on a port that the system chooses, and answers its address.
func startServer(t *testing.T, args ...string) (*program, string) {
	t.Helper()
	c := start(t, append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	r := bufio.NewReader(c.out)
	c.out = r
	addr := tlstest.Receive(t, tlstest.Later(func() string { return lineWith(r, "ACCEPT ") }), "the address of s_server")
	if addr == "" {
		t.Fatal("s_server did not start")
	}
	return c, addr
}

// lineWith reads up to a line that begins so, and answers what follows; empty: there is none.
func lineWith(r *bufio.Reader, start string) string {
	for {
		line, err := r.ReadString('\n')
		if rest, ok := strings.CutPrefix(line, start); ok {
			return strings.TrimSpace(rest)
		}
		if err != nil {
			return ""
		}
	}
}

// serverFlags are for an s_server of a row.
func (c combo) serverFlags() []string {
	args := []string{versionFlag(c.version), "-naccept", fmt.Sprint(len(c.connections()))}
	if c.sni {
		// The certificate for all other names would not be accepted.
		args = append(args, certFlags("wrongname")...)
		args = append(args, "-servername", sniName, "-cert2", testcerts.Path(c.cert+".pem"), "-key2", testcerts.Path(c.cert+".key"),
			"-CAfile", testcerts.Path("intermediate.pem")) // of -cert2 it loads the leaf alone
	} else {
		args = append(args, certFlags(c.cert)...)
	}
	if c.ciphers != "" {
		args = append(args, "-cipher", c.ciphers)
	}
	if c.mtls {
		args = append(args, "-Verify", "2", "-verify_return_error", "-CAfile", testcerts.Path("root.pem"))
	}
	if c.alpn {
		args = append(args, "-alpn", alpnFirst+","+alpnSecond)
	}
	return args
}

// TestSServer: our client with openssl s_server, which passes on what goes through its
// standard input and output, so both directions have a stream of their own.
func TestSServer(t *testing.T) { eachCombo(t, sServer) }

func sServer(t *testing.T, c combo) {
	o, addr := startServer(t, c.serverFlags()...)
	o.more = true
	c.clients(t, addr, func(n int) *party { return newParty(true, true, n).set(false, true) }, func(p *party, n int) {
		p.opened(t)
		o.exchange(down, up, n).wait(t)
	})
}

// queuedInPipe is the number of bytes that the process has not read yet.
func (c *program) queuedInPipe() (n int) {
	rc := tlstest.Value(c.stdin.SyscallConn())(c.t)
	_ = rc.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}

// command gives the process one of its command letters: alone, since it looks only
// at the beginning of what one read brings, and drops the rest.
func (c *program) command(letter string) error {
	for _, p := range []string{"", letter + "\n"} {
		_, err := io.WriteString(c.in, p)
		if err = errors.Join(err, eventually("openssl reads its input", func() bool { return c.queuedInPipe() == 0 })); err != nil {
			return err
		}
	}
	return nil
}
