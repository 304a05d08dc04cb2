// Package pkcs11uri finds and removes the PIN in a PKCS #11 URI (RFC 7512). It
// accepts other URIs too, which may contain such an attribute by mistake.
package pkcs11uri

import (
	"net/url"
	"slices"
	"strings"
)

// HasPIN reports whether uri has a pin-value attribute, which contains a PIN.
func HasPIN(uri string) bool {
	_, path, query := parts(uri)
	return slices.ContainsFunc(append(path, query...), func(a string) bool { return pinAttribute(a) == "pin-value" })
}

// Redact returns uri without the attributes for the PIN or its location.
func Redact(uri string) string {
	scheme, path, query := parts(uri)
	secret := func(a string) bool { return pinAttribute(a) != "" }
	shown := scheme + strings.Join(slices.DeleteFunc(path, secret), ";")
	if query = slices.DeleteFunc(query, secret); len(query) > 0 {
		shown += "?" + strings.Join(query, "&")
	}
	return shown
}

// pinAttribute returns the attribute's name in lower case if it is pin-value or
// pin-source, and an empty string otherwise.
func pinAttribute(attribute string) string {
	name, _, _ := strings.Cut(attribute, "=")
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	if name = strings.ToLower(name); name == "pin-value" || name == "pin-source" {
		return name
	}
	return ""
}

// parts returns a URI's scheme with its colon, the attributes of its path, and
// those of its query, which may contain further question marks.
func parts(uri string) (scheme string, path, query []string) {
	scheme, rest, ok := strings.Cut(uri, ":")
	if ok {
		scheme += ":"
	} else {
		scheme, rest = "", uri
	}
	before, after, ok := strings.Cut(rest, "?")
	if ok {
		query = strings.Split(after, "&")
	}
	return scheme, strings.Split(before, ";"), query
}
