package proxyproto_test

import (
	"fmt"
	"net/netip"

	"github.com/spacemonad/go-openssl/adapters/proxyproto"
	"github.com/spacemonad/go-openssl/reactor"
)

// server prints the client's address and not the one of the proxy.
type server struct{ reactor.BaseHandler }

func (server) OnOpen(c *reactor.Conn) { fmt.Println(c.RemoteAddr()) }

func Example() {
	s := reactor.Server{Handler: server{}} // and a Context
	s.Header = proxyproto.Header(netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"))
}
