package fromtls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/spacemonad/go-openssl/cssl"
)

// Server returns the Config of a server's Context for c. Each function of
// change then changes it, and so the Configs behind GetCertificate and
// GetConfigForClient: for settings that crypto/tls does not have, such as
// Library, Records or DecisionTimeout. The error is a *cssl.ConfigError.
func Server(c *tls.Config, change ...func(*cssl.Config)) (cssl.Config, error) {
	if c == nil {
		return cssl.Config{}, &cssl.ConfigError{Setting: "tls.Config", Err: errors.New("is nil")}
	}
	s, err := newChooser(c, nil, change)
	if err != nil {
		return cssl.Config{}, err
	}
	if s.given.GetCertificate != nil || s.given.GetConfigForClient != nil {
		s.config.ClientHello = s.ask
	}
	return s.config, nil
}

// Client returns the Config of a client's Context for c, and the settings of
// each connection. A nil c is the zero tls.Config. If ServerName is empty,
// sslnet.Dialer takes the host that is dialed, as tls.Dial does. change is as
// for Server. The error is a *cssl.ConfigError.
func Client(c *tls.Config, change ...func(*cssl.Config)) (cssl.Config, cssl.ConnConfig, error) {
	given := c.Clone()
	if given == nil {
		given = new(tls.Config)
	}
	cfg, err := common(given, client)
	if err != nil {
		return cssl.Config{}, cssl.ConnConfig{}, err
	}
	for i := range given.Certificates {
		if len(given.Certificates[i].SupportedSignatureAlgorithms) > 0 {
			return cssl.Config{}, cssl.ConnConfig{}, refused(fmt.Sprintf("Certificates[%d]", i),
				"SupportedSignatureAlgorithms would hold for the certificates of servers too; leave it empty, and set SignatureAlgorithms of the cssl.Config")
		}
	}
	switch given.Renegotiation {
	case tls.RenegotiateNever:
	case tls.RenegotiateOnceAsClient:
		cfg.Renegotiation, cfg.MaxRenegotiations = true, 1
	case tls.RenegotiateFreelyAsClient:
		cfg.Renegotiation, cfg.MaxRenegotiations = true, 1<<30
	default:
		return cssl.Config{}, cssl.ConnConfig{}, refused("Renegotiation", "unknown: %d", given.Renegotiation)
	}
	cfg.Staples = true
	cfg.Verify = cssl.VerifyApplication
	v := &verifier{config: given, role: client, check: !given.InsecureSkipVerify}
	v.set(&cfg)
	for _, f := range change {
		f(&cfg)
	}
	return cfg, cssl.ConnConfig{ServerName: given.ServerName, InsecureSkipNameCheck: given.InsecureSkipVerify}, nil
}

