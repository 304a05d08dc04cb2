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
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestDefaultStart: what the first lines say is true: the fingerprint is that of the
// certificate in use, and the line to try works as it stands.
func TestDefaultStart(t *testing.T) {
	d := runDaemon(t)
	d.expect("try: ")
	d.expect("\n")
	text := d.text()
	if !strings.HasPrefix(text, "OpenSSL ") {
		t.Errorf("the first line is not OpenSSL's version: %q", text)
	}
	print := regexp.MustCompile(`SHA-256 ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})\n`).FindStringSubmatch(text)
	try := regexp.MustCompile(`try: (openssl .*)\n`).FindStringSubmatch(text)
	if print == nil || try == nil {
		t.Fatalf("no fingerprint or no line to try in %q", text)
	}
	shown := dialogue(t, "hello sslecho\n", "hello sslecho", strings.Fields(try[1])...)
	cert := shown[strings.Index(shown, "-----BEGIN"):]
	x509 := exec.Command("openssl", "x509", "-noout", "-fingerprint", "-sha256")
	x509.Stdin = strings.NewReader(cert)
	contains(t, output(t, x509), print[1])
}

// dialogue runs an s_client command, sends text, waits until want has come back and ends it.
// It answers all that was shown.
func dialogue(t *testing.T, text, want string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	in := tlstest.Value(cmd.StdinPipe())(t)
	out := &start(t, cmd).out
	defer in.Close()
	// s_client drops what it reads before the handshake is over.
	out.expect(t, "---\nread R BLOCK\n", "Verify return code")
	io.WriteString(in, text)
	out.expect(t, "\n"+want)
	return out.String()
}

// TestListen: --listen may be repeated, with IPv4, IPv6 and unix sockets, and port 0.
func TestListen(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	args := []string{"--listen", "127.0.0.1:0", "--listen=unix:" + sock, "--listen", "127.0.0.1:0"}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		args = append(args, "--listen=[::1]:0")
	}
	for _, loops := range []string{"1", "3"} {
		t.Run(loops+" loops", func(t *testing.T) {
			d := runDaemon(t, append(args, "--loops", loops)...)
			for _, a := range d.listen {
				network, addr := "tcp", a
				if path, ok := strings.CutPrefix(a, "unix:"); ok {
					network, addr = "unix", path
				}
				for range 4 {
					c := dialTLS(t, network, addr, nil)
					roundTrip(t, c, []byte("hello "+a))
					c.Close()
				}
			}
			d.stop()
			if _, err := os.Stat(sock); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the unix socket is still there: %v", err)
			}
		})
	}
}

