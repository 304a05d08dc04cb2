package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// fill sends, without reading, until the daemon takes no more: all sockets and its
// queue are full then. It returns what was sent, perhaps with an end that was not.
func fill(t *testing.T, d *daemon, c net.Conn) (sent []byte) {
	t.Helper()
	stream, wrote, quiet := tlstest.Stream{}, make(chan error, 1), 0
	wrote <- nil
	tlstest.Until(t, "a write blocks", func() bool {
		select {
		case err := <-wrote:
			if err != nil {
				t.Fatal(err)
			}
			b := stream.Next(50_000)
			sent, quiet = append(sent, b...), 0
			go func() { _, err := c.Write(b); wrote <- err }()
		default:
			quiet++
		}
		return quiet >= 200 && strings.Contains(d.text(), "unsent")
	})
	return sent
}

// readBytes adds up what the trace says was read on a connection.
func readBytes(t *testing.T, trace, conn string) (n int) {
	t.Helper()
	for _, m := range regexp.MustCompile(conn+` read +(\d+) bytes`).FindAllStringSubmatch(trace, -1) {
		n += tlstest.Value(strconv.Atoi(m[1]))(t)
	}
	return n
}

// TestDrain: after a signal what is queued is delivered and close_notify follows; nobody
// gets in any more (P11).
func TestDrain(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			d := runDaemon(t, "--trace", "--log-level=warn")
			idle := dialTLS(t, "tcp", d.addr(), nil)
			busy := slowClient(t, d.addr())
			sent := fill(t, d, busy)
			queued := readBytes(t, d.text(), "#2")
			d.signal(sig)
			d.expect("draining 2 connections")
			cleanEnd(t, idle)
			// The kernel may still take a connection for a moment, but nobody answers on it.
			unserved(t, d.addr(), nil, "a new connection gets in")
			got, err := io.ReadAll(busy)
			if err != nil || len(got) < queued || !bytes.Equal(got, sent[:len(got)]) {
				t.Errorf("the busy client got %d bytes, %v; the daemon had read %d", len(got), err, queued)
			}
			busy.Close()
			d.stopped()
			// Go's client takes a bare FIN between two records for a clean end, so the trace must tell.
			for _, conn := range []string{"#1", "#2"} {
				if !regexp.MustCompile(conn + ` shutdown +done`).MatchString(d.text()) {
					t.Errorf("%s got no close_notify", conn)
				}
			}
			tlstest.Equal(t, "standard error", d.err.String(), "")
		})
	}
}

// slowClient has a small buffer for what it gets.
func slowClient(t *testing.T, addr string) *tls.Conn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, rc syscall.RawConn) error {
		return rc.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		})
	}}
	c := tlstest.Value(tls.DialWithDialer(&dialer, "tcp", addr, &tls.Config{InsecureSkipVerify: true}))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c
}

// blocked makes a daemon hold data that a client does not take. It waits for
// that client's end without limit.
func blocked(t *testing.T, args ...string) (*daemon, *tls.Conn) {
	t.Helper()
	d := runDaemon(t, append(args, "--trace", "--close-timeout=1h")...)
	c := slowClient(t, d.addr())
	fill(t, d, c)
	return d, c
}

// TestSecondSignal: a second signal ends at once what a client holds up.
func TestSecondSignal(t *testing.T) {
	d, c := blocked(t, "--drain-timeout=1h")
	d.signal(syscall.SIGTERM)
	const draining = "draining 1 connections"
	d.expect(draining)
	// The first signal does not end it: it goes on writing.
	wrote := regexp.MustCompile(draining + `(?s:.*) write +\d+ bytes`)
	for buf := make([]byte, 4096); !wrote.MatchString(d.text()); {
		tlstest.Value(c.Read(buf))(t)
	}
	d.signal(syscall.SIGINT)
	d.ends()
	d.expect("stopped, 1 connections cut off")
}

// TestDrainTimeout: --drain-timeout bounds the wait.
func TestDrainTimeout(t *testing.T) {
	d, _ := blocked(t, "--drain-timeout=100ms")
	d.stop()
}

// TestOutputGone: the daemon goes on when nobody reads its output any more (P28).
func TestOutputGone(t *testing.T) {
	addr := freePort(t)
	for _, how := range []string{"broken pipe", "closed"} {
		t.Run(how, func(t *testing.T) {
			cmd := exec.Command(binary, "--trace", "--listen", addr)
			if how == "closed" {
				cmd = exec.Command("sh", "-c", fmt.Sprintf("exec %s --trace --listen %s >&- 2>&-", binary, addr))
			} else {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				cmd.Stdout, cmd.Stderr = w, w
				r.Close()
				defer w.Close()
			}
			r := start(t, cmd)
			var c *tls.Conn
			tlstest.Until(t, "it serves", func() (ok bool) {
				var err error
				c, err = tryTLS("tcp", addr, nil)
				return err == nil
			})
			roundTrip(t, c, []byte("is anybody there"))
			c.Close()
			r.stop()
		})
	}
}

// TestDrainDelay: after the signal the daemon is not ready at once, and serves new connections as well as old ones, until a second
// signal cuts them off.
func TestDrainDelay(t *testing.T) {
	admin := freePort(t)
	d := runDaemon(t, "--drain-delay=1h", "--admin="+admin)
	tlstest.Until(t, "it is ready", func() bool { status, _ := get(admin, "/readyz"); return status == http.StatusOK })
	old := dialTLS(t, "tcp", d.addr(), nil)
	d.signal(syscall.SIGTERM)
	d.expect("not ready, serving on for 1h0m0s")
	if s, _ := get(admin, "/readyz"); s != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d after the signal", s)
	}
	// Neither of these ends the delay.
	d.signal(syscall.SIGHUP)
	d.signal(syscall.SIGUSR2)
	roundTrip(t, old, []byte("still there"))
	roundTrip(t, dialTLS(t, "tcp", d.addr(), nil), []byte("late"))
	d.signal(syscall.SIGTERM)
	d.expect("stopped, 2 connections cut off")
	d.ends()
}

// TestDrainWait: after the delay nobody gets in; who is in goes on, and the daemon ends when the last one has.
func TestDrainWait(t *testing.T) {
	d := runDaemon(t, "--drain-delay=10ms", "--drain-wait=1h")
	old := dialTLS(t, "tcp", d.addr(), nil)
	d.signal(syscall.SIGTERM)
	d.expect("draining 1 connections")
	roundTrip(t, old, []byte("still there"))
	unserved(t, d.addr(), nil, "a new connection gets in")
	roundTrip(t, old, []byte("and still"))
	old.Close()
	d.stopped()
}

// TestDrainWaitEnds: who stays longer than that gets close_notify.
func TestDrainWaitEnds(t *testing.T) {
	d := runDaemon(t, "--drain-wait=10ms")
	c := dialTLS(t, "tcp", d.addr(), nil)
	d.signal(syscall.SIGTERM)
	cleanEnd(t, c)
	d.ends()
}
