package cssl

import (
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// TestLackingIn: the first name of a list that a version lacks is told, with the version that has it.
func TestLackingIn(t *testing.T) {
	v30, v32, v35 := Release{0x30000130, ""}, Release{0x30200000, ""}, Release{0x30500090, ""}
	for _, tt := range []struct {
		v          Release
		list, want string // want: the error's text, empty if nothing lacks
	}{
		{v30, "X25519:P-256", ""},
		{v30, "X25519:X25519MLKEM768", "X25519MLKEM768 needs OpenSSL 3.5 or newer, 3.0.19 is linked"},
		{v32, "x25519mlkem768", "x25519mlkem768 needs OpenSSL 3.5 or newer, 3.2.0 is linked"},
		{v30, "?MLKEM512", "MLKEM512 needs OpenSSL 3.5 or newer, 3.0.19 is linked"},
		{v30, "*X25519", `"*" in a list needs OpenSSL 3.5 or newer, 3.0.19 is linked`},
		{v30, "X25519 / P-256", `"/" in a list needs OpenSSL 3.5 or newer, 3.0.19 is linked`},
		{v32, "?X25519", `"?" in a list needs OpenSSL 3.3 or newer, 3.2.0 is linked`},
		{v30, "brainpoolP256r1tls13", "brainpoolP256r1tls13 needs OpenSSL 3.2 or newer, 3.0.19 is linked"},
		{v32, "brainpoolP256r1tls13", ""},
		{v35, "?*X25519MLKEM768 / *X25519:-P-256", ""},
		{v30, "nonsense", ""},
		{v30, "", ""},
		{v30, ":/:", `"/" in a list needs OpenSSL 3.5 or newer, 3.0.19 is linked`},
	} {
		err := tt.v.lackingIn(tt.list, groupsSince)
		if tt.want == "" != (err == nil) || err != nil && (err.Error() != tt.want || !errors.Is(err, errors.ErrUnsupported)) {
			t.Errorf("%v, %q: %v, want %q", tt.v, tt.list, err, tt.want)
		}
	}
	if err := v35.lackingIn("mldsa44", sigalgsSince); err != nil {
		t.Error(err)
	}
	if err := v30.lackingIn("ECDSA+SHA256:mldsa65", sigalgsSince); err == nil || !strings.HasPrefix(err.Error(), "mldsa65 needs") {
		t.Error(err)
	}
}

// TestLackingKeys: ML-DSA is found in certificates and keys, among others.
func TestLackingKeys(t *testing.T) {
	v30, v35 := Release{0x30000130, ""}, Release{0x30500090, ""}
	read := func(names ...string) (all []byte) {
		for _, name := range names {
			b, err := os.ReadFile(testcerts.Path(name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return all
	}
	block, _ := pem.Decode(read("mldsa44.pem"))
	block.Bytes = block.Bytes[:len(block.Bytes)/2]
	for name, tt := range map[string]struct {
		v      Release
		pem    []byte
		others int
		want   string
	}{
		"certificate":     {v30, read("mldsa44.pem"), 0, "ML-DSA-44 needs OpenSSL 3.5 or newer, 3.0.19 is linked"},
		"key":             {v30, read("mldsa65.key"), 0, "ML-DSA-65 needs OpenSSL 3.5 or newer, 3.0.19 is linked"},
		"both":            {v30, read("mldsa87.pem", "mldsa44.pem"), 0, "ML-DSA-87 needs OpenSSL 3.5 or newer, 3.0.19 is linked"},
		"3.5":             {v35, read("mldsa87.pem", "mldsa44.pem"), 2, ""},
		"cut off":         {v30, pem.EncodeToMemory(block), 1, ""},
		"not PEM":         {v30, []byte("garbage"), 0, ""},
		"nothing":         {v30, nil, 0, ""},
		"an ordinary one": {v30, serverChain(t, "ecdsa"), 2, ""},
		"mixed":           {v30, append(read("mldsa44.pem"), serverChain(t, "rsa")...), 2, "ML-DSA-44 needs OpenSSL 3.5 or newer, 3.0.19 is linked"},
	} {
		others, err := tt.v.lackingKeys(tt.pem)
		if others != tt.others || tt.want == "" != (err == nil) || err != nil && err.Error() != tt.want {
			t.Errorf("%s: %d others, %v; want %d, %q", name, others, err, tt.others, tt.want)
		}
	}
}

func serverChain(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(serverConfig(name).Certificates[0].ChainFile)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTooOldForSetting: a Context that asks for what the linked OpenSSL lacks is refused with the
// version that has it; where it is there, the Context is made.
func TestTooOldForSetting(t *testing.T) {
	mldsa := Certificate{ChainFile: testcerts.Path("mldsa65.pem"), KeyFile: testcerts.Path("mldsa65.key")}
	for _, tt := range []struct {
		setting, want string
		change        func(*Config)
	}{
		{"Groups", "X25519MLKEM768", func(c *Config) { c.Groups = "X25519:X25519MLKEM768" }},
		{"Groups", "SecP384r1MLKEM1024", func(c *Config) { c.Groups = "SecP384r1MLKEM1024" }},
		{"SignatureAlgorithms", "mldsa65", func(c *Config) { c.SignatureAlgorithms = "ECDSA+SHA256:mldsa65" }},
		{"Certificates[1].KeyFile", "ML-DSA-65", func(c *Config) { c.Certificates = append(c.Certificates, mldsa) }},
		{"CAFile", "ML-DSA-65", func(c *Config) { c.CAFile = testcerts.Path("mldsa65.pem") }},
	} {
		c := serverConfig("ecdsa")
		tt.change(&c)
		x, err := NewServerContext(c)
		if has35() {
			if err != nil {
				t.Errorf("%s %s: %v", tt.setting, tt.want, err)
				continue
			}
			x.Close()
			continue
		}
		var e *ConfigError
		var v *VersionError
		if !errors.As(err, &e) || !errors.As(err, &v) || !errors.Is(err, errors.ErrUnsupported) || e.Setting != tt.setting ||
			v.Feature != tt.want || v.Needs != "3.5" || v.Linked != linked.Run.String() {
			t.Errorf("%s %s: %v", tt.setting, tt.want, err)
		}
	}
}
