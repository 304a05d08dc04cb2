package fleet

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// service is what the tests want to know of a service in the compose file.
type service struct {
	Environment     map[string]string
	ReadOnly        bool     `yaml:"read_only"`
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
	Ports           []string
	Volumes         []string
	StopGracePeriod string                                `yaml:"stop_grace_period"`
	DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
}

func services(t *testing.T) map[string]service {
	t.Helper()
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal(read(t, "docker/fleet/compose.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(root + "/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hostSettings are those that compose.yaml gives each host.
func hostSettings(t *testing.T) map[string]string {
	t.Helper()
	return services(t)["sslecho-a"].Environment
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestComposeFile: every service is locked up and published on loopback alone; the hosts are alike, and those that HAProxy asks; its
// checks are faster than a drain, and a drain faster than Docker's patience.
func TestComposeFile(t *testing.T) {
	all := services(t)
	for name, s := range all {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read_only %v, cap_drop %v, security_opt %v", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s is published on %s", name, p)
			}
		}
		for _, v := range s.Volumes {
			if from, _, _ := strings.Cut(v, ":"); strings.HasPrefix(from, ".") {
				if _, err := os.Stat(root + "/docker/fleet/" + from); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	cfg := string(read(t, "docker/fleet/haproxy.cfg"))
	for _, m := range regexp.MustCompile(`(?m)^\s+server (\S+) "\$\{FLEET_\w-(\S+):8443\}"`).FindAllStringSubmatch(cfg, -1) {
		s := all[m[2]]
		if len(s.Environment) == 0 || len(s.Ports) > 0 {
			t.Errorf("%s: there is no such host in compose.yaml, or it is published", m[2])
		}
		if all["balancer"].DependsOn[m[2]].Condition != "service_healthy" {
			t.Errorf("the balancer does not wait for %s", m[2])
		}
	}
	word := func(name string) time.Duration {
		m := regexp.MustCompile(`(?m)^\s+[^#\n]*\b` + name + ` (\S+)`).FindStringSubmatch(cfg)
		if m == nil {
			t.Fatalf("haproxy.cfg has no %s", name)
		}
		return duration(t, m[1])
	}
	set := hostSettings(t)
	delay := duration(t, set["SSLECHO_DRAIN_DELAY"])
	if notice := word("inter") + word("fastinter") + 2*word("timeout check"); delay <= notice {
		t.Errorf("the drain-delay is %v, and HAProxy may need %v to notice", delay, notice)
	}
	const closeTimeout = 5 * time.Second // sslecho's own default
	needs := delay + duration(t, set["SSLECHO_DRAIN_WAIT"]) + duration(t, set["SSLECHO_DRAIN_TIMEOUT"]) + closeTimeout
	if grace := duration(t, all["sslecho-a"].StopGracePeriod); grace <= needs {
		t.Errorf("stop_grace_period is %v, a drain may need %v", grace, needs)
	}
}

// TestHAProxyConfig: HAProxy finds no fault in its file as it is, where the names of compose.yaml are not known either.
func TestHAProxyConfig(t *testing.T) {
	if _, err := command("haproxy", "-v").CombinedOutput(); err != nil {
		t.Skip("haproxy is not installed")
	}
	must(t, "haproxy", "-c", "-f", haproxyConfig)
}
