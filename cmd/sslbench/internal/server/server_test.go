package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// parentEnv makes the test binary a process that starts servers and waits to be
// killed.
const parentEnv = "SERVER_TEST_PARENT"

func TestMain(m *testing.M) {
	if bin = os.Getenv(parentEnv); bin != "" {
		fmt.Fprintln(os.Stderr, parent())
		os.Exit(1)
	}
	code := 1
	var err error
	if bin, err = os.MkdirTemp("", "sslbench-test"); err == nil {
		var out []byte
		if out, err = exec.Command("go", "build", "-o", bin, "../../../sslecho", "../..").CombinedOutput(); err == nil {
			code = m.Run()
		} else {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		}
		os.RemoveAll(bin)
	}
	os.Exit(code)
}

// bin is where sslecho and sslbench are.
var bin string

func newEnv() (*Env, error) {
	source, err := os.ReadFile("../../reference/tls_epoll.c")
	if err != nil {
		return nil, err
	}
	return NewEnv(Options{Sslecho: filepath.Join(bin, "sslecho"), Executable: filepath.Join(bin, "sslbench"), Source: source})
}

func env(t *testing.T) *Env {
	t.Helper()
	e := tlstest.Value(newEnv())(t)
	t.Cleanup(e.Close)
	return e
}

// base are the kinds that need nothing but what make deps installs.
var base = []string{C, Sslecho, Direct, CryptoTLS, Sslhttp, SServer}

// eachKind runs a test for each kind that does one of the works, with the first of
// them. Kinds that are not installed are skipped.
func eachKind(t *testing.T, e *Env, test func(*testing.T, Kind, Spec), works ...Work) {
	for _, k := range Kinds {
		i := slices.IndexFunc(works, k.Can)
		if i < 0 {
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			if version, err := e.Find(k); err != nil && !slices.Contains(base, k.Name) {
				t.Skip(err)
			} else if err != nil || version == "" {
				t.Fatalf("version %q, %v", version, err)
			}
			test(t, k, spec(t, works[i]))
		})
	}
}

// kindOf finds a kind, or skips the test if it is not installed.
func kindOf(t *testing.T, e *Env, name string) Kind {
	t.Helper()
	k := Kinds[slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name })]
	if _, err := e.Find(k); err != nil {
		t.Skip(err)
	}
	return k
}

func spec(t *testing.T, w Work) Spec {
	t.Helper()
	return Spec{Work: w, KeyType: "ecdsa", Core: tlstest.Value(Cores())(t)[0]}
}

// start runs a server for as long as the test.
func start(t *testing.T, e *Env, k Kind, s Spec) *Process {
	t.Helper()
	p := tlstest.Value(e.Start(t.Context(), k, s))(t)
	t.Cleanup(func() {
		_ = p.Stop()
		if pids := processes(p.pid); len(pids) > 0 {
			t.Errorf("group %d still has %v", p.pid, pids)
		}
	})
	return p
}

func dial(t *testing.T, p *Process, conf *tls.Config) *tls.Conn {
	t.Helper()
	c := tlstest.Value(tls.DialWithDialer(&net.Dialer{Timeout: tlstest.Hang}, "tcp", p.Addr, conf))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c
}

func trusting(t *testing.T, e *Env) *tls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(tlstest.Value(os.ReadFile(e.RootFile()))(t))
	return &tls.Config{RootCAs: roots, ServerName: "localhost", CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}}
}

// leave says goodbye as a client of the measurement does, and wants the server to
// close too.
func leave(t *testing.T, c *tls.Conn) {
	t.Helper()
	tlstest.Must(t, c.CloseWrite())
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Errorf("the server does not close: %v", err)
	}
}

func contains(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
}

// TestFigures: CPU time grows with the work, memory with the connections, all
// threads are on the core, and Stop leaves nothing.
func TestFigures(t *testing.T) {
	e := env(t)
	eachKind(t, e, func(t *testing.T, k Kind, s Spec) {
		p := start(t, e, k, s)
		conf := trusting(t, e)
		first, err := p.CPU()
		if err != nil || first <= 0 {
			t.Fatalf("CPU is %v, %v after the start", first, err)
		}
		// A thread that is at work may be charged up to a tick too late.
		tlstest.Until(t, "CPU does not grow", func() bool {
			leave(t, dial(t, p, conf))
			return tlstest.Value(p.CPU())(t) > first
		})
		before, err := p.Memory()
		if err != nil || before <= 0 {
			t.Fatalf("memory is %d, %v", before, err)
		}
		if k.Can(Idle) {
			tlstest.Until(t, "memory does not grow", func() bool {
				dial(t, p, conf)
				return tlstest.Value(p.Memory())(t) > before
			})
		}
		for _, pid := range p.pids {
			files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
			for _, f := range files {
				// A thread may have ended.
				if b, err := os.ReadFile(f); err == nil && !strings.Contains(string(b), "\nCpus_allowed_list:\t"+strconv.Itoa(s.Core)+"\n") {
					t.Errorf("%s: it is not on core %d alone", f, s.Core)
				}
			}
		}
		if err := p.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
		if _, err := p.CPU(); err == nil {
			t.Error("CPU after Stop is no error")
		}
	}, Handshakes, HTTP)
}

