// Package proxyproto reads the header of the PROXY protocol, versions 1 and 2, that a proxy puts in front of TLS.
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

// What the headers look like: version 1 is a line of at most maxV1 bytes, version 2 has a signature, two bytes, and
// the length of what follows.
const (
	prefixV1    = "PROXY "
	maxV1       = 107
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixedV2     = len(signatureV2) + 4
)

var errNotProxy = errors.New("no PROXY header from a trusted proxy: set it to send one, or take its network out of --proxy-trusted")

// Header is for reactor.Server.Header. Connections from trusted networks, and those over unix sockets, must begin with a header, whose source
// becomes their address; one that says LOCAL or UNKNOWN, such as a health check's, keeps the proxy's own. Connections from elsewhere
// are clients that come directly: they have no header, and one that they send is not believed but taken for bad TLS.
func Header(trusted []netip.Prefix) func(c *reactor.Conn, p []byte) (n int, done bool, err error) {
	return func(c *reactor.Conn, p []byte) (int, bool, error) {
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			ip := a.AddrPort().Addr().Unmap()
			if !slices.ContainsFunc(trusted, func(t netip.Prefix) bool { return t.Contains(ip) }) {
				return 0, true, nil
			}
		}
		n, err := length(p)
		if n == 0 || err != nil {
			return 0, false, err
		}
		source, err := parse(p[:n])
		if err != nil {
			return 0, false, err
		}
		if source.IsValid() {
			c.SetRemote(source)
		}
		return n, true, nil
	}
}

// length is the length of the header that p begins with, or 0 if more is needed to tell, or for it to be complete.
func length(p []byte) (int, error) {
	switch {
	case begins(p, signatureV2):
		if len(p) < fixedV2 {
			return 0, nil
		}
		n := fixedV2 + int(binary.BigEndian.Uint16(p[fixedV2-2:]))
		if n > int(pires.MaxV2HeaderSize) {
			return 0, fmt.Errorf("a PROXY header of %d bytes, at most %d are read", n, pires.MaxV2HeaderSize)
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
	return 0, errNotProxy
}

// begins reports whether p begins with prefix, as far as it goes.
func begins(p []byte, prefix string) bool {
	n := min(len(p), len(prefix))
	return string(p[:n]) == prefix[:n]
}

// parse reads a complete header. The zero address stands for the proxy's own.
func parse(p []byte) (netip.AddrPort, error) {
	h, err := pires.Read(bufio.NewReader(bytes.NewReader(p)))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("PROXY header: %w", err)
	}
	if h.Command.IsLocal() {
		return netip.AddrPort{}, nil
	}
	source, _, ok := h.TCPAddrs()
	if !ok {
		return netip.AddrPort{}, nil // UNKNOWN, or a unix socket
	}
	a := source.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}
