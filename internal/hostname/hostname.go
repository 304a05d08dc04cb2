// Package hostname handles host names in certificates and in the server_name
// extension (RFC 6066, section 3).
package hostname

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// trim removes what is neither in certificates nor sent: one dot at the end,
// and the brackets around an IPv6 address.
func trim(name string) string {
	name = strings.TrimSuffix(name, ".")
	if inside, ok := strings.CutPrefix(name, "["); ok && strings.HasSuffix(inside, "]") {
		inside = inside[:len(inside)-1]
		if a, err := netip.ParseAddr(inside); err == nil && a.Is6() {
			return inside
		}
	}
	return name
}

// Peer returns the name that a certificate must contain: a DNS name, or an IP
// address without its zone, which names an interface and not the peer.
func Peer(name string) (peer string, isIP bool) {
	name = trim(name)
	if a, err := netip.ParseAddr(name); err == nil {
		return a.Unmap().WithZone("").String(), true
	}
	return name, false
}

// Key returns the form of a name that is compared.
func Key(name string) string { return strings.ToLower(trim(name)) }

// Pattern returns the Key of an exact name ("a.example") or of a wildcard for
// one label ("*.example").
func Pattern(name string) (string, error) {
	key := Key(name)
	rest := strings.TrimPrefix(key, "*.")
	if rest == "" || strings.Contains(rest, "*") {
		return "", errors.New(`must be a name, or "*." and a domain`)
	}
	if _, isIP := Peer(key); isIP { // no client may send one (RFC 6066, section 3); some do
		return key, nil
	}
	return key, Check(rest)
}

// Check returns an error if name is not a host name that a client can send: the
// names that OpenSSL 4.0 refuses are refused with every version (RFC 9525,
// section 6.3; RFC 1123, section 2.1). Underscores are accepted, since DNS
// names may have them. So are names of one character, which may be hosts and
// which only OpenSSL 4.0 refuses.
func Check(name string) error {
	if len(name) > 255 { // TLSEXT_MAXLEN_host_name
		return fmt.Errorf("has %d bytes; a name has at most 255", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		switch at := strings.IndexFunc(label, notInName); {
		case at >= 0 && label[at] >= 0x80:
			return errors.New("is not ASCII: use the xn-- form of its labels (RFC 5891)")
		case at >= 0 && label[at] == 0:
			return errors.New("contains a NUL byte")
		case at >= 0:
			return fmt.Errorf("contains %q, which a host name cannot have", label[at])
		case label == "":
			return errors.New("has an empty label: a dot at the beginning, or two in a row")
		case len(label) > 63:
			return fmt.Errorf("has a label of %d bytes; a label has at most 63", len(label))
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("has the label %q; a label cannot begin or end with a hyphen", label)
		}
	}
	return nil
}

func notInName(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_')
}
