package interop

import (
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// capability is a row of the table in docs/guide/openssl.md.
type capability struct {
	name      string
	config    cssl.Config // what turns it on: its fields are the settings that the row names
	client    bool        // config is a client's
	cert, key string      // of a server with another kind of key: in testdata/certs, or the algorithm and options of openssl genpkey
	also      []string    // more settings and methods
	own       bool        // OpenSSL has it not, and this module has
	absent    string      // this module has it not; a flag of openssl s_client that there is if OpenSSL has it
	cryptotls bool        // as the crypto/tls of this Go has it
}

var capabilities = []capability{
	{name: "TLS 1.2, 1.3", config: cssl.Config{MinVersion: cssl.TLS12, MaxVersion: cssl.TLS13}, cryptotls: true},
	{name: "TLS 1.0, 1.1", config: cssl.Config{MinVersion: cssl.TLS10, CipherList: "DEFAULT:@SECLEVEL=0"}, cryptotls: goSuite("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA")},
	{name: "DTLS", absent: "-dtls"},
	{name: "QUIC", absent: "-quic", cryptotls: goField[tls.QUICConfig]("TLSConfig")},

	{name: "AES-GCM, ChaCha20-Poly1305", config: cssl.Config{CipherSuites: "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256", CipherList: "AESGCM:CHACHA20"},
		cryptotls: goSuite("TLS_CHACHA20_POLY1305_SHA256")},
	{name: "AES-CCM", config: cssl.Config{CipherSuites: "TLS_AES_128_CCM_SHA256", CipherList: "AESCCM"}, cryptotls: goSuite("TLS_AES_128_CCM_SHA256")},
	{name: "ARIA, Camellia", config: cssl.Config{CipherList: "ARIA:CAMELLIA"}, cryptotls: goSuite("TLS_ECDHE_ECDSA_WITH_ARIA_128_GCM_SHA256")},
	{name: "CBC, static RSA", config: cssl.Config{CipherList: "AES128-SHA"}, cert: "rsa", cryptotls: goSuite("TLS_RSA_WITH_AES_128_CBC_SHA")},
	{name: "DHE", config: cssl.Config{CipherList: "DHE-RSA-AES128-GCM-SHA256"}, cert: "rsa", cryptotls: goSuite("TLS_DHE_RSA_WITH_AES_128_GCM_SHA256")},
	{name: "SM4", config: cssl.Config{CipherSuites: "TLS_SM4_GCM_SM3:TLS_SM4_CCM_SM3"}, cryptotls: goSuite("TLS_SM4_GCM_SM3")},
	{name: "External PSKs", config: cssl.Config{PSKs: []cssl.PSK{{Identity: []byte("name"), Key: make([]byte, 16)}}}},

	{name: "X25519, P-256, P-384, P-521", config: cssl.Config{Groups: "X25519:P-256:P-384:P-521"}, cryptotls: goGroup(29, 23, 24, 25)},
	{name: "X448, ffdhe2048 to ffdhe8192", config: cssl.Config{Groups: "X448:ffdhe2048:ffdhe3072:ffdhe4096:ffdhe6144:ffdhe8192"}, cryptotls: goGroup(30, 256)},
	{name: "`brainpoolP256r1tls13`, `brainpoolP384r1tls13`, `brainpoolP512r1tls13`", config: cssl.Config{Groups: "brainpoolP256r1tls13:brainpoolP384r1tls13:brainpoolP512r1tls13"},
		cryptotls: goGroup(31, 32, 33)},
	{name: "`X25519MLKEM768`, `SecP256r1MLKEM768`, `SecP384r1MLKEM1024`", config: cssl.Config{Groups: "X25519MLKEM768:SecP256r1MLKEM768:SecP384r1MLKEM1024"},
		cryptotls: goGroup(4588, 4587, 4589)},
	{name: "`MLKEM1024`", config: cssl.Config{Groups: "MLKEM1024"}, cryptotls: goGroup(514)},
	{name: "`MLKEM512`, `MLKEM768`", config: cssl.Config{Groups: "MLKEM512:MLKEM768"}, cryptotls: goGroup(512, 513)},
	{name: "`curveSM2`, `curveSM2MLKEM768`", config: cssl.Config{Groups: "curveSM2:curveSM2MLKEM768"}, cryptotls: goGroup(41, 4590)},
	{name: "`?` before a name in a list: skip it if unknown", config: cssl.Config{Groups: "X25519:?nothing", SignatureAlgorithms: "ecdsa_secp256r1_sha256:?nothing"}},
	{name: "`*`, `/` and `DEFAULT` in a list", config: cssl.Config{Groups: "*X25519/DEFAULT"}},

	{name: "RSA, ECDSA, Ed25519 keys", cert: "ed25519", also: []string{"Certificates"}, cryptotls: goSignature(0x0804, 0x0403, 0x0807)},
	{name: "RSA-PSS, Ed448 keys", key: "ED448", also: []string{"Certificates"}, cryptotls: goSignature(0x0808, 0x0809)},
	{name: "ML-DSA keys", cert: "mldsa65", also: []string{"Certificates"}, cryptotls: goSignature(0x0904, 0x0905, 0x0906)},
	{name: "Brainpool keys in TLS 1.3", key: "EC -pkeyopt ec_paramgen_curve:brainpoolP256r1",
		config: cssl.Config{SignatureAlgorithms: "ecdsa_brainpoolP256r1tls13_sha256"}, also: []string{"Certificates"}, cryptotls: goSignature(0x081a)},
	{name: "SM2 keys in TLS 1.3", key: "SM2", also: []string{"Certificates"}, cryptotls: goSignature(0x0708)},
	{name: "Keys in tokens and services", also: []string{"Certificate.KeyURI", "Certificate.Signer"}, cryptotls: true},
	{name: "PKCS#12 files", also: []string{"Certificate.ChainFile"}},
	{name: "Certificates by URI", also: []string{"Certificate.ChainURI"}},
	{name: "FIPS 140-3", also: []string{"Library", "Properties"}, cryptotls: fips140.Version() != ""},

	{name: "OCSP stapling", also: []string{"Certificate.OCSP", "Staples"}, cryptotls: goField[tls.Certificate]("OCSPStaple")},
	{name: "OCSP stapling about intermediates", config: cssl.Config{Certificates: []cssl.Certificate{{OCSP: slices.Concat(staple, staple)}}}},
	{name: "Certificate revocation lists", also: []string{"CRLFile"}},
	{name: "Certificate compression", config: cssl.Config{CertificateCompression: []string{"zlib"}}},
	{name: "Raw public keys", config: cssl.Config{RawPublicKey: true}, also: []string{"PeerKeysFile"}},
	{name: "Encrypted Client Hello", client: true, config: cssl.Config{ECHGrease: true}, also: []string{"ECHKeys", "ConnConfig.ECHConfigList"},
		cryptotls: goField[tls.Config]("EncryptedClientHelloKeys")},
	{name: "Certificate requests after the handshake", config: cssl.Config{PostHandshakeAuth: true, Verify: cssl.VerifyOptional, CAFile: certificate("root").ChainFile}},
	{name: "Early data (0-RTT) over TCP", config: cssl.Config{MaxEarlyData: 1}},
	{name: "Renegotiation, as a server", config: cssl.Config{Renegotiation: true}},
	{name: "KeyUpdate when the application asks", also: []string{"Conn.KeyUpdate"}},
	{name: "Extensions of the application", config: cssl.Config{Extensions: []cssl.Extension{{Type: 65000, Messages: cssl.InClientHello}}}},
	{name: "Maximum fragment length (RFC 6066)", client: true, config: cssl.Config{MaxFragment: 1024}},
	{name: "Record size limit (RFC 8449)", config: cssl.Config{RecordSizeLimit: 1024}, own: true},
	{name: "Session cache of the server", config: cssl.Config{SessionCache: 1}},
	{name: "Records by the kernel (kTLS)", config: cssl.Config{Records: cssl.RecordsKernel}},
	{name: "TLS secrets for Wireshark", config: cssl.Config{KeyLog: os.Stderr}, cryptotls: goField[tls.Config]("KeyLogWriter")},
}

// staple is as much of a successful OCSP response as is read when a Context is built (RFC 6960, section 4.2.1).
var staple = []byte{0x30, 0x15, 0x0a, 1, 0, 0xa0, 0x10, 0x30, 0x0e, 6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1, 4, 1, 0}

func goSuite(name string) bool {
	return slices.ContainsFunc(slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()), func(s *tls.CipherSuite) bool { return s.Name == name })
}

