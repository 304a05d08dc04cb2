package reactor

import (
	"context"
	"errors"
	"net"
	"os"
	"reflect"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/spacemonad/go-openssl/cssl"
)

// Dialer makes client connections for loops. Its fields are like those of
// crypto/tls's Dialer. Dial does not change them, so that it may be called from many
// goroutines at once; a copy with another Config is a way to dial with a session of its own.
type Dialer struct {
	// Net resolves the name and connects. It sets the local address,
	// keep-alive, resolver and so on. Its Timeout and Deadline bound the
	// handshake too, as in crypto/tls; so does the context. nil means the zero
	// net.Dialer.
	Net *net.Dialer
	// Context is a client's: CAs, versions, ciphers; required.
	Context *cssl.Context
	// Config has the name to check, and a session to resume. Where ServerName is empty, it is the host of the
	// address that is dialled; an IP address is checked as such. A unix socket has no host:
	// set ServerName, or InsecureSkipNameCheck.
	Config cssl.ConnConfig
}

// Dial connects to address ("host:port", or the path of a unix socket) and makes l drive
// the connection. network is tcp, tcp4, tcp6 or unix. It waits until the handshake, with the check of the
// peer's certificate, is done, so it must not be called on a loop's goroutine, where it
// answers an error at once; see [Loop.Connect] for that. l must be running.
//
// h.OnOpen has returned when Dial returns the Conn, and OnData may have come.
// After that, ctx and the bounds of Net have no effect on the connection.
//
// The error, but for wrong use, is a *net.OpError. Its Op says how far it came: "dial" for resolving and
// connecting, with net's error; "handshake" from there on, with a *[tlsio.Error], a *[cssl.ConfigError],
// [ErrHandshakeTimeout], [ErrLoopClosed], or ErrPanic if OnOpen panicked. When ctx or a bound of Net ended
// it, errors.Is finds context.Canceled or context.DeadlineExceeded.
// After an error the socket is closed. The handler has then heard OnClose, once, with the cause, if
// the connection had come to the loop, which it does after connecting, and nothing otherwise. An Abort
// in OnOpen, to refuse the peer, makes Dial fail with what OnClose gets.
func (d *Dialer) Dial(ctx context.Context, l *Loop, network, address string, h Handler, data any) (*Conn, error) {
	switch {
	case d.Context == nil:
		return nil, errors.New("reactor: Dialer.Context is nil")
	case l == nil:
		return nil, errors.New("reactor: Dial without a Loop")
	case h == nil:
		return nil, errors.New("reactor: Dial without a Handler")
	case onLoop():
		return nil, errors.New("reactor: Dial on a loop's goroutine would block the loop; use Loop.Connect, or another goroutine")
	}
	nd := d.Net
	if nd == nil {
		nd = new(net.Dialer)
	}
	if nd.Timeout != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, nd.Timeout)
		defer cancel()
	}
	if !nd.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, nd.Deadline)
		defer cancel()
	}
	fd, remote, err := dialFD(ctx, nd, network, address)
	if err != nil {
		return nil, err
	}
	cfg := d.Config
	if cfg.ServerName == "" && network != "unix" {
		cfg.ServerName, _, _ = net.SplitHostPort(address) // which net.Dialer has understood
	}
	c, err := newConn(fd, d.Context, cfg, h, data)
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
		// Its poller may be earlier than the timer of ctx to see that time is up.
		var e *net.OpError
		if errors.As(err, &e) && errors.Is(err, os.ErrDeadlineExceeded) {
			late := *e
			late.Err = context.DeadlineExceeded
			err = &late
		}
		return -1, nil, err
	}
	defer nc.Close()
	fd, err := dup(nc.(syscall.Conn)) // all that net.Dialer makes for these networks is one
	if err != nil {
		return -1, nil, &net.OpError{Op: "dial", Net: network, Addr: nc.RemoteAddr(), Err: err}
	}
	return fd, nc.RemoteAddr(), nil
}

// dialing is a Dial that waits for its connection.
type dialing struct {
	// taken by the loop, which adopts the connection, or by a Dial that has given up before.
	taken atomic.Bool
	done  chan error
	cause error // what OnClose got, once the connection has ended
}

// handshake gives c to the loop and waits for the handshake. After an error c is freed.
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
	// A loop that is stopped ends it by itself.
	l.Do(func() {
		if c.dial != nil {
			c.session.Abort(ctx.Err())
			l.turn(c, 0)
		}
	})
	return <-d.done
}

// dialed tells the Dial that waits, if any, that OnOpen has returned. After a panic or an
// Abort the end of the connection tells it.
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

// runEntry is where the code of Loop.Run begins.
var runEntry = runtime.FuncForPC(reflect.ValueOf((*Loop).Run).Pointer()).Entry()

// onLoop reports whether the calling goroutine is a loop's: whether Run is on its stack.
func onLoop() bool {
	var pcs [32]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		for _, pc := range pcs[:n] {
			// They are return addresses; the call is before.
			if f := runtime.FuncForPC(pc - 1); f != nil && f.Entry() == runEntry {
				return true
			}
		}
		if n < len(pcs) {
			return false
		}
	}
}
