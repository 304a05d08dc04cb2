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
	"unicode"

	"github.com/spacemonad/go-openssl/cssl"
)

// kind is what a setting's value may be, and the field of a Config that it goes
// to.
type kind struct {
	to any // the field's address
	// set reads the texts, exactly one unless it is a list. With an error it
	// returns the text that is at fault.
	set      func(texts []string) (bad string, err error)
	list     bool
	choices  []string // all values, if they have names
	arg, def string   // of a setting of this kind
}

// parsed is what parse makes of a text.
func parsed[T any](text string, parse func(string) (T, error)) (T, error) {
	v, err := parse(text)
	if err == nil && strings.ContainsFunc(text, unicode.IsControl) {
		err = errors.New("use no control characters, such as the end of a line")
	}
	return v, err
}

// one is a setting with one value.
func one[T any](to *T, arg, def string, parse func(string) (T, error), choices ...string) kind {
	return kind{to: to, arg: arg, def: def, choices: choices, set: func(texts []string) (bad string, err error) {
		*to, err = parsed(texts[0], parse)
		return texts[0], err
	}}
}

// many is a setting with a list of values.
func many[T any](to *[]T, arg string, parse func(string) (T, error)) kind {
	return kind{to: to, list: true, arg: arg, set: func(texts []string) (string, error) {
		*to = nil
		for _, text := range texts {
			v, err := parsed(text, parse)
			if err != nil {
				return text, err
			}
			*to = append(*to, v)
		}
		return "", nil
	}}
}

func text(to *string) kind { return one(to, argList, "", anyText) }
func file(to *string) kind { return one(to, argFile, "", parseFile) }

func anyText(s string) (string, error) { return s, nil }

// checked returns parse for values for which ok returns true, if it is there.
// Whatever else is refused with want.
func checked[T any](parse func(string) (T, error), ok func(T) bool, want string) func(string) (T, error) {
	return func(s string) (T, error) {
		v, err := parse(s)
		if err != nil || ok != nil && !ok(v) {
			return v, errors.New(want)
		}
		return v, nil
	}
}

func toggle(to *bool) kind {
	return one(to, "", "false", checked(strconv.ParseBool, nil, "use true or false"), "true", "false")
}

func number(to *int, lo, hi int) kind {
	return one(to, "N", "0", checked(strconv.Atoi, func(n int) bool { return lo <= n && n <= hi },
		fmt.Sprintf("use a whole number from %d to %d", lo, hi)))
}

// rate is a number a second.
func rate(to *float64, hi float64) kind {
	parse := func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	return one(to, "RATE", "0", checked(parse, func(r float64) bool { return r >= 0 && r <= hi },
		fmt.Sprintf("use a number from 0 to %.0f, such as 10 or 0.5", hi)))
}

// size is a number of bytes, at least minQueue, or 0 if zero is set.
func size[T int | int64](to *T, zero bool) kind {
	return one(to, "SIZE", "0", checked(parseSize[T], func(n T) bool { return n >= minQueue || zero && n == 0 },
		fmt.Sprintf("use at least %dKiB, in bytes or with KiB, MiB or GiB, such as 64MiB", minQueue>>10)))
}

// within is a time from lo to hi.
func within(to *time.Duration, lo, hi time.Duration) kind {
	return one(to, "TIME", "0s", checked(time.ParseDuration, func(d time.Duration) bool { return lo <= d && d <= hi },
		fmt.Sprintf("use a time from %v to %v with its unit, such as 500ms, 10s or 5m", lo, hi)))
}

// choice is one of values, which have names.
func choice[T any](to *T, arg string, names []string, values ...T) kind {
	last := len(names) - 1
	want := errors.New("use " + strings.Join(names[:last], ", ") + " or " + names[last])
	return one(to, arg, "", func(s string) (v T, err error) {
		if i := slices.Index(names, s); i >= 0 {
			return values[i], nil
		}
		return v, want
	}, names...)
}

// version is a TLS version, or nothing for the library's choice.
func version(to *cssl.TLSVersion) kind {
	names := []string{"1.0", "1.1", "1.2", "1.3"}
	return one(to, "VERSION", "", checked(cssl.ParseTLSVersion, nil, "use 1.0, 1.1, 1.2 or 1.3"), names...)
}

var sizes = regexp.MustCompile(`^(\d+)([KMGT]iB)?$`)

// parseSize reads "65536" or "64KiB".
func parseSize[T int | int64](s string) (T, error) {
	m := sizes.FindStringSubmatch(s)
	if m == nil {
		return 0, strconv.ErrSyntax
	}
	unit := int64(1) << (10 * slices.Index([]string{"", "KiB", "MiB", "GiB", "TiB"}, m[2]))
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, strconv.ErrRange
	}
	return T(n * unit), nil
}

// maxUnixPath is sun_path without its final NUL.
const maxUnixPath = 107

// parseAddress checks what a socket is to be bound to. Names of hosts are
// looked up later.
func parseAddress(a string) (string, error) {
	path, unix := strings.CutPrefix(a, "unix:")
	_, port, err := net.SplitHostPort(a)
	switch {
	case unix && path == "":
		return "", errors.New("the path is missing: use unix:/path")
	case unix && len(path) > maxUnixPath:
		return "", fmt.Errorf("the path has %d bytes: a unix socket's may have %d", len(path), maxUnixPath)
	case unix:
		return a, nil
	case err != nil:
		return "", errors.New("use host:port or unix:/path")
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return "", fmt.Errorf("bad port %q: use a number from 0 to 65535", port)
	}
	return a, nil
}

// parseAdmin also takes nothing.
func parseAdmin(a string) (string, error) {
	if a == "" {
		return "", nil
	}
	return parseAddress(a)
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

// IsURI reports whether a chain or a key is a URI, such as pkcs11:object=a, and
// not the name of a file. "./a:b" is the file a:b.
func IsURI(s string) bool { return uri.MatchString(s) }

// parseFileOrURI is parseFile, or takes a URI without a PIN.
func parseFileOrURI(s string) (string, error) {
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
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("use a network such as 10.0.0.0/8 or fd00::/8, or one address, without ::ffff: or a zone")
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
		if _, err := parseFileOrURI(f); err != nil {
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
