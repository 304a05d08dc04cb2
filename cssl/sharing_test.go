package cssl

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestNamesOneContext: thousands of names are one SSL_CTX, and the same files are one certificate.
func TestNamesOneContext(t *testing.T) {
	c, inFile := selfSigned(t, "EC", "default"), inFiles(t, selfSigned(t, "EC", "file"), "file")
	s := Config{Certificates: []Certificate{c}, Names: map[string][]Certificate{}}
	for i := range 3000 {
		s.Names[fmt.Sprintf("h%d.example", i)] = []Certificate{inFile}
	}
	contexts, certs := live.Contexts(), live.Certificates()
	x := mustServer(t, s)
	if n, m := live.Contexts()-contexts, live.Certificates()-certs; n != 1 || m != 2 {
		t.Errorf("%d SSL_CTX and %d certificates, want 1 and 2", n, m)
	}
	for name, want := range map[string]string{"h0.example": "file", "h1500.example": "file", "h2999.example": "file", "h3000.example": "default", "h.example": "default"} {
		if got := subject(t, x, name, "", TLS13); got != want {
			t.Errorf("%s gets %s", name, got)
		}
	}
}

// TestTakenOver: a Context takes what has not changed from the one before it, so however often it is built anew there are no more
// certificates; what has changed is read.
func TestTakenOver(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) Certificate {
		return Certificate{ChainFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+".key")}
	}
	write := func(name string, c Certificate) {
		for ending, content := range map[string][]byte{".pem": c.ChainPEM, ".key": c.KeyPEM} {
			tlstest.Must(t, os.WriteFile(filepath.Join(dir, name+ending), content, 0o600))
		}
	}
	before := live.Certificates()
	s := Config{Certificates: []Certificate{selfSigned(t, "RSA", "own")}, Names: map[string][]Certificate{}}
	for i := range 20 {
		name := fmt.Sprintf("h%d", i)
		write(name, selfSigned(t, "EC", "old "+name))
		s.Names[name+".example"] = []Certificate{file(name)}
	}
	x := mustServer(t, s)
	first := live.Certificates() - before
	if first != 21 {
		t.Fatalf("%d certificates, want 21", first)
	}
	for range 20 {
		s.Previous = x
		next := mustServer(t, s)
		if n := live.Certificates() - before; n != first {
			t.Fatalf("%d certificates while there are two Contexts, want %d", n, first)
		}
		for id, c := range x.state.certs.byText {
			if next.state.certs.byText[id] != c {
				t.Error("a certificate is another one")
			}
		}
		x.Close()
		x = next
	}
	write("h7", selfSigned(t, "EC", "new h7"))
	s.Previous = x
	next := mustServer(t, s)
	if n := live.Certificates() - before; n != first+1 {
		t.Errorf("%d certificates after one has changed, want %d", n, first+1)
	}
	for name, want := range map[string]string{"h6.example": "old h6", "h7.example": "new h7"} {
		if got := subject(t, next, name, "", TLS13); got != want {
			t.Errorf("%s gets %s, want %s", name, got, want)
		}
	}
	if got := subject(t, x, "h7.example", "", TLS13); got != "old h7" {
		t.Errorf("the Context before gives %s", got)
	}
	x.Close()
	s.Previous = x // closed: all is read again
	again := mustServer(t, s)
	if got := subject(t, again, "h7.example", "", TLS13); got != "new h7" {
		t.Errorf("with a Context that is closed: %s", got)
	}
	// What is refused gives back what it took.
	alive := live.Certificates()
	s.Previous = next
	s.CipherList = "NONSENSE"
	for range 3 {
		if _, err := NewServerContext(s); err == nil {
			t.Fatal("accepted")
		}
	}
	s.CipherList, s.ALPN = "", []string{""}
	if _, err := NewServerContext(s); err == nil {
		t.Fatal("accepted")
	}
	if n := live.Certificates(); n != alive {
		t.Errorf("%d certificates are left by what was refused", n-alive)
	}
}

