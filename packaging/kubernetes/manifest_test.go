package kubernetes

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"
)

// whole is the manifest and the one container in it.
func whole(t *testing.T) (manifest, corev1.PodSpec, corev1.Container) {
	t.Helper()
	m, faults := parse(t, read(t, "sslecho.yaml"))
	pod := m.deployment.Spec.Template.Spec
	if len(faults) > 0 || len(pod.Containers) != 1 {
		t.Fatalf("%d containers, %q", len(pod.Containers), faults)
	}
	return m, pod, pod.Containers[0]
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// settings are those that sslecho has with the container's environment. It refuses variables that it does not know.
func settings(t *testing.T, c corev1.Container) (set map[string]any) {
	t.Helper()
	cmd := exec.Command("go", "run", "./cmd/sslecho", "--print-config")
	cmd.Dir, cmd.Env = "../..", os.Environ()
	for _, e := range c.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+e.Value)
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		err = yaml.Unmarshal(out, &set)
	}
	if err != nil {
		t.Fatalf("sslecho --print-config: %v\n%s", err, out)
	}
	return set
}

// TestSelectors: all three objects mean the same pods, and the ports that are named exist.
func TestSelectors(t *testing.T) {
	m, pod, c := whole(t)
	labels := m.deployment.Spec.Template.Labels
	for who, selector := range map[string]map[string]string{
		"Deployment": m.deployment.Spec.Selector.MatchLabels, "Service": m.service.Spec.Selector,
		"PodDisruptionBudget":       m.budget.Spec.Selector.MatchLabels,
		"topologySpreadConstraints": pod.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
	} {
		if !maps.Equal(selector, labels) {
			t.Errorf("%s selects %v, the pods have %v", who, selector, labels)
		}
	}
	ports := map[string]string{}
	for _, p := range c.Ports {
		ports[p.Name] = strconv.Itoa(int(p.ContainerPort))
	}
	set := settings(t, c)
	for port, setting := range map[string]any{"tls": set["listen"].([]any)[0], "admin": set["admin"]} {
		if setting != ":"+ports[port] {
			t.Errorf("port %s is %s, sslecho listens on %v", port, ports[port], setting)
		}
	}
	for _, p := range m.service.Spec.Ports {
		if p.TargetPort != intstr.FromString("tls") {
			t.Errorf("the Service has port %s; it is there for TLS alone", p.TargetPort.String())
		}
	}
	for _, x := range []struct {
		path  string // a pod that drains is not ready, and lives
		probe *corev1.Probe
	}{{"/readyz", c.StartupProbe}, {"/readyz", c.ReadinessProbe}, {"/healthz", c.LivenessProbe}} {
		if p := x.probe; p == nil || p.HTTPGet == nil || p.HTTPGet.Path != x.path || p.HTTPGet.Port != intstr.FromString("admin") {
			t.Errorf("probe %+v, want %s of port admin", p, x.path)
		}
	}
}

// TestDrain: the pod serves on while the cluster takes it out of the Service, and has the time for all of its drain.
func TestDrain(t *testing.T) {
	_, pod, c := whole(t)
	command := c.Lifecycle.PreStop.Exec.Command
	seconds, err := strconv.Atoi(command[len(command)-1])
	// What takes a pod out of its Service watches for it: a few seconds, seldom more.
	if err != nil || command[0] != "sleep" || seconds < 10 {
		t.Fatalf("preStop is %q", command)
	}
	needs, set := time.Duration(seconds)*time.Second, settings(t, c)
	for _, name := range []string{"drain-delay", "drain-wait", "drain-timeout", "close-timeout"} {
		d, err := time.ParseDuration(set[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		needs += d
	}
	if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace <= needs {
		t.Errorf("terminationGracePeriodSeconds is %v, a drain may need %v", grace, needs)
	}
}

// TestCapacity: neither an upgrade nor a drain of nodes takes more than one host away, and two stay whatever happens.
func TestCapacity(t *testing.T) {
	m, _, c := whole(t)
	update := m.deployment.Spec.Strategy.RollingUpdate
	if update == nil || update.MaxUnavailable.IntValue() != 0 || update.MaxSurge.IntValue() != 1 {
		t.Errorf("rollingUpdate is %v", update)
	}
	if n := *m.deployment.Spec.Replicas - int32(m.budget.Spec.MaxUnavailable.IntValue()); n < 2 {
		t.Errorf("%d hosts may be all that there is", n)
	}
	if c.Resources.Requests.Memory().Cmp(*c.Resources.Limits.Memory()) > 0 || c.Resources.Requests.Cpu().IsZero() {
		t.Errorf("resources: %+v", c.Resources)
	}
}

// TestLockedUp: no root, no capability, no file system to write to; the files of the settings are in secrets that are mounted.
func TestLockedUp(t *testing.T) {
	_, pod, c := whole(t)
	text := read(t, "sslecho.yaml")
	if user := strconv.FormatInt(*pod.SecurityContext.RunAsUser, 10); !strings.Contains(read(t, "../../docker/Dockerfile"), "USER "+user+":") {
		t.Errorf("it runs as user %s, and the image's is another", user)
	}
	s := c.SecurityContext
	if !*pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
		*s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) ||
		*pod.EnableServiceLinks || *pod.AutomountServiceAccountToken {
		t.Errorf("securityContext: %+v of the pod, %+v of the container; or it gets variables of services, or a token", pod.SecurityContext, s)
	}
	secrets := map[string]string{} // by the name of their volume
	for _, v := range pod.Volumes {
		if v.Secret == nil || *v.Secret.DefaultMode&0o007 != 0 {
			t.Fatalf("volume %s is no secret, or everybody may read it", v.Name)
		}
		secrets[v.Name] = v.Secret.SecretName
	}
	var mounts []string
	for _, v := range c.VolumeMounts {
		if secrets[v.Name] == "" || !v.ReadOnly {
			t.Errorf("%s is mounted, which is no secret, or not for reading alone", v.Name)
		}
		// The head of the file says how to make it.
		if !strings.Contains(text, "kubectl create secret") || !strings.Contains(text, " "+secrets[v.Name]+" --") {
			t.Errorf("nobody is told to make the secret %s", secrets[v.Name])
		}
		mounts = append(mounts, v.MountPath)
	}
	set := settings(t, c)
	for _, file := range []any{set["cert"].([]any)[0], set["key"].([]any)[0], set["ticket-keys"]} {
		if !slices.Contains(mounts, filepath.Dir(file.(string))) {
			t.Errorf("%s is mounted nowhere", file)
		}
	}
}
