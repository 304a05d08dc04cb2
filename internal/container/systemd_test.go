package container

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"go.yaml.in/yaml/v3"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const units = "packaging/systemd/"

// options are those of a unit's section, with all values of each.
func options(t *testing.T, file, section string) map[string][]string {
	t.Helper()
	all := tlstest.Value(unit.DeserializeOptions(strings.NewReader(read(t, units+file))))(t)
	m := map[string][]string{}
	for _, o := range all {
		if o.Section == section {
			m[o.Name] = append(m[o.Name], o.Value)
		}
	}
	return m
}

// TestService: the unit works with what the daemon does, and takes from it what it does not need.
func TestService(t *testing.T) {
	got := options(t, "sslecho.service", "Service")
	const command = "/usr/bin/sslecho --config /etc/sslecho/sslecho.yaml"
	want := map[string]string{
		"Type": "notify", "NotifyAccess": "all", "ExecStart": command, "ExecStartPre": command + " --check",
		"ExecReload": "/bin/kill -HUP $MAINPID", "KillSignal": "SIGTERM", "KillMode": "control-group", "Restart": "on-failure",
		"User": "sslecho", "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE", "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
		"ProtectSystem": "strict", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "SystemCallArchitectures": "native",
		"SystemCallFilter": "@system-service; ~@privileged @resources",
	}
	for _, name := range strings.Fields(`DynamicUser NoNewPrivileges ProtectHome PrivateTmp PrivateDevices ProtectKernelTunables
		ProtectKernelModules ProtectKernelLogs ProtectControlGroups RestrictNamespaces LockPersonality MemoryDenyWriteExecute`) {
		want[name] = "yes"
	}
	for name, want := range want {
		tlstest.Equal(t, name, strings.Join(got[name], "; "), want)
	}
	for _, name := range []string{"WatchdogSec", "LimitNOFILE"} {
		tlstest.Equal(t, "values of "+name, len(got[name]), 1)
	}
	if len(options(t, "sslecho.socket", "Socket")["ListenStream"]) == 0 {
		t.Error("the socket unit listens nowhere")
	}
	// systemd gives the daemon the time that its settings give its connections.
	stop := tlstest.Value(time.ParseDuration(strings.Join(got["TimeoutStopSec"], "")))(t)
	if needs := settings(t, read(t, units+"sslecho.yaml")).drain(t); stop <= needs {
		t.Errorf("TimeoutStopSec=%v, want more than %v", stop, needs)
	}
}

// daemonSettings are those that the daemon has.
type daemonSettings map[string]any

// settings are those with a file of this text and with these variables. It refuses what it does not know.
func settings(t *testing.T, text string, env ...string) (m daemonSettings) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sslecho.yaml")
	tlstest.Must(t, os.WriteFile(file, []byte(text), 0o600))
	tlstest.Must(t, yaml.Unmarshal([]byte(tlstest.Value(output(env, program(t, "sslecho"), "--config", file, "--print-config"))(t)), &m))
	return m
}

func (s daemonSettings) duration(t *testing.T, name string) time.Duration {
	t.Helper()
	return tlstest.Value(time.ParseDuration(s[name].(string)))(t)
}

// drain is how long a drain may take.
func (s daemonSettings) drain(t *testing.T) (all time.Duration) {
	t.Helper()
	for _, name := range []string{"drain-delay", "drain-wait", "drain-timeout", "close-timeout"} {
		all += s.duration(t, name)
	}
	return all
}

// TestSettingsFile: as it comes the file sets nothing; its commented lines have every setting, once, and are valid
// together.
func TestSettingsFile(t *testing.T) {
	text := read(t, units+"sslecho.yaml")
	set := map[string]any{}
	if err := yaml.Unmarshal([]byte(text), &set); err != nil || len(set) > 0 {
		t.Errorf("it sets %v, %v", set, err)
	}
	line := regexp.MustCompile(`(?m)^#([a-z-]+):`)
	var named []string
	for _, m := range line.FindAllStringSubmatch(text, -1) {
		named = append(named, m[1])
	}
	slices.Sort(named)
	all := settings(t, line.ReplaceAllString(text, "$1:"))
	for name := range all {
		if !slices.Contains(named, name) {
			t.Errorf("%s is not in the file", name)
		}
	}
	if twice := len(named) - len(slices.Compact(named)); twice > 0 {
		t.Errorf("%d settings are in it twice", twice)
	}
}

// TestAnalyze: systemd finds no fault in the units, and little exposure.
func TestAnalyze(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not installed (package systemd)")
	}
	dir, binary := t.TempDir(), program(t, "sslecho")
	var files []string
	for _, name := range []string{"sslecho.service", "sslecho.socket"} {
		file := filepath.Join(dir, name)
		text := strings.ReplaceAll(read(t, units+name), "/usr/bin/sslecho", binary) // it looks whether the program is there
		tlstest.Must(t, os.WriteFile(file, []byte(text), 0o600))
		files = append(files, file)
	}
	must(t, analyze, append([]string{"verify", "--man=no"}, files...)...)
	if help := must(t, analyze, "--help"); !strings.Contains(help, "--offline") {
		t.Skip("this systemd-analyze is too old for security --offline")
	}
	// In tenths; the exit status says whether it is more. Versions differ in what they count.
	must(t, analyze, "security", "--offline=yes", "--no-pager", "--threshold=30", files[0])
}
