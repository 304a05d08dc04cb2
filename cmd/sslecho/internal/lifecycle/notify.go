package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells systemd how the daemon is (sd_notify(3)). Without systemd it
// does nothing.
type Notifier struct{ Log *slog.Logger }

func (n Notifier) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.Log.Warn("systemd cannot be told", "state", state, "error", err)
	}
}

// Ready says that the daemon serves, and which process it is.
func (n Notifier) Ready() {
	n.notify(fmt.Sprintf("%s\nMAINPID=%d\nSTATUS=serving", daemon.SdNotifyReady, os.Getpid()))
}

// Main says which process is the main one. A process that takes over says so
// before the one that it replaces may end: systemd takes the end of the main
// process for the end of the service.
func (n Notifier) Main(pid int) { n.notify(fmt.Sprintf("MAINPID=%d", pid)) }

// Reloading says that the configuration is being read again. Ready ends that.
func (n Notifier) Reloading() {
	n.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

// Stopping says that the daemon is about to end.
func (n Notifier) Stopping() { n.notify(daemon.SdNotifyStopping) }

// Watchdog tells systemd that the daemon is alive, as often as it wants to hear
// that, while ping returns nil in time. It returns when ctx ends, or at once if
// systemd does not ask.
func (n Notifier) Watchdog(ctx context.Context, ping func(context.Context) error) {
	if os.Getenv("WATCHDOG_PID") != "" {
		os.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid())) // after an upgrade it names the process before this one
	}
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.Log.Warn("systemd's watchdog cannot be fed", "error", err)
	}
	if err != nil || every == 0 {
		return
	}
	ticker := time.NewTicker(every / 3)
	defer ticker.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, every/3)
		err := ping(limited)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.Log.Error("not alive", "error", err)
		default:
			n.notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
