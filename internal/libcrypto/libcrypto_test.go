package libcrypto

import (
	"slices"
	"testing"
)

// TestIn: which files of a process are libcrypto.
func TestIn(t *testing.T) {
	const maps = `00400000-00f58000 r-xp 00000000 08:01 131 /usr/bin/sslecho
7f2a10000000-7f2a100b4000 r--p 00000000 08:01 7011 /usr/lib/x86_64-linux-gnu/libcrypto.so.4
7f2a100b4000-7f2a104b6000 r-xp 000b4000 08:01 7011 /usr/lib/x86_64-linux-gnu/libcrypto.so.4
7f2a10600000-7f2a10700000 r-xp 00000000 08:01 7012 /usr/lib/x86_64-linux-gnu/libssl.so.4
7f2a20000000-7f2a20010000 rw-p 00000000 00:00 0
7f2a30000000-7f2a30010000 r-xp 00000000 08:01 7013 /usr/lib/x86_64-linux-gnu/libcryptsetup.so.12
7f2a30020000-7f2a30030000 r-xp 00000000 08:01 7014 /usr/lib/libcryptopp.so.8
7f2a30040000-7f2a30050000 r--p 00000000 08:01 7015 /etc/libcrypto.conf
7ffd10000000-7ffd10021000 rw-p 00000000 00:00 0 [stack]
`
	for name, tt := range map[string]struct {
		more string
		want []string
	}{
		"one":          {"", nil},
		"another":      {"7f2a40000000-7f2a40010000 r-xp 00000000 08:01 7020 /opt/a b/libcrypto.so.3\n", []string{"/opt/a b/libcrypto.so.3"}},
		"RHEL's":       {"7f2a40000000-7f2a40010000 r-xp 00000000 fd:00 7021 /usr/lib64/libcrypto.so.3.2.2\n", []string{"/usr/lib64/libcrypto.so.3.2.2"}},
		"in a bundle":  {"7f2a40000000-7f2a40010000 r-xp 00000000 fd:00 7022 /opt/libs/libcrypto-8f1c.so.1.1\n", []string{"/opt/libs/libcrypto-8f1c.so.1.1"}},
		"upgraded":     {"7f2a40000000-7f2a40010000 r-xp 00000000 fd:00 7023 /lib/libcrypto.so.3 (deleted)\n", []string{"/lib/libcrypto.so.3 (deleted)"}},
		"no last line": {"7f2a40000000-7f2a40010000 r-xp 00000000 fd:00 7024 /lib/libcrypto.so.3", []string{"/lib/libcrypto.so.3"}},
	} {
		want := append([]string{"/usr/lib/x86_64-linux-gnu/libcrypto.so.4"}, tt.want...)
		if got := in(maps + tt.more); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := in(""); got != nil {
		t.Errorf("nothing: %q", got)
	}
}
