package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spf13/pflag"
)

const (
	// limit bounds everything that a test waits for.
	limit = 30 * time.Second
	// parentEnv makes the test binary a process that starts servers and waits to be killed.
	parentEnv = "SERVER_TEST_PARENT"
)

// TestMain: the test binary is also sslbench's hidden command, and a parent to be killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == CryptoTLSCommand {
		exit(serveCryptoTLS(os.Args[2:]))
	}
	if dir := os.Getenv(parentEnv); dir != "" {
		exit(parent(dir))
	}
	code := m.Run()
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func serveCryptoTLS(args []string) error {
	f := pflag.NewFlagSet(CryptoTLSCommand, pflag.ContinueOnError)
	var s GoServer
	s.Flags(f)
	if err := f.Parse(args); err != nil {
		return err
	}
	return s.Run(os.Stdout)
}

// shared is what all tests build once.
var shared struct {
	dir  string
	opts func() (Options, error)
}

func init() {
	shared.opts = sync.OnceValues(func() (Options, error) {
		dir, err := os.MkdirTemp("", "sslbench-test")
		if err != nil {
			return Options{}, err
		}
		shared.dir = dir
		o := Options{Sslecho: filepath.Join(dir, "sslecho"), Build: dir, Sources: os.DirFS("../../reference")}
		build := exec.Command("go", "build", "-o", o.Sslecho, "../../../sslecho")
		if out, err := build.CombinedOutput(); err != nil {
			return Options{}, fmt.Errorf("%w\n%s", err, out)
		}
		return o, nil
	})
}

func options(t *testing.T) Options {
	t.Helper()
	o, err := shared.opts()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// base are the kinds that need nothing but what make deps installs.
var base = map[string]bool{Sslecho: true, SServer: true, CryptoTLS: true, CTLS: true, CTCP: true}

// eachKind runs a test for each kind that can do one of the works. The first of these is the one to use.
func eachKind(t *testing.T, test func(*testing.T, Kind, Work), works ...Work) {
	for _, k := range Kinds(options(t)) {
		for _, w := range works {
			if !k.Can(w) {
				continue
			}
			t.Run(k.Name, func(t *testing.T) {
				need(t, k)
				test(t, k, w)
			})
			break
		}
	}
}

// need skips the test if the server is one that need not be there, and is not.
func need(t *testing.T, k Kind) {
	t.Helper()
	switch _, err := k.Find(); {
	case err != nil && base[k.Name]:
		t.Fatal(err)
	case err != nil:
		t.Skip(err)
	}
}

func kind(t *testing.T, name string) Kind {
	t.Helper()
	for _, k := range Kinds(options(t)) {
		if k.Name == name {
			need(t, k)
			return k
		}
	}
	t.Fatalf("no kind %s", name)
	return Kind{}
}

// spec is for a server with the P-256 certificate, on the first core.
func spec(t *testing.T, w Work) Spec {
	t.Helper()
	cores, err := Cores()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Work: w, Cert: testcerts.Path("ecdsa.pem"), Key: testcerts.Path("ecdsa.key"),
		Core: cores[0], HelperCore: cores[len(cores)-1], Dir: shortDir(t)}
}

// shortDir is a folder whose path a Unix socket can have, whatever the test is called.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// start runs a server for as long as the test. It must not have ended by itself before.
func start(t *testing.T, k Kind, s Spec) *Process {
	t.Helper()
	p, err := k.Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
		gone(t, p)
	})
	return p
}

// gone checks that no process of a server is left.
func gone(t *testing.T, p *Process) {
	t.Helper()
	groups := []int{p.server.pid}
	if p.backend != nil {
		groups = append(groups, p.backend.pid)
	}
	for _, g := range groups {
		if pids, err := group(g); err != nil || len(pids) > 0 {
			t.Errorf("group %d still has %v (%v)", g, pids, err)
		}
	}
}

// until polls for something that is to come.
func until(t *testing.T, what string, ask func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := poll(ctx, func() (bool, error) { return ask(), nil }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// dial connects, with TLS unless the server is a plain one.
func dial(t *testing.T, k Kind, p *Process, conf *tls.Config) net.Conn {
	t.Helper()
	c, err := tryDial(k, p, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tryDial(k Kind, p *Process, conf *tls.Config) (net.Conn, error) {
	d := &net.Dialer{Timeout: limit}
	if k.Plain() {
		c, err := d.Dial("tcp", p.Addr().String())
		if err == nil {
			c.SetDeadline(time.Now().Add(limit))
		}
		return c, err
	}
	if conf == nil {
		conf = &tls.Config{InsecureSkipVerify: true}
	}
	c, err := tls.DialWithDialer(d, "tcp", p.Addr().String(), conf)
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(limit))
	return c, nil
}

// leave says goodbye as a client of the measurement does, and wants the server to close too.
func leave(c net.Conn) error {
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return fmt.Errorf("the server does not close: %w", err)
	}
	return c.Close()
}

// parent starts each kind that is there and prints the ids of its process groups, then "ready". It
// never stops them.
func parent(dir string) error {
	cores, err := Cores()
	if err != nil {
		return err
	}
	o := Options{Sslecho: filepath.Join(dir, "sslecho"), Build: dir, Sources: os.DirFS("../../reference")}
	for i, k := range Kinds(o) {
		if _, err := k.Find(); err != nil {
			continue
		}
		w := Handshakes
		if k.Plain() {
			w = Idle
		}
		own := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(own, 0o755); err != nil {
			return err
		}
		p, err := k.Start(context.Background(), Spec{Work: w, Cert: testcerts.Path("ecdsa.pem"), Key: testcerts.Path("ecdsa.key"),
			Core: cores[0], HelperCore: cores[0], Dir: own})
		if err != nil {
			return err
		}
		fmt.Println(p.server.pid, len(p.pids))
		if p.backend != nil {
			fmt.Println(p.backend.pid, 1)
		}
	}
	fmt.Println("ready")
	select {}
}

// TestParentKilled: after a SIGKILL of the process that has started the servers, none is left,
// workers included.
func TestParentKilled(t *testing.T) {
	options(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), parentEnv+"="+shared.dir)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killed := sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	defer killed()
	defer time.AfterFunc(2*limit, func() { cmd.Process.Kill() }).Stop()
	var groups []int
	ready := false
	for lines := bufio.NewScanner(out); !ready && lines.Scan(); {
		var pgid, n int
		switch _, err := fmt.Sscan(lines.Text(), &pgid, &n); {
		case lines.Text() == "ready":
			ready = true
		case err != nil:
			t.Fatalf("%q: %v", lines.Text(), err)
		default:
			groups = append(groups, pgid)
			if pids, err := group(pgid); err != nil || len(pids) < n {
				t.Errorf("group %d: %v, %v; want %d processes", pgid, pids, err, n)
			}
		}
	}
	if !ready || len(groups) < len(base) {
		killed()
		t.Fatalf("the parent has started %d groups\n%s", len(groups), errs.String())
	}
	killed()
	for _, g := range groups {
		until(t, fmt.Sprintf("process group %d is still there", g), func() bool {
			pids, err := group(g)
			return err == nil && len(pids) == 0
		})
	}
}
