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
	for name, want := range map[string]string{
		"Type": "notify", "NotifyAccess": "all", "ExecStart": command, "ExecStartPre": command + " --check",
		"ExecReload": "/bin/kill -HUP $MAINPID", "KillSignal": "SIGTERM", "KillMode": "control-group", "Restart": "on-failure",
		"DynamicUser": "yes", "User": "sslecho", "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE", "AmbientCapabilities": "CAP_NET_BIND_SERVICE",
		"NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes",
		"ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectKernelLogs": "yes", "ProtectControlGroups": "yes",
		"RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "RestrictNamespaces": "yes", "LockPersonality": "yes",
		"MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native",
		"SystemCallFilter": "@system-service; ~@privileged @resources",
	} {
		if v := strings.Join(got[name], "; "); v != want {
			t.Errorf("%s=%s, want %s", name, v, want)
		}
	}
	for _, name := range []string{"WatchdogSec", "LimitNOFILE"} {
		if len(got[name]) != 1 {
			t.Errorf("%s is not set once", name)
		}
	}
	if s := options(t, "sslecho.socket", "Socket"); len(s["ListenStream"]) == 0 {
		t.Error("the socket unit listens nowhere")
	}
}

// settings are those that the daemon has with a file of this text.
func settings(t *testing.T, text string) map[string]any {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sslecho.yaml")
	tlstest.Must(t, os.WriteFile(file, []byte(text), 0o600))
	m := map[string]any{}
	tlstest.Must(t, yaml.Unmarshal([]byte(must(t, program(t, "sslecho"), "--config", file, "--print-config")), &m))
	return m
}

// TestStopTimeout: systemd gives the daemon the time that its settings give its connections.
func TestStopTimeout(t *testing.T) {
	defaults := settings(t, read(t, units+"sslecho.yaml"))
	var needs time.Duration
	for _, name := range []string{"drain-delay", "drain-wait", "drain-timeout", "close-timeout"} {
		d := tlstest.Value(time.ParseDuration(defaults[name].(string)))(t)
		needs += d
	}
	text := strings.Join(options(t, "sslecho.service", "Service")["TimeoutStopSec"], "")
	if got, err := time.ParseDuration(text); err != nil || got <= needs {
		t.Errorf("TimeoutStopSec=%s, want more than %v", text, needs)
	}
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
	out := must(t, analyze, "security", "--offline=yes", "--no-pager", "--threshold=30", files[0])
	t.Log(out[strings.LastIndex(out, "→"):])
}
