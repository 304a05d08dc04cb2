package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// manager stands in for systemd: it hears what it is told.
type manager struct{ conn *net.UnixConn }

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c := tlstest.Value(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}))(t)
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{c}
}

func (m *manager) hear(t *testing.T) string {
	t.Helper()
	m.conn.SetReadDeadline(time.Now().Add(tlstest.Hang))
	b := make([]byte, 4096)
	return string(b[:tlstest.Value(m.conn.Read(b))(t)])
}

// TestNotifier: each state in systemd's words.
func TestNotifier(t *testing.T) {
	m := newManager(t)
	var n Notifier
	n.Ready()
	tlstest.Equal(t, "when it serves", m.hear(t), fmt.Sprintf("READY=1\nMAINPID=%d\nSTATUS=serving", os.Getpid()))
	n.Reloading()
	if s := m.hear(t); !strings.HasPrefix(s, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("%q", s)
	}
	n.Stopping()
	tlstest.Equal(t, "at the end", m.hear(t), "STOPPING=1")
}

// TestNotifierAlone: without systemd nothing happens, and a systemd that has gone is logged.
func TestNotifierAlone(t *testing.T) {
	var b bytes.Buffer
	n := Notifier{slog.New(slog.NewTextHandler(&b, nil))}
	os.Unsetenv("NOTIFY_SOCKET")
	n.Ready()
	if b.Len() > 0 {
		t.Errorf("logged %s", b.String())
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	n.Ready()
	if !strings.Contains(b.String(), "systemd cannot be told") {
		t.Errorf("logged %q", b.String())
	}
}

// TestWatchdog: it is fed as long as the loops turn, also by a process that has taken over, and not when they do not.
func TestWatchdog(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "60000")
	t.Setenv("WATCHDOG_PID", "1") // of the process before this one
	var b bytes.Buffer
	n := Notifier{slog.New(slog.NewTextHandler(&b, nil))}
	var dead atomic.Bool
	asked := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		n.Watchdog(ctx, func(context.Context) error {
			if dead.Load() {
				asked <- struct{}{}
				return errors.New("a loop hangs")
			}
			return nil
		})
		close(ended)
	}()
	for range 3 {
		tlstest.Equal(t, "while the loops turn", m.hear(t), "WATCHDOG=1")
	}
	dead.Store(true)
	// What is told before the first time, is told while the loops still turned.
	<-asked
	n.Ready()
	<-asked
	<-asked
	cancel()
	<-ended
	n.Stopping()
	for !strings.HasPrefix(m.hear(t), "READY=1") {
	}
	tlstest.Equal(t, "from a daemon that hangs", m.hear(t), "STOPPING=1")
	if !strings.Contains(b.String(), "a loop hangs") {
		t.Errorf("logged %q", b.String())
	}
}

// TestWatchdogNotAsked: without WATCHDOG_USEC it returns.
func TestWatchdogNotAsked(t *testing.T) {
	os.Unsetenv("WATCHDOG_USEC")
	Notifier{slog.New(slog.DiscardHandler)}.Watchdog(context.Background(), func(context.Context) error { t.Error("asked"); return nil })
}

// TestLookup: names and numbers, and what there is not.
func TestLookup(t *testing.T) {
	root, err := user.LookupId("0")
	if err != nil {
		t.Skip("no user 0 here: ", err)
	}
	for _, tt := range []struct{ name, group, want string }{
		{root.Username, "", ""}, {"0", "0", ""}, {root.Username, "no-such-group", "no such group"}, {"no-such-user", "", "no such user"},
	} {
		uid, gid, err := Lookup(tt.name, tt.group)
		if tt.want == "" && (err != nil || uid != 0 || gid != 0) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s:%s: %d, %d, %v", tt.name, tt.group, uid, gid, err)
		}
	}
	if os.Geteuid() == 0 {
		if err := Become("0", "0"); err != nil {
			t.Errorf("who it is already: %v", err)
		}
	}
}

// TestPIDFile: one that names another process of this program is in use, as which a thread of this one passes here. The end of the
// program removes its own alone.
func TestPIDFile(t *testing.T) {
	threads := tlstest.Value(os.ReadDir("/proc/self/task"))(t)
	other := threads[slices.IndexFunc(threads, func(e os.DirEntry) bool { return e.Name() != fmt.Sprint(os.Getpid()) })].Name()
	for content, want := range map[string]string{
		"": "", "no number": "", "-5": "", "1": "", "1073741824": "", fmt.Sprint(os.Getpid()): "",
		other: "process " + other + ", which runs, has it",
	} {
		s := &Sockets{pidFile: filepath.Join(t.TempDir(), "pid")}
		tlstest.Must(t, os.WriteFile(s.pidFile, []byte(content), 0o600))
		err := s.inUse()
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), "--pid-file "+s.pidFile+": "+want) {
			t.Errorf("%q: %v, want %q", content, err, want)
		}
		s.RemovePIDFile()
		if _, err := os.Stat(s.pidFile); os.IsNotExist(err) != (content == fmt.Sprint(os.Getpid())) {
			t.Errorf("%q: after the end: %v", content, err)
		}
	}
}
