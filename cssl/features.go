package cssl

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spacemonad/go-openssl/internal/features"
)

// VersionError says that what was asked for needs a newer OpenSSL than the one
// that is linked. It is the Err of a [ConfigError], and [errors.Is] finds
// [errors.ErrUnsupported] in it.
type VersionError struct {
	// Feature is what was asked for, Needs the version that it came with ("3.5"),
	// Linked the one that runs ("3.0.19").
	Feature, Needs, Linked string
}

// Error names all three.
func (e *VersionError) Error() string {
	return fmt.Sprintf("%s needs OpenSSL %s or newer, %s is linked", e.Feature, e.Needs, e.Linked)
}

// Is reports whether target is [errors.ErrUnsupported].
func (e *VersionError) Is(target error) bool { return target == errors.ErrUnsupported }

// needs is the VersionError for what is missing, or nil.
func needs(missing features.Feature) error {
	if missing.Name == "" {
		return nil
	}
	since := fmt.Sprintf("%d.%d", missing.Since>>8, missing.Since&0xff)
	return &VersionError{Feature: missing.Name, Needs: since, Linked: linked.Run.String()}
}

// needsForKeys is that for the keys in PEM. usable is how many need no more.
func needsForKeys(data []byte) (usable int, err error) {
	missing, others := features.MissingKey(linked.Run.series(), data)
	return others, needs(missing)
}

// unknown is an error that says which names of a list no provider has, or nil.
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

// searched ends a sentence about what was not found with where it was looked
// for.
func (b *builder) searched() string {
	text := ""
	if b.cfg.Properties != "" {
		text = " with the properties " + b.cfg.Properties
	}
	return text + "; the active providers are " + strings.Join(b.cfg.Library.Providers(), ", ")
}
