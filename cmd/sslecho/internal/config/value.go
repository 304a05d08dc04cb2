package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
)

// value connects a setting with its field of Config.
type value struct {
	// set reads the texts, exactly one unless it is a list. Its error is a
	// *badValue.
	set     func(c *Config, texts []string) error
	list    bool
	choices []string // all values, if they have names
}

// badValue is a text that is no value of its setting, and why.
type badValue struct {
	text string
	err  error
}

func (e *badValue) Error() string { return fmt.Sprintf("%q: %v", e.text, e.err) }
func (e *badValue) Unwrap() error { return e.err }

// one is a setting with one value.
func one[T any](at func(*Config) *T, parse func(string) (T, error), choices ...string) value {
	return value{choices: choices, set: func(c *Config, texts []string) error {
		v, err := parse(texts[0])
		if err != nil {
			return &badValue{texts[0], err}
		}
		*at(c) = v
		return nil
	}}
}

// many is a setting with a list of values.
func many[T any](at func(*Config) *[]T, parse func(string) (T, error)) value {
	return value{list: true, set: func(c *Config, texts []string) error {
		var list []T
		for _, text := range texts {
			v, err := parse(text)
			if err != nil {
				return &badValue{text, err}
			}
			list = append(list, v)
		}
		*at(c) = list
		return nil
	}}
}

func anyText(s string) (string, error) { return s, nil }

// optional also takes an empty text.
func optional(parse func(string) (string, error)) func(string) (string, error) {
	return func(s string) (string, error) {
		if s == "" {
			return "", nil
		}
		return parse(s)
	}
}

// toggle is true or false.
func toggle(at func(*Config) *bool) value {
	return one(at, func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return false, errors.New("use true or false")
		}
		return b, nil
	}, "true", "false")
}

// number is a whole number. zero, which may be empty, says what 0 does.
func number(at func(*Config) *int, lo, hi int, zero string) value {
	want := fmt.Errorf("use a whole number from %d to %d", lo, hi)
	if zero != "" {
		want = fmt.Errorf("use a whole number from 1 to %d, or 0 for %s", hi, zero)
	}
	return one(at, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < lo || n > hi {
			return 0, want
		}
		return n, nil
	})
}

// rate is a number a second.
func rate(at func(*Config) *float64, hi float64) value {
	return one(at, func(s string) (float64, error) {
		r, err := strconv.ParseFloat(s, 64)
		if err != nil || !(r >= 0 && r <= hi) {
			return 0, fmt.Errorf("use a number from 0 to %.0f, such as 10 or 0.5", hi)
		}
		return r, nil
	})
}

// size is a number of bytes, at least that of lo, or 0 if zero is set.
func size(at func(*Config) *int64, lo string, zero bool) value {
	least, _ := parseSize(lo)
	return one(at, func(s string) (int64, error) {
		n, err := parseSize(s)
		if err != nil || n >= least || zero && n == 0 {
			return n, err
		}
		orNone := ""
		if zero {
			orNone = ", or 0 for no limit"
		}
		return 0, fmt.Errorf("use at least %s%s", lo, orNone)
	})
}

// within is a time from lo to hi.
func within(at func(*Config) *time.Duration, lo, hi time.Duration) value {
	return one(at, func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return 0, errors.New("use a number with its unit, such as 500ms, 10s or 5m")
		case d < lo:
			return 0, fmt.Errorf("use a time of at least %v", lo)
		case d > hi:
			return 0, fmt.Errorf("use a time of at most %v", hi)
		}
		return d, nil
	})
}

// choice is one of values, which have names.
func choice[T comparable](at func(*Config) *T, names []string, values ...T) value {
	return one(at, func(s string) (v T, err error) {
		i := slices.Index(names, s)
		if i < 0 {
			last := len(names) - 1
			return v, errors.New("use " + strings.Join(names[:last], ", ") + " or " + names[last])
		}
		return values[i], nil
	}, names...)
}

// version is a TLS version, or nothing for the library's choice.
func version(at func(*Config) *cssl.TLSVersion) value {
	return one(at, func(s string) (cssl.TLSVersion, error) {
		v, err := cssl.ParseTLSVersion(s)
		if err != nil {
			err = errors.New("use 1.0, 1.1, 1.2 or 1.3")
		}
		return v, err
	}, "1.0", "1.1", "1.2", "1.3")
}

// units of sizes, greatest first.
var units = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}

// parseSize reads "65536" or "64KiB".
func parseSize(s string) (int64, error) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n >= 0 && n <= math.MaxInt64/u.bytes {
			return n * u.bytes, nil
		}
		break
	}
	return 0, errors.New("use a number of bytes, or one with KiB, MiB or GiB, such as 64MiB")
}

// maxUnixPath is sun_path without its final NUL.
const maxUnixPath = 107

// parseAddress checks what a socket is to be bound to. Names of hosts are
// looked up later.
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

// The value of a setting with one of these errors may be a secret.
var (
	errContent = errors.New("use the name of a file, not its content")
	errPIN     = errors.New("use --pin-file for the PIN, not pin-value in the URI")
)

// parseFile refuses what stands where a file's name should: the content of one.
func parseFile(s string) (string, error) {
	if strings.Contains(s, "-----BEGIN") || strings.ContainsAny(s, "\n\r\x00") {
		return "", errContent
	}
	return s, nil
}

var uri = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// IsURI reports whether a key is a URI, such as pkcs11:object=a, and not the
// name of a file. "./a:b" is the file a:b.
func IsURI(key string) bool { return uri.MatchString(key) }

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

func parseProvider(s string) (string, error) {
	if s == "" || strings.Contains(s, "/") {
		return "", errors.New("use the name of a provider, such as fips; --provider-path is for the directory of its module")
	}
	return s, nil
}

// parseNetwork reads "10.0.0.0/8", or one address.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return netip.Prefix{}, errors.New("use it without a zone")
		}
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("use a network such as 10.0.0.0/8 or fd00::/8, or one address")
	case p.Addr().Is4In6():
		return netip.Prefix{}, errors.New("leave ::ffff: out and use a network of IPv4")
	}
	return p.Masked(), nil
}

// parseUser reads "name" or "name:group". Whether they exist is looked up
// later.
func parseUser(s string) (User, error) {
	name, group, both := strings.Cut(s, ":")
	if s != "" && name == "" || both && group == "" || strings.ContainsAny(group, ": ") || strings.Contains(name, " ") {
		return User{}, errors.New("use name or name:group")
	}
	return User{Name: name, Group: group}, nil
}

// parseServerName reads "name=chain.pem,key.pem", with more pairs behind it or
// with one file that has both.
func parseServerName(s string) (ServerName, error) {
	name, list, ok := strings.Cut(s, "=")
	files := split(list, ",")
	if !ok || name == "" || len(files) > 1 && len(files)%2 != 0 {
		return ServerName{}, errors.New("use name=chain.pem,key.pem, with further pairs for other types of key")
	}
	for _, f := range files {
		if _, err := parseKey(f); err != nil {
			return ServerName{}, err
		}
	}
	if len(files) == 0 || slices.Contains(files, "") {
		return ServerName{}, errors.New("the name of a file is missing")
	}
	n := ServerName{Name: name}
	for pair := range slices.Chunk(files, 2) {
		n.Certificates = append(n.Certificates, Certificate{Chain: pair[0], Key: strings.Join(pair[1:], "")})
	}
	return n, nil
}
