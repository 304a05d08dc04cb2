package conformance

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
	"golang.org/x/net/nettest"
)

// networks make connected pairs for TLS to run over.
var networks = map[string]func(t *testing.T) (a, b net.Conn){
	"tcp":  func(t *testing.T) (a, b net.Conn) { return socketPair(t, "tcp", "127.0.0.1:0") },
	"unix": func(t *testing.T) (a, b net.Conn) { return socketPair(t, "unix", filepath.Join(t.TempDir(), "s")) },
	"pipe": func(*testing.T) (a, b net.Conn) { return net.Pipe() },
}

func socketPair(t *testing.T, network, address string) (a, b net.Conn) {
	t.Helper()
	l := tlstest.Value(net.Listen(network, address))(t)
	defer l.Close()
	a = tlstest.Value(net.Dial(network, l.Addr().String()))(t)
	b = tlstest.Value(l.Accept())(t)
	return a, b
}

// TestConn: all of net.Conn's contract, over each kind of connection and in
// both versions of TLS.
func TestConn(t *testing.T) {
	for name, network := range networks {
		for _, version := range []cssl.TLSVersion{cssl.TLS12, cssl.TLS13} {
			t.Run(name+" "+version.String(), func(t *testing.T) {
				tlstest.NoneLeft(t)
				set := func(c *cssl.Config) {
					c.MaxVersion = version
					if version == cssl.TLS12 {
						c.Renegotiation, c.MaxRenegotiations = true, 1000
					}
				}
				sx, cx := serverContext(t, set), clientContext(t, set)
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					a, b := network(t)
					client, err := sslnet.Client(a, cx, cssl.ConnConfig{ServerName: "localhost"})
					if err != nil {
						return nil, nil, nil, err
					}
					server, err := sslnet.Server(b, sx)
					return client, server, func() { client.Close(); server.Close() }, err
				})
			})
		}
	}
}
