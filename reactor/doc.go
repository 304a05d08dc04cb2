// Package reactor serves TLS connections from epoll loops, one goroutine each.
//
//	listener ──accept4──► Conn{ fd, cssl.Conn, session.Session }
//	                        │
//	    ┌───────────────────┴── Loop: one turn ───────────────────────────┐
//	    │ Poller.Wait ─► events ─► Session.Ready ─► Handler.OnData        │
//	    │      ▲         ready list (runnable without an event)           │
//	    │      │         calls from other goroutines (eventfd)            │
//	    │      │         timers (one wheel)                               │
//	    │      │         free what has closed ─► publish Stats ─► yield   │
//	    │      └──── Session.Interest ─► Poller.Modify, if it changed     │
//	    └─────────────────────────────────────────────────────────────────┘
//
// The package handles sockets, epoll and time. Package session alone decides
// what to wait for and which operation to call again: a Loop asks Interest and
// Runnable and never looks at a want.
//
// # Goroutines
//
// A loop calls the methods of a [Handler] on its own goroutine, one call at a
// time for all its connections, so they must not block. Any goroutine may call
// the methods of [Conn] unless they say otherwise: they leave a request with
// the connection and wake the loop. Inside a handler this costs no wakeup,
// since the loop looks for requests when the handler returns.
//
// # Clients
//
// A Loop also drives client connections. There are three ways to start one:
//
//   - [Dialer.Dial] resolves the name, connects, and waits until the
//     handshake is done and the certificate is verified. It takes a context
//     and is for goroutines that may block.
//   - [Loop.Connect] takes an IP address and returns at once. The handler
//     gets the outcome. It is for the loop's own goroutine, and for thousands
//     of connections without a goroutine each.
//   - [Loop.Attach] takes a socket that the caller has made.
//
// # Plain text first
//
// A connection can begin in plain text and become TLS later, in either role:
// STARTTLS. Set Server.Plain or Dialer.Plain, or use [Loop.AttachPlain] or
// [Loop.ConnectPlain]. A [PlainHandler] gets the bytes, and [Conn.StartTLS]
// starts TLS; it may never be called.
//
//	           ┌── plain text ──┐           ┌──── TLS ────┐
//	accept ──► OnConnect, OnPlain ──StartTLS──► handshake ──► OnOpen, OnData
//	           Write: in the clear        │ Write: encrypted, after OnOpen
//
// In plain text a connection is a Session too, over a small engine on the
// socket. So Write, Pause, Close and CloseWrite (a FIN), the watermarks,
// budgets, queue limits and timeouts, MaxConns, Admit, Header, Shutdown, Trace
// and the counters are those of TLS. Stats.Plain counts connections in plain
// text. Limits.MaxHandshakes counts one from StartTLS on: before, it holds no
// SSL. Limits.HandshakeTimeout bounds the wait for the peer's first bytes, and
// the time from StartTLS on. In between no handshake timeout runs: set
// IdleTimeout, which is off by default.
//
// Safe by construction: StartTLS marks the place in the queue. What is before
// it leaves in the clear, and what is behind it only encrypted. The socket is
// not read in the clear any more, and OnData gets only what TLS returns. Bytes
// that came in the clear behind STARTTLS, before it could be answered, end the
// connection ([tlsio.LeftoverRefuse]). Bytes that come later, in place of a
// ClientHello, fail the handshake.
//
// # Scheduling
//
// A step of a handshake takes as long as twenty to forty small messages. Each
// turn therefore handles the events of established connections first, then
// those of two handshakes, and then polls epoll again.
//
// A Loop is not locked to an OS thread, and yields to the Go scheduler every
// millisecond. With a locked thread, or without the yield, the scheduler's
// monitor (sysmon) retakes the P on every cgo call once the loop has run for
// 10 ms, which costs futex calls and CPU time. In Go releases that were tested,
// the loop does not call runtime.Gosched: while a P is idle, that would wake
// another thread to take over the loop; see yield.go.
//
// Where other goroutines matter, set GOMAXPROCS to at least the number of loops
// plus one; the default of Server.Loops leaves no spare P. When every P is
// inside C, the monitor retakes them from calls that last longer than 20 µs,
// such as a signature. A loop that waits in epoll_wait also keeps its P, for up
// to 10 ms. With more waiting loops than spare Ps, other goroutines see that as
// latency (measured: p99 10 ms instead of 0.4 ms).
//
// # Stalled handshakes
//
// A peer that connects and sends nothing, or a byte now and then, is
// disconnected after Limits.HandshakeTimeout. Limits.MaxHandshakes bounds the
// handshakes in progress; further connections wait in the listener's backlog,
// where stalled handshakes could keep them forever. A full loop therefore
// evicts its oldest handshake in favor of the next connection, once a fifth of
// HandshakeTimeout has passed since the loop accepted that connection or last
// sent it something. If the peer has sent input that is still unread, the loop
// is late and not the peer: the next oldest is tried. A loop that is not full
// gives each handshake its whole time.
//
// # Safety of events
//
// epoll is level-triggered. An event carries the connection's slot and the
// slot's generation, and a closed connection keeps its file descriptor until
// the end of the turn. So a stale event can never reach a new connection that
// reuses the file descriptor. A turn walks the ready list only up to the length
// that it had at the start. EPOLLHUP and EPOLLERR cannot be masked: they count
// as both readable and writable. After a hang-up, a paused connection is
// removed from the epoll set until it waits for something again.
package reactor
