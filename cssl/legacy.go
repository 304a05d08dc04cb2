package cssl

// #include "context.h"
import "C"

import (
	"errors"
	"fmt"
)

// versions checks MinVersion and MaxVersion, and returns the lowest version
// that is spoken. certs says whether there can be a certificate.
func (b *builder) versions(certs bool) (lowest TLSVersion, err error) {
	c := b.cfg
	refuse := func(setting string, v TLSVersion, format string, args ...any) error {
		return &ConfigError{Setting: setting, Value: v.String(), Err: fmt.Errorf(format, args...)}
	}
	if lowest = c.MinVersion; lowest == 0 {
		lowest = TLS12
	}
	switch {
	case lowest < TLS10 || lowest > TLS13:
		return 0, refuse("MinVersion", lowest, "only TLS 1.0 to 1.3 are spoken")
	case c.MaxVersion != 0 && (c.MaxVersion < TLS10 || c.MaxVersion > TLS13):
		return 0, refuse("MaxVersion", c.MaxVersion, "only TLS 1.0 to 1.3 are spoken")
	case c.MaxVersion != 0 && c.MinVersion > c.MaxVersion:
		return 0, refuse("MinVersion", c.MinVersion, "above MaxVersion %v", c.MaxVersion)
	case c.MaxVersion != 0 && lowest > c.MaxVersion:
		return 0, refuse("MaxVersion", c.MaxVersion, "below the lowest version, which is %v unless it is set", lowest)
	case b.server && !certs:
		return TLS13, nil // before it there are no PSKs here
	}
	return lowest, nil
}

// before13 reports whether MaxVersion excludes TLS 1.3.
func (c *Config) before13() bool { return c.MaxVersion != 0 && c.MaxVersion < TLS13 }

// legacy checks that TLS 1.0 or 1.1, if MinVersion asks for it, can be agreed on.
func (b *builder) legacy() error {
	if b.lowest >= TLS12 {
		return nil
	}
	const list = `"DEFAULT:@SECLEVEL=0"`
	e := &ConfigError{Setting: "MinVersion", Value: b.lowest.String()}
	var level C.int
	switch C.cssl_legacy_lacks(b.ptr, &level) {
	case C.CSSL_LEGACY_LEVEL:
		e.Err = fmt.Errorf("OpenSSL speaks it at security level 0 alone, and the level is %d: "+
			"set a cipher list with @SECLEVEL=0, such as %s", level, list)
	case C.CSSL_LEGACY_DIGEST:
		e.Err = errors.New("it needs the digest MD5-SHA1, which no provider has" + b.searched())
	case C.CSSL_LEGACY_SUITES:
		e.Setting, e.Value = "CipherList", b.cfg.CipherList
		e.Err = fmt.Errorf("has no suite of %v, the lowest version; %s has", b.lowest, list)
	default:
		return nil
	}
	return e
}
