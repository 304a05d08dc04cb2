package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

// TestUsage: bad usage is status 2 with a line that says what was wrong, help is status 0.
func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 0, "Usage"},
		{"--help", 0, "Usage"},
		{"compare --help", 0, "--rounds"},
		{"soak --help", 0, "--duration"},
		{"nonsense", 2, `unknown command "nonsense"`},
		{"compare --rounds 0", 2, "--rounds must be at least 1"},
		{"compare --no-such-flag", 2, "no-such-flag"},
		{"compare extra", 2, `unexpected argument "extra"`},
		{"soak --target 192.0.2.1:443", 2, "loopback"},
		{"soak --target localhost", 2, "loopback address with a port"},
		{"compare --reference /nonexistent", 1, "tls_epoll.c"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(strings.Fields(test.args), &out, &errs); status != test.status {
				t.Errorf("status %d, want %d; %s", status, test.status, errs.String())
			}
			if text := out.String() + errs.String(); !strings.Contains(text, test.says) {
				t.Errorf("%q is not in %q", test.says, text)
			}
		})
	}
}

// TestCompare runs every work for a moment against both servers, which checks every
// byte that comes back, and wants a cost for each. It asserts no time.
func TestCompare(t *testing.T) {
	root := moduleRoot(t, filepath.Dir(testcerts.Path("root.pem")))
	echo := filepath.Join(t.TempDir(), "sslecho")
	build := exec.Command("go", "build", "-o", echo, "./cmd/sslecho")
	build.Dir = root
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	var out, errs bytes.Buffer
	args := []string{"compare", "--rounds", "1", "--duration", "100ms", "--sslecho", echo,
		"--reference", filepath.Join(root, "cmd/sslbench/reference"),
		"--cert", testcerts.Path("ecdsa.pem"), "--key", testcerts.Path("ecdsa.key")}
	if status := run(args, &out, &errs); status != 0 {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	for _, w := range works {
		_, row, ok := strings.Cut(out.String(), w.name)
		row, _, _ = strings.Cut(row, "\n")
		f := strings.Fields(row)
		if !ok || len(f) == 0 {
			t.Errorf("no row for %q in\n%s", w.name, &out)
			continue
		}
		if ratio, err := strconv.ParseFloat(f[len(f)-1], 64); err != nil || ratio <= 0 {
			t.Errorf("%q has no ratio: %s", w.name, row)
		}
	}
}

// moduleRoot finds go.mod above dir.
func moduleRoot(t *testing.T, dir string) string {
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("no go.mod")
	return ""
}

// liar is an echo server that spoils a byte now and then.
type liar struct{ spoil int }

func (liar) OnOpen(*reactor.Conn) {}

func (h liar) OnData(c *reactor.Conn, p []byte) {
	n, _ := c.Data.(int)
	for i := range p {
		if n++; h.spoil > 0 && n%h.spoil == 0 {
			p[i] ^= 1
		}
	}
	c.Data = n
	c.Write(p)
}

func (liar) OnClose(*reactor.Conn, error) {}

func startLiar(t *testing.T, spoil int) string {
	ctx, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{
		ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &reactor.Server{Handler: liar{spoil}, Context: ctx, Loops: 1}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		shut, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if srv.Shutdown(shut) != nil {
			srv.Close()
		}
		<-served
		ctx.Close()
	})
	return l.Addr().String()
}

// TestSoak: a short soak of an honest server passes with work of each kind done, and
// a server that changes a byte is found out.
func TestSoak(t *testing.T) {
	t.Run("honest", func(t *testing.T) {
		var out, errs bytes.Buffer
		args := []string{"soak", "--target", startLiar(t, 0), "--duration", "3s"}
		if status := run(args, &out, &errs); status != 0 {
			t.Fatalf("status %d: %s\n%s", status, &errs, &out)
		}
		for _, zero := range []string{"echoes 0,", "handshakes 0,", "half-open 0,", "slowly 0.0 MB"} {
			if strings.Contains(out.String(), zero) {
				t.Errorf("%q: nothing of that kind was done\n%s", zero, &out)
			}
		}
	})
	t.Run("one byte wrong", func(t *testing.T) {
		var out, errs bytes.Buffer
		args := []string{"soak", "--target", startLiar(t, 100_000), "--duration", "3s"}
		if status := run(args, &out, &errs); status != 1 || !strings.Contains(errs.String(), "wrong bytes") {
			t.Fatalf("status %d: %s\n%s", status, &errs, &out)
		}
	})
}
