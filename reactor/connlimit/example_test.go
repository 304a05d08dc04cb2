package connlimit_test

import (
	"fmt"
	"net/netip"

	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/connlimit"
)

func Example() {
	limiter := connlimit.New(connlimit.Limits{MaxConns: 10_000, MaxConnsPerAddr: 1})
	server := reactor.Server{Admit: limiter.Admit, Release: limiter.Release} // and a Handler and a Context

	remote := netip.MustParseAddrPort("192.0.2.1:4711")
	fmt.Println(server.Admit(remote))
	fmt.Println(server.Admit(remote))
	// Output:
	// <nil>
	// connections of one address
}
