package cssl

import (
	"strconv"

	"github.com/spacemonad/go-openssl/tlsio"
)

// ConfigError is returned when OpenSSL or this package refuses a setting.
type ConfigError struct {
	// Setting is a field of [Config], [ConnConfig], [LibraryConfig] or
	// sslnet.Listener, or else names what was refused, such as "fd".
	Setting string
	// Value is the refused value, possibly shortened; empty for keys and other
	// secrets.
	Value string
	// Reasons are OpenSSL's errors, oldest first.
	Reasons []tlsio.Reason
	// Err is the cause if it is not OpenSSL, such as a file that cannot be
	// read.
	Err error
}

// Error returns the setting, its value and the reasons.
func (e *ConfigError) Error() string {
	s := "tls config: " + e.Setting
	if e.Value != "" {
		s += " " + strconv.Quote(e.Value)
	}
	sep := ": "
	if e.Err != nil {
		s += sep + e.Err.Error()
		sep = "; "
	}
	for _, r := range e.Reasons {
		s += sep + r.String()
		sep = "; "
	}
	if sep == ": " {
		s += ": refused by OpenSSL"
	}
	return s
}

// Unwrap returns Err.
func (e *ConfigError) Unwrap() error { return e.Err }