// TestSameHandshake: all servers make the same handshake: version, group and
// certificate, no second round trip; and they resume by ticket.
func TestSameHandshake(t *testing.T) {
	e := env(t)
	for _, s := range []Spec{{KeyType: "rsa"}, {KeyType: "ed25519", TLS12: true}} {
		t.Run(fmt.Sprintf("%s, TLS 1.2 %v", s.KeyType, s.TLS12), func(t *testing.T) {
			eachKind(t, e, func(t *testing.T, k Kind, usual Spec) {
				s := s
				s.Work, s.Core = usual.Work, usual.Core
				p := start(t, e, k, s)
				want := uint16(tls.VersionTLS13)
				if s.TLS12 {
					want = tls.VersionTLS12
				}
				conf := trusting(t, e)
				conf.ClientSessionCache = tls.NewLRUClientSessionCache(4)
				c := dial(t, p, conf)
				got := c.ConnectionState()
				if got.Version != want || got.CurveID != tls.X25519 || got.HelloRetryRequest || len(got.PeerCertificates) != 1 ||
					!strings.Contains(tls.CipherSuiteName(got.CipherSuite), "_GCM_") {
					t.Errorf("%s, %v, %s, second round trip %v, %d certificates", tls.VersionName(got.Version), got.CurveID,
						tls.CipherSuiteName(got.CipherSuite), got.HelloRetryRequest, len(got.PeerCertificates))
				}
				leave(t, c) // which reads the tickets of TLS 1.3
				c = dial(t, p, conf)
				if !c.ConnectionState().DidResume {
					t.Error("it does not resume")
				}
				leave(t, c)
			}, Handshakes)
		})
	}
}

// TestWorks: what comes back is what the work says.
func TestWorks(t *testing.T) {
	e := env(t)
	const line = "one two\n"
	for w, want := range map[Work]string{Echo: line, Reverse: "owt eno\n", Discard: ""} {
		t.Run(string(w), func(t *testing.T) {
			eachKind(t, e, func(t *testing.T, k Kind, s Spec) {
				c := dial(t, start(t, e, k, s), trusting(t, e))
				for range 3 {
					tlstest.Value(io.WriteString(c, line))(t)
					got := make([]byte, len(want))
					if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
						t.Fatalf("%q, %v; want %q", got, err, want)
					}
				}
				if w == Discard { // more than sockets hold
					if _, err := io.WriteString(c, strings.Repeat("Q\n", 2<<20)); err != nil {
						t.Error(err)
					}
				}
			}, w)
		})
	}
}

// TestCrash: a server that has ended is noticed by all who ask.
func TestCrash(t *testing.T) {
	e := env(t)
	eachKind(t, e, func(t *testing.T, k Kind, s Spec) {
		p := start(t, e, k, s)
		tlstest.Must(t, unix.Kill(p.pid, unix.SIGKILL))
		var err error
		tlstest.Until(t, "CPU does not notice", func() bool { _, err = p.CPU(); return err != nil })
		const says = "it ended by itself (signal: killed)"
		contains(t, err, says)
		_, err = p.Memory()
		contains(t, err, says)
		contains(t, p.Stop(), says)
	}, Handshakes)
}

// TestWorkerCrash: a worker's CPU time goes with it, so a new worker cannot hide
// that it has ended.
func TestWorkerCrash(t *testing.T) {
	e := env(t)
	for _, name := range []string{"nginx", "hitch"} {
		t.Run(name, func(t *testing.T) {
			p := start(t, e, kindOf(t, e, name), spec(t, Handshakes))
			i := slices.IndexFunc(p.pids, func(pid int) bool { return pid != p.pid })
			if i < 0 {
				t.Fatalf("it has the processes %v, want a master and a worker", p.pids)
			}
			tlstest.Must(t, unix.Kill(p.pids[i], unix.SIGKILL))
			var err error
			tlstest.Until(t, "CPU does not notice", func() bool { _, err = p.CPU(); return err != nil })
			contains(t, err, fmt.Sprintf("its process %d has ended", p.pids[i]))
		})
	}
}

