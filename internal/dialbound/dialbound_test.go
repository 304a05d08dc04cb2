package dialbound

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestContext: the earliest of the bounds holds, and none is added.
func TestContext(t *testing.T) {
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for name, tc := range map[string]struct {
		ctx  time.Duration // 0: no deadline
		d    net.Dialer
		want time.Duration
	}{
		"none":               {0, net.Dialer{}, 0},
		"context":            {time.Hour, net.Dialer{}, time.Hour},
		"Deadline":           {0, net.Dialer{Deadline: at(time.Hour)}, time.Hour},
		"Timeout":            {0, net.Dialer{Timeout: time.Hour}, time.Hour},
		"Deadline first":     {3 * time.Hour, net.Dialer{Deadline: at(time.Hour), Timeout: 2 * time.Hour}, time.Hour},
		"Timeout first":      {3 * time.Hour, net.Dialer{Deadline: at(2 * time.Hour), Timeout: time.Hour}, time.Hour},
		"context first":      {time.Hour, net.Dialer{Deadline: at(2 * time.Hour), Timeout: 3 * time.Hour}, time.Hour},
		"a past Deadline":    {0, net.Dialer{Deadline: at(-time.Hour), Timeout: time.Hour}, -time.Hour},
		"a negative Timeout": {0, net.Dialer{Timeout: -time.Hour}, -time.Hour},
	} {
		parent := context.Background()
		if tc.ctx != 0 {
			var cancel context.CancelFunc
			parent, cancel = context.WithDeadline(parent, at(tc.ctx))
			defer cancel()
		}
		ctx, cancel := Context(parent, &tc.d)
		latest := time.Now()
		got, ok := ctx.Deadline()
		// A Timeout counts from the call.
		if ok != (tc.want != 0) || ok && (got.Before(at(tc.want)) || got.After(latest.Add(tc.want))) {
			t.Errorf("%s: %v after the start, %v; want %v", name, got.Sub(start), ok, tc.want)
		}
		if (ctx.Err() != nil) != (tc.want < 0) {
			t.Errorf("%s: %v", name, ctx.Err())
		}
		cancel()
		if ctx != parent && ctx.Err() == nil {
			t.Errorf("%s: cancel has no effect", name)
		}
		if parent.Err() != nil {
			t.Errorf("%s: the context of the caller has ended", name)
		}
	}
}
