package pkcs11uri

import "testing"

// TestPIN: which URIs have a PIN, and how they are shown without it and its place.
func TestPIN(t *testing.T) {
	for uri, want := range map[string]struct {
		shown string
		pin   bool
	}{
		"pkcs11:token=a;object=b":                                    {"pkcs11:token=a;object=b", false},
		"pkcs11:token=a?pin-value=1":                                 {"pkcs11:token=a", true},
		"pkcs11:token=a?pin-source=file:/p?q;r&module-name=softhsm":  {"pkcs11:token=a?module-name=softhsm", false},
		"pkcs11:token=a?module-name=m&pin-value=1&x=2":               {"pkcs11:token=a?module-name=m&x=2", true},
		"pkcs11:pin-value=1;token=a":                                 {"pkcs11:token=a", true},
		"pkcs11:token=a;PIN-%76alue=1;object=b?Pin-Source=|cat%20/p": {"pkcs11:token=a;object=b", true},
		"pkcs11:":        {"pkcs11:", false},
		"file:/a/b?c":    {"file:/a/b?c", false},
		"pin-value=4321": {"", true},
		"/a/b":           {"/a/b", false},
	} {
		if shown, pin := Redact(uri), HasPIN(uri); shown != want.shown || pin != want.pin {
			t.Errorf("%s: %s, PIN %v; want %s, %v", uri, shown, pin, want.shown, want.pin)
		}
	}
}