// TestBusyPort: a port that another process has is given up for the next one.
func TestBusyPort(t *testing.T) {
	e := env(t)
	l := tlstest.Value(net.Listen("tcp4", loopback+":0"))(t)
	defer l.Close()
	go discard(l)
	busy := l.Addr().(*net.TCPAddr).Port
	asked := 0
	e.port = func() (int, error) {
		if asked++; asked == 1 {
			return busy, nil
		}
		return freePort()
	}
	if p := start(t, e, kindOf(t, e, C), spec(t, Handshakes)); asked != 2 || strings.HasSuffix(p.Addr, fmt.Sprint(busy)) {
		t.Errorf("it listens on %v after %d tries, port %d is taken", p.Addr, asked, busy)
	}
}

// TestStubborn: a server that does not heed SIGTERM is killed.
func TestStubborn(t *testing.T) {
	e := env(t)
	p := start(t, e, kindOf(t, e, C), spec(t, Handshakes))
	tlstest.Must(t, unix.Kill(p.pid, unix.SIGSTOP))
	// start's cleanup stops it, and checks that nothing is left.
}

// TestCannotServe: an error has the server's own words, and the end of the context
// ends a start.
func TestCannotServe(t *testing.T) {
	e := env(t)
	tlstest.Must(t, os.WriteFile(filepath.Join(e.dir, "bad.pem"), []byte("none\n"), 0o600))
	k := kindOf(t, e, C)
	_, err := e.Start(t.Context(), k, Spec{Work: Echo, KeyType: "bad"})
	contains(t, err, "C: it ended by itself (exit status 1)", "bad.pem")
	_, err = e.Start(t.Context(), k, Spec{Work: Echo, KeyType: "ecdsa", Core: 1000})
	contains(t, err, "taskset")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err = e.Start(ctx, k, spec(t, Echo))
	contains(t, err, "not ready in time")
}

// TestAbsent: with no program to be found, each error names what is missing and
// what brings it.
func TestAbsent(t *testing.T) {
	e := env(t)
	e.Sslecho = filepath.Join(t.TempDir(), "sslecho")
	t.Setenv("PATH", t.TempDir())
	for _, k := range Kinds {
		want := map[string]string{sslecho: "make build", epoll: "apt-get install gcc", "openssl": "apt-get install openssl"}[k.program]
		if want == "" {
			continue // it is there, or may be in an sbin folder
		}
		_, err := e.Find(k)
		contains(t, err, want)
		_, err = e.Start(t.Context(), k, spec(t, k.works[0]))
		contains(t, err, want)
	}
}

// TestThreadsEnd: a server survives the end of threads of this process, as its own
// is not among them.
func TestThreadsEnd(t *testing.T) {
	e := env(t)
	p := start(t, e, kindOf(t, e, C), spec(t, Idle))
	for range 20 {
		var wg, together sync.WaitGroup
		together.Add(8)
		for range 8 {
			wg.Go(func() {
				runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
				together.Done()
				together.Wait()
			})
		}
		wg.Wait()
	}
	leave(t, dial(t, p, trusting(t, e)))
	if _, err := p.CPU(); err != nil {
		t.Error(err)
	}
}

// parent starts each kind that is there, prints the ids of their process groups,
// then "ready", and never stops them.
func parent() error {
	e, err := newEnv()
	if err != nil {
		return err
	}
	for _, k := range Kinds {
		if _, err := e.Find(k); err == nil {
			p, err := e.Start(context.Background(), k, Spec{Work: k.works[0], KeyType: "ecdsa"})
			if err != nil {
				return err
			}
			fmt.Println(p.pid)
		}
	}
	fmt.Println("ready", e.dir)
	select {}
}

// TestParentKilled: after a SIGKILL of the process that has started the servers,
// none is left, workers included.
func TestParentKilled(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+bin)
	var errs strings.Builder
	cmd.Stderr = &errs
	out := tlstest.Value(cmd.StdoutPipe())(t)
	tlstest.Must(t, cmd.Start())
	defer time.AfterFunc(2*tlstest.Hang, func() { cmd.Process.Kill() }).Stop()
	var groups []int
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if dir, ready := strings.CutPrefix(lines.Text(), "ready "); ready {
			defer os.RemoveAll(dir)
			break
		}
		groups = append(groups, tlstest.Value(strconv.Atoi(lines.Text()))(t))
	}
	cmd.Process.Kill()
	cmd.Wait()
	if len(groups) < len(base) {
		t.Fatalf("the parent has started %d groups\n%s", len(groups), &errs)
	}
	for _, g := range groups {
		tlstest.Until(t, fmt.Sprintf("process group %d is still there", g), func() bool {
			return len(processes(g)) == 0
		})
	}
}
