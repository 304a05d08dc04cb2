package interop

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// breadth are groups, keys and suites of TLS 1.3 that are not in the defaults, or not in crypto/tls. State names the group as it is
// named here, apart from letter case.
var breadth = []struct {
	name, group, suite, sigalg string
	key                        string // algorithm and options of openssl genpkey; empty: P-256
}{
	{name: "ffdhe2048", group: "ffdhe2048"},
	{name: "ffdhe3072", group: "ffdhe3072"},
	{name: "ffdhe4096", group: "ffdhe4096"},
	{name: "ffdhe6144", group: "ffdhe6144"},
	{name: "ffdhe8192", group: "ffdhe8192"},
	{name: "X448", group: "X448"},
	{name: "P-521", group: "secp521r1", key: "EC -pkeyopt ec_paramgen_curve:P-521", sigalg: "ecdsa_secp521r1_sha512"},
	{name: "Ed448", group: "X25519", key: "ED448", sigalg: "ed448"},
	{name: "RSA-PSS", group: "X25519", key: "RSA-PSS -pkeyopt rsa_keygen_bits:2048", sigalg: "rsa_pss_pss_sha256"},
	{name: "Brainpool", group: "brainpoolP256r1tls13", key: "EC -pkeyopt ec_paramgen_curve:brainpoolP256r1",
		sigalg: "ecdsa_brainpoolP256r1tls13_sha256"},
	{name: "brainpoolP384r1tls13", group: "brainpoolP384r1tls13"},
	{name: "brainpoolP512r1tls13", group: "brainpoolP512r1tls13"},
	{name: "SM GCM", group: "curveSM2", suite: "TLS_SM4_GCM_SM3", key: "SM2", sigalg: "sm2sig_sm3"},
	{name: "SM CCM", group: "curveSM2MLKEM768", suite: "TLS_SM4_CCM_SM3"},
}

// TestBreadth joins each row's server and client: ours with ours, and each of ours with openssl's. Where OpenSSL is too old for the row, both
// of ours refuse it, and say what it needs.
func TestBreadth(t *testing.T) {
	for _, row := range breadth {
		t.Run(row.name, func(t *testing.T) {
			key := row.key
			if key == "" {
				key = "EC -pkeyopt ec_paramgen_curve:P-256"
			}
			dir := t.TempDir()
			chain, file := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
			for _, args := range []string{"genpkey -out " + file + " -algorithm " + key,
				"req -x509 -subj /CN=localhost -addext subjectAltName=DNS:localhost -key " + file + " -out " + chain} {
				if out, err := exec.Command("openssl", strings.Fields(args)...).CombinedOutput(); err != nil {
					t.Fatalf("openssl %s: %v\n%s", args, err, out)
				}
			}
			lists := cssl.Config{Groups: row.group, CipherSuites: row.suite, SignatureAlgorithms: row.sigalg, MinVersion: cssl.TLS13}
			server, client := lists, lists
			server.Certificates, client.CAFile = []cssl.Certificate{{ChainFile: chain, KeyFile: file}}, chain
			flags := []string{"-tls1_3", "-groups", row.group}
			for flag, value := range map[string]string{"-ciphersuites": row.suite, "-sigalgs": row.sigalg} {
				if value != "" {
					flags = append(flags, flag, value)
				}
			}
			x, err := cssl.NewServerContext(server)
			if err != nil {
				_, err2 := cssl.NewClientContext(client)
				var lacks, lacks2 *cssl.VersionError
				if !errors.As(err, &lacks) || !errors.As(err2, &lacks2) || *lacks != *lacks2 {
					t.Fatalf("%v; %v", err, err2)
				}
				t.Skip(err)
			}
			x.Close()
			check := func(p *party) {
				s := p.state
				if !strings.EqualFold(s.Group, row.group) || row.suite != "" && s.Cipher != row.suite || s.VerifyError != nil {
					t.Errorf("group %s, cipher %s, %v", s.Group, s.Cipher, s.VerifyError)
				}
			}
			const n = 10_000
			srv := newServer(t, server, 0)

			s := srv.expect(newParty(false, false, n))
			c := newParty(true, false, n).set(true, true)
			cx, loop := clientContext(t, client), newLoop(t)
			attach(t, loop, srv.addr, cx, localhost, 0, c)
			s.wait(t)
			c.wait(t)
			check(s)
			check(c)

			s = srv.expect(newParty(false, true, n).set(false, true))
			o := start(t, append([]string{"s_client", "-connect", srv.addr, "-CAfile", chain, "-verify_return_error", "-servername", "localhost",
				"-quiet"}, flags...)...)
			o.exchange(up, down, n).and(t, s)
			o.end()
			check(s)

			o, addr := startServer(t, append([]string{"-naccept", "1", "-cert", chain, "-key", file}, flags...)...)
			o.more = true
			c = newParty(true, true, n).set(false, true)
			attach(t, loop, addr, cx, localhost, 0, c)
			c.opened(t)
			o.exchange(down, up, n).wait(t)
			c.wait(t)
			tlstest.Equal(t, "version", c.state.Version, cssl.TLS13)
			check(c)
		})
	}
}
