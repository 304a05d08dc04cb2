package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// upgraded has what a client of a protocol sends for TLS, and the end of what it hears before TLS.
type upgraded struct{ protocol, sends, hears string }

var upgrades = []upgraded{
	{"smtp", "EHLO me\r\nSTARTTLS\r\n", "220 2.0.0 Ready to start TLS\r\n"},
	{"imap", "a STARTTLS\r\n", "a OK Begin TLS negotiation now\r\n"},
	{"pop3", "STLS\r\n", "+OK Begin TLS negotiation\r\n"},
	{"ldap", "0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037", "x\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20037"},
	{"postgres", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "S"},
	{"mysql", "\x20\x00\x00\x01\x85\xae\x7f\x00\x00\x00\x00\x01\x21" + strings.Repeat("\x00", 23), "caching_sha2_password\x00"},
	{"xmpp", "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' to='a.example' version='1.0'>" +
		"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"},
}

// dialPlain connects without TLS.
func dialPlain(t *testing.T, network, addr string) net.Conn {
	t.Helper()
	c := tlstest.Value(net.DialTimeout(network, addr, tlstest.Hang))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c
}

// hears reads until text has come, and no further.
func hears(t *testing.T, c net.Conn, text string) {
	t.Helper()
	var got []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(got), text); got = append(got, b...) {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("%q, %v, want %q", got, err, text)
		}
	}
}

// TestStartTLS: openssl s_client gets from each protocol to TLS and an echo, by the line to try.
func TestStartTLS(t *testing.T) {
	for _, u := range upgrades {
		t.Run(u.protocol, func(t *testing.T) {
			d := runDaemon(t, "--starttls", u.protocol, "--log-level=debug")
			d.expect("-connect " + d.addr() + "\n")
			try := strings.Fields(regexp.MustCompile(`try: (openssl .*)\n`).FindStringSubmatch(d.text())[1])
			const text = "\nhello sslecho\n" // a line of its own: for POP3, s_client shows a greeting without its end
			dialogue(t, text, "hello sslecho", try...)
			if u.protocol == "xmpp" {
				dialogue(t, text, "hello sslecho", append(try, "-name", "a.example")...)
				try[3] = "xmpp-server"
				dialogue(t, text, "hello sslecho", try...)
			}
		})
	}
}

// TestStartTLSClients: other clients get to TLS. What they say next comes back, which no protocol has a use for.
func TestStartTLSClients(t *testing.T) {
	for _, x := range []struct{ protocol, command string }{
		{"smtp", "curl -sk --ssl-reqd smtp://ADDR"},
		{"imap", "curl -sk --ssl-reqd imap://ADDR"},
		{"pop3", "curl -sk --ssl-reqd pop3://ADDR"},
		{"smtp", "swaks --server ADDR --tls --from a@localhost --to b@localhost"},
		{"ldap", "ldapsearch -x -ZZ -H ldap://ADDR"},
		{"ldap", "ldapwhoami -x -ZZ -H ldap://ADDR"},
		{"postgres", "psql postgresql://me@ADDR/db?sslmode=require -c select"},
		{"mysql", "mysql --no-defaults -h HOST -P PORT -u me --ssl"},
		{"mysql", "mariadb --no-defaults -h HOST -P PORT -u me --ssl"},
		{"xmpp", "gnutls-cli --insecure --starttls-proto=xmpp -p PORT HOST"},
	} {
		program, _, _ := strings.Cut(x.command, " ")
		t.Run(x.protocol+" "+program, func(t *testing.T) {
			if _, err := exec.LookPath(program); err != nil {
				t.Skip(err)
			}
			d := runDaemon(t, "--starttls", x.protocol, "--trace")
			host, port, _ := net.SplitHostPort(d.addr())
			args := strings.Fields(strings.NewReplacer("ADDR", d.addr(), "HOST", host, "PORT", port).Replace(x.command))
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(cmd.Environ(), "LDAPTLS_REQCERT=never")
			r := start(t, cmd)
			tlstest.Until(t, "TLS is there, or the client has ended", func() bool {
				select {
				case <-r.ended:
					return true
				default:
					return strings.Contains(d.text(), "#1 open ")
				}
			})
			if strings.Contains(r.out.String(), "requires Net::SSLeay") {
				t.Skip("it has no TLS")
			}
			d.expect("#1 open ")
		})
	}
}

// TestStartTLSPieces: a request for TLS may come byte by byte, also behind a PROXY header and over a unix socket. The log has
// the client's address, and no phase once there is TLS.
func TestStartTLSPieces(t *testing.T) {
	for _, u := range upgrades {
		t.Run(u.protocol, func(t *testing.T) {
			d := runDaemon(t, "--starttls", u.protocol, "--listen=unix:"+filepath.Join(t.TempDir(), "s"), "--proxy-protocol", "--proxy-trusted=::1")
			c := dialPlain(t, "unix", strings.TrimPrefix(d.addr(), "unix:"))
			for _, b := range []byte("PROXY TCP4 192.0.2.9 192.0.2.1 4711 443\r\n" + u.sends) {
				tlstest.Value(c.Write([]byte{b}))(t)
			}
			hears(t, c, u.hears)
			s := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			roundTrip(t, s, []byte("hello"))
			s.CloseWrite()
			cleanEnd(t, s)
			d.err.expect(t, "remote=192.0.2.9:4711 version=TLSv1.3 ")
		})
	}
}

