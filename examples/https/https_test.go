// Package https tests the two servers of docs/guide/cryptotls.md.
package https

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestServers: both servers give the same answers, take a new certificate on SIGHUP, and end on SIGTERM.
func TestServers(t *testing.T) {
	for _, name := range []string{"cryptotls", "openssl"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			bin, chain, key := filepath.Join(dir, name), filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
			if out, err := exec.Command("go", "build", "-o", bin, "./"+name).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			install := func(certificate string) {
				tlstest.Must(t, os.WriteFile(chain, testcerts.Read(t, certificate+".pem"), 0o600))
				tlstest.Must(t, os.WriteFile(key, testcerts.Read(t, certificate+".key"), 0o600))
			}
			install("ecdsa")
			l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
			addr := l.Addr().String()
			tlstest.Must(t, l.Close())
			cmd := exec.Command(bin, addr, chain, key, testcerts.Path("root.pem"))
			cmd.Stderr = os.Stderr
			tlstest.Must(t, cmd.Start())
			t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
			client := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("client.pem"), testcerts.Path("client.key")))(t)
			get := func(h2 bool, certs ...tls.Certificate) (text, by string, err error) {
				tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: certs}, ForceAttemptHTTP2: h2}
				defer tr.CloseIdleConnections()
				resp, err := (&http.Client{Transport: tr, Timeout: tlstest.Hang}).Get("https://" + addr)
				if err != nil {
					return "", "", err
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				return string(b), resp.TLS.PeerCertificates[0].Subject.CommonName, err
			}
			tlstest.Until(t, "the server to listen", func() bool { _, _, err := get(true); return err == nil })
			for want, f := range map[string]func() (string, string, error){
				"Hello, stranger. This is HTTP/1.1.\n": func() (string, string, error) { return get(false) },
				"Hello, stranger. This is HTTP/2.0.\n": func() (string, string, error) { return get(true) },
				"Hello, client. This is HTTP/2.0.\n":   func() (string, string, error) { return get(true, client) },
			} {
				text, _, err := f()
				tlstest.Must(t, err)
				tlstest.Equal(t, "answer", text, want)
			}
			install("rsa")
			tlstest.Must(t, cmd.Process.Signal(syscall.SIGHUP))
			tlstest.Until(t, "the new certificate", func() bool { _, by, err := get(true); return err == nil && strings.Contains(by, "RSA") })
			tlstest.Must(t, cmd.Process.Signal(syscall.SIGTERM))
			tlstest.Must(t, cmd.Wait())
		})
	}
}

// TestPage: the change that the guide shows is the change between the two programs.
func TestPage(t *testing.T) {
	_, block, _ := strings.Cut(string(tlstest.Value(os.ReadFile("../../docs/guide/cryptotls.md"))(t)), "```diff\n")
	block, _, ok := strings.Cut(block, "```")
	lines := func(file string) []string { return strings.Split(string(tlstest.Value(os.ReadFile(file))(t)), "\n") }
	before, after := lines("cryptotls/main.go"), lines("openssl/main.go")
	for l := range strings.Lines(block) {
		l = strings.TrimSuffix(l, "\n")
		if l[0] != '+' && !slices.Contains(before, l[1:]) || l[0] != '-' && !slices.Contains(after, l[1:]) {
			t.Errorf("%q is not what the programs say", l)
		}
	}
	if !ok {
		t.Error("the page shows no change")
	}
}
