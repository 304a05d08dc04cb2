package cssl

import (
	"net/netip"
	"strings"
)

// trimName leaves out of a host's name what stands in no certificate and is not sent as SNI: one dot at its end (RFC 6066, section 3), and the
// brackets round an IPv6 address. Every name that comes from outside goes through it.
func trimName(name string) string {
	name = strings.TrimSuffix(name, ".")
	if inside, ok := strings.CutPrefix(name, "["); ok && strings.HasSuffix(inside, "]") {
		inside = inside[:len(inside)-1]
		if a, err := netip.ParseAddr(inside); err == nil && a.Is6() {
			return inside
		}
	}
	return name
}

// peerName is what a certificate must have for ConnConfig.ServerName: a DNS name, or an IP address without the zone, which
// says which interface and not which peer.
func peerName(name string) (peer string, isIP bool) {
	name = trimName(name)
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().WithZone("").String(), true
	}
	return name, false
}

// sniName is a server name in the form in which names are compared.
func sniName(name string) string { return strings.ToLower(trimName(name)) }
