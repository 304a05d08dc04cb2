package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// timerOf is the timer of the daemon's end of c, as /proc/net/tcp has it, and when it is due, in hundredths of a second. 2 is that of keep-alive.
func timerOf(t *testing.T, c net.Conn) (timer, due uint64) {
	t.Helper()
	text := tlstest.Value(os.ReadFile("/proc/net/tcp"))(t)
	local := fmt.Sprintf(":%04X", c.RemoteAddr().(*net.TCPAddr).Port)
	remote := fmt.Sprintf(":%04X", c.LocalAddr().(*net.TCPAddr).Port)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 5 && strings.HasSuffix(f[1], local) && strings.HasSuffix(f[2], remote) {
			tlstest.Value(fmt.Sscanf(f[5], "%x:%x", &timer, &due))(t)
			return timer, due
		}
	}
	t.Fatalf("there is no %s to %s in\n%s", local, remote, text)
	return 0, 0
}

// TestKeepAlive: the system watches over the daemon's connections, as long as --keep-alive says.
func TestKeepAlive(t *testing.T) {
	const hour = 60 * 60 * 100
	for _, test := range []struct {
		args  []string
		timer uint64
		long  bool
	}{
		{nil, 2, false},
		{[]string{"--keep-alive=2h"}, 2, true},
		{[]string{"--keep-alive=0s"}, 0, false},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			d := runDaemon(t, test.args...)
			c := dialTLS(t, "tcp", d.addr(), nil)
			defer c.Close()
			roundTrip(t, c, []byte("hello"))
			tlstest.Until(t, "the last answer is acknowledged", func() bool {
				timer, due := timerOf(t, c.NetConn())
				if timer != 1 && (timer != test.timer || (due > hour) != test.long) {
					t.Fatalf("timer %d is due in %d/100 s, want timer %d, long: %v", timer, due, test.timer, test.long)
				}
				return timer != 1
			})
		})
	}
}
