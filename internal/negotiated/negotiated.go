// Package negotiated has the facts that packages reactor and sslnet need after
// each handshake. cssl.State has them too, but copies the certificates.
package negotiated

import "fmt"

// Facts is a part of a cssl.State.
type Facts struct {
	Version             uint16
	Cipher, Group, ALPN string
	Resumed             bool
	// Records is a cssl.Records. Obstacle says why it is not, or not fully, what
	// the Context asks for.
	Records  uint8
	Obstacle string
}

// RecordsText returns the kind of records, a cssl.Records, followed by ": " and
// the reason if there is one.
func RecordsText(kind fmt.Stringer, reason string) string {
	if reason == "" {
		return kind.String()
	}
	return kind.String() + ": " + reason
}

// Of returns the facts of a *cssl.Conn. Package cssl sets it.
var Of func(conn any) Facts
