package cssl

import "testing"

// TestTrimMemory: what lives is left alone.
func TestTrimMemory(t *testing.T) {
	p := plainPair(t)
	p.handshake()
	for range 100 {
		engineConn(t, mustServer(t, serverConfig("ecdsa")), ConnConfig{}).Close()
	}
	TrimMemory()
	send(t, p.client, "after")
	p.move(p.client, p.server)
	reads(t, p.server, "after")
}
