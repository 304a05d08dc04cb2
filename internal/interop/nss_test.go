package interop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

const nssPackage = "libnss3-tools"

// What NSS's programs cannot do is in none of their tables: they know no Ed25519 and take no ALPN. tstclnt ends its
// sessions with the process, so resumption is TestNSSResumption's, and selfserv takes the names of SNI for nicknames of
// certificates.
var (
	nssClientRows = slices.DeleteFunc(slices.Clone(features), func(f feature) bool {
		return f.cert == "ed25519" || f.alpn || f.resume
	})
	nssServerRows = slices.DeleteFunc(slices.Clone(features), func(f feature) bool {
		return f.cert == "ed25519" || f.alpn || f.sni
	})
)

// nssDatabase makes a database with the root that is trusted, and with keys of testdata/certs by their names.
func nssDatabase(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	db := "sql:" + dir
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
	}
	run("certutil", "-N", "-d", db, "--empty-password")
	run("certutil", "-A", "-d", db, "-n", "root", "-t", "CT,C,C", "-i", testcerts.Path("root.pem"))
	for _, name := range names {
		file := filepath.Join(dir, name+".p12")
		run("openssl", "pkcs12", "-export", "-in", testcerts.Path(name+".pem"), "-inkey", testcerts.Path(name+".key"),
			"-out", file, "-passout", "pass:secret", "-name", name)
		run("pk12util", "-d", db, "-i", file, "-W", "secret")
	}
	return db
}

// nssVersions allows one version of TLS.
func nssVersions(v cssl.TLSVersion) string {
	name := map[cssl.TLSVersion]string{cssl.TLS12: "tls1.2", cssl.TLS13: "tls1.3"}[v]
	return name + ":" + name
}

// TestNSSClient: NSS's tstclnt with our server.
func TestNSSClient(t *testing.T) {
	need(t, "tstclnt", nssPackage)
	db := nssDatabase(t, "client")
	eachOf(t, nssClientRows, func(t *testing.T, c combo) {
		srv := newServer(t, c.serverConfig(t), 0)
		s := srv.expect(newParty(false, true, volume).set(true, false))
		host, port, _ := net.SplitHostPort(srv.addr)
		args := []string{"-h", host, "-p", port, "-a", c.serverName(), "-d", db, "-V", nssVersions(c.version), "-f"}
		if c.mtls {
			args = append(args, "-n", "client")
		}
		o := startProgram(t, exec.Command("tstclnt", args...))
		run := o.exchange(up, down, volume)
		tlstest.Until(t, "both streams", func() bool { return o.got.Load() == s.want && s.got.Load() == s.want || len(s.done) > 0 })
		// It goes on after our close_notify, also when its standard input has ended (seen with 3.87), so
		// its close is not checked, and it is killed once all bytes have been checked.
		_ = o.cmd.Process.Kill()
		o.end()
		run.wait(t)
		<-s.done
		if s.got.Load() == s.want && !t.Failed() {
			count(t, 1, 2*s.want)
		}
		c.check(t, s, true)
	})
}

// page answers a request with bytes and closes.
type page struct {
	reactor.BaseHandler
	data []byte
}

// OnOpen implements reactor.Handler.
func (page) OnOpen(c *reactor.Conn) { c.Data = []byte(nil) }

// OnData implements reactor.Handler.
func (p page) OnData(c *reactor.Conn, b []byte) {
	got := append(c.Data.([]byte), b...)
	c.Data = got
	if bytes.HasSuffix(got, []byte("\r\n\r\n")) {
		_, _ = c.Write(p.data) // a connection that has ended meanwhile is seen in the counts
		c.Close()
	}
}

// strsclntHits is the count of sessions that strsclnt resumed, which it prints at its end.
var strsclntHits = regexp.MustCompile(`strsclnt: (\d+) cache hits;`)

// TestNSSResumption: NSS's strsclnt makes connections on several threads, most of which resume a session.
func TestNSSResumption(t *testing.T) {
	need(t, "strsclnt", nssPackage)
	db := nssDatabase(t)
	for _, c := range []combo{ecdsa12, ecdsa13} {
		t.Run(c.version.String(), func(t *testing.T) {
			content := page{data: bytes.Repeat([]byte("page"), 25_000)}
			srv := serve(t, c.serverConfig(t), 0, content)
			host, port, _ := net.SplitHostPort(srv.addr)
			const conns = 60
			o := startProgram(t, exec.Command("strsclnt", "-q", "-p", port, "-a", c.serverName(), "-d", db, "-V", nssVersions(c.version),
				"-u", "-P", "20", "-c", fmt.Sprint(conns), "-t", "4", host))
			o.end()
			// Its status is 1 where more than one connection did not resume, which is as it should be with several threads
			// and -P, so that it says nothing more. What it counted is compared with what we did.
			if code := o.cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
				t.Errorf("strsclnt: %v", o.status)
			}
			tlstest.Until(t, "all closed", func() bool { return srv.Conns() == 0 })
			st := srv.Stats()
			hits := strsclntHits.FindStringSubmatch(string(tlstest.Value(io.ReadAll(o.out))(t)))
			if st.Handshakes < conns || st.Resumed < conns/3 || len(st.HandshakeFailures) > 0 || hits == nil || hits[1] != fmt.Sprint(st.Resumed) {
				t.Errorf("%d handshakes, %d resumed, strsclnt counts %q; failures %v", st.Handshakes, st.Resumed, hits, st.HandshakeFailures)
			}
			count(t, int64(st.Handshakes), int64(st.Handshakes)*int64(len(content.data)))
		})
	}
}

// TestNSSServer: our client with NSS's selfserv, which answers a request with what it was.
func TestNSSServer(t *testing.T) {
	need(t, "selfserv", nssPackage)
	db := nssDatabase(t, "rsa", "ecdsa")
	eachOf(t, nssServerRows, func(t *testing.T, c combo) {
		port := freePort(t)
		args := []string{"-d", db, "-n", c.cert, "-p", fmt.Sprint(port), "-V", nssVersions(c.version), "-u"}
		if c.cert == "ecdsa" {
			args = append(args, "-e", "ecdsa")
		}
		if c.mtls {
			args = append(args, "-r", "-r")
		}
		const length = 1400
		c.clients(t, startProgram(t, exec.Command("selfserv", args...)).listens(port), func(int) *party {
			p := newParty(true, true, 0)
			p.receive, p.want = newStream(up, true), length
			return p
		}, func(p *party, _ int) {
			request := newStream(up, true).take(length)
			tlstest.Value(p.opened(t).Write([]byte("GET /" + string(request) + " HTTP/1.0\r\n\r\n")))(t)
		})
	})
}