// TestSettings: each TLS setting reaches OpenSSL. The client allows everything, so what is
// agreed on is the server's choice.
func TestSettings(t *testing.T) {
	rsa := []string{"--cert", testcerts.Path("rsa.pem"), "--key", testcerts.Path("rsa.key")}
	for _, c := range []struct {
		name  string
		args  []string
		cfg   *tls.Config
		check func(s tls.ConnectionState) bool
		fails bool
	}{
		{name: "certificate", args: rsa, check: func(s tls.ConnectionState) bool { return len(s.PeerCertificates) == 2 }},
		{name: "max version 1.2", args: []string{"--max-version", "1.2"}, check: version(tls.VersionTLS12)},
		{name: "min version refuses", args: []string{"--min-version", "1.3"}, cfg: &tls.Config{MaxVersion: tls.VersionTLS12}, fails: true},
		{name: "TLS 1.0", args: append([]string{"--min-version", "1.0", "--ciphers", "DEFAULT:@SECLEVEL=0"}, rsa...),
			cfg: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, check: version(tls.VersionTLS10)},
		{name: "TLS 1.1", args: append([]string{"--min-version", "1.1", "--max-version", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0"}, rsa...),
			cfg: &tls.Config{MinVersion: tls.VersionTLS10}, check: version(tls.VersionTLS11)},
		{name: "no TLS 1.1", args: rsa, cfg: &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, fails: true},
		{name: "security level", args: append([]string{"--max-version=1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256:@SECLEVEL=2"}, rsa...),
			check: cipher(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)},
		{name: "cipher suites", args: []string{"--ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}, check: cipher(tls.TLS_CHACHA20_POLY1305_SHA256)},
		{name: "groups", args: []string{"--groups", "P-384"}, check: func(s tls.ConnectionState) bool { return s.CurveID == tls.CurveP384 }},
		{name: "ALPN", args: []string{"--alpn", "echo/2,echo/1"}, cfg: &tls.Config{NextProtos: []string{"echo/1", "echo/2"}},
			check: func(s tls.ConnectionState) bool { return s.NegotiatedProtocol == "echo/2" }},
		{name: "ALPN refuses", args: []string{"--alpn", "echo/2"}, cfg: &tls.Config{NextProtos: []string{"http/1.1"}}, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := runDaemon(t, c.args...)
			if c.fails {
				unserved(t, d.addr(), c.cfg, "the handshake went through")
			} else if s := served(t, d.addr(), c.cfg); !c.check(s) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func version(v uint16) func(tls.ConnectionState) bool {
	return func(s tls.ConnectionState) bool { return s.Version == v }
}

func cipher(id uint16) func(tls.ConnectionState) bool {
	return func(s tls.ConnectionState) bool { return s.CipherSuite == id }
}

// TestRenegotiation: a client may start one (s_client's command R) only with --renegotiation.
func TestRenegotiation(t *testing.T) {
	for _, allowed := range []bool{true, false} {
		t.Run(fmt.Sprint(allowed), func(t *testing.T) {
			d := runDaemon(t, fmt.Sprintf("--renegotiation=%v", allowed), "--max-version=1.2", "--trace")
			cmd := exec.Command("openssl", "s_client", "-connect", d.addr())
			in := tlstest.Value(cmd.StdinPipe())(t)
			out := &start(t, cmd).out
			out.expect(t, "Verify return code")
			io.WriteString(in, "before\n")
			out.expect(t, "\nbefore\n")
			const verified = "verify return:1\n"
			before := strings.Count(out.String(), verified)
			io.WriteString(in, "R\n")
			if !allowed {
				out.expect(t, "no renegotiation", "handshake failure", ":error:")
				return
			}
			out.expect(t, "RENEGOTIATING\n")
			tlstest.Until(t, "the certificate came a second time", func() bool { return strings.Count(out.String(), verified) > before })
			io.WriteString(in, "after\n")
			out.expect(t, "after\n")
		})
	}
}

// recordAlert is the type of a record that holds an alert.
const recordAlert = 21

// recordCounter counts the records of application data that arrive, and keeps the type of the last record.
type recordCounter struct {
	net.Conn
	head  []byte
	skip  int
	count atomic.Int64
	last  atomic.Int32
}

func (c *recordCounter) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for b := p[:n]; len(b) > 0; {
		if c.skip > 0 {
			k := min(c.skip, len(b))
			c.skip, b = c.skip-k, b[k:]
			continue
		}
		c.head, b = append(c.head, b[0]), b[1:]
		if len(c.head) == 5 {
			c.last.Store(int32(c.head[0]))
			if c.head[0] == 23 {
				c.count.Add(1)
			}
			c.skip, c.head = int(c.head[3])<<8|int(c.head[4]), c.head[:0]
		}
	}
	return n, err
}

// TestRecordForRecord: what one read delivers is answered by one write, so that an idle
// echo answers each record by one of the same size.
func TestRecordForRecord(t *testing.T) {
	d := runDaemon(t)
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, counter := countTLS(t, d.addr(), v)
		roundTrip(t, c, []byte("the tickets come before this"))
		for _, n := range []int{1, 2, 100, 1400, 4096, 16383, 16384} {
			before := counter.count.Load()
			roundTrip(t, c, make([]byte, n))
			tlstest.Equal(t, fmt.Sprintf("%s: records for %d bytes", tls.VersionName(v), n), counter.count.Load()-before, 1)
		}
		c.Close()
	}
}

// TestEchoStream: a client that sends without end and reads as fast as it can gets every
// byte back in order.
func TestEchoStream(t *testing.T) {
	d := runDaemon(t, "--loops=2")
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := dialTLS(t, "tcp", d.addr(), &tls.Config{MaxVersion: v})
		want := tlstest.Bytes(10_000_019, uint64(v))
		go func() {
			c.Write(want)
			c.CloseWrite()
		}()
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back, %v", len(got), err)
		}
	}
}

// TestTrace: the trace shows the handshake, the echo and the close, and says what is waited for.
func TestTrace(t *testing.T) {
	d := runDaemon(t, "--trace")
	c := dialTLS(t, "tcp", d.addr(), nil)
	roundTrip(t, c, make([]byte, 1024))
	c.CloseWrite()
	io.Copy(io.Discard, c)
	c.Close()
	d.expect("closed")
	text := d.text()
	text = text[strings.Index(text, "#1"):]
	for i, want := range []string{
		`#1 handshake +WANT_READ +wait R`, `#1 handshake +done +\S`, `#1 open +TLSv1.3 TLS_\w+ +from 127.0.0.1:`,
		`#1 read +1024 bytes`, `#1 write +1024 bytes`, `#1 read +EOF`, `#1 shutdown +done`, `#1 closed +clean`,
	} {
		at := regexp.MustCompile(want).FindStringIndex(text)
		if at == nil {
			t.Fatalf("line %d, %q, is not there or not in order:\n%s", i, want, d.text())
		}
		text = text[at[1]:]
	}
	for line := range strings.Lines(d.text()) {
		if strings.HasSuffix(line, " \n") {
			t.Errorf("blanks at the end of %q", line)
		}
	}
}

// TestTraceRecords: with --records=direct the trace says which records a connection has, and why OpenSSL's if it has those.
func TestTraceRecords(t *testing.T) {
	for i, tt := range []struct {
		records string
		version uint16
		want    string
	}{
		{"direct", tls.VersionTLS13, `#1 records +direct\n`},
		{"direct", tls.VersionTLS12, `#1 records +openssl +renegotiation is allowed\n`},
		{"openssl", tls.VersionTLS12, ``},
	} {
		d := runDaemon(t, "--trace", "--renegotiation", "--records="+tt.records)
		c := dialTLS(t, "tcp", d.addr(), &tls.Config{MaxVersion: tt.version})
		roundTrip(t, c, make([]byte, 1024))
		c.Close()
		d.expect("closed")
		if !regexp.MustCompile(`#1 open .*\n` + tt.want + `#1 read `).MatchString(d.text()) {
			t.Errorf("case %d: %q is not behind the line \"open\":\n%s", i, tt.want, d.text())
		}
	}
}
