package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// units of sizes, greatest first.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

var errSize = errors.New("use a number of bytes, or one with KiB, MiB or GiB, such as 64MiB")

// parseSize reads "65536" or "64KiB".
func parseSize(s string) (int64, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes {
			break
		}
		return n * u.bytes, nil
	}
	return 0, errSize
}

// showSize is what parseSize reads, in the greatest unit that leaves a whole number.
func showSize(n int64) any {
	for _, u := range units {
		if n != 0 && n%u.bytes == 0 && u.name != "" {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return n
}

// maxUnixPath is sun_path without its final NUL.
const maxUnixPath = 107

// parseAddress checks what a socket is to be bound to. Names of hosts are looked up later.
func parseAddress(a string) (string, error) {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		switch {
		case path == "":
			return "", errors.New("the path is missing: use unix:/path")
		case len(path) > maxUnixPath:
			return "", fmt.Errorf("the path has %d bytes: a unix socket's may have %d", len(path), maxUnixPath)
		}
		return a, nil
	}
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		return "", errors.New("use host:port or unix:/path")
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return "", fmt.Errorf("bad port %q: use a number from 0 to 65535", port)
	}
	return a, nil
}

// parseAdmin is parseAddress, or nothing.
func parseAdmin(a string) (string, error) {
	if a == "" {
		return "", nil
	}
	return parseAddress(a)
}

// errContent is of a text that may hold a key or a passphrase.
var errContent = errors.New("use the name of a file, not its content")

// parseFile refuses what stands where a file's name should: the content of one.
func parseFile(s string) (string, error) {
	if strings.Contains(s, "-----BEGIN") || strings.ContainsAny(s, "\n\r\x00") {
		return "", errContent
	}
	return s, nil
}

var uri = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// IsURI reports whether a key is a URI, such as pkcs11:object=a, and not the name of a file. "./a:b" is the file a:b.
func IsURI(key string) bool { return uri.MatchString(key) }

var errPIN = errors.New("use --pin-file for the PIN, not pin-value in the URI")

// parseKey is parseFile, or a URI without a PIN.
func parseKey(s string) (string, error) {
	plain, err := url.PathUnescape(s)
	if err != nil {
		plain = s
	}
	if IsURI(s) && strings.Contains(strings.ToLower(plain), "pin-value") {
		return "", errPIN
	}
	return parseFile(s)
}

// parseProvider checks the name of a provider.
func parseProvider(s string) (string, error) {
	if s == "" || strings.Contains(s, "/") {
		return "", errors.New("use the name of a provider, such as fips; --provider-path is for the directory of its module")
	}
	return s, nil
}

// parseNetwork reads "10.0.0.0/8", or one address.
func parseNetwork(s string) (netip.Prefix, error) {
	want := errors.New("use a network such as 10.0.0.0/8 or fd00::/8, or one address")
	if addr, err := netip.ParseAddr(s); err == nil {
		if addr.Zone() != "" {
			return netip.Prefix{}, errors.New("use it without a zone")
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, want
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("leave ::ffff: out and use a network of IPv4")
	}
	return p.Masked(), nil
}

// parseUser reads "name" or "name:group". Whether they exist is looked up later.
func parseUser(s string) (User, error) {
	name, group, both := strings.Cut(s, ":")
	if s != "" && name == "" || both && group == "" || strings.ContainsAny(group, ": ") || strings.Contains(name, " ") {
		return User{}, errors.New("use name or name:group")
	}
	return User{Name: name, Group: group}, nil
}

// parseServerName reads "name=chain.pem,key.pem", with more pairs behind it or with one file that has both.
func parseServerName(s string) (ServerName, error) {
	name, list, ok := strings.Cut(s, "=")
	names := strings.Split(list, ",")
	if !ok || name == "" || len(names) > 1 && len(names)%2 != 0 {
		return ServerName{}, errors.New("use name=chain.pem,key.pem, with further pairs for other types of key")
	}
	for i, f := range names {
		if _, err := parseKey(f); err != nil {
			return ServerName{}, err
		}
		if names[i] = strings.TrimSpace(f); names[i] == "" {
			return ServerName{}, errors.New("the name of a file is missing")
		}
	}
	n := ServerName{Name: name}
	for ; len(names) > 1; names = names[2:] {
		n.Certificates = append(n.Certificates, Certificate{Chain: names[0], Key: names[1]})
	}
	if len(names) == 1 {
		n.Certificates = []Certificate{{Chain: names[0]}}
	}
	return n, nil
}

// showServerNames is the map that the file may have.
func showServerNames(list []ServerName) any {
	out := map[string][]string{}
	for _, n := range list {
		var names []string
		for _, c := range n.Certificates {
			names = append(names, c.Chain)
			if c.Key != "" {
				names = append(names, c.Key)
			}
		}
		out[n.Name] = names
	}
	return out
}
