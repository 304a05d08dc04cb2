// Package sslhttp serves and asks HTTP/1.1 and HTTP/2 with net/http over TLS connections of package sslnet.
//
//	            Serve                                             Transport
//	sslnet.Listener ─► handshake, ALPN                     request ─► the host's protocol
//	                     │                                               │
//	          http/1.1 ──┼── h2: preface checked              http/1.1 ──┼── h2
//	                     ▼                                               ▼
//	            the caller's http.Server                       an http.Transport each
//	                     │                                               │
//	                  Handler                            sslnet.Dialer ◄─┘  (sessions resumed)
//
// Everything above TLS is net/http's own: its server, its client, its HTTP/2. Package net/http speaks HTTP/2 over TLS
// on connections of crypto/tls alone. Here ALPN is read from OpenSSL, and a connection that agreed on h2 is handed on as one that
// net/http may speak HTTP/2 to at once ([http.Protocols], UnencryptedHTTP2). The bytes are as encrypted as all others.
//
// # ALPN
//
// Which protocols are offered stands in the Context, from when it is built: set cssl.Config.ALPN to [ALPN] for both.
// Without it HTTP/1.1 is all that is spoken. A connection is never served a protocol other than the one
// that it agreed on. Without this package, http.Server's own Serve speaks HTTP/1.1 alone over these connections,
// and the [sslnet.Listener] refuses a Context that offers h2 there.
//
// # Server
//
// [Serve] makes the handshake of each connection on a goroutine of its own, within the limit that net/http sets itself
// (the least of the Server's ReadHeaderTimeout, ReadTimeout and WriteTimeout), or within [DefaultHandshakeTimeout] if there is none.
// MaxHandshakes of the [sslnet.Listener] says how many may be pending at once; peers that are silent lose their
// places to those who wait. A line in the log about that comes once a second at most. Request.TLS is set in both protocols. Shutdown and Close
// of the http.Server stop it, with all that is under way, and so need nothing of this package.
//
// # Client
//
// [NewTransport] makes an http.RoundTripper. The first connection to a host tells the protocol, and is used. Sessions are
// resumed. Response.TLS is set.
//
// The tls.ConnectionState of both comes from [sslnet.Conn.ConnectionState], and has its limits: for keying material ask
// the [*sslnet.Conn], which the Server's ConnContext is given.
package sslhttp
