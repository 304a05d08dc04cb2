// Package proxyproto reads the header of the PROXY protocol, version 1 or 2,
// that a proxy sends before TLS.
//
//	server.Header = proxyproto.Header(netip.MustParsePrefix("10.0.0.0/8"))
package proxyproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	pires "github.com/pires/go-proxyproto"
	"github.com/spacemonad/go-openssl/reactor"
)

// A header of version 1 is a line of at most maxV1 bytes. One of version 2 has
// a signature, two bytes, and the length of what follows.
const (
	prefixV1    = "PROXY "
	maxV1       = 107
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixedV2     = len(signatureV2) + 4
)

// ErrNoHeader is returned when a trusted proxy sends something else.
var ErrNoHeader = errors.New("no PROXY header from a trusted proxy: configure it to send one, or do not trust its network")

// Header returns a function for reactor.Server.Header. Connections from trusted
// networks and over unix sockets must begin with a header; its source becomes
// the address of the connection. A header that says LOCAL or UNKNOWN, such as
// one of a health check, keeps the address of the proxy. Other connections come
// directly from clients: they have no header, and one that they send is bad
// TLS. With reactor.Server.Plain, they are greeted at once.
func Header(trusted ...netip.Prefix) func(c *reactor.Conn, p []byte) (n int, done bool, err error) {
	return func(c *reactor.Conn, p []byte) (int, bool, error) {
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			ip := a.AddrPort().Addr().Unmap()
			if !slices.ContainsFunc(trusted, func(t netip.Prefix) bool { return t.Contains(ip) }) {
				return 0, true, nil
			}
		}
		n, source, err := parse(p)
		if n == 0 || err != nil {
			return 0, false, err
		}
		if source.IsValid() {
			c.SetRemote(source)
		}
		return n, true, nil
	}
}

// length returns the length of the header that p begins with, or 0 while more
// is needed.
func length(p []byte) (int, error) {
	switch {
	case begins(p, signatureV2):
		if len(p) < fixedV2 {
			return 0, nil
		}
		n := fixedV2 + int(binary.BigEndian.Uint16(p[fixedV2-2:]))
		if n > int(pires.MaxV2HeaderSize) {
			return 0, fmt.Errorf("a PROXY header of %d bytes; at most %d are read", n, pires.MaxV2HeaderSize)
		}
		if len(p) < n {
			return 0, nil
		}
		return n, nil
	case begins(p, prefixV1):
		i := bytes.IndexByte(p[:min(len(p), maxV1)], '\n')
		if i < 0 && len(p) >= maxV1 {
			return 0, fmt.Errorf("a PROXY line of more than %d bytes", maxV1)
		}
		return i + 1, nil
	}
	return 0, ErrNoHeader
}

// begins reports whether p begins with prefix, as far as it goes.
func begins(p []byte, prefix string) bool {
	n := min(len(p), len(prefix))
	return string(p[:n]) == prefix[:n]
}

// parse returns the length and the source of the header that p begins with. The
// length is 0 while more is needed. The source is zero if it is the proxy's own.
func parse(p []byte) (n int, source netip.AddrPort, err error) {
	if n, err = length(p); n == 0 || err != nil {
		return 0, source, err
	}
	h, err := pires.Read(bufio.NewReader(bytes.NewReader(p[:n])))
	if err != nil {
		return 0, source, fmt.Errorf("PROXY header: %w", err)
	}
	if a, _, ok := h.TCPAddrs(); ok && !h.Command.IsLocal() {
		source = a.AddrPort()
		source = netip.AddrPortFrom(source.Addr().Unmap(), source.Port())
	}
	return n, source, nil
}
