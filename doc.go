// Package openssl is the root of a module for non-blocking TLS over the
// system's OpenSSL, for servers on Linux. It has no code. The packages are:
//
//   - reactor: servers and clients on epoll loops, with callbacks
//   - sslnet: net.Conn, net.Listener and a Dialer for blocking code;
//     sslnet/sslhttp for net/http
//   - session: the state machine of one connection, for other event loops
//   - cssl: the binding to OpenSSL
//   - tlsio: the results, wants and errors that they all return
//
// The example of package reactor is a server in 20 lines. The command sslecho
// (cmd/sslecho) is an echo daemon for tests of TLS clients, proxies and
// networks.
package openssl
