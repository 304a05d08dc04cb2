// Package session is the state machine of one TLS connection: what to wait for,
// what to call again, and what becomes of the bytes that wait. It knows no
// sockets, no clock and no cgo; the TLS engine is behind the [Engine] interface.
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
// # The four answers
//
// Which direction do I wait for? The one that the result names. Each operation
// keeps its own want, and [Session.Interest] is computed from them each time it is asked; there
// are no flags to set and clear, so none can go stale.
//
// What do I call when it is ready? [Session.Ready]: it retries each live operation
// whose want the event meets, with the same bytes.
//
// What of data that is sent meanwhile? Write puts it in a queue. The head of the
// queue is frozen from the first attempt at it until it is accepted, since OpenSSL
// must be given the same bytes again; what stands behind it may still grow, so
// that small writes share a record.
//
// What if the other operation runs first? Whatever moved bytes makes the wants in
// that direction stale: after an operation took input, others that wait to read
// are tried again, and after one that handed output over, others that wait to write.
//
// # Beside the stream
//
// KeyUpdate, Renegotiate and RequestCertificate begin handshakes after the first one, when no record is half written. Early data is read
// before the first one, in its place, with Config.EarlyData.
//
// # Spinning and stalling
//
// An operation that is live has either a want, and then Interest or an act of the
// application ends the wait, or none, and then [Session.Runnable] says so and the loop
// calls Ready(0) without waiting. Bytes that lie decrypted or buffered inside the engine
// never wake epoll; a read counts as runnable until the engine itself has said WANT_READ (or
// that it is drained), so they are not forgotten. Writability is never asked for because data
// is queued, only because an operation said WANT_WRITE or because the engine holds
// ciphertext that its transport just refused.
//
// # Backpressure
//
// Two things are compared with the watermarks. The whole queue: OnDrain comes when it has fallen
// below the low one after it was above the high one, so that whoever produces data knows
// when to go on. And that part of it which was written inside OnData, in answer to
// what was read: when it is above the high watermark, reading pauses until it is below the low
// one. The plan was to pause reading for the whole queue; then two peers that each send
// more than the high watermark of their own accord wait for each other for ever, and memory gains
// nothing, since reading is not what makes such a queue grow.
//
// One exception keeps the pause from locking up: while a write itself waits to read (a
// renegotiation), reading goes on. Then MaxQueue alone bounds the queue: Write refuses.
//
// # Close
//
// Close is a sequence: drain the queue, close_notify, FIN, then read and discard
// until the peer's end, so that no reset destroys what the peer has not read yet. The owner sets
// a deadline for it and calls Abort. The peer's close_notify begins it too, unless Config.HalfClose is set:
// then OnEOF is called, and the handler ends the connection. There is no close_notify in a handshake or after a
// fatal error. OnClose comes exactly once, and last.
//
// # Differences from the plan
//
// The engine's HasPending is not asked: it is true for a part of a record, on
// which a loop spins, and Pending is blind to all but one record, on which a loop
// stalls. The engine's results say instead what moved (In, Out), what is left to send
// (Unsent) and that nothing is left to read (Drained).
//
// # Goroutines
//
// A Session belongs to one goroutine at a time. Handler methods are called from Ready
// and may call any method of the same Session; those take effect when the handler returns.
package session
