package container

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// service is what the tests want to know of a service in the compose file.
type service struct {
	Image           string
	Environment     map[string]string
	ReadOnly        bool     `yaml:"read_only"`
	CapDrop         []string `yaml:"cap_drop"`
	SecurityOpt     []string `yaml:"security_opt"`
	Ports           []string
	Volumes         []string
	Healthcheck     map[string]any
	StopGracePeriod string                                `yaml:"stop_grace_period"`
	DependsOn       map[string]struct{ Condition string } `yaml:"depends_on"`
}

// services are those of the compose file in a folder. Every one is locked up
// and published on loopback alone, and what it mounts exists.
func services(t *testing.T, dir string) map[string]service {
	t.Helper()
	var file struct{ Services map[string]service }
	tlstest.Must(t, yaml.Unmarshal([]byte(read(t, dir+"/compose.yaml")), &file))
	for name, s := range file.Services {
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
				if _, err := os.Stat(filepath.Join(root, dir, from)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	return file.Services
}

// TestComposeFile: services wait for what they need, and Prometheus asks where
// the daemon answers.
func TestComposeFile(t *testing.T) {
	all := services(t, "docker")
	for _, name := range []string{"load", "prometheus"} {
		if c := all[name].DependsOn["sslecho"].Condition; c != "service_healthy" {
			t.Errorf("%s waits for sslecho to be %q", name, c)
		}
	}
	for _, name := range []string{"sslecho", "prometheus"} {
		if all[name].Healthcheck["test"] == nil {
			t.Errorf("%s has no health check", name)
		}
	}
	var prometheus struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	tlstest.Must(t, yaml.Unmarshal([]byte(read(t, "docker/prometheus.yml")), &prometheus))
	want := "sslecho" + all["sslecho"].Environment["SSLECHO_ADMIN"]
	tlstest.Equal(t, "Prometheus asks", fmt.Sprint(prometheus.ScrapeConfigs), "[{[{["+want+"]}]}]")
	if promtool, err := exec.LookPath("promtool"); err == nil {
		must(t, promtool, "check", "config", "docker/prometheus.yml")
	}
}

// TestFleetFile: the hosts are alike, and those that HAProxy asks; its checks
// are faster than a drain, and a drain is faster than Docker's patience.
func TestFleetFile(t *testing.T) {
	all := services(t, "docker/fleet")
	cfg := read(t, "docker/fleet/haproxy.cfg")
	for _, m := range regexp.MustCompile(`(?m)^\s+server (\S+) "\$\{FLEET_\w-(\S+):8443\}"`).FindAllStringSubmatch(cfg, -1) {
		s := all[m[2]]
		if len(s.Environment) == 0 || len(s.Ports) > 0 {
			t.Errorf("%s: there is no such host in compose.yaml, or it is published", m[2])
		}
		if all["balancer"].DependsOn[m[2]].Condition != "service_healthy" {
			t.Errorf("the balancer does not wait for %s", m[2])
		}
	}
	duration := func(s string) time.Duration { t.Helper(); return tlstest.Value(time.ParseDuration(s))(t) }
	word := func(name string) time.Duration {
		m := regexp.MustCompile(`(?m)^\s+[^#\n]*\b` + name + ` (\S+)`).FindStringSubmatch(cfg)
		if m == nil {
			t.Fatalf("haproxy.cfg has no %s", name)
		}
		return duration(m[1])
	}
	var env []string
	for name, value := range all["sslecho-a"].Environment {
		env = append(env, name+"="+value)
	}
	set := settings(t, "", env...)
	if notice := word("inter") + word("fastinter") + 2*word("timeout check"); set.duration(t, "drain-delay") <= notice {
		t.Errorf("HAProxy may need %v to notice a drain, which is more than its delay", notice)
	}
	if grace := duration(all["sslecho-a"].StopGracePeriod); grace <= set.drain(t) {
		t.Errorf("stop_grace_period is %v, a drain may need %v", grace, set.drain(t))
	}
}

// composer is the command that there is, if any.
func composer(t *testing.T) []string {
	t.Helper()
	for _, c := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if _, err := output(nil, c[0], append(c[1:], "version")...); err == nil {
			return c
		}
	}
	t.Skip("there is neither docker compose nor docker-compose here")
	return nil
}

// TestCompose: the daemon with its certificates and the load generator start in order, no message fails, and all ends well.
// Prometheus is started too if its image is there.
func TestCompose(t *testing.T) {
	engine(t)
	command := composer(t)
	env := []string{"SSLECHO_IMAGE=" + daemon, "SSLBENCH_IMAGE=" + load, "SSLECHO_PORT=0", "PROMETHEUS_PORT=0",
		"LOAD_TIME=2s", "LOAD_RATE=100"}
	compose := func(args ...string) {
		t.Helper()
		all := append(slices.Clone(command[1:]), "-p", mine, "-f", "docker/compose.yaml")
		tlstest.Value(output(env, command[0], append(all, args...)...))(t)
	}
	compose("config", "-q")
	needImages(t)
	container := func(service string) string {
		t.Helper()
		return must(t, "docker", "ps", "-aq", "--filter=label=com.docker.compose.project="+mine,
			"--filter=label=com.docker.compose.service="+service)
	}
	start := []string{"up", "-d", "--no-build", "sslecho", "load"}
	prometheus := strings.TrimSuffix(strings.TrimPrefix(services(t, "docker")["prometheus"].Image, "${PROMETHEUS_IMAGE:-"), "}")
	_, err := output(nil, "docker", "image", "inspect", prometheus)
	withPrometheus := err == nil
	if withPrometheus {
		start = append(start, "prometheus")
	} else {
		t.Logf("the image %s is not here and is not pulled: Prometheus is left out", prometheus)
	}
	t.Cleanup(func() { compose("down", "-v", "--timeout", "20") })
	compose(start...)
	serves, loads := container("sslecho"), container("load")
	await(t, serves, health, "healthy")
	if withPrometheus {
		await(t, container("prometheus"), health, "healthy")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(must(t, "docker", "exec", serves, "/bin/bash", "-c", `echo "$(</certs/ca.pem)"`))) {
		t.Error("/certs/ca.pem holds no certificate")
	}
	echo(t, serves, roots).Close()
	if code := must(t, "docker", "wait", loads); code != "0" {
		t.Errorf("the load generator's exit status is %s\n%s", code, must(t, "docker", "logs", loads))
	}
	compose("stop", "sslecho")
	await(t, serves, "{{.State.Status}} {{.State.ExitCode}}", "exited 0")
}
