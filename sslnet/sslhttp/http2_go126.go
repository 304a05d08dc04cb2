//go:build !go1.27

package sslhttp

// nativeHTTP2 says whether net/http speaks HTTP/2 on any connection with a
// method ConnectionState. Before Go 1.27, that must be a *tls.Conn.
const nativeHTTP2 = false
