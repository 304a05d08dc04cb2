// Package dialbound bounds a whole dial, with its handshake, as a net.Dialer
// bounds connecting.
package dialbound

import (
	"context"
	"net"
	"time"
)

// Context returns ctx bounded by d's Timeout, from now on, and Deadline.
func Context(ctx context.Context, d *net.Dialer) (context.Context, context.CancelFunc) {
	end := d.Deadline
	if d.Timeout != 0 {
		if t := time.Now().Add(d.Timeout); end.IsZero() || t.Before(end) {
			end = t
		}
	}
	if end.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, end)
}
