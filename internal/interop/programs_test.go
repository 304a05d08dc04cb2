package interop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// need skips the test where a program is not there: scripts/deps installs it where it can, and no build needs it. On
// a build machine that is a failure.
func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("there is no %s (Debian's package %s)", program, pkg)
	}
	t.Skipf("there is no %s: install Debian's package %s", program, pkg)
}

// listening waits until the process listens on a TCP port, and answers its address. The program need not
// tell, and is not disturbed by attempts to connect.
func (c *command) listening() string {
	c.t.Helper()
	var addr string
	until(c.t, c.cmd.Args[0]+" listens", func() bool {
		select {
		case <-c.ended:
			c.t.Fatalf("%s ended", c.cmd.Args[0])
		default:
		}
		addr = listeningPort(c.t, c.cmd.Process.Pid)
		return addr != ""
	})
	return addr
}

// listeningPort looks for the sockets of a process among those that listen, first those for IPv4 alone. Empty: there is
// none.
func listeningPort(t *testing.T, pid int) string {
	t.Helper()
	own := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil {
			own[to] = true
		}
	}
	tables := string(tlstest.Value(os.ReadFile("/proc/net/tcp"))(t))
	if six, err := os.ReadFile("/proc/net/tcp6"); err == nil {
		tables += string(six)
	}
	for line := range strings.Lines(tables) {
		f := strings.Fields(line)
		const listen = "0A"
		if len(f) < 10 || f[3] != listen || !own["socket:["+f[9]+"]"] {
			continue
		}
		_, port, _ := strings.Cut(f[1], ":")
		n := tlstest.Value(strconv.ParseUint(port, 16, 16))(t)
		return fmt.Sprintf("127.0.0.1:%d", n)
	}
	return ""
}

// startOnFreePort starts a server that must be told its port. Somebody else may get the port first;
// then the program ends, and another is tried.
func startOnFreePort(t *testing.T, command func(port string) *exec.Cmd) (*command, string) {
	t.Helper()
	for range 10 {
		l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		l.Close()
		c := startProgram(t, command(port))
		for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			select {
			case <-c.ended:
			default:
				if addr := listeningPort(t, c.cmd.Process.Pid); addr != "" {
					return c, addr
				}
				continue
			}
			break
		}
	}
	t.Fatal("the server does not start")
	return nil, ""
}
