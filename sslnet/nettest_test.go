package sslnet

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"
)

// TestConn: all of net.Conn's contract, over each kind of connection and in both versions of TLS.
func TestConn(t *testing.T) {
	for name, network := range networks {
		for version, v := range versions {
			t.Run(name+" "+version, func(t *testing.T) {
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					client, server := pair(t, network, v)
					return client, server, func() { client.Close(); server.Close() }, nil
				})
			})
		}
	}
}
