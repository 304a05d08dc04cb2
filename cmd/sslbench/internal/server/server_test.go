package server

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// TestKinds: the order of a report, and who does what.
func TestKinds(t *testing.T) {
	want := []string{
		"sslecho: echo reverse discard handshakes idle",
		"sslecho direct: echo reverse discard handshakes idle",
		"openssl s_server: reverse discard handshakes, one client",
		"crypto/tls: echo reverse discard handshakes idle",
		"C epoll: echo discard handshakes idle",
		"C epoll TCP: echo discard idle, plain",
		"nginx: handshakes idle",
		"HAProxy: handshakes idle",
		"stunnel: handshakes idle",
		"hitch: handshakes idle",
	}
	var got []string
	for _, k := range Kinds(Options{}) {
		s := k.Name + ":"
		for _, w := range []Work{Echo, Reverse, Discard, Handshakes, Idle} {
			if k.Can(w) {
				s += " " + string(w)
			}
		}
		if k.OneClient() {
			s += ", one client"
		}
		if k.Plain() {
			s += ", plain"
		}
		got = append(got, s)
		if n, err := k.MaxConns(); err != nil || n < 1 || k.OneClient() != (n == 1) {
			t.Errorf("%s: MaxConns is %d, %v", k.Name, n, err)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// shake makes one connection and leaves it in good order.
func shake(t *testing.T, k Kind, p *Process, conf *tls.Config) {
	t.Helper()
	c, err := tryDial(k, p, conf)
	if err == nil {
		err = leave(c)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestFigures: CPU time grows with the work, memory is there, the processes are on their core, and
// Stop leaves nothing.
func TestFigures(t *testing.T) {
	eachKind(t, func(t *testing.T, k Kind, w Work) {
		s := spec(t, w)
		p, err := k.Start(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Stop()
		first, err := p.CPU()
		if err != nil || first <= 0 {
			t.Fatalf("CPU is %v, %v after the start", first, err)
		}
		// A thread that is at work may be charged up to a tick too late, so it is asked again.
		last := first
		until(t, "CPU does not grow", func() bool {
			shake(t, k, p, nil)
			now, err := p.CPU()
			if err != nil || now < last {
				t.Fatalf("CPU was %v, is %v, %v", last, now, err)
			}
			last = now
			return now > first
		})
		if resident, peak, err := p.Memory(); err != nil || resident <= 0 || peak <= 0 {
			t.Errorf("memory is %d, %d, %v", resident, peak, err)
		}
		if err := p.ResetPeak(); err != nil {
			t.Error(err)
		}
		checkPinned(t, members(t, p.server.pid), s.Core)
		if p.backend != nil {
			checkPinned(t, members(t, p.backend.pid), s.HelperCore)
		}
		checkCommand(t, k, p, s)
		if err := p.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
		gone(t, p)
		if c, err := net.Dial("tcp", p.Addr().String()); err == nil {
			c.Close()
			t.Error("it still accepts after Stop")
		}
		if _, err := p.CPU(); err == nil {
			t.Error("CPU after Stop is no error")
		}
		if err := p.Stop(); err != nil {
			t.Errorf("the second Stop: %v", err)
		}
	}, Handshakes, Idle)
}

// members are the processes of a group that has some.
func members(t *testing.T, pgid int) []int {
	t.Helper()
	pids, err := group(pgid)
	if err != nil || len(pids) == 0 {
		t.Fatalf("group %d: %v, %v", pgid, pids, err)
	}
	return pids
}

// checkPinned wants all threads of some processes on one core.
func checkPinned(t *testing.T, pids []int, core int) {
	t.Helper()
	for _, pid := range pids {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil || len(files) == 0 {
			t.Fatalf("no threads of %d: %v", pid, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				continue // the thread has ended
			}
			if got := after(string(b), "Cpus_allowed_list:"); got != strconv.Itoa(core) {
				t.Errorf("%s: it may run on %s, want %d", f, got, core)
			}
		}
	}
}

// checkCommand: it names the program and nothing of this machine.
func checkCommand(t *testing.T, k Kind, p *Process, s Spec) {
	t.Helper()
	program := filepath.Base(map[string]string{SServer: "openssl s_server", CTLS: "tls_epoll", CTCP: "tcp_epoll", Direct: "--records direct",
		CryptoTLS: CryptoTLSCommand}[k.Name])
	if program == "." {
		program = strings.ToLower(k.Name)
	}
	if want := fmt.Sprintf("taskset -c %d ", s.Core); !strings.HasPrefix(p.Command(), want) || !strings.Contains(p.Command(), program) {
		t.Errorf("the command is %q, want %q and %q", p.Command(), want, program)
	}
	for _, secret := range []string{s.Dir, shared.dir, filepath.Dir(s.Cert)} {
		if strings.Contains(p.Command()+p.Config(), secret) {
			t.Errorf("%s is in\n%s\n%s", secret, p.Command(), p.Config())
		}
	}
	if !k.Plain() && !strings.Contains(p.Command()+p.Config(), ".pem") {
		t.Errorf("no certificate in\n%s\n%s", p.Command(), p.Config())
	}
}

// TestSameHandshake: all servers make the same handshake with a client like OpenSSL's: same version, group
// and certificates, no second round trip, the allowed maximum kept; and they resume by ticket.
func TestSameHandshake(t *testing.T) {
	for _, version := range []string{"1.2", "1.3", ""} {
		t.Run("max "+version, func(t *testing.T) {
			eachKind(t, func(t *testing.T, k Kind, w Work) {
				s := spec(t, w)
				s.MaxVersion = version
				p := start(t, k, s)
				want := uint16(tls.VersionTLS13)
				if version == "1.2" {
					want = tls.VersionTLS12
				}
				checkHandshake(t, k, p, want)
				checkResumption(t, k, p)
			}, Handshakes)
		})
	}
}

func checkHandshake(t *testing.T, k Kind, p *Process, version uint16) {
	t.Helper()
	conf := &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}}
	c := dial(t, k, p, conf).(*tls.Conn)
	got := c.ConnectionState()
	if got.Version != version || got.CurveID != tls.X25519 || got.HelloRetryRequest || len(got.PeerCertificates) != 2 {
		t.Errorf("%s, %v, second round trip %v, %d certificates; want %s, X25519, none, 2",
			tls.VersionName(got.Version), got.CurveID, got.HelloRetryRequest, len(got.PeerCertificates), tls.VersionName(version))
	}
	if !strings.Contains(tls.CipherSuiteName(got.CipherSuite), "_GCM_") {
		t.Errorf("cipher %s", tls.CipherSuiteName(got.CipherSuite))
	}
	if err := leave(c); err != nil {
		t.Error(err)
	}
}

// checkResumption: a session that one connection was given serves the next.
func checkResumption(t *testing.T, k Kind, p *Process) {
	t.Helper()
	conf := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	shake(t, k, p, conf) // tickets of TLS 1.3 come after the handshake: leave reads them
	c := dial(t, k, p, conf).(*tls.Conn)
	if !c.ConnectionState().DidResume {
		t.Error("it does not resume")
	}
	if err := leave(c); err != nil {
		t.Error(err)
	}
}

// TestWorks: what comes back is what the work says.
func TestWorks(t *testing.T) {
	const line = "one two\n"
	for w, want := range map[Work]string{Echo: line, Reverse: "owt eno\n", Discard: ""} {
		t.Run(string(w), func(t *testing.T) {
			eachKind(t, func(t *testing.T, k Kind, _ Work) {
				p := start(t, k, spec(t, w))
				c := dial(t, k, p, nil)
				for range 3 {
					if _, err := io.WriteString(c, line); err != nil {
						t.Fatal(err)
					}
					got := make([]byte, len(want))
					if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
						t.Fatalf("%q, %v; want %q", got, err, want)
					}
				}
				if w == Discard {
					discards(t, c, 4<<20)
				}
				if w == Discard && k.Name != SServer {
					// The answer to our goodbye is all that comes.
					if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
						t.Fatal(err)
					}
					if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
						t.Errorf("%d bytes came back, %v", len(rest), err)
					}
				}
			}, w)
		})
	}
}

// discards sends more than sockets hold.
func discards(t *testing.T, c net.Conn, n int) {
	t.Helper()
	if _, err := c.Write(bytes.Repeat([]byte("Q\n"), n/2)); err != nil {
		t.Fatal(err)
	}
}

// TestIdle: many connections are held at once, and served still.
func TestIdle(t *testing.T) {
	eachKind(t, func(t *testing.T, k Kind, w Work) {
		const n = 100
		p := start(t, k, spec(t, w))
		before, _, err := p.Memory()
		if err != nil {
			t.Fatal(err)
		}
		var conns []net.Conn
		for range n {
			conns = append(conns, dial(t, k, p, nil))
		}
		// Every one of them must still be there when the last one is.
		for i, c := range conns {
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !isTimeout(err) {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
		if !k.Plain() {
			until(t, "memory does not grow", func() bool {
				after, _, err := p.Memory()
				if err != nil {
					t.Fatal(err)
				}
				return after > before
			})
		}
	}, Idle)
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}

// TestKeys: each server takes each type of key.
func TestKeys(t *testing.T) {
	for _, key := range []string{"rsa", "ed25519"} {
		t.Run(key, func(t *testing.T) {
			eachKind(t, func(t *testing.T, k Kind, w Work) {
				s := spec(t, w)
				s.Cert, s.Key = testcerts.Path(key+".pem"), testcerts.Path(key+".key")
				start(t, k, s)
			}, Handshakes)
		})
	}
}
