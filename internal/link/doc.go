// Package link holds tests only: connections over a network that is slow, loses and reorders packets, is cut, or
// resets connections in their midst.
//
//	reactor.Server ─ TCP ─ tun ─┐  a network namespace
//	                            ├─ link: rate, delay, loss, order, cut, RST
//	reactor.Loop ─── TCP ─ tun ─┘  another one
//
// The kernel's own TCP is at both ends; the packets between the two pass through this process, so no traffic shaper of
// the kernel is needed. The namespaces have no names: they go when the process does, however it ends. A connection must survive or
// fail as TCP says, and nothing else may happen.
package link
