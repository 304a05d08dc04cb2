// Package proxyproto reads the header of the PROXY protocol, version 1 or 2,
// that a proxy sends before TLS.
//
//	server.Header = proxyproto.Header(netip.MustParsePrefix("10.0.0.0/8"))
package proxyproto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spacemonad/go-openssl/reactor"
)

// A header of version 1 is a line of at most maxV1 bytes. One of version 2 has
// a signature, two bytes, and the length of what follows.
const (
	prefixV1    = "PROXY "
	maxV1       = 107
	signatureV2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixedV2     = len(signatureV2) + 4
	maxV2       = 4096
)

// ErrNoHeader is returned when a trusted proxy sends something else.
var ErrNoHeader = errors.New("no PROXY header from a trusted proxy: configure it to send one, or do not trust its network")

var errBad = errors.New("malformed PROXY header")

// Header returns a function for reactor.Server.Header. Connections from trusted
// networks and over unix sockets must begin with a header; its source becomes
// the address of the connection. A header that says LOCAL or UNKNOWN, such as
// one of a health check, keeps the address of the proxy. Other connections come
// directly from clients: they have no header, and one that they send is bad
// TLS.
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

// parse returns the length and the source of the header that p begins with. The
// length is 0 while more is needed. The source is zero if it is the proxy's
// own.
func parse(p []byte) (n int, source netip.AddrPort, err error) {
	switch {
	case begins(p, signatureV2):
		if len(p) < fixedV2 {
			return 0, source, nil
		}
		n = fixedV2 + int(binary.BigEndian.Uint16(p[fixedV2-2:]))
		if n > maxV2 {
			return 0, source, fmt.Errorf("a PROXY header of %d bytes; at most %d are read", n, maxV2)
		}
		if len(p) < n {
			return 0, source, nil
		}
		source, err = parseV2(p[fixedV2-4], p[fixedV2-3], p[fixedV2:n])
	case begins(p, prefixV1):
		i := bytes.IndexByte(p[:min(len(p), maxV1)], '\n')
		if i < 0 && len(p) >= maxV1 {
			return 0, source, fmt.Errorf("a PROXY line of more than %d bytes", maxV1)
		} else if i < 0 {
			return 0, source, nil
		}
		n = i + 1
		source, err = parseV1(string(p[:n]))
	default:
		err = ErrNoHeader
	}
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	return n, source, nil
}

// begins reports whether p begins with prefix, as far as it goes.
func begins(p []byte, prefix string) bool {
	n := min(len(p), len(prefix))
	return string(p[:n]) == prefix[:n]
}

// parseV1 reads "PROXY TCP4 source destination sourceport destinationport".
func parseV1(line string) (netip.AddrPort, error) {
	line, ok := strings.CutSuffix(line, "\r\n")
	f := strings.Split(line, " ")
	if ok && len(f) > 1 && f[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if !ok || len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return netip.AddrPort{}, errBad
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		addr, err := netip.ParseAddr(f[2+i])
		port, portErr := strconv.ParseUint(f[4+i], 10, 16)
		if err != nil || portErr != nil || addr.Zone() != "" || addr.Is4() != (f[1] == "TCP4") {
			return netip.AddrPort{}, errBad
		}
		ends[i] = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	return ends[0], nil
}

// parseV2 reads the addresses of version 2. Extensions follow them.
func parseV2(version, family byte, p []byte) (netip.AddrPort, error) {
	switch {
	case version == 0x20: // LOCAL
		return netip.AddrPort{}, nil
	case version != 0x21:
		return netip.AddrPort{}, errBad
	}
	size := 0
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	case 0x00, 0x12, 0x22, 0x31, 0x32: // not TCP: the address of the proxy stays
		return netip.AddrPort{}, nil
	}
	if size == 0 || len(p) < 2*size+4 {
		return netip.AddrPort{}, errBad
	}
	addr, _ := netip.AddrFromSlice(p[:size])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(p[2*size:])), nil
}
