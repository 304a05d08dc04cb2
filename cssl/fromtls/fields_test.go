package fromtls

import (
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// something returns a value of the type that is not zero.
func something(t *testing.T, typ reflect.Type) reflect.Value {
	t.Helper()
	v := reflect.New(typ).Elem()
	switch typ.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint16, reflect.Uint8:
		v.SetUint(1)
	case reflect.Func:
		v.Set(reflect.MakeFunc(typ, func([]reflect.Value) []reflect.Value { panic("called") }))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(typ, 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(typ))
	case reflect.Pointer:
		v.Set(reflect.New(typ.Elem()))
	case reflect.Array:
		v.Index(0).Set(something(t, typ.Elem()))
	case reflect.Interface:
		for _, x := range []any{strings.NewReader("x"), io.Discard, tls.NewLRUClientSessionCache(1)} {
			if reflect.TypeOf(x).Implements(typ) {
				v.Set(reflect.ValueOf(x))
				return v
			}
		}
		t.Fatalf("no value for %v", typ)
	default:
		t.Fatalf("no value for %v", typ)
	}
	return v
}

// TestFields: each field of tls.Config has a rule, and one that is not honoured is an error that names it.
func TestFields(t *testing.T) {
	typ := reflect.TypeFor[tls.Config]()
	there := map[string]bool{}
	for i := range typ.NumField() {
		f := typ.Field(i)
		if !f.IsExported() {
			continue
		}
		there[f.Name] = true
		rule, ok := fields[f.Name]
		if !ok {
			t.Errorf("tls.Config.%s has no rule", f.Name)
			continue
		}
		for r, convert := range map[role]func(*tls.Config) error{
			server: func(c *tls.Config) error { return check(c, server) },
			client: func(c *tls.Config) error { return check(c, client) },
		} {
			c := new(tls.Config)
			reflect.ValueOf(c).Elem().Field(i).Set(something(t, f.Type))
			err := convert(c)
			if (err == nil) != (rule.honoured&r != 0) {
				t.Errorf("%s, role %d: %v", f.Name, r, err)
			}
			var e *cssl.ConfigError
			if err != nil && (!errors.As(err, &e) || e.Setting != "tls.Config."+f.Name || len(e.Err.Error()) < 10) {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
	}
	for name := range fields {
		if !there[name] {
			t.Errorf("tls.Config has no %s", name)
		}
	}
	typ = reflect.TypeFor[tls.Certificate]()
	for i := range typ.NumField() {
		if name := typ.Field(i).Name; !certificateFields[name] {
			t.Errorf("tls.Certificate.%s has no rule", name)
		}
	}
	// Both functions call check.
	if _, err := Server(&tls.Config{Rand: strings.NewReader("x")}); err == nil {
		t.Error("Server takes Rand")
	}
	if _, _, err := Client(&tls.Config{Rand: strings.NewReader("x")}); err == nil {
		t.Error("Client takes Rand")
	}
}

// TestFieldsOfState: each field of tls.ConnectionState comes from one of cssl.State, or is known to be missing.
func TestFieldsOfState(t *testing.T) {
	known := map[string]bool{"ECHAccepted": false, "NegotiatedProtocolIsMutual": true, "Version": true, "HandshakeComplete": true,
		"DidResume": true, "CipherSuite": true, "CurveID": true, "NegotiatedProtocol": true, "ServerName": true, "PeerCertificates": true,
		"VerifiedChains": true, "SignedCertificateTimestamps": true, "OCSPResponse": true, "TLSUnique": true, "HelloRetryRequest": true}
	typ := reflect.TypeFor[tls.ConnectionState]()
	for i := range typ.NumField() {
		if f := typ.Field(i); f.IsExported() {
			if _, ok := known[f.Name]; !ok {
				t.Errorf("tls.ConnectionState.%s is new", f.Name)
			}
		}
	}
	s := ConnectionState(cssl.State{})
	if s.HandshakeComplete || s.TLSUnique != nil || s.Version != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := s.ExportKeyingMaterial("x", nil, 1); err == nil {
		t.Error("ExportKeyingMaterial has no error")
	}
}

// TestRefused: what a field contains may be refused too.
func TestRefused(t *testing.T) {
	good := ours().issue(t, keys()["RSA"], nil, "a.example")
	with := func(change func(*tls.Certificate)) tls.Config {
		c := good
		change(&c)
		return tls.Config{Certificates: []tls.Certificate{c}}
	}
	for name, tc := range map[string]struct {
		change        func(*tls.Config)
		setting, text string
	}{
		"RC4":        {func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA} }, "tls.Config.CipherSuites", "RC4"},
		"no suite":   {func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_AES_128_GCM_SHA256} }, "tls.Config.CipherSuites", "TLS 1.2"},
		"a curve":    {func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{12345} }, "tls.Config.CurvePreferences", "12345"},
		"ClientAuth": {func(c *tls.Config) { c.ClientAuth = 77 }, "tls.Config.ClientAuth", "77"},
		"a nil name": {func(c *tls.Config) {
			//lint:ignore SA1019 it is honoured
			c.Certificates, c.NameToCertificate = append(c.Certificates, good), map[string]*tls.Certificate{"a": nil}
		}, `tls.Config.NameToCertificate["a"]`, "nil"},
		"no chain": {func(c *tls.Config) { *c = with(func(c *tls.Certificate) { c.Certificate = nil }) }, "tls.Config.Certificates[0]", "empty"},
		"no key":   {func(c *tls.Config) { *c = with(func(c *tls.Certificate) { c.PrivateKey = nil }) }, "tls.Config.Certificates[0]", "no crypto.Signer"},
		"a nil key": {func(c *tls.Config) { *c = with(func(c *tls.Certificate) { c.PrivateKey = (*rsa.PrivateKey)(nil) }) },
			"tls.Config.Certificates[0]", "nil *rsa.PrivateKey"},
		"timestamps": {func(c *tls.Config) {
			*c = with(func(c *tls.Certificate) { c.SignedCertificateTimestamps = [][]byte{{1}} })
		}, "tls.Config.Certificates[0]", "RFC 6962"},
		"algorithms": {func(c *tls.Config) {
			*c = with(func(c *tls.Certificate) { c.SupportedSignatureAlgorithms = []tls.SignatureScheme{1} })
		}, "tls.Config.Certificates.SupportedSignatureAlgorithms", "none"},
		"algorithms twice": {func(c *tls.Config) {
			*c = with(func(c *tls.Certificate) { c.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA256} })
			c.Certificates = append(c.Certificates, good)
		}, "tls.Config.Certificates.SupportedSignatureAlgorithms", "differs"},
		"algorithms and clients": {func(c *tls.Config) {
			*c = with(func(c *tls.Certificate) { c.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA256} })
			c.ClientAuth = tls.RequestClientCert
		}, "tls.Config.Certificates.SupportedSignatureAlgorithms", "clients"},
	} {
		c := &tls.Config{Certificates: []tls.Certificate{good}}
		tc.change(c)
		_, err := Server(c)
		var e *cssl.ConfigError
		if !errors.As(err, &e) || e.Setting != tc.setting || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Server(nil); err == nil {
		t.Error("Server takes nil")
	}
	if _, _, err := Client(&tls.Config{Renegotiation: 7}); err == nil {
		t.Error("Renegotiation 7")
	}
	limited := with(func(c *tls.Certificate) { c.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA256} })
	if _, _, err := Client(&limited); err == nil || !strings.Contains(err.Error(), "tls.Config.Certificates[0]: SupportedSignatureAlgorithms") {
		t.Errorf("a client's SupportedSignatureAlgorithms: %v", err)
	}
	cfg, one, err := Client(nil)
	if err != nil || one.ServerName != "" || cfg.Verify != cssl.VerifyApplication {
		t.Error(cfg, one, err)
	}
	cfg, _, err = Client(&tls.Config{Renegotiation: tls.RenegotiateOnceAsClient})
	if err != nil || !cfg.Renegotiation || cfg.MaxRenegotiations != 1 {
		t.Error(cfg, err)
	}
}

