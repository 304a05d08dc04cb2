package cssl

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// remote is a Signer whose key is not in memory, as far as this package sees.
type remote struct {
	crypto.Signer
	fail func(sig []byte) ([]byte, error) // nil: what the key returns
	mu   sync.Mutex
	opts []crypto.SignerOpts
}

func (r *remote) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r.mu.Lock()
	r.opts = append(r.opts, opts)
	r.mu.Unlock()
	sig, err := r.Signer.Sign(random, digest, opts)
	if r.fail != nil && err == nil {
		return r.fail(sig)
	}
	return sig, err
}

func (r *remote) used() []crypto.SignerOpts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.opts)
}

// remoteDecrypter can decrypt too.
type remoteDecrypter struct {
	*remote
	times atomic.Int64
	wrong func(secret []byte) ([]byte, error) // nil: what the key returns
}

func (r *remoteDecrypter) Decrypt(random io.Reader, msg []byte, opts crypto.DecrypterOpts) ([]byte, error) {
	r.times.Add(1)
	secret, err := r.Signer.(crypto.Decrypter).Decrypt(random, msg, opts)
	if r.wrong != nil && err == nil {
		return r.wrong(secret)
	}
	return secret, err
}

// signerKeys makes one key of each kind.
var signerKeys = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	for name, f := range map[string]func() (crypto.Signer, error){
		"RSA":     func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		"P-256":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
		"P-384":   func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"Ed25519": func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(nil); return k, err },
	} {
		k, err := f()
		if err != nil {
			panic(err)
		}
		keys[name] = k
	}
	return keys
})

// leafFor is a certificate for localhost, of a client and of a server, in PEM.
func leafFor(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))(t)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// bySigners are a server and a client whose certificates have these keys; each trusts the other's.
func bySigners(t testing.TB, server, client crypto.Signer, v TLSVersion) (s, c Config) {
	t.Helper()
	key := func(k crypto.Signer) crypto.Signer {
		switch r := k.(type) {
		case *remote:
			return r.Signer
		case *remoteDecrypter:
			return r.Signer
		}
		return k
	}
	sp, cp := leafFor(t, key(server)), leafFor(t, key(client))
	s = Config{Certificates: []Certificate{{ChainPEM: sp, Signer: server}}, CAPEM: cp, Verify: VerifyRequire, MaxVersion: v}
	c = Config{Certificates: []Certificate{{ChainPEM: cp, Signer: client}}, CAPEM: sp, MaxVersion: v}
	return s, c
}

// TestSigner: each kind of key signs for a server and for a client, in both versions.
func TestSigner(t *testing.T) {
	for name, key := range signerKeys() {
		overBoth(t, func(t *testing.T, engine bool, v TLSVersion) {
			server, client := &remote{Signer: key}, &remote{Signer: key}
			s, c := bySigners(t, server, client, v)
			a := newAsked(t, engine, mustClient(t, c), mustServer(t, s))
			a.succeeds()
			if !slices.Contains(a.wants, tlsio.WantAsync) {
				t.Errorf("%s: wants %v: the goroutine of the connection signed", name, a.wants)
			}
			for side, r := range map[string]*remote{"server": server, "client": client} {
				opts := r.used()
				if len(opts) != 1 {
					t.Errorf("%s, %s: %d signatures", name, side, len(opts))
				}
				_, pss := opts[0].(*rsa.PSSOptions)
				if name == "RSA" && v == TLS13 && !pss || name != "RSA" && pss || (opts[0].HashFunc() == 0) != (name == "Ed25519") {
					t.Errorf("%s, %s, %v: signed with %T %v", name, side, v, opts[0], opts[0].HashFunc())
				}
			}
		})
	}
}

// TestSignerPadding: RSA signs with either padding where TLS 1.2 has both.
func TestSignerPadding(t *testing.T) {
	for list, pss := range map[string]bool{"rsa_pkcs1_sha256": false, "rsa_pss_rsae_sha384": true, "rsa_pkcs1_sha512": false} {
		server := &remote{Signer: signerKeys()["RSA"]}
		s, c := bySigners(t, server, signerKeys()["P-256"], TLS12)
		s.Verify, c.SignatureAlgorithms = VerifyNone, list+":ecdsa_secp256r1_sha256"
		newAsked(t, true, mustClient(t, c), mustServer(t, s)).succeeds()
		if _, got := server.used()[0].(*rsa.PSSOptions); got != pss {
			t.Errorf("%s: signed with %T", list, server.used()[0])
		}
	}
}

