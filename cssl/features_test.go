package cssl

import (
	"errors"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

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
