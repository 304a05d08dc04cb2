package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// scanAll is whether the scanners look at everything and their reports are kept, as `make scan` asks for it.
var scanAll = os.Getenv("SCAN") == "full"

// startDaemon builds sslecho and starts it with its defaults, and answers its address.
func startDaemon(t *testing.T) string {
	t.Helper()
	if tlstest.Sanitized {
		t.Skip("the daemon that is scanned is built without the race detector and the sanitizer: the plain run has scanned it")
	}
	binary := filepath.Join(t.TempDir(), "sslecho")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/sslecho").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	addr := lineWith(bufio.NewReader(startProgram(t, exec.Command(binary, "--listen", "127.0.0.1:0")).out), "listening on ")
	if addr == "" {
		t.Fatal("sslecho prints no address")
	}
	return addr
}

// report keeps what a scanner said, without what changes from run to run, when `make scan` asks for it.
func report(t *testing.T, name, text, addr string) {
	t.Helper()
	if !scanAll || t.Failed() {
		return
	}
	_, port, _ := strings.Cut(addr, ":")
	for _, r := range []struct{ from, to string }{
		{`\x1b\[[0-9;]*m`, ""},
		{`\b` + port + `\b`, "PORT"}, // changes with each run, like what follows
		{`(?m)^.*(Start|Done) \d{4}-.*$\n?`, ""},
		{`(?m)^.*(Using "|on .*:/|built: |your /\S+).*$\n?`, ""},
		{`(?m)^.*(Fingerprints|SHA256 [0-9A-F]{64}|Serial|Certificate Validity|Not valid).*$\n?`, ""},
		{`(?m)[ \t]+$`, ""},
	} {
		text = regexp.MustCompile(r.from).ReplaceAllString(text, r.to)
	}
	tlstest.Must(t, os.WriteFile(filepath.Join("../../docs/scan", name), []byte(strings.TrimSpace(text)+"\n"), 0o644))
}

// strong are the ciphers that may be offered: forward secrecy and AEAD.
var strong = regexp.MustCompile(`^(TLS_(AES|CHACHA20)_.*|ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305))$`)

// sslscan scans addr. It answers what is not as it should be, how many ciphers there are, and the report.
func sslscan(t *testing.T, addr string) (weak []string, ciphers int, report string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "xml")
	out, err := exec.Command("sslscan", "--no-colour", "--xml="+file, addr).CombinedOutput()
	if err != nil {
		t.Fatalf("sslscan: %v\n%s", err, out)
	}
	var enabled []string
	found := map[string]int{}
	check := func(good bool, format string, args ...any) {
		if !good {
			weak = append(weak, fmt.Sprintf(format, args...))
		}
	}
	d := xml.NewDecoder(bytes.NewReader(tlstest.Value(os.ReadFile(file))(t)))
	for token, err := d.Token(); err != io.EOF; token, err = d.Token() {
		tlstest.Must(t, err)
		e, _ := token.(xml.StartElement)
		a := map[string]string{}
		for _, attr := range e.Attr {
			a[attr.Name.Local] = attr.Value
		}
		found[e.Name.Local]++
		switch e.Name.Local {
		case "protocol":
			if a["enabled"] != "0" {
				enabled = append(enabled, a["type"]+a["version"])
			}
		case "renegotiation", "compression":
			check(a["supported"] == "0", "%s", e.Name.Local)
		case "heartbleed":
			check(a["vulnerable"] == "0", "Heartbleed")
		case "group":
			check(!strings.HasPrefix(a["name"], "ffdhe"), "%s %s, dear for a server", a["sslversion"], a["name"])
		case "cipher":
			bits, _ := strconv.Atoi(a["bits"])
			check(strong.MatchString(a["cipher"]) && bits >= 128, "%s %s, %d bits", a["sslversion"], a["cipher"], bits)
		}
	}
	check(slices.Equal(enabled, []string{"tls1.2", "tls1.3"}), "protocols %v", enabled)
	for name, least := range map[string]int{"renegotiation": 1, "heartbleed": 1, "group": 3, "cipher": 4} {
		check(found[name] >= least, "%d times %s", found[name], name)
	}
	return weak, found["cipher"], string(out)
}

// packageVersion is a package of Debian with its version, if it came as one.
func packageVersion(t *testing.T, name string) string {
	out, err := exec.Command("dpkg-query", "-W", name).Output()
	if err != nil {
		t.Logf("no version of %s: %v", name, err)
		return name
	}
	return strings.Join(strings.Fields(string(out)), " ")
}

// TestSSLScan: sslscan finds nothing weak in sslecho's defaults, and does where we make it so.
func TestSSLScan(t *testing.T) {
	need(t, "sslscan", "sslscan")
	addr := startDaemon(t)
	weak, ciphers, text := sslscan(t, addr)
	for _, w := range weak {
		t.Error(w)
	}
	report(t, "sslscan.txt", text, addr)
	if scanAll {
		scanned["sslscan"] = fmt.Sprintf("%s, %d ciphers, none weak", packageVersion(t, "sslscan"), ciphers)
	}
	cfg := cssl.Config{Certificates: []cssl.Certificate{certificate("rsa")}, CipherList: "DEFAULT", Groups: "X25519:P-256:ffdhe2048"}
	weak, _, _ = sslscan(t, serve(t, cfg, 0, page{}).addr)
	for _, want := range []string{"AES256-SHA,", "AES128-GCM-SHA256,", "ffdhe2048"} {
		if found := strings.Join(weak, "; "); !strings.Contains(found, want) {
			t.Errorf("%s is not found in a server that has it: %s", want, found)
		}
	}
}

// accepted are the findings of testssl that say nothing of our settings, with the reason.
var accepted = map[string]string{
	"engine_problem":      "the scanner's own OpenSSL has no GOST",
	"scanTime":            "says how long it took",
	"service":             "an echo is no service that it knows",
	"cert_chain_of_trust": "the certificate is made at the start and signed by itself",
	"cert_revocation":     "nobody can revoke such a certificate",
	"DNS_CAArecord":       "localhost has no DNS records",
}

// TestTestSSL: testssl.sh finds nothing of any severity but what belongs to the certificate that signs itself and to the
// scanner. It takes a minute, so the ordinary tests have a part of it: the protocols.
func TestTestSSL(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 18 seconds of one core: make test-long, make scan")
	}
	need(t, "testssl", "testssl.sh")
	addr := startDaemon(t)
	file := filepath.Join(t.TempDir(), "json")
	args, least := []string{"--warnings", "off", "--color", "0", "--quiet", "--nodns", "none", "--jsonfile", file}, 100
	if !scanAll {
		args, least = append(args, "--protocols"), 6
	}
	out, err := exec.Command("testssl", append(args, addr)...).CombinedOutput()
	var findings []struct{ ID, Severity, Finding string }
	tlstest.Must(t, json.Unmarshal(tlstest.Value(os.ReadFile(file))(t), &findings))
	if len(findings) < least {
		t.Fatalf("%d findings only (%v)\n%s", len(findings), err, out)
	}
	for _, f := range findings {
		if _, ok := accepted[f.ID]; !ok && f.Severity != "OK" && f.Severity != "INFO" {
			t.Errorf("%s %s: %s", f.Severity, f.ID, f.Finding)
		}
	}
	report(t, "testssl.txt", string(out), addr)
	if scanAll {
		scanned["testssl"] = fmt.Sprintf("%s, %d findings, none against the settings", packageVersion(t, "testssl.sh"), len(findings))
	}
}