// goGroup reports whether crypto/tls has all these groups, which are numbers of IANA's; goSignature does so for algorithms.
func goGroup(ids ...tls.CurveID) bool             { return allNamed(ids) }
func goSignature(ids ...tls.SignatureScheme) bool { return allNamed(ids) }

func allNamed[T fmt.Stringer](ids []T) bool {
	return !slices.ContainsFunc(ids, func(id T) bool { return strings.Contains(id.String(), "(") })
}

func goField[T any](name string) bool {
	_, ok := reflect.TypeFor[T]().FieldByName(name)
	return ok
}

// settings are the names of what the row needs.
func (c capability) settings(t *testing.T) []string {
	var names []string
	for f, v := range reflect.ValueOf(c.config).Fields() {
		if f.Name != "Certificates" && !v.IsZero() {
			names = append(names, f.Name)
		}
	}
	if certs := c.config.Certificates; len(certs) > 0 {
		for f, v := range reflect.ValueOf(certs[0]).Fields() {
			if !v.IsZero() {
				names = append(names, "Certificate."+f.Name)
			}
		}
	}
	for _, name := range c.also {
		of, member, found := strings.Cut(name, ".")
		if !found {
			of, member = "Config", name
		}
		ok := map[string]func(string) bool{
			"Config": goField[cssl.Config], "ConnConfig": goField[cssl.ConnConfig], "Certificate": goField[cssl.Certificate],
			"Conn": func(name string) bool { _, ok := reflect.TypeFor[*cssl.Conn]().MethodByName(name); return ok },
		}[of]
		if !ok(member) {
			t.Errorf("there is no %s", name)
		}
		names = append(names, name)
	}
	return names
}