// TestAlgorithms: SupportedSignatureAlgorithms of a server's certificate hold.
func TestAlgorithms(t *testing.T) {
	cert := ours().issue(t, keys()["RSA"], nil, "a.example")
	cert.PrivateKey = remote{keys()["RSA"]}
	cert.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA384, tls.PSSWithSHA512}
	cfg := tlstest.Value(Server(&tls.Config{Certificates: []tls.Certificate{cert, ours().issue(t, keys()["Ed25519"], nil, "a.example")}}))(t)
	tlstest.Equal(t, "SignatureAlgorithms", cfg.SignatureAlgorithms, "ed25519:rsa_pss_rsae_sha512:rsa_pkcs1_sha384")
	sc := scenario{server: func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} }}
	sc.run(t, tls.VersionTLS13)
	sc.run(t, tls.VersionTLS12)
}

// TestCertificate: a certificate alone.
func TestCertificate(t *testing.T) {
	cert := ours().issue(t, keys()["RSA"], nil, "a.example")
	got := tlstest.Value(Certificate(cert))(t)
	x := tlstest.Value(cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{got}}))(t)
	x.Close()
	cert.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA256}
	if _, err := Certificate(cert); err == nil || !strings.Contains(err.Error(), "SignatureAlgorithms") {
		t.Error(err)
	}
	if _, err := Certificate(tls.Certificate{}); err == nil || !strings.HasPrefix(err.Error(), "tls config: tls.Certificate: ") {
		t.Error(err)
	}
}
