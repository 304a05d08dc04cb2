// Package negotiated has the facts that packages reactor and sslnet need after
// each handshake. cssl.State has them too, but copies the certificates.
package negotiated

// Facts is a part of a cssl.State.
type Facts struct {
	Version             uint16
	Cipher, Group, ALPN string
	Resumed             bool
	// Direct: the records are direct. Obstacle: they are not, though the
	// Context asks for them, and why.
	Direct   bool
	Obstacle string
}

// Of returns the facts of a *cssl.Conn. Package cssl sets it.
var Of func(conn any) Facts