// TestSignerOldVersions: TLS 1.0 signs MD5 with SHA-1, on both sides.
func TestSignerOldVersions(t *testing.T) {
	for _, name := range []string{"RSA", "P-256"} {
		server, client := &remote{Signer: signerKeys()[name]}, &remote{Signer: signerKeys()[name]}
		s, c := bySigners(t, server, client, TLS10)
		for _, cfg := range []*Config{&s, &c} {
			cfg.MinVersion, cfg.CipherList = TLS10, old
		}
		newAsked(t, true, mustClient(t, c), mustServer(t, s)).succeeds()
		if name == "RSA" && server.used()[0] != crypto.MD5SHA1 {
			t.Error(server.used())
		}
	}
}

// TestSignerInMemory: a key of Go's own is OpenSSL's, and needs no other goroutine.
func TestSignerInMemory(t *testing.T) {
	for name, key := range signerKeys() {
		s, c := bySigners(t, key, key, 0)
		a := newAsked(t, true, mustClient(t, c), mustServer(t, s))
		if a.server.Asks() {
			t.Errorf("%s: offloaded", name)
		}
		a.succeeds()
	}
	s, c := bySigners(t, signerKeys()["RSA"], signerKeys()["RSA"], TLS12)
	s.CipherList, c.CipherList = "AES128-SHA", "AES128-SHA"
	newAsked(t, true, mustClient(t, c), mustServer(t, s)).succeeds()
}

// TestSignerRSAKeyExchange: static RSA by a Decrypter; without one there are no such suites, and a list of nothing else is refused.
func TestSignerRSAKeyExchange(t *testing.T) {
	key := signerKeys()["RSA"]
	d := &remoteDecrypter{remote: &remote{Signer: key}}
	s, c := bySigners(t, d, signerKeys()["P-256"], TLS12)
	s.CipherList, s.Verify, c.CipherList = "AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256", VerifyNone, "AES128-SHA"
	a := newAsked(t, false, mustClient(t, c), mustServer(t, s))
	a.succeeds()
	if got := a.server.State().Cipher; got != "AES128-SHA" || d.times.Load() != 1 || len(d.used()) != 0 {
		t.Errorf("%s after %d decryptions and %d signatures", got, d.times.Load(), len(d.used()))
	}
	only := &remote{Signer: key}
	s.Certificates[0].Signer = only
	a = newAsked(t, false, mustClient(t, c), mustServer(t, s))
	if _, err := a.run(); err == nil || !strings.Contains(err.Error(), "no shared cipher") {
		t.Errorf("without a Decrypter: %v", err)
	}
	c.CipherList = "AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256"
	a = newAsked(t, false, mustClient(t, c), mustServer(t, s))
	a.succeeds()
	if got := a.server.State().Cipher; got != "ECDHE-RSA-AES128-GCM-SHA256" {
		t.Error(got)
	}
	s.CipherList = "AES128-SHA"
	wantConfigError(t, s, "CipherList", "crypto.Decrypter")
}

// TestSignerPremaster: a peer does not learn what is wrong with its premaster secret, also where the Decrypter fails; that connection
// fails alone.
func TestSignerPremaster(t *testing.T) {
	key := signerKeys()["RSA"].(*rsa.PrivateKey)
	s := &signer{key: key, decrypter: key, pub: key.Public()}
	secret := append([]byte{3, 3}, tlstest.Bytes(46, 1)...)
	for name, tc := range map[string]struct {
		sent           []byte
		version, other uint16
		right          bool
	}{
		"right":         {secret, 0x0303, 0, true},
		"other version": {secret, 0x0301, 0x0303, true},
		"wrong version": {secret, 0x0302, 0, false},
		"short":         {secret[:47], 0x0303, 0, false},
	} {
		//lint:ignore SA1019 static RSA key exchange has no other padding
		in := tlstest.Value(rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, tc.sent))(t)
		out := make([]byte, 48)
		tlstest.Must(t, s.premaster(in, tc.version, tc.other, out))
		if bytes.Equal(out, secret) != tc.right || bytes.Equal(out, make([]byte, 48)) {
			t.Errorf("%s: %x", name, out)
		}
	}
	broken := errors.New("no network")
	for name, wrong := range map[string]func([]byte) ([]byte, error){
		"error": func([]byte) ([]byte, error) { return nil, broken },
		"short": func(p []byte) ([]byte, error) { return p[:10], nil },
		"panic": func([]byte) ([]byte, error) { panic("no luck") },
	} {
		d := &remoteDecrypter{remote: &remote{Signer: key}, wrong: wrong}
		sc, cc := bySigners(t, d, signerKeys()["P-256"], TLS12)
		sc.CipherList, sc.Verify, cc.CipherList = "AES128-SHA", VerifyNone, "AES128-SHA"
		cerr, err := newAsked(t, true, mustClient(t, cc), mustServer(t, sc)).run()
		failedWith(t, err, ErrSigner)
		failedWith(t, cerr, tlsio.AlertBadRecordMAC)
		if name == "error" {
			failedWith(t, err, broken)
		}
		out := make([]byte, 48)
		if err := (&signer{key: key, decrypter: d, pub: key.Public()}).premaster(make([]byte, 256), 0x0303, 0, out); err == nil || bytes.Equal(out, make([]byte, 48)) {
			t.Errorf("%s: %v, %x", name, err, out)
		}
	}
}