// common returns the settings that both roles have.
func common(c *tls.Config, r role) (cfg cssl.Config, err error) {
	if err := check(c, r); err != nil {
		return cfg, err
	}
	cfg = cssl.Config{MinVersion: cssl.TLSVersion(c.MinVersion), MaxVersion: cssl.TLSVersion(c.MaxVersion), ALPN: slices.Clone(c.NextProtos),
		NoTickets: c.SessionTicketsDisabled}
	for i := range c.Certificates {
		cert, err := certificate(&c.Certificates[i], fmt.Sprintf("Certificates[%d]", i))
		if err != nil {
			return cfg, err
		}
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	if cfg.CipherList, err = cipherList(c); err != nil {
		return cfg, err
	}
	if cfg.Groups, err = groups(c.CurvePreferences); err != nil {
		return cfg, err
	}
	if c.KeyLogWriter != nil {
		cfg.KeyLog = keyLog{c.KeyLogWriter}
	}
	return cfg, nil
}

// serverConfig returns the settings of a server, without its callbacks.
func serverConfig(c *tls.Config) (cfg cssl.Config, err error) {
	if cfg, err = common(c, server); err != nil {
		return cfg, err
	}
	for name, cert := range named(c) {
		setting := fmt.Sprintf("NameToCertificate[%q]", name)
		if cert == nil {
			return cfg, refused(setting, "is nil")
		}
		one, err := certificate(cert, setting)
		if err != nil {
			return cfg, err
		}
		if cfg.Names == nil {
			cfg.Names = map[string][]cssl.Certificate{}
		}
		cfg.Names[name] = []cssl.Certificate{one}
	}
	if cfg.SignatureAlgorithms, err = algorithms(c); err != nil {
		return cfg, err
	}
	if !c.SessionTicketsDisabled {
		if cfg.TicketKeys, err = ticketKeys(c); err != nil {
			return cfg, err
		}
	}
	v := &verifier{config: c, role: server, check: c.ClientAuth >= tls.VerifyClientCertIfGiven}
	switch c.ClientAuth {
	case tls.NoClientCert:
		cfg.Verify = cssl.VerifyNone
	case tls.RequestClientCert, tls.VerifyClientCertIfGiven:
		cfg.Verify = cssl.VerifyOptionalApplication
	case tls.RequireAnyClientCert, tls.RequireAndVerifyClientCert:
		cfg.Verify = cssl.VerifyApplication
	default:
		return cfg, refused("ClientAuth", "unknown: %d", c.ClientAuth)
	}
	v.set(&cfg)
	if c.ClientAuth != tls.NoClientCert && c.ClientCAs != nil {
		//lint:ignore SA1019 a pool of the system has no subjects, and crypto/tls sends none either
		cfg.CANames = c.ClientCAs.Subjects()
	}
	return cfg, nil
}

// named returns NameToCertificate where crypto/tls uses it: to choose among
// several Certificates.
func named(c *tls.Config) map[string]*tls.Certificate {
	if len(c.Certificates) < 2 {
		return nil
	}
	//lint:ignore SA1019 a Config that sets it expects it to count
	return c.NameToCertificate
}

// Certificate returns c for cssl.Config.Certificates. The private key is a
// crypto.Signer; if it is not in memory, see cssl.Certificate.Signer. The error
// is a *cssl.ConfigError. SupportedSignatureAlgorithms must be empty: cssl has
// no such setting for one certificate, but Config.SignatureAlgorithms.
func Certificate(c tls.Certificate) (cssl.Certificate, error) {
	if len(c.SupportedSignatureAlgorithms) > 0 {
		return cssl.Certificate{}, &cssl.ConfigError{Setting: "tls.Certificate",
			Err: errors.New("SupportedSignatureAlgorithms: set Config.SignatureAlgorithms instead")}
	}
	return certificate(&c, "")
}

func certificate(c *tls.Certificate, setting string) (out cssl.Certificate, err error) {
	defer func() {
		if err == nil {
			return
		}
		if setting = "tls.Config." + setting; setting == "tls.Config." {
			setting = "tls.Certificate"
		}
		err = &cssl.ConfigError{Setting: setting, Err: err}
	}()
	if err = checkCertificate(c); err != nil {
		return out, err
	}
	if len(c.Certificate) == 0 {
		return out, errors.New("Certificate is empty: it needs the leaf and its intermediates in DER")
	}
	signer, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return out, fmt.Errorf("PrivateKey is no crypto.Signer, but a %T", c.PrivateKey)
	}
	if v := reflect.ValueOf(signer); v.Kind() == reflect.Pointer && v.IsNil() {
		return out, fmt.Errorf("PrivateKey is a nil %T", signer)
	}
	for _, der := range c.Certificate {
		out.ChainPEM = append(out.ChainPEM, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	out.Signer, out.OCSP = signer, c.OCSPStaple
	return out, nil
}

type suite struct {
	id       uint16
	name     string
	insecure bool // only by Config.CipherSuites
}

// suites are the cipher suites of crypto/tls before TLS 1.3 that OpenSSL has, in
// the order of preference of crypto/tls.
var suites = []suite{
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384", false},
	{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305", false},
	{tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-ECDSA-AES128-SHA", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA", false},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-ECDSA-AES256-SHA", false},
	{tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA", false},
	{tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-GCM-SHA256", true},
	{tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-GCM-SHA384", true},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA, "AES128-SHA", true},
	{tls.TLS_RSA_WITH_AES_256_CBC_SHA, "AES256-SHA", true},
	{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-ECDSA-AES128-SHA256", true},
	{tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256", true},
	{tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA256", true},
}

// cipherList returns the suites before TLS 1.3. In TLS 1.3, crypto/tls has no
// setting, and this package leaves those of OpenSSL.
func cipherList(c *tls.Config) (string, error) {
	var names []string
	for _, s := range suites {
		if c.CipherSuites == nil && !s.insecure || slices.Contains(c.CipherSuites, s.id) {
			names = append(names, s.name)
		}
	}
	for _, id := range c.CipherSuites {
		switch {
		case id == tls.TLS_AES_128_GCM_SHA256 || id == tls.TLS_AES_256_GCM_SHA384 || id == tls.TLS_CHACHA20_POLY1305_SHA256:
			// crypto/tls ignores them
		case !slices.ContainsFunc(suites, func(s suite) bool { return s.id == id }):
			return "", refused("CipherSuites", "OpenSSL has no %s (RC4 and 3DES are not built in); remove it", tls.CipherSuiteName(id))
		}
	}
	if names == nil {
		if c.MinVersion == tls.VersionTLS13 {
			return "", nil
		}
		return "", refused("CipherSuites", "has no suite for TLS 1.2, which MinVersion allows")
	}
	list := strings.Join(names, ":")
	if c.MinVersion != 0 && c.MinVersion < tls.VersionTLS12 {
		list += ":@SECLEVEL=0" // their signatures have SHA-1
	}
	return list, nil
}

// curves are the groups of crypto/tls, in its order of preference.
var curves = []struct {
	id   tls.CurveID
	name string
}{
	{tls.X25519MLKEM768, "X25519MLKEM768"},
	{tls.SecP256r1MLKEM768, "SecP256r1MLKEM768"},
	{tls.SecP384r1MLKEM1024, "SecP384r1MLKEM1024"},
	{tls.X25519, "X25519"},
	{tls.CurveP256, "P-256"},
	{tls.CurveP384, "P-384"},
	{tls.CurveP521, "P-521"},
}

func groups(prefer []tls.CurveID) (string, error) {
	var names []string
	unknown := slices.Clone(prefer)
	for _, curve := range curves {
		if slices.Contains(prefer, curve.id) {
			names = append(names, curve.name)
			unknown = slices.DeleteFunc(unknown, func(id tls.CurveID) bool { return id == curve.id })
		}
	}
	if len(unknown) > 0 {
		return "", refused("CurvePreferences", "%v is not known here; set Groups of the cssl.Config instead", unknown[0])
	}
	return strings.Join(names, ":"), nil
}

// schemes are OpenSSL's names of signature algorithms, by type of key, in its
// order of preference.
var schemes = []struct {
	key  string
	id   tls.SignatureScheme
	name string
}{
	{"ECDSA", tls.ECDSAWithP256AndSHA256, "ecdsa_secp256r1_sha256"},
	{"ECDSA", tls.ECDSAWithP384AndSHA384, "ecdsa_secp384r1_sha384"},
	{"ECDSA", tls.ECDSAWithP521AndSHA512, "ecdsa_secp521r1_sha512"},
	{"Ed25519", tls.Ed25519, "ed25519"},
	{"RSA", tls.PSSWithSHA256, "rsa_pss_rsae_sha256"},
	{"RSA", tls.PSSWithSHA384, "rsa_pss_rsae_sha384"},
	{"RSA", tls.PSSWithSHA512, "rsa_pss_rsae_sha512"},
	{"RSA", tls.PKCS1WithSHA256, "rsa_pkcs1_sha256"},
	{"RSA", tls.PKCS1WithSHA384, "rsa_pkcs1_sha384"},
	{"RSA", tls.PKCS1WithSHA512, "rsa_pkcs1_sha512"},
}

// algorithms returns SignatureAlgorithms for what the certificates of a server
// have in SupportedSignatureAlgorithms, or an empty string if they have
// nothing. OpenSSL knows one list for all of them, which holds for the
// signatures of clients too.
func algorithms(c *tls.Config) (string, error) {
	const setting = "Certificates.SupportedSignatureAlgorithms"
	certs := slices.Clone(c.Certificates)
	for _, cert := range named(c) {
		certs = append(certs, *cert)
	}
	limits := map[string][]tls.SignatureScheme{} // by type of key
	limited := false
	for i := range certs {
		key := keyType(certs[i].PrivateKey)
		limit := certs[i].SupportedSignatureAlgorithms
		if other, twice := limits[key]; twice && !slices.Equal(other, limit) {
			return "", refused(setting, "differs between two certificates with %s keys; give them the same", key)
		}
		limits[key] = limit
		limited = limited || len(limit) > 0
	}
	if !limited {
		return "", nil
	}
	if c.ClientAuth != tls.NoClientCert {
		return "", refused(setting, "would hold for the certificates of clients too; leave it empty, and set SignatureAlgorithms of the cssl.Config")
	}
	var names []string
	for _, s := range schemes {
		if limit, ok := limits[s.key]; ok && (len(limit) == 0 || slices.Contains(limit, s.id)) {
			names = append(names, s.name)
		}
	}
	if names == nil {
		return "", refused(setting, "has none that OpenSSL supports for the key")
	}
	return strings.Join(names, ":"), nil
}

func keyType(key crypto.PrivateKey) string {
	if signer, ok := key.(crypto.Signer); ok {
		switch signer.Public().(type) {
		case *ecdsa.PublicKey:
			return "ECDSA"
		case *rsa.PublicKey:
			return "RSA"
		case ed25519.PublicKey:
			return "Ed25519"
		}
	}
	return fmt.Sprintf("%T", key)
}

// ticketKeys returns the keys that SetSessionTicketKeys or SessionTicketKey has
// set; none if crypto/tls would generate them.
func ticketKeys(c *tls.Config) ([][]byte, error) {
	var keys [][]byte
	list := reflect.ValueOf(c).Elem().FieldByName("sessionTicketKeys")
	if !list.IsValid() || list.Kind() != reflect.Slice {
		return nil, errUnreadable
	}
	for i := range list.Len() {
		// OpenSSL's have a public name too. That of crypto/tls's first versions
		// was the hash's first half, which is not kept: a hash of the keys.
		aes, err := bytesOf(list.Index(i).FieldByName("aesKey"))
		if err != nil {
			return nil, err
		}
		mac, err := bytesOf(list.Index(i).FieldByName("hmacKey"))
		if err != nil {
			return nil, err
		}
		keys = append(keys, ticketKey(aes, mac))
	}
	//lint:ignore SA1019 the same
	if key := c.SessionTicketKey; len(keys) == 0 && key != [32]byte{} && !bytes.HasPrefix(key[:], []byte("DEPRECATED")) {
		h := sha512.Sum512(key[:])
		keys = append(keys, ticketKey(h[16:32], h[32:48]))
	}
	return keys, nil
}

var errUnreadable = refused("SetSessionTicketKeys", "the keys of this version of Go cannot be read; set TicketKeys of the cssl.Config")

// ticketKey returns a key in cssl's format: name, AES key, HMAC key.
func ticketKey(aes, mac []byte) []byte {
	h := sha512.Sum512(slices.Concat([]byte("name of a session ticket key"), aes, mac))
	return slices.Concat(h[:16], aes, mac)
}

// bytesOf returns an array of 16 bytes in a field that is not exported.
func bytesOf(v reflect.Value) ([]byte, error) {
	if !v.IsValid() || v.Kind() != reflect.Array || v.Len() != 16 || v.Type().Elem().Kind() != reflect.Uint8 {
		return nil, errUnreadable
	}
	b := make([]byte, v.Len())
	for i := range b {
		b[i] = byte(v.Index(i).Uint())
	}
	return b, nil
}

// keyLog writes for one Context at a time, as crypto/tls does.
type keyLog struct{ w io.Writer }

var keyLogMu sync.Mutex

func (k keyLog) Write(p []byte) (int, error) {
	keyLogMu.Lock()
	defer keyLogMu.Unlock()
	return k.w.Write(p)
}
