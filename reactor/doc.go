// Package reactor serves TLS connections from epoll loops, one goroutine each.
//
//	listener ──accept4──► Conn{ fd, cssl.Conn, session.Session }
//	                        │
//	    ┌───────────────────┴── Loop: one turn ───────────────────────────┐
//	    │ Poller.Wait ─► events ─► Session.Ready ─► Handler.OnData        │
//	    │      ▲         ready list (runnable without an event)           │
//	    │      │         calls from other goroutines (eventfd)            │
//	    │      │         timers (one wheel)                               │
//	    │      │         close what ended ─► publish Stats ─► yield       │
//	    │      └──── Session.Interest ─► Poller.Modify, if it changed     │
//	    └─────────────────────────────────────────────────────────────────┘
//
// The package knows sockets, epoll and time. What to wait for and what to call again
// is decided in package session alone: a Loop asks Interest and Runnable and never
// looks at a want.
//
// # Loops and threads
//
// A Loop is not locked to its thread, and yields to the scheduler every
// millisecond; with a locked thread, or without the yield, the scheduler's monitor takes the P
// away on each cgo call after 10 ms, which costs futex calls and CPU. (The plan was runtime.Gosched
// once a turn. That wakes another thread while a P is idle, which takes the loop over; see yield.go.) For the same
// reason a program does well to have one P more than loops (runtime.GOMAXPROCS): when every P is
// inside C, the monitor takes them away from calls that last longer than 20 µs, such as a signature. A loop that
// waits in epoll_wait keeps its P too until the monitor takes it, up to 10 ms later: a program with more loops
// that rest than spare Ps sees that as latency of its other goroutines (measured: p99 10 ms instead of 0.4 ms).
//
// # Handshakes and the others
//
// A step of a handshake lasts as long as twenty to forty small messages. So a turn deals with the events of established
// connections first, then with those of two handshakes, and asks epoll again.
//
// # Goroutines
//
// A Handler's methods are called on the loop's goroutine, one at a time for all
// connections of that loop, so they must not block. The methods of Conn may be called from any
// goroutine unless they say otherwise: they leave their request in the connection's inbox and wake the
// loop, which is free of charge inside a handler, where the loop looks into the inbox anyway.
//
// # Clients
//
// A Loop drives client connections too. There are three ways
// to give it one. [Dialer.Dial] resolves the name, connects and waits for the handshake and the check of the certificate,
// with a context and a timeout; it is for goroutines that may block. [Loop.Connect] begins all that with an IP address and
// returns at once; the handler hears how it went. It is for a loop's own goroutine and for
// thousands of connections without a goroutine each. [Loop.Attach] takes a socket that the caller has made.
//
// # Handshakes that do not go on
//
// A peer that connects and says nothing, or a byte now and then, is cut off after HandshakeTimeout. Limits.MaxHandshakes
// bounds how many there are; all others wait in the backlog then, and among them those who would say something. So a full
// loop gives the place of the oldest handshake to the next connection once a fifth of HandshakeTimeout has
// passed since we last sent it something, or accepted it. If input of its peer lies unread then it is the loop that is
// late, and the next oldest is tried. A loop that is not full lets each have its whole time.
//
// # Safety of events
//
// epoll is level-triggered. An event carries the connection's slot and the slot's generation, and a
// connection that ends keeps its file descriptor until the end of the turn, so an event
// of the same batch can never reach another connection that got the same number. The
// ready list is walked up to the length that it had at the start. EPOLLHUP and
// EPOLLERR cannot be masked: they count as both directions, and a connection that has nothing to wait
// for (paused) leaves epoll until it has.
package reactor