// TestSignerFailsLate: the error of a Decrypter is that of its connection, also if a later step of the handshake fails.
func TestSignerFailsLate(t *testing.T) {
	d := &remoteDecrypter{remote: &remote{Signer: signerKeys()["RSA"]}, wrong: func([]byte) ([]byte, error) { return nil, io.ErrNoProgress }}
	sc, cc := bySigners(t, d, signerKeys()["P-256"], TLS12)
	sc.CipherList, sc.Verify, cc.CipherList = "AES128-SHA", VerifyNone, "AES128-SHA"
	a := newAsked(t, true, mustClient(t, cc), mustServer(t, sc))
	var sent []byte
	for {
		tlstest.Must(t, a.client.Handshake().Err)
		sent = append(sent, a.buf[:a.client.Take(a.buf)]...)
		sent = sent[a.server.Feed(sent[:min(1, len(sent))]):]
		r := a.server.Handshake()
		for ; r.Want == tlsio.WantAsync; r = a.server.Handshake() {
			tlstest.Receive(t, a.woken, "a wake-up")
		}
		if r.Err != nil {
			failedWith(t, r.Err, ErrSigner)
			failedWith(t, r.Err, io.ErrNoProgress)
			return
		}
		a.client.Feed(a.buf[:a.server.Take(a.buf)])
	}
}

// TestSignerFails: what a Signer does wrong is an error of its connection, on either side; others go on.
func TestSignerFails(t *testing.T) {
	broken := errors.New("the agent is locked")
	key := signerKeys()["P-256"]
	for name, tc := range map[string]struct {
		fail func([]byte) ([]byte, error)
		err  error
		text string
	}{
		"error":    {func([]byte) ([]byte, error) { return nil, broken }, broken, ""},
		"panic":    {func([]byte) ([]byte, error) { panic("oh no") }, ErrCallbackPanic, "oh no"},
		"nothing":  {func([]byte) ([]byte, error) { return nil, nil }, nil, "0 bytes"},
		"garbage":  {func(s []byte) ([]byte, error) { return bytes.Repeat([]byte{7}, len(s)), nil }, nil, "not valid"},
		"flipped":  {func(s []byte) ([]byte, error) { s[len(s)-1] ^= 1; return s, nil }, nil, "not valid"},
		"too much": {func(s []byte) ([]byte, error) { return append(s, make([]byte, 1<<20)...), nil }, nil, "not valid"},
	} {
		for _, v := range versions {
			for _, server := range []bool{true, false} {
				good, bad := &remote{Signer: key}, &remote{Signer: key, fail: tc.fail}
				s, c := bySigners(t, good, good, v)
				if server {
					s.Certificates[0].Signer = bad
				} else {
					c.Certificates[0].Signer = bad
				}
				cx, sx := mustClient(t, c), mustServer(t, s)
				cerr, serr := newAsked(t, true, cx, sx).run()
				err := cerr
				if server {
					err = serr
				}
				failedWith(t, err, ErrSigner)
				if tc.err != nil {
					failedWith(t, err, tc.err)
				}
				if !strings.Contains(err.Error(), tc.text) {
					t.Errorf("%s: %v", name, err)
				}
				bad.fail = nil
				newAsked(t, true, cx, sx).succeeds()
			}
		}
	}
}

// TestSignerAbandoned: a connection is closed while its Signer signs, and the error that comes later is for nobody.
func TestSignerAbandoned(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	r := &remote{Signer: signerKeys()["P-256"], fail: func([]byte) ([]byte, error) {
		close(begun)
		<-end
		return nil, errors.New("too late")
	}}
	before := conns.Load()
	s, c := bySigners(t, r, signerKeys()["RSA"], TLS13)
	a := newAsked(t, true, mustClient(t, c), mustServer(t, s))
	for busy := true; busy; {
		a.client.Handshake()
		a.carry()
		a.server.Handshake()
		select {
		case <-begun:
			busy = false
		case <-time.After(time.Millisecond):
		}
	}
	a.server.Close()
	a.client.Close()
	close(end)
	tlstest.Until(t, "the connection is freed", func() bool { return conns.Load() <= before })
}

// wantConfigError demands that a server of c is refused for a setting, with text in the error.
func wantConfigError(t *testing.T, c Config, setting, text string) {
	t.Helper()
	x, err := NewServerContext(c)
	if err == nil {
		x.Close()
	}
	var e *ConfigError
	if !errors.As(err, &e) || e.Setting != setting || !strings.Contains(err.Error(), text) {
		t.Errorf("%v, want an error about %s with %q", err, setting, text)
	}
}

