package reactor

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"reflect"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/dialbound"
)

// Dialer connects to TLS servers. Its fields resemble those of tls.Dialer. Any
// number of goroutines may use a Dialer at once; to resume a session, use a
// copy with another Config.
type Dialer struct {
	// Net resolves the name and connects. It sets the local address,
	// keep-alive, resolver and so on. Its Timeout and Deadline bound the
	// handshake too, as in crypto/tls; so does the context. nil means the zero
	// net.Dialer.
	Net *net.Dialer
	// Context is a client's Context. It is required.
	Context *cssl.Context
	// Config has the name to verify, and a session to resume. If ServerName is
	// empty, the host of the dialed address is used; an IP address is verified
	// as such. A unix socket has no host: set ServerName or
	// InsecureSkipNameCheck.
	Config cssl.ConnConfig
	// Plain, if set, makes the connection begin in plain text. It must call
	// StartTLS, by default with Context and Config: Dial waits for the
	// handshake in this case too.
	Plain PlainHandler
}

// Dial connects to address ("host:port", or the path of a unix socket), lets l
// drive the connection, and waits for the handshake, which verifies the
// server's certificate. network is tcp, tcp4, tcp6 or unix. l must be running.
// On a loop's goroutine Dial would block the loop and returns an error; use
// [Loop.Connect] there.
//
// When Dial returns the Conn, h.OnOpen has returned and OnData may have been
// called. After that, ctx and the bounds of Net have no effect on the
// connection.
//
// Except for wrong arguments, the error is a *net.OpError. Its Op is "dial" for
// resolving and connecting, with net's error, and "handshake" after that, with
// a *[tlsio.Error], a *[cssl.ConfigError], [ErrHandshakeTimeout],
// [ErrLoopClosed], or [ErrPanic] if OnOpen panicked. If ctx or a bound of Net
// ended Dial, errors.Is finds context.Canceled or context.DeadlineExceeded.
// After an error the socket is closed. If the loop had taken over the
// connection, which it does after connecting, h.OnClose has been called once,
// with the cause; otherwise h is not called. OnOpen may call Abort to refuse
// the peer: then Dial returns the error that OnClose gets.
func (d *Dialer) Dial(ctx context.Context, l *Loop, network, address string, h Handler, data any) (*Conn, error) {
	switch {
	case d.Context == nil:
		return nil, errors.New("reactor: Dialer.Context is nil")
	case l == nil:
		return nil, errors.New("reactor: Dial without a Loop")
	case h == nil:
		return nil, errors.New("reactor: Dial without a Handler")
	case onLoop():
		return nil, errors.New("reactor: Dial on a loop's goroutine would block the loop; use Loop.Connect or another goroutine")
	}
	nd := cmp.Or(d.Net, new(net.Dialer))
	ctx, cancel := dialbound.Context(ctx, nd)
	defer cancel()
	fd, remote, err := dialFD(ctx, nd, network, address)
	if err != nil {
		return nil, err
	}
	cfg := d.Config
	if cfg.ServerName == "" && network != "unix" {
		cfg.ServerName, _, _ = net.SplitHostPort(address) // net.Dialer has accepted address
	}
	var c *Conn
	if d.Plain != nil {
		c = newPlain(fd, d.Plain, d.Context, cfg, h, data)
	} else {
		c, err = newConn(fd, d.Context, cfg, h, data)
	}
	if err == nil {
		err = c.handshake(ctx, l)
	}
	if err != nil {
		return nil, &net.OpError{Op: "handshake", Net: network, Addr: remote, Err: err}
	}
	return c, nil
}

// dialFD connects to address and returns a descriptor that the caller owns.
func dialFD(ctx context.Context, nd *net.Dialer, network, address string) (int, net.Addr, error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return -1, nil, &net.OpError{Op: "dial", Net: network, Err: net.UnknownNetworkError(network)}
	}
	nc, err := nd.DialContext(ctx, network, address)
	if err != nil {
		// Net's poller may see the deadline before the timer of ctx fires.
		var e *net.OpError
		if errors.As(err, &e) && errors.Is(err, os.ErrDeadlineExceeded) {
			late := *e
			late.Err = context.DeadlineExceeded
			err = &late
		}
		return -1, nil, err
	}
	defer nc.Close()
	fd, err := dup(nc.(syscall.Conn)) // net.Dialer returns one for these networks
	if err != nil {
		return -1, nil, &net.OpError{Op: "dial", Net: network, Addr: nc.RemoteAddr(), Err: err}
	}
	return fd, nc.RemoteAddr(), nil
}

// dialing is a Dial that waits for its connection.
type dialing struct {
	// taken is set by the loop when it adopts the connection, or by a Dial that
	// gives up before that.
	taken atomic.Bool
	done  chan error
}

// handshake passes c to the loop and waits for the handshake. After an error c
// is freed.
func (c *Conn) handshake(ctx context.Context, l *Loop) error {
	d := &dialing{done: make(chan error, 1)}
	c.dial = d
	if !l.Do(func() {
		if d.taken.CompareAndSwap(false, true) {
			l.adopt(c)
		}
	}) {
		c.free()
		return ErrLoopClosed
	}
	select {
	case err := <-d.done:
		return err
	case <-ctx.Done():
	}
	if d.taken.CompareAndSwap(false, true) {
		c.free()
		return ctx.Err()
	}
	// If the loop has stopped, it ends the connection itself.
	l.Do(func() {
		if c.dial != nil {
			c.session.Abort(ctx.Err())
			l.turn(c, 0)
		}
	})
	return <-d.done
}

// dialed reports to a waiting Dial that OnOpen has returned. After a panic or
// an Abort, freeClosed reports instead.
func (c *Conn) dialed() {
	if !c.reset {
		c.answerDial(nil)
	}
}

func (c *Conn) answerDial(err error) {
	if d := c.dial; d != nil {
		c.dial = nil
		d.done <- err
	}
}

// runEntry is the entry point of Loop.Run.
var runEntry = runtime.FuncForPC(reflect.ValueOf((*Loop).Run).Pointer()).Entry()

// onLoop reports whether the calling goroutine is a loop's, that is, whether
// Loop.Run is on its stack.
func onLoop() bool {
	var pcs [32]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		for _, pc := range pcs[:n] {
			// pc is a return address; the call precedes it.
			if f := runtime.FuncForPC(pc - 1); f != nil && f.Entry() == runEntry {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}
