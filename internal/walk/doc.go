// Package walk leads pairs of real connections through random lives. Its tests are all that it has.
//
//	      client                                                 server
//	session.Session                                         session.Session
//	       │                                                       │
//	   cssl.Conn ──► wire: at most so many bytes, held back, ──► cssl.Conn
//	             ◄── split down to one byte, cut off at random ◄──
//
// One goroutine is both event loops, both applications and the network between them. A seed
// decides all that happens: what is written and when, from outside and inside OnData, pauses,
// KeyUpdates, renegotiations, ends of either direction, events that come late, singly or for nothing,
// how many bytes pass, and where the network breaks. The connections stand on cssl's two transports: half
// on sockets with the smallest buffers there are, of which the walk holds the far ends, and half on Feed and Take. A third
// of those on sockets begin in plain text, and each side calls Upgrade when it has its peer's bytes in the clear.
//
// What is checked at each step is in end_test.go (one side) and rest_test.go (both, at rest and at their end).
//
// A seed repeats its walk but for the lengths of ECDSA signatures and tickets, which are OpenSSL's to draw; most
// walks use certificates whose signatures have one length.
package walk