// build builds a Context that has the row, and returns the version that it needs if the linked OpenSSL is older, and whether it worked.
func (c capability) build(t *testing.T) (needs string, ok bool) {
	cfg := c.config
	with := certificate("ecdsa")
	switch {
	case c.cert != "":
		with = certificate(c.cert)
	case c.key != "":
		dir := t.TempDir()
		with = cssl.Certificate{ChainFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
		for _, args := range []string{"genpkey -out " + with.KeyFile + " -algorithm " + c.key,
			"req -x509 -subj /CN=localhost -key " + with.KeyFile + " -out " + with.ChainFile} {
			if out, err := exec.Command("openssl", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Fatalf("openssl %s: %v\n%s", args, err, out)
			}
		}
	}
	make := cssl.NewServerContext
	if c.client {
		make = cssl.NewClientContext
	} else {
		if len(cfg.Certificates) > 0 {
			with.OCSP = cfg.Certificates[0].OCSP
		}
		cfg.Certificates = []cssl.Certificate{with}
	}
	x, err := make(cfg)
	if err == nil {
		x.Close()
		return "", true
	}
	var lacks *cssl.VersionError
	if !errors.As(err, &lacks) {
		t.Error(err)
		return "", false
	}
	return lacks.Needs, false
}

// TestFeatureTable compares the table of docs/guide/openssl.md with this module, with the OpenSSL that is linked, and with the crypto/tls of
// this Go. With OpenSSL 3.0, whose errors say what each row needs, it derives the columns of the others too.
func TestFeatureTable(t *testing.T) {
	page := string(tlstest.Value(os.ReadFile("../../docs/guide/openssl.md"))(t))
	links := regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
	var rows [][]string
	_, table, _ := strings.Cut(page, "\n| feature | ")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		rows = append(rows, strings.Split(strings.Trim(links.ReplaceAllString(strings.TrimSpace(line), "$1"), "| "), " | "))
	}
	head := rows[0]
	rows = rows[2:]
	tlstest.Equal(t, "rows", len(rows), len(capabilities))
	yes := func(b bool) string { return map[bool]string{true: "yes", false: "–"}[b] }
	linked := cssl.Version().Run.String()
	linked = linked[:strings.LastIndexByte(linked, '.')]
	for i, c := range capabilities {
		t.Run(c.name, func(t *testing.T) {
			row := rows[i]
			tlstest.Equal(t, "feature", row[0], c.name)
			needs, has := "", false
			here := "–"
			if c.absent != "" {
				help, _ := exec.Command("openssl", "s_client", "-help").CombinedOutput()
				has = regexp.MustCompile(`(?m)^ ` + c.absent + `\b`).Match(help)
			} else {
				here = "`" + strings.Join(c.settings(t), "`, `") + "`"
				needs, has = c.build(t)
			}
			for col, title := range head[:len(head)-1] {
				cell, want := row[col+1], ""
				switch version, isGo := strings.CutPrefix(title, "Go "); {
				case isGo:
					if strings.HasPrefix(runtime.Version(), "go"+version) {
						want = yes(c.cryptotls)
					}
				case version == linked:
					want = yes(has && !c.own)
				case needs != "":
					want = yes(version >= needs)
				case linked == "3.0" && has:
					want = yes(!c.own)
				}
				if want != "" {
					tlstest.Equal(t, title, cell, want)
				}
			}
			if needs != "" {
				here += ", " + needs
			}
			if got := row[len(row)-1]; got != here && (linked == "3.0" || !strings.HasPrefix(got, here)) {
				t.Errorf("the row says %s, want %s", got, here)
			}
		})
	}
}
