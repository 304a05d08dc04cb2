package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestFailures: what cannot be done is one line that names the setting: status 2 for bad usage, with the way to help, and 1 for the
// rest. What is wrong with certificates and other files of TLS is for TestFaults in package tlsconf.
func TestFailures(t *testing.T) {
	busy := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer busy.Close()
	stale := writeFile(t, "stale", "")
	other := runDaemon(t, "--loops=2", "--pid-file="+filepath.Join(t.TempDir(), "pid"))
	pidFile := strings.TrimPrefix(other.Args[len(other.Args)-1], "--pid-file=")
	tlstest.Until(t, "the pid file is there", func() bool { _, err := os.Stat(pidFile); return err == nil })
	for _, c := range []struct {
		name, args string
		status     int
		want       []string
	}{
		{"unknown flag", "--nonsense", 2, []string{"--help", "--nonsense"}},
		{"argument", "8443", 2, []string{"--help", `"8443"`}},
		{"bad value", "--service daytime", 2, []string{"--help", `"daytime": no such service: use echo, discard, chargen or reverse`}},
		{"bad protocol", "--starttls ftp", 2, []string{"--help", `"ftp": no such protocol: use smtp, imap, pop3, ldap, postgres, mysql or xmpp`}},
		{"value is missing", "--cert", 2, []string{"--help", "--cert"}},
		{"conflict", "--key x.key", 2, []string{"--help", "--cert"}},
		{"busy port", "--listen " + busy.Addr().String(), 1, []string{busy.Addr().String(), "in use", "use another address"}},
		{"busy port, many loops", "--loops=4 --listen " + busy.Addr().String(), 1, []string{"in use"}},
		{"port of another sslecho", "--loops=2 --listen " + other.addr(), 1, []string{"in use"}},
		{"second address busy", "--listen 127.0.0.1:0 --listen " + busy.Addr().String(), 1, []string{"in use"}},
		{"unix socket that nobody has", "--listen unix:" + stale, 1, []string{stale, "in use", "remove"}},
		{"no such unix directory", "--listen unix:/nonexistent/socket", 1, []string{"/nonexistent/socket"}},
		{"pid file of another sslecho", "--listen 127.0.0.1:0 --pid-file " + pidFile, 1,
			[]string{"--pid-file " + pidFile, fmt.Sprintf("process %d, which runs", other.Process.Pid)}},
		{"missing certificate", "--listen 127.0.0.1:0 --cert /nonexistent.pem", 1, []string{"--cert", "/nonexistent.pem"}},
		{"security level", "--ciphers DEFAULT@SECLEVEL=5 --cert " + testcerts.Path("rsa.pem") + " --key " + testcerts.Path("rsa.key"), 1,
			[]string{"key too small"}},
		{"flags, not fields", "--max-version 1.1 --min-version 1.0", 1, []string{"--min-version", "set a --ciphers with @SECLEVEL=0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkFailure(t, exec.Command(binary, strings.Fields(c.args)...), c.status, c.want)
		})
	}
	// One that a crash has left names a process that is gone, or that is something else.
	for _, pid := range []int{1 << 30, os.Getpid()} {
		d := runDaemon(t, "--pid-file", writeFile(t, "pid", fmt.Sprint(pid)))
		d.stop()
	}
}

// checkFailure wants this status and one line with all of want in it.
func checkFailure(t *testing.T, cmd *exec.Cmd, wantStatus int, want []string) {
	t.Helper()
	status, stdout, stderr := finish(t, cmd)
	tlstest.Equal(t, "status", status, wantStatus)
	if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "sslecho: ") {
		t.Errorf("standard error has %q, want one line", stderr)
	}
	contains(t, stderr, want...)
	tlstest.Equal(t, "standard output", stdout, "")
}

// TestCheckSurroundings: --check tells all at once what is not there around the daemon, and makes nothing.
func TestCheckSurroundings(t *testing.T) {
	dir := t.TempDir()
	status, _, stderr := refused(t, "--check", "--user=no-such-user-here", "--pid-file=/nonexistent/pid", "--keylog=/nonexistent/keylog",
		"--listen=unix:/nonexistent/socket", "--admin=unix:/nonexistent/admin")
	contains(t, stderr, "no such user", "--pid-file /nonexistent/pid", "--keylog /nonexistent/keylog", "--listen /nonexistent/socket",
		"--admin /nonexistent/admin")
	tlstest.Equal(t, "status", status, 1)
	in := func(name string) string { return filepath.Join(dir, name) }
	if status, _, stderr := refused(t, "--check", "--user=0:0", "--pid-file", in("pid"), "--keylog", in("keylog"), "--listen=unix:"+in("socket"),
		"--admin=unix:"+in("admin")); status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("%v was made, %v", made, err)
	}
}

// TestUnreadableKey runs as a user without rights where the test itself is root, who may read everything.
func TestUnreadableKey(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "secret.key")
	for name, mode := range map[string]os.FileMode{cert: 0o644, key: 0} {
		from := map[string]string{cert: "ecdsa.pem", key: "ecdsa.key"}[name]
		tlstest.Must(t, os.WriteFile(name, testcerts.Read(t, from), mode))
	}
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Dir(binary)} {
		tlstest.Must(t, os.Chmod(d, 0o755))
	}
	cmd := exec.Command(binary, "--listen=127.0.0.1:0", "--cert", cert, "--key", key)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	checkFailure(t, cmd, 1, []string{"--key", "permission denied"})
}

// made is the file of a certificate for a name that ends in left, with its key.
// It has lived for a year.
func made(t *testing.T, name string, left time.Duration) string {
	t.Helper()
	key := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name},
		NotBefore: time.Now().AddDate(-1, 0, 0), NotAfter: time.Now().Add(left)}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key))(t)
	pkcs8 := tlstest.Value(x509.MarshalPKCS8PrivateKey(key))(t)
	return writeFile(t, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

// TestCheckDates: --check warns on standard error of what ends soon, and fails
// when something has ended. A start and a reload log the same.
func TestCheckDates(t *testing.T) {
	const day = 24 * time.Hour
	good, ending, gone := made(t, "good.example", 300*day), made(t, "ending.example", 20*day), made(t, "gone.example", -day)
	sni := func(file string) []string { return []string{"--cert", good, "--sni", "a.example=" + file} }
	for _, tt := range []struct {
		file   string
		status int
		want   string
	}{
		{good, 0, ""},
		{ending, 0, "warning: " + ending + ": ending.example expires in 19 days"},
		{gone, 1, "sslecho: " + gone + ": gone.example expired on"},
	} {
		status, stdout, stderr := refused(t, append(sni(tt.file), "--check")...)
		if status != tt.status || strings.Contains(stdout, "is valid") != (status == 0) || strings.Contains(stdout, "warning") ||
			!strings.HasPrefix(stderr, tt.want) || tt.want == "" && stderr != "" {
			t.Errorf("%s: status %d, %q, %q", tt.file, status, stdout, stderr)
		}
		if tt.want == "" {
			continue
		}
		d := runDaemon(t, sni(tt.file)...)
		_, text, _ := strings.Cut(tt.want, ": ")
		text = `level=WARN msg="` + text
		d.err.expect(t, text)
		d.signal(syscall.SIGHUP)
		d.err.expect(t, "msg=reloaded")
		tlstest.Equal(t, text, strings.Count(d.err.String(), text), 2)
	}
}
