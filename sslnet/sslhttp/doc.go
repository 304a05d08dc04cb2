// Package sslhttp runs HTTP/1.1 and HTTP/2 servers and clients of net/http over
// TLS connections of package sslnet.
//
//	        Server                                Transport
//
//	sslnet.Listener ─► handshake, ALPN      request ─► the host's protocol
//	                     │                                │
//	          http/1.1 ──┼── h2: preface      http/1.1 ───┼─── h2
//	                     ▼                                ▼
//	           the caller's http.Server       an http.Transport for each
//	                     │                                │
//	                  Handler                sslnet.Dialer, resumes sessions
//
// Everything above TLS is net/http: its server, its client, its HTTP/2.
// Before Go 1.27, net/http speaks HTTP/2 over TLS only on connections of
// crypto/tls. There this package passes a connection that negotiated h2 to
// net/http as one on which HTTP/2 begins at once ([http.Protocols],
// UnencryptedHTTP2). The bytes on the wire are encrypted all the same.
//
// # ALPN
//
// The Context says which protocols are offered: set cssl.Config.ALPN to [ALPN]
// for both. Without it, only HTTP/1.1 is spoken. A connection is served only in
// the protocol that it negotiated. Without this package, http.Server would
// speak only HTTP/1.1 over these connections, so [sslnet.Listener] refuses a
// Context that offers h2 there.
//
// # Server
//
// A [Server] performs each handshake on its own goroutine, within the time limit
// of net/http: the least of http.Server's ReadHeaderTimeout, ReadTimeout and
// WriteTimeout. If none is set, the limit is [DefaultHandshakeTimeout].
// MaxHandshakes of [sslnet.Listener] limits how many may be pending at once; at
// the limit, silent peers are evicted. Evictions are logged once a second at
// most. Request.TLS is set for both protocols. Shutdown and Close of
// http.Server also end the handshakes in progress. ConnState sees StateNew before
// the handshake, and StateClosed if that fails.
//
// The server does what net/http does over crypto/tls, with these differences:
//
//   - A plain HTTP request is answered with 400 if it is GET, HEAD, POST or PUT.
//     net/http answers OPTIONS too.
//   - A client that negotiated HTTP/1.1, or nothing, and then begins with HTTP/2
//     gets 505. net/http passes its preface to the Handler.
//   - The end of a connection without close_notify is io.ErrUnexpectedEOF.
//     crypto/tls returns io.EOF if no record is cut.
//   - If another thing than the HTTP/2 preface comes, the connection ends with
//     the first wrong byte.
//
// # Idle connections
//
// net/http needs a goroutine and two buffers for a connection that waits for
// its next request. After [Server.ParkAfter] without one, an HTTP/1.1
// connection is parked: net/http sees it end, and sees a new one when the next
// request arrives. The application sees one connection all the time.
// ConnContext is called once; ConnState sees StateIdle, then StateActive or
// StateClosed; IdleTimeout, Shutdown and Close end parked connections. What
// remains different:
//
//   - Hijack returns a net.Conn that has all methods of *sslnet.Conn, but
//     another type. ConnContext receives the *sslnet.Conn.
//   - SetKeepAlivesEnabled(false) does not end parked connections: they end
//     after their next response.
//   - net/http ignores an empty line that a client sends after the body of a
//     POST. If the line comes when the connection is parked, with the next
//     request, the response is 400.
//   - A request that is refused, or ends too early, is StateActive for ConnState.
//     Without parking, net/http reports that only if not all of it came at once.
//   - MaxHeaderBytes limits each request as the first one. Without parking,
//     net/http lets later ones have up to 4096 bytes more.
//
// HTTP/2 connections are not parked, because net/http keeps the state of the
// protocol (header tables, windows, stream numbers) for itself.
//
// # Client
//
// [NewTransport] returns an http.RoundTripper. The first connection to a host
// determines the protocol, and carries the request. Sessions are resumed.
// Response.TLS is set.
//
// Request.TLS and Response.TLS come from [sslnet.Conn.ConnectionState]; see
// there for what is missing. To export keying material, use the [*sslnet.Conn],
// which http.Server's ConnContext receives.
package sslhttp
