package main

import "github.com/spacemonad/go-openssl/reactor"

// echo answers what one read delivers by one write.
type echo struct{}

// OnOpen implements reactor.Handler.
func (echo) OnOpen(*reactor.Conn) {}

// OnData implements reactor.Handler.
func (echo) OnData(c *reactor.Conn, p []byte) {
	if _, err := c.Write(p); err != nil {
		c.Abort(err)
	}
}

// OnClose implements reactor.Handler.
func (echo) OnClose(*reactor.Conn, error) {}
