package container

import (
	"crypto/x509"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// service is what the tests want to know of a service in the compose file.
type service struct {
	Image       string
	Environment map[string]string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Ports       []string
	Healthcheck map[string]any
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
}

func services(t *testing.T) map[string]service {
	t.Helper()
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal([]byte(read(t, "docker/compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	return file.Services
}

// TestComposeFile: every service is locked up, published on loopback alone, and waits for what it needs; Prometheus asks where
// the daemon answers.
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
	}
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
	if err := yaml.Unmarshal([]byte(read(t, "docker/prometheus.yml")), &prometheus); err != nil {
		t.Fatal(err)
	}
	want := "sslecho" + all["sslecho"].Environment["SSLECHO_ADMIN"]
	if c := prometheus.ScrapeConfigs; len(c) != 1 || len(c[0].StaticConfigs) != 1 || !slices.Equal(c[0].StaticConfigs[0].Targets, []string{want}) {
		t.Errorf("Prometheus asks %v, not %s", c, want)
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		must(t, promtool, "check", "config", "docker/prometheus.yml")
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
	env := []string{"SSLECHO_IMAGE=" + mine + "-sslecho", "SSLBENCH_IMAGE=" + mine + "-sslbench", "SSLECHO_PORT=0", "PROMETHEUS_PORT=0",
		"LOAD_TIME=2s", "LOAD_RATE=100"}
	try := func(args ...string) (string, error) {
		all := append(slices.Clone(command[1:]), "-p", mine, "-f", "docker/compose.yaml")
		return output(env, command[0], append(all, args...)...)
	}
	compose := func(args ...string) string {
		t.Helper()
		out, err := try(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	compose("config", "-q")
	images(t)
	container := func(service string) string {
		t.Helper()
		return must(t, "docker", "ps", "-aq", "--filter=label=com.docker.compose.project="+mine,
			"--filter=label=com.docker.compose.service="+service)
	}
	start := []string{"up", "-d", "--no-build", "sslecho", "load"}
	prometheus := strings.TrimSuffix(strings.TrimPrefix(services(t)["prometheus"].Image, "${PROMETHEUS_IMAGE:-"), "}")
	_, err := output(nil, "docker", "image", "inspect", prometheus)
	withPrometheus := err == nil
	if withPrometheus {
		start = append(start, "prometheus")
	} else {
		t.Logf("the image %s is not here and is not pulled: Prometheus is left out", prometheus)
	}
	t.Cleanup(func() {
		if out, err := try("down", "-v", "--timeout", "20"); err != nil {
			t.Error(out, err)
		}
	})
	compose(start...)
	daemon, load := container("sslecho"), container("load")
	await(t, daemon, health, "healthy")
	if withPrometheus {
		await(t, container("prometheus"), health, "healthy")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(must(t, "docker", "exec", daemon, "/bin/bash", "-c", `echo "$(</certs/ca.pem)"`))) {
		t.Error("/certs/ca.pem holds no certificate")
	}
	echo(t, daemon, roots).Close()
	if u := user(t, daemon); u != "65532" {
		t.Errorf("the daemon runs as user %s", u)
	}
	code := must(t, "docker", "wait", load)
	report := must(t, "docker", "logs", load)
	if code != "0" {
		t.Errorf("the load generator's exit status is %s\n%s", code, report)
	}
	t.Log(report)
	compose("stop", "sslecho")
	await(t, daemon, "{{.State.Status}} {{.State.ExitCode}}", "exited 0")
}
