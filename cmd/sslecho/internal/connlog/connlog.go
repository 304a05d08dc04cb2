// Package connlog writes a line for each connection that has ended.
package connlog

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/starttls"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/negotiated"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/connlimit"
	"github.com/spacemonad/go-openssl/session"
	"github.com/spacemonad/go-openssl/tlsio"
)

// Logged is a service that also logs. What a connection itself needs from its
// end on is asked of it then, so it costs nothing while it lives.
type Logged struct {
	reactor.Handler
	Log *slog.Logger
}

// OnClose implements reactor.Handler. A connection that was closed, or ended by
// one of our timeouts, is logged at level info; one that its peer broke, or
// whose handshake failed, at level debug, for that is no fault of ours; a panic
// of the service at level error.
func (l Logged) OnClose(c *reactor.Conn, err error) {
	l.Handler.OnClose(c, err)
	s := c.State()
	level, cause := verdict(err, s.Version != 0)
	ctx := context.Background()
	if !l.Log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.Uint64("conn", c.ID()), slog.String("remote", c.RemoteAddr().String())}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("phase", starttls.Phase(c)) // in which it ended
	if s.Version != 0 {
		add("version", s.Version.String())
		add("cipher", s.Cipher)
		attrs = append(attrs, slog.Bool("resumed", s.Resumed))
	}
	add("group", s.Group)
	add("sni", s.ServerName)
	if s.ECH != cssl.ECHNone {
		add("ech", s.ECH.String())
		add("outer_sni", s.OuterServerName)
	}
	add("alpn", s.ALPN)
	if s.RecordsReason != "" || s.Records != cssl.RecordsOpenSSL { // direct ones were asked for
		add("records", negotiated.RecordsText(s.Records, s.RecordsReason))
	}
	attrs = append(attrs, slog.Uint64("in", c.BytesRead()), slog.Uint64("out", c.BytesWritten()),
		slog.Duration("duration", time.Since(c.Started()).Round(time.Millisecond)), slog.String("cause", cause))
	l.Log.LogAttrs(ctx, level, "connection ended", attrs...)
}

// verdict is how loud an end is told, and its cause in words. shook: the
// handshake was done.
func verdict(err error, shook bool) (slog.Level, string) {
	var e *tlsio.Error
	switch {
	case err == nil:
		return slog.LevelInfo, "clean"
	case errors.Is(err, reactor.ErrPanic):
		return slog.LevelError, err.Error()
	case errors.As(err, &e) && spokeHTTP(e):
		return slog.LevelDebug, "the client spoke plain HTTP to the TLS port"
	case errors.Is(err, reactor.ErrIdleTimeout), errors.Is(err, reactor.ErrWriteTimeout), errors.Is(err, reactor.ErrCloseTimeout),
		errors.Is(err, session.ErrQueueFull), errors.Is(err, reactor.ErrLoopClosed):
		return slog.LevelInfo, err.Error()
	case errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, reactor.ErrHeader):
		if !shook {
			return slog.LevelDebug, "the peer ended before the handshake was done"
		}
		return slog.LevelDebug, "the peer ended without close_notify"
	}
	return slog.LevelDebug, err.Error()
}

// spokeHTTP reports whether OpenSSL took what came for a request of HTTP.
func spokeHTTP(e *tlsio.Error) bool {
	return slices.ContainsFunc(e.Reasons, func(r tlsio.Reason) bool {
		return strings.Contains(r.Text, "http request") || strings.Contains(r.Text, "https proxy request")
	})
}

// flags name the limits for operators.
var flags = map[error]string{connlimit.ErrMaxConns: "--max-conns", connlimit.ErrMaxConnsPerAddr: "--max-conns-per-addr",
	connlimit.ErrRate: "--new-conns-rate"}

// Refusals returns admit, which it also logs the errors of: at most one line a
// second for each, which says how many there were. They must be few.
func Refusals(log *slog.Logger, admit func(netip.AddrPort) error) func(netip.AddrPort) error {
	type refusals struct {
		last  time.Time
		count int // since then
	}
	var mu sync.Mutex
	reasons := map[error]refusals{}
	return func(remote netip.AddrPort) error {
		err := admit(remote)
		if err == nil {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		r := reasons[err]
		r.count++
		if now := time.Now(); now.Sub(r.last) >= time.Second {
			log.Warn("connections refused", "reason", "limit of "+cmp.Or(flags[err], err.Error()), "remote", remote.String(), "count", r.count)
			r = refusals{last: now}
		}
		reasons[err] = r
		return err
	}
}
