package interop

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// startDaemon builds sslecho and starts it with its defaults, and answers its address.
func startDaemon(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sslecho")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/sslecho").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	d := startProgram(t, exec.Command(binary, "--listen", "127.0.0.1:0"))
	r := bufio.NewReader(d.out)
	for {
		line, err := r.ReadString('\n') // it ends with the daemon
		if addr, ok := strings.CutPrefix(line, "listening on "); ok {
			return strings.TrimSpace(addr)
		}
		if err != nil {
			t.Fatalf("sslecho prints no address: %v", err)
		}
	}
}

// report keeps what a scanner said, without what changes from run to run, when `make scan` asks for it.
func report(t *testing.T, name, text, addr string) {
	t.Helper()
	if os.Getenv("SCAN") != "full" || t.Failed() {
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
	if err := os.WriteFile(filepath.Join("../../docs/scan", name), []byte(strings.TrimSpace(text)+"\n"), 0o644); err != nil {
		t.Error(err)
	}
}

// scan is what sslscan --xml says.
type scan struct {
	Test struct {
		Protocols []struct {
			Type    string `xml:"type,attr"`
			Version string `xml:"version,attr"`
			Enabled string `xml:"enabled,attr"`
		} `xml:"protocol"`
		Renegotiation struct {
			Supported string `xml:"supported,attr"`
			Secure    string `xml:"secure,attr"`
		} `xml:"renegotiation"`
		Groups []struct {
			Version string `xml:"sslversion,attr"`
			Name    string `xml:"name,attr"`
		} `xml:"group"`
		Compression *struct {
			Supported string `xml:"supported,attr"`
		} `xml:"compression"`
		Heartbleed []struct {
			Vulnerable string `xml:"vulnerable,attr"`
		} `xml:"heartbleed"`
		Ciphers []struct {
			Version string `xml:"sslversion,attr"`
			Name    string `xml:"cipher,attr"`
			Bits    int    `xml:"bits,attr"`
		} `xml:"cipher"`
	} `xml:"ssltest"`
}

// strong are the ciphers that may be offered: forward secrecy and AEAD.
var strong = regexp.MustCompile(`^(TLS_(AES|CHACHA20)_.*|ECDHE-(ECDSA|RSA)-(AES(128|256)-GCM-SHA(256|384)|CHACHA20-POLY1305))$`)

// weaknesses says what in a scan is not as it should be.
func (s scan) weaknesses() []string {
	var out []string
	enabled := []string{}
	for _, p := range s.Test.Protocols {
		if p.Enabled != "0" {
			enabled = append(enabled, p.Type+p.Version)
		}
	}
	if !slices.Equal(enabled, []string{"tls1.2", "tls1.3"}) {
		out = append(out, fmt.Sprintf("protocols %v", enabled))
	}
	if r := s.Test.Renegotiation; r.Supported != "0" {
		out = append(out, "renegotiation")
	}
	if c := s.Test.Compression; c != nil && c.Supported != "0" {
		out = append(out, "compression")
	}
	if len(s.Test.Heartbleed) == 0 {
		out = append(out, "no word of Heartbleed")
	}
	for _, h := range s.Test.Heartbleed {
		if h.Vulnerable != "0" {
			out = append(out, "Heartbleed")
		}
	}
	if len(s.Test.Ciphers) < 4 {
		out = append(out, fmt.Sprintf("%d ciphers", len(s.Test.Ciphers)))
	}
	if len(s.Test.Groups) < 3 {
		out = append(out, fmt.Sprintf("%d groups", len(s.Test.Groups)))
	}
	for _, g := range s.Test.Groups {
		if strings.HasPrefix(g.Name, "ffdhe") {
			out = append(out, fmt.Sprintf("%s %s, dear for a server", g.Version, g.Name))
		}
	}
	for _, c := range s.Test.Ciphers {
		if !strong.MatchString(c.Name) || c.Bits < 128 {
			out = append(out, fmt.Sprintf("%s %s, %d bits", c.Version, c.Name, c.Bits))
		}
	}
	return out
}

// sslscan scans addr.
func sslscan(t *testing.T, addr string) (scan, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "xml")
	out, err := exec.Command("sslscan", "--no-colour", "--xml="+file, addr).CombinedOutput()
	if err != nil {
		t.Fatalf("sslscan: %v\n%s", err, out)
	}
	var s scan
	tlstest.Must(t, xml.Unmarshal(tlstest.Value(os.ReadFile(file))(t), &s))
	return s, string(out)
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
	if instrumented {
		t.Skip("the daemon that is scanned is built without the race detector and the sanitizer: the plain run has scanned it")
	}
	need(t, "sslscan", "sslscan")
	addr := startDaemon(t)
	s, text := sslscan(t, addr)
	for _, w := range s.weaknesses() {
		t.Error(w)
	}
	report(t, "sslscan.txt", text, addr)
	if os.Getenv("SCAN") == "full" {
		scanned["sslscan"] = fmt.Sprintf("%s, %d ciphers, none weak", packageVersion(t, "sslscan"), len(s.Test.Ciphers))
	}
	weak := newServer(t, cssl.Config{Certificates: []cssl.Certificate{certificate("rsa")}, CipherList: "DEFAULT", Groups: "X25519:P-256:ffdhe2048"}, 0, 0)
	weak.hall.pages.Store(&page{})
	s, _ = sslscan(t, weak.addr)
	found := strings.Join(s.weaknesses(), "; ")
	for _, want := range []string{"AES256-SHA,", "AES128-GCM-SHA256,", "ffdhe2048"} {
		if !strings.Contains(found, want) {
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
	if instrumented {
		t.Skip("the daemon that is scanned is built without the race detector and the sanitizer: the plain run has scanned it")
	}
	need(t, "testssl", "testssl.sh")
	addr := startDaemon(t)
	file := filepath.Join(t.TempDir(), "json")
	args, least := []string{"--warnings", "off", "--color", "0", "--quiet", "--nodns", "none", "--jsonfile", file}, 100
	if os.Getenv("SCAN") != "full" {
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
	if os.Getenv("SCAN") == "full" {
		scanned["testssl"] = fmt.Sprintf("%s, %d findings, none against the settings", packageVersion(t, "testssl.sh"), len(findings))
	}
}