// TestSharedIntermediates: chains with the same intermediates share them, more kinds of them than are kept, and chains without.
func TestSharedIntermediates(t *testing.T) {
	var certs []Certificate
	for i := range 40 {
		c := selfSigned(t, "EC", fmt.Sprint(i))
		c.ChainPEM = bytes.Join([][]byte{c.ChainPEM, selfSigned(t, "EC", "ca").ChainPEM, testcerts.Read(t, "intermediate.pem")}[:1+i%3], nil)
		certs = append(certs, c, c)
	}
	s := Config{Certificates: certs[:1], Names: map[string][]Certificate{}}
	for i, c := range certs {
		s.Names[fmt.Sprintf("h%d.example", i)] = []Certificate{c}
	}
	x := mustServer(t, s)
	for i := range certs {
		state := readWithGo(t, x, &tls.Config{ServerName: fmt.Sprintf("h%d.example", i), InsecureSkipVerify: true})
		if n := len(state.PeerCertificates); n != 1+i/2%3 || state.PeerCertificates[0].Subject.CommonName != fmt.Sprint(i/2) {
			t.Errorf("h%d: a chain of %d for %s", i, n, state.PeerCertificates[0].Subject)
		}
	}
}

// TestEncryptedKeyReadAgain: a reload fails as the next start would if the
// passphrase of an encrypted key is wrong by now.
func TestEncryptedKeyReadAgain(t *testing.T) {
	pass, asked := "secret", 0
	c := Certificate{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("encrypted.key"),
		Passphrase: func() ([]byte, error) { asked++; return []byte(pass), nil }}
	s := Config{Certificates: []Certificate{c}, Names: map[string][]Certificate{"a.example": {c}}}
	s.Previous = mustServer(t, s)
	mustServer(t, s)
	if asked != 2 {
		t.Errorf("asked %d times for two Contexts", asked)
	}
	pass = "wrong"
	alive := live.Certificates()
	_, err := NewServerContext(s)
	checkConfigError(t, "with a wrong passphrase", err, "Certificates[0].KeyFile")
	if n := live.Certificates(); n != alive {
		t.Errorf("%d certificates are left by what was refused", n-alive)
	}
}

// TestPreviousClosedMeanwhile: the Context before can be closed while another is built that takes its certificates over, even if that
// waits.
func TestPreviousClosedMeanwhile(t *testing.T) {
	c := selfSigned(t, "EC", "taken over")
	s := Config{Certificates: []Certificate{c}}
	previous := mustServer(t, s)
	before := live.Certificates()
	s.Names = map[string][]Certificate{"a.example": {{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("encrypted.key"),
		Passphrase: func() ([]byte, error) { previous.Close(); return []byte("secret"), nil }}}}
	s.Previous = previous
	x := mustServer(t, s)
	if n := live.Certificates() - before; n != 1 {
		t.Errorf("%d new certificates, want that of the name alone", n)
	}
	if got := subject(t, x, "other", "", TLS13); got != "taken over" {
		t.Errorf("got %s", got)
	}
}

// BenchmarkNames builds a Context for 3,000 names that have a certificate each, anew and after one of the same, and tells the CPU time
// of all threads too.
func BenchmarkNames(b *testing.B) {
	for _, form := range []string{"PKCS8", "SEC1"} {
		dir := b.TempDir()
		s := Config{Certificates: []Certificate{selfSigned(b, "EC", "own")}, Names: map[string][]Certificate{}}
		for i := range 3000 {
			name := fmt.Sprintf("h%d.example", i)
			c := selfSigned(b, "EC", name)
			if form == "SEC1" {
				c = inForm(b, c)
			}
			file := Certificate{ChainFile: filepath.Join(dir, name+".pem"), KeyFile: filepath.Join(dir, name+".key")}
			for f, content := range map[string][]byte{file.ChainFile: c.ChainPEM, file.KeyFile: c.KeyPEM} {
				tlstest.Must(b, os.WriteFile(f, content, 0o600))
			}
			s.Names[name] = []Certificate{file}
		}
		previous := mustServer(b, s)
		for _, taken := range []bool{false, true} {
			b.Run(fmt.Sprintf("key=%s/previous=%v", form, taken), func(b *testing.B) {
				c := s
				if taken {
					c.Previous = previous
				}
				before := cpuTime(b)
				for b.Loop() {
					x := tlstest.Value(NewServerContext(c))(b)
					x.Close()
				}
				b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// cpuTime is that of this process so far.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	tlstest.Must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