// TestStartTLSDirect: a client that is not a trusted proxy is greeted at once, and a trusted one after its header.
func TestStartTLSDirect(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.9 192.0.2.1 4711 443\r\n"
	for trusted, first := range map[string]string{"10.0.0.0/8": "", "127.0.0.0/8": header} {
		for _, greeted := range []struct{ protocol, text string }{{"smtp", "ESMTP\r\n"}, {"imap", "\r\n"}, {"pop3", "\r\n"}, {"mysql", "caching_sha2_password\x00"}} {
			t.Run(trusted+" "+greeted.protocol, func(t *testing.T) {
				d := runDaemon(t, "--starttls", greeted.protocol, "--proxy-protocol", "--proxy-trusted", trusted)
				c := dialPlain(t, "tcp", d.addr())
				io.WriteString(c, first)
				hears(t, c, greeted.text)
				from := c.LocalAddr().String()
				if c.Close(); first != "" {
					from = "192.0.2.9:4711"
				}
				d.err.expect(t, "remote="+from+" phase=plain ")
			})
		}
	}
}

// TestStartTLSInjection: bytes in the clear behind the request for TLS end the connection. Nothing of them comes back.
func TestStartTLSInjection(t *testing.T) {
	for _, u := range upgrades {
		t.Run(u.protocol, func(t *testing.T) {
			d := runDaemon(t, "--starttls", u.protocol, "--log-level=debug")
			c := dialPlain(t, "tcp", d.addr())
			tlstest.Value(io.WriteString(c, u.sends+"injected\r\n"))(t)
			if got, err := io.ReadAll(c); bytes.Contains(got, []byte("injected")) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("it hears %q, %v", got, err)
			}
			d.err.expect(t, "phase=handshake ")
			cause := "cause=\"tls: the peer sent plaintext after STARTTLS\""
			if u.protocol == "mysql" { // what follows is for TLS
				cause = "cause=\"tls: handshake: SSL routines: "
			}
			contains(t, d.err.String(), "level=DEBUG", cause)
		})
	}
}

// behind sends text in front of what is written first.
type behind struct {
	net.Conn
	text []byte
}

func (b *behind) Write(p []byte) (int, error) {
	n, err := b.Conn.Write(append(b.text, p...))
	n, b.text = max(0, n-len(b.text)), nil
	return n, err
}

// TestStartTLSTogether: a client of MySQL does not wait for a reply to its request, which may come with the ClientHello.
func TestStartTLSTogether(t *testing.T) {
	u := upgrades[slices.IndexFunc(upgrades, func(u upgraded) bool { return u.protocol == "mysql" })]
	d := runDaemon(t, "--starttls=mysql")
	c := dialPlain(t, "tcp", d.addr())
	hears(t, c, u.hears)
	roundTrip(t, tls.Client(&behind{c, []byte(u.sends)}, &tls.Config{InsecureSkipVerify: true}), []byte("hello"))
}

// TestStartTLSEnds: how connections end before TLS, with a service that counts on TLS, and what the log and metrics say.
func TestStartTLSEnds(t *testing.T) {
	for _, service := range []string{"echo", "chargen", "reverse"} {
		t.Run(service, func(t *testing.T) {
			admin := freePort(t)
			d := runDaemon(t, "--starttls=smtp", "--service", service, "--log-level=debug", "--admin", admin)
			greeted := func() *net.TCPConn {
				c := dialPlain(t, "tcp", d.addr()).(*net.TCPConn)
				hears(t, c, "220 sslecho ESMTP\r\n")
				return c
			}
			for i, x := range []struct{ sends, log string }{
				{"", "level=INFO msg=\"connection ended\" conn=1 remote=ADDR phase=plain in=0 out=19 duration=TIME cause=clean\n"},
				{"QUIT\r\n", "level=INFO msg=\"connection ended\" conn=2 remote=ADDR phase=plain in=6 out=34 duration=TIME cause=clean\n"},
				{"QUI", "level=DEBUG msg=\"connection ended\" conn=3 remote=ADDR phase=plain in=3 out=19 duration=TIME " +
					"cause=\"the peer ended before the handshake was done\"\n"},
				{"STARTTLS\r\n", "level=DEBUG msg=\"connection ended\" conn=4 remote=ADDR phase=handshake in=10 out=49 duration=TIME " +
					"cause=\"the peer ended before the handshake was done\"\n"},
				{"\x16\x03\x01\x02\x00", "level=DEBUG msg=\"connection ended\" conn=5 remote=ADDR phase=plain in=5 out=19 duration=TIME " +
					"cause=\"starttls: the client began with TLS, where plain text comes first\"\n"},
			} {
				c := greeted()
				io.WriteString(c, x.sends)
				c.CloseWrite()
				io.Copy(io.Discard, c)
				c.Close()
				where := strings.NewReplacer("ADDR", c.LocalAddr().String()).Replace(x.log)
				tlstest.Until(t, fmt.Sprintf("line %d is %q", i, where), func() bool {
					return strings.Contains(regexp.MustCompile(`duration=\S+`).ReplaceAllString(d.err.String(), "duration=TIME"), where)
				})
			}

			// Much too much, all of it sent before the end: that arrives nevertheless.
			c := greeted()
			go io.WriteString(c, strings.Repeat("NOOP\r\n", 50_000))
			tlstest.Equal(t, "the replies", string(tlstest.Value(io.ReadAll(c))(t)),
				strings.Repeat("250 2.0.0 OK\r\n", 20)+"421 4.7.0 too much before TLS\r\n")
			c.Close()

			idle := greeted()
			tlstest.Until(t, "a connection is in plain text", func() bool {
				_, body := get(admin, "/metrics")
				return strings.Contains(body, "\nsslecho_connections{state=\"plain\"} 1\n")
			})
			d.signal(syscall.SIGTERM)
			cleanEnd(t, idle)
			d.stopped()
			if strings.Contains(d.err.String(), "panic") {
				t.Error("there is a panic in the log")
			}
		})
	}
}