type panics struct{ crypto.Signer }

func (panics) Public() crypto.PublicKey { panic("no card") }

// TestSignerRefused: what cannot be used is refused when the Context is built.
func TestSignerRefused(t *testing.T) {
	keys := signerKeys()
	other := tlstest.Value(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	odd := &ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: &elliptic.CurveParams{Name: "odd"}}}
	for name, tc := range map[string]struct {
		signer crypto.Signer
		text   string
	}{
		"another key":        {&remote{Signer: other}, "not that of the certificate"},
		"another kind":       {&remote{Signer: keys["RSA"]}, "not that of the certificate"},
		"Public panics":      {panics{}, "no card"},
		"nil remote":         {(*remote)(nil), "nil *cssl.remote"},
		"nil RSA":            {(*rsa.PrivateKey)(nil), "no PKCS #8 form"},
		"empty RSA":          {&rsa.PrivateKey{}, "no PKCS #8 form"},
		"empty ECDSA":        {&ecdsa.PrivateKey{}, "no PKCS #8 form"},
		"empty Ed25519":      {ed25519.PrivateKey{}, "no PKCS #8 form"},
		"a curve of no name": {odd, "no PKCS #8 form"},
	} {
		s, _ := bySigners(t, keys["P-256"], keys["P-256"], 0)
		s.Certificates[0].Signer = tc.signer
		t.Run(name, func(t *testing.T) { wantConfigError(t, s, "Certificates[0].Signer", tc.text) })
	}
	s, _ := bySigners(t, keys["P-256"], keys["P-256"], 0)
	s.Certificates[0].Signer = other
	if _, err := NewServerContext(s); err == nil || !strings.Contains(err.Error(), "mismatch") {
		t.Error(err)
	}
	s.Certificates[0].KeyPEM = []byte("x")
	wantConfigError(t, s, "Certificates[0].Signer", "use one")
	s.Certificates[0].KeyPEM, s.Certificates[0].Signer = nil, &remote{Signer: keys["P-256"]}
	s.Properties = "provider=default"
	wantConfigError(t, s, "Certificates[0].Signer", "?fips=yes")
}

// TestSignerByName: certificates of names have Signers of their own, also where the chain is the same.
func TestSignerByName(t *testing.T) {
	key := signerKeys()["P-256"]
	a, b := &remote{Signer: key}, &remote{Signer: key}
	s, c := bySigners(t, a, key, 0)
	s.Verify = VerifyNone
	s.Names = map[string][]Certificate{"localhost": {{ChainPEM: s.Certificates[0].ChainPEM, Signer: b}}}
	c.CAPEM = s.Certificates[0].ChainPEM
	cx, sx := mustClient(t, c), mustServer(t, s)
	newAsked(t, true, cx, sx).succeeds()
	if len(a.used()) != 0 || len(b.used()) != 1 {
		t.Errorf("%d signatures of the default, %d of the name's", len(a.used()), len(b.used()))
	}
	s.Previous = sx
	newAsked(t, true, cx, mustServer(t, s)).succeeds()
}

// whole signs messages alone.
type whole struct{ crypto.Signer }

func (whole) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("a digest")
}

func (w whole) SignMessage(random io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return crypto.SignMessage(w.Signer, random, message, opts)
}

// TestMessageSigner: one that hashes itself gets the message.
func TestMessageSigner(t *testing.T) {
	for name, key := range signerKeys() {
		for _, v := range versions {
			s, c := bySigners(t, key, key, v)
			s.Certificates[0].Signer, c.Certificates[0].Signer = whole{key}, whole{key}
			t.Run(name, func(t *testing.T) { newAsked(t, true, mustClient(t, c), mustServer(t, s)).succeeds() })
		}
	}
}

// TestSignerManyAtOnce: Signers sign at the same time, each for its connection.
func TestSignerManyAtOnce(t *testing.T) {
	var n atomic.Int64
	r := &remote{Signer: signerKeys()["RSA"], fail: func(s []byte) ([]byte, error) {
		if i := n.Add(1); i%2 == 0 {
			return nil, fmt.Errorf("refused %d", i)
		}
		return s, nil
	}}
	s, c := bySigners(t, r, signerKeys()["P-256"], TLS13)
	cx, sx := mustClient(t, c), mustServer(t, s)
	var all sync.WaitGroup
	var failures atomic.Int64
	for range 8 {
		all.Go(func() {
			for range 4 {
				a := newAsked(t, true, cx, sx)
				if _, err := a.run(); errors.Is(err, ErrSigner) {
					failures.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	tlstest.Equal(t, "failures", failures.Load(), 16)
}
