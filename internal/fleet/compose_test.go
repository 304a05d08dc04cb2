package fleet

import (
	"os"
	"regexp"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// hostSettings are those that compose.yaml gives each host.
func hostSettings(t *testing.T) map[string]string {
	t.Helper()
	file := tlstest.Value(os.ReadFile(root + "/docker/fleet/compose.yaml"))(t)
	set := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^    (SSLECHO_\w+): "?([^"\n]+)`).FindAllSubmatch(file, -1) {
		set[string(m[1])] = string(m[2])
	}
	return set
}

// TestHAProxyConfig: HAProxy finds no fault in its file as it is, where the names of compose.yaml are not known either.
func TestHAProxyConfig(t *testing.T) {
	if _, err := command("haproxy", "-v").CombinedOutput(); err != nil {
		t.Skip("haproxy is not installed")
	}
	must(t, "haproxy", "-c", "-f", haproxyConfig)
}
