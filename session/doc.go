// Package session is the state machine of one non-blocking TLS connection. It
// decides which direction to wait for and what to call next, and it queues what
// is written. It uses no sockets, no clock and no cgo; the TLS connection is an
// [Engine].
//
//	                ┌───────────────────── Session ────────────────────┐
//	Handler         │                                                  │        Engine
//	OnData  ◄───────┤  read       want ──┐                             ├──Read────► (cssl.Conn)
//	                │  handshake  want ──┼──► Interest(): the union    ├──Handshake
//	Write ──►queue──┤  write      want ──┤    of the wants of the      ├──Write, Flush
//	Close ──►───────┤  shutdown   want ──┘    live operations          ├──Shutdown, CloseWrite
//	                └──────▲───────────────────────────┬───────────────┘
//	                       │ Ready(what)               │ Interest, Runnable
//	                       └──────── event loop ◄──────┘
//
// # Waiting, retrying and queueing
//
// Wait in the direction that an operation's result names. Each operation keeps
// its own want, and [Session.Interest] computes the union of the wants on each
// call. There are no flags to set and clear, so none can be stale.
//
// When the transport is ready, call [Session.Ready]. It retries each live
// operation whose want the event meets, with the same bytes.
//
// Write appends to a queue; Ready passes the queue to the engine. The head of
// the queue is frozen from the first attempt to write it until it is accepted,
// because OpenSSL must be given the same bytes again. What follows the head may
// still grow, so that small writes share a record.
//
// When an operation has received ciphertext, every operation that waits for
// readability is tried again. When one has sent ciphertext, every operation
// that waits for writability is.
//
// # Renegotiation, post-handshake messages and early data
//
// Renegotiate begins a new handshake; KeyUpdate and RequestCertificate send a
// post-handshake message (RFC 8446, section 4.6). Each begins when no record is
// partly written. With Config.EarlyData, early data is read before the
// handshake continues.
//
// # Neither spinning nor stalling
//
// A live operation with a want waits for an event (Interest) or for the
// application. While a live operation has no want, [Session.Runnable] is true,
// and the event loop calls Ready(0) without waiting. Bytes that are decrypted
// or buffered inside the engine never wake epoll. A read therefore counts as
// runnable until the engine returns WANT_READ or reports that it is drained.
// Queued data alone never asks for writability: only an operation that returned
// WANT_WRITE, or ciphertext that the transport has just refused, does.
//
// # Backpressure
//
// The watermarks apply twice:
//
//   - To the whole queue: OnDrain is called when the queue has fallen to the low
//     watermark after it reached the high one.
//   - To replies, the part of the queue that was written inside OnData: reading
//     pauses when they reach the high watermark, until they have fallen to the
//     low one.
//
// Reading does not pause because of other data in the queue. Otherwise two
// peers that each send more than the high watermark unasked would deadlock.
//
// Reading does not pause while a write waits to read (a renegotiation), because
// that would be a deadlock. Then only MaxQueue bounds the queue: Write returns
// ErrQueueFull.
//
// # Close
//
// Close is a sequence: write the queue, send close_notify, send a FIN, then
// read and discard until the peer sends close_notify or a FIN, so that no RST
// destroys data that the peer has not read yet. The owner sets a deadline for
// it and calls Abort when it passes. The peer's close_notify starts the same
// sequence, unless Config.HalfClose is set: then OnEOF is called, and the
// handler ends the connection. No close_notify is sent in a handshake or after
// a fatal error. OnClose is called exactly once, as the last method.
//
// # Pending bytes
//
// Session does not use SSL_has_pending(3) or SSL_pending(3). SSL_has_pending is
// true for a partial record, on which a loop would spin; SSL_pending counts
// only one record, on which a loop would stall. The engine's results report
// what moved (In, Out), what remains to be sent (Unsent) and that nothing
// remains to be read (Drained).
//
// # Goroutines
//
// A Session belongs to one goroutine at a time. Ready calls the Handler's
// methods. They may call any method of the same Session; the calls take effect
// when the handler returns.
package session
