package hostname

import (
	"strings"
	"testing"
)

// TestPeer: one dot at the end of a name, and brackets and a zone of an IPv6
// address, stand in no certificate. The handshakes are in cssl's
// TestServerNameTrimmed.
func TestPeer(t *testing.T) {
	for name, want := range map[string]struct {
		peer string
		isIP bool
	}{
		"A.Example.": {"A.Example", false}, "a.example..": {"a.example.", false}, ".": {"", false}, "": {"", false},
		"::1": {"::1", true}, "[::1]": {"::1", true}, "[fe80::1%eth0]": {"fe80::1", true}, "127.0.0.1.": {"127.0.0.1", true},
		"[::ffff:127.0.0.1]": {"127.0.0.1", true}, "[127.0.0.1]": {"[127.0.0.1]", false}, "[a]": {"[a]", false},
	} {
		if peer, isIP := Peer(name); peer != want.peer || isIP != want.isIP {
			t.Errorf("%s: %q, %v; want %q, %v", name, peer, isIP, want.peer, want.isIP)
		}
	}
}

// TestPattern: an empty want is a name that is refused.
func TestPattern(t *testing.T) {
	for name, want := range map[string]string{
		"A.Example.": "a.example", "*.A.example": "*.a.example", "127.0.0.1": "127.0.0.1", "[::1]": "::1",
		"": "", "*": "", "*.": "", "*.*.a": "", "a.*": "", "*a.example": "", "a b": "", "*.a b": "",
	} {
		if key, err := Pattern(name); key != want && err == nil || err != nil != (want == "") {
			t.Errorf("%s: %q, %v; want %q", name, key, err, want)
		}
	}
}

// TestCheck: what is no name of a host is refused with the reason.
func TestCheck(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 4)
	for name, want := range map[string]string{
		long[:255]: "", "xn--bcher-kva.example": "", "a-b.c--d.example": "", "_a.b_c.example": "", "1.a1.example": "",
		"a..example": "empty label", "bücher.example": "xn--", "a b": `' '`, "a\x00": "NUL", "-a.example": `"-a"`, "a.b-": `"b-"`,
		"a" + label: "64 bytes", long + "a": "257 bytes",
	} {
		if err := Check(name); err == nil != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
