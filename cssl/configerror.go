package cssl

import (
	"strconv"

	"github.com/spacemonad/go-openssl/tlsio"
)

// ConfigError says which setting OpenSSL or this package refused, and why.
type ConfigError struct {
	// Setting is the field of [Config] or [ConnConfig].
	Setting string
	// Value is what was set, shortened; empty for keys and other secrets.
	Value string
	// Reasons are OpenSSL's, oldest first.
	Reasons []tlsio.Reason
	// Err is the cause where it was not OpenSSL, such as a file that cannot be
	// read.
	Err error
}

// Error says the setting, its value and the reasons.
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

// Unwrap is the cause where it was not OpenSSL.
func (e *ConfigError) Unwrap() error { return e.Err }
