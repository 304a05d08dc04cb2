package fromtls

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// verifier decides about the peers of one tls.Config.
type verifier struct {
	config *tls.Config
	role   role
	check  bool // against the pool
}

// set sets the callbacks of cfg, whose Verify is set.
func (v *verifier) set(cfg *cssl.Config) {
	c := v.config
	cfg.SessionBinding = v.binding()
	asks := v.role == client || c.ClientAuth != tls.NoClientCert
	if asks {
		cfg.VerifyPeer = v.peer
	}
	if c.VerifyConnection != nil && asks {
		cfg.NoTickets = true // a resumed session would have the leaf alone
	}
	// The certificate that VerifyPeerCertificate is about may be missing.
	if c.VerifyConnection != nil || c.VerifyPeerCertificate != nil && asks && v.role == server {
		cfg.VerifyConnection = v.connection
	}
}

// binding is what a session depends on: a peer that was not verified in this way
// does not resume it.
func (v *verifier) binding() []byte {
	h := sha256.New()
	fmt.Fprintf(h, "%d %t %d %t %t\n", v.role, v.check, v.config.ClientAuth, v.config.VerifyPeerCertificate != nil, v.config.VerifyConnection != nil)
	pool := v.config.RootCAs
	if v.role == server {
		pool = v.config.ClientCAs
	}
	if v.check && !writePool(h, pool) {
		random := make([]byte, sha256.Size)
		rand.Read(random)
		return random
	}
	return h.Sum(nil)
}

// writePool writes which certificates a pool has. crypto/x509 exports only their
// names. It returns false if fields of this version of Go cannot be read, or if
// functions restrict what a certificate may sign.
func writePool(w io.Writer, pool *x509.CertPool) bool {
	if pool == nil {
		fmt.Fprintln(w, "that of the system")
		return true
	}
	v := reflect.ValueOf(pool).Elem()
	sums, certs, system := v.FieldByName("haveSum"), v.FieldByName("lazyCerts"), v.FieldByName("systemPool")
	if sums.Kind() != reflect.Map || certs.Kind() != reflect.Slice || system.Kind() != reflect.Bool || sums.Len() != certs.Len() {
		return false
	}
	for i := range certs.Len() {
		cert := certs.Index(i)
		if cert.Kind() != reflect.Struct {
			return false
		}
		if f := cert.FieldByName("constraint"); f.Kind() != reflect.Func || !f.IsNil() {
			return false
		}
	}
	var all []string
	for _, sum := range sums.MapKeys() {
		if sum.Kind() != reflect.Array || sum.Type().Elem().Kind() != reflect.Uint8 {
			return false
		}
		all = append(all, fmt.Sprint(sum))
	}
	slices.Sort(all)
	fmt.Fprintln(w, system.Bool(), len(all), all)
	return true
}

// peer is Config.VerifyPeer. A verification takes long, and the callbacks of
// crypto/tls may block. A server's is called on a goroutine of its own, and must
// decide at once after the first handshake.
func (v *verifier) peer(p *cssl.PeerVerification) {
	if v.role == server && v.config.VerifyPeerCertificate == nil && v.config.VerifyConnection == nil {
		v.verify(p)
		return
	}
	go v.verify(p)
}

func (v *verifier) verify(p *cssl.PeerVerification) {
	defer recovered(p.Refuse)
	chains, err := v.chains(p)
	if err == nil && v.config.VerifyPeerCertificate != nil {
		var raw [][]byte
		for _, cert := range p.Sent {
			raw = append(raw, cert.Raw)
		}
		err = badCertificate(v.config.VerifyPeerCertificate(raw, chains))
	}
	if err == nil && v.role == server && v.config.VerifyConnection != nil {
		state := tls.ConnectionState{Version: uint16(p.Version), CipherSuite: p.CipherID, NegotiatedProtocol: p.ALPN,
			ServerName: p.ServerName, PeerCertificates: p.Sent, VerifiedChains: chains}
		//lint:ignore SA1019 as crypto/tls does
		state.NegotiatedProtocolIsMutual = true
		err = badCertificate(v.config.VerifyConnection(state))
	}
	if err != nil {
		p.Refuse(err)
		return
	}
	p.AcceptChains(chains)
}

// connection is Config.VerifyConnection.
func (v *verifier) connection(c *cssl.ConnectionVerification) {
	state := ConnectionState(c.State)
	sent := len(state.PeerCertificates) > 0
	if v.role == server && sent && !state.DidResume {
		c.Accept() // verify has done all
		return
	}
	go func() {
		defer recovered(c.Refuse)
		var err error
		if f := v.config.VerifyPeerCertificate; f != nil && v.role == server && !sent && !state.DidResume && v.config.ClientAuth != tls.NoClientCert {
			err = f(nil, nil)
		}
		if err == nil && v.config.VerifyConnection != nil {
			err = v.config.VerifyConnection(state)
		}
		if err != nil {
			c.Refuse(err)
			return
		}
		c.Accept()
	}()
}

// maxRSA is the largest RSA key that crypto/tls accepts.
const maxRSA = 8192

// chains verifies a peer's certificate, as crypto/tls does.
func (v *verifier) chains(p *cssl.PeerVerification) ([][]*x509.Certificate, error) {
	for _, cert := range p.Sent {
		if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
			return nil, refusal{fmt.Errorf("the peer sent a certificate with an RSA key of more than %d bits", maxRSA), tlsio.AlertBadCertificate}
		}
	}
	var chains [][]*x509.Certificate
	if v.check {
		opts := x509.VerifyOptions{Roots: v.config.RootCAs, DNSName: p.PeerName, Intermediates: x509.NewCertPool()}
		if v.role == server {
			opts.Roots, opts.KeyUsages = v.config.ClientCAs, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}
		if v.config.Time != nil {
			opts.CurrentTime = v.config.Time()
		}
		for _, cert := range p.Sent[1:] {
			opts.Intermediates.AddCert(cert)
		}
		var err error
		if chains, err = p.Sent[0].Verify(opts); err != nil {
			return nil, refusal{&tls.CertificateVerificationError{UnverifiedCertificates: p.Sent, Err: err}, v.alert(err)}
		}
	}
	switch p.Sent[0].PublicKey.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
		return chains, nil
	}
	return nil, refusal{fmt.Errorf("the peer's certificate has an unsupported public key (%v)", p.Sent[0].PublicKeyAlgorithm),
		tlsio.AlertUnsupportedCertificate}
}

// alert returns what the peer is told about a certificate.
func (v *verifier) alert(err error) tlsio.Alert {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case v.role == client:
	case errors.As(err, &authority):
		return tlsio.AlertUnknownCA
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tlsio.AlertCertificateExpired
	}
	return tlsio.AlertBadCertificate
}

// refusal is an error with the alert for the peer.
type refusal struct {
	err   error
	alert tlsio.Alert
}

func (r refusal) Error() string   { return r.err.Error() }
func (r refusal) Unwrap() []error { return []error{r.err, r.alert} }

// badCertificate adds the alert of crypto/tls to the error of a callback.
func badCertificate(err error) error {
	if err == nil {
		return nil
	}
	return refusal{err, tlsio.AlertBadCertificate}
}

// recovered refuses if a callback has panicked.
func recovered(refuse func(error)) {
	if v := recover(); v != nil {
		refuse(fmt.Errorf("%w: %v", cssl.ErrCallbackPanic, v))
	}
}
