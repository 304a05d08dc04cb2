package cssl

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spacemonad/go-openssl/internal/features"
)

// VersionError is returned when a setting needs a newer OpenSSL than the one
// that is linked. It is the Err of a [ConfigError], and matches
// [errors.ErrUnsupported] with [errors.Is].
type VersionError struct {
	// Feature is what the setting names, Needs the version of OpenSSL that
	// introduced it ("3.5"), and Linked the version that runs ("3.0.19").
	Feature, Needs, Linked string
}

// Error returns a sentence with all three fields.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s needs OpenSSL %s or newer, %s is linked", e.Feature, e.Needs, e.Linked)
}

// Is reports whether target is [errors.ErrUnsupported].
func (e *VersionError) Is(target error) bool { return target == errors.ErrUnsupported }

// needs returns the VersionError for a missing feature, or nil if its name is
// empty.
func needs(missing features.Feature) error {
	if missing.Name == "" {
		return nil
	}
	since := fmt.Sprintf("%d.%d", missing.Since>>8, missing.Since&0xff)
	return &VersionError{Feature: missing.Name, Needs: since, Linked: linked.Run.String()}
}

// needsFeature returns the VersionError if f is newer than the linked OpenSSL,
// and nil otherwise.
func needsFeature(f features.Feature) error {
	if linked.Run.series() >= f.Since {
		return nil
	}
	return needs(f)
}

// needsForKeys returns the VersionError for the keys in PEM, or nil. usable is
// the number of keys that this version supports.
func needsForKeys(data []byte) (usable int, err error) {
	missing, others := features.MissingKey(linked.Run.series(), data)
	return others, needs(missing)
}

// unknown returns an error with the names in list that no provider has, or nil.
func (b *builder) unknown(list string, known func(name string) bool) error {
	names := slices.DeleteFunc(features.Names(list), known)
	if len(names) == 0 {
		return nil
	}
	for i, name := range names {
		names[i] = strconv.Quote(name)
	}
	return fmt.Errorf("OpenSSL %v has no %s%s", linked.Run, strings.Join(names, ", "), b.searched())
}

// searched returns the end of a sentence about a missing algorithm: which
// properties and providers were searched.
func (b *builder) searched() string {
	text := ""
	if b.cfg.Properties != "" {
		text = " with the properties " + b.cfg.Properties
	}
	return text + "; the active providers are " + strings.Join(b.cfg.Library.Providers(), ", ")
}
