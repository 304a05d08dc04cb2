package tlstest

import (
	"errors"
	"testing"
)

// Equal fails the test, which goes on, if got is not want.
func Equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// IsError fails the test, which goes on, if err is not want (see errors.Is).
func IsError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// Nothing fails the test if something has come through ch.
func Nothing[T any](t testing.TB, ch <-chan T, what string) {
	t.Helper()
	select {
	case v := <-ch:
		t.Fatalf("%s: %v has come", what, v)
	default:
	}
}
