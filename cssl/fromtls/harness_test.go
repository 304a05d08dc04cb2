package fromtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

func TestMain(m *testing.M) {
	testmain.Run(m, func() error {
		if !tlstest.Soon(func() bool { runtime.GC(); return live.Contexts() == 0 }) {
			return fmt.Errorf("%d Contexts were not freed", live.Contexts())
		}
		return testmain.Freed()
	})
}

// authority is a CA with its pool.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

var keys = sync.OnceValue(func() map[string]crypto.Signer {
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r, err2 := rsa.GenerateKey(rand.Reader, 2048)
	_, d, err3 := ed25519.GenerateKey(nil)
	if err := errors.Join(err, err2, err3); err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{"ECDSA": e, "RSA": r, "Ed25519": d}
})

func newAuthority(name string) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

var (
	ours   = sync.OnceValue(func() *authority { return newAuthority("ours") })
	theirs = sync.OnceValue(func() *authority { return newAuthority("theirs") })
)

// issue returns a certificate for names, the first of which is the common name.
func (a *authority) issue(t testing.TB, key crypto.Signer, change func(*x509.Certificate), names ...string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	der := tlstest.Value(x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key))(t)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }

// remote hides that a key is in memory.
type remote struct{ crypto.Signer }

// conn is a connection of either kind.
type conn interface {
	net.Conn
	Handshake() error
	ConnectionState() tls.ConnectionState
}

// end makes one end of a connection.
type end func(t testing.TB, raw net.Conn) conn

func goServer(c *tls.Config) end {
	return func(_ testing.TB, raw net.Conn) conn { return tls.Server(raw, c) }
}

func goClient(c *tls.Config) end {
	return func(_ testing.TB, raw net.Conn) conn { return tls.Client(raw, c) }
}

// serverContext is the Context of a server, which is closed with the test.
func serverContext(t testing.TB, c *tls.Config, change ...func(*cssl.Config)) *cssl.Context {
	t.Helper()
	x := tlstest.Value(cssl.NewServerContext(tlstest.Value(Server(c, change...))(t)))(t)
	t.Cleanup(x.Close)
	return x
}

func ourServer(t testing.TB, c *tls.Config) end {
	t.Helper()
	x := serverContext(t, c)
	return func(t testing.TB, raw net.Conn) conn { return tlstest.Value(sslnet.Server(raw, x))(t) }
}

func ourClient(t testing.TB, c *tls.Config) end {
	t.Helper()
	cfg, one, err := Client(c)
	tlstest.Must(t, err)
	x := tlstest.Value(cssl.NewClientContext(cfg))(t)
	t.Cleanup(x.Close)
	return func(t testing.TB, raw net.Conn) conn { return tlstest.Value(sslnet.Client(raw, x, one))(t) }
}

// seen is what one end has seen.
type seen struct {
	state tls.ConnectionState
	err   error
}

// connect makes a connection, and passes a byte in each direction.
func connect(t testing.TB, client, server end) (c, s seen) {
	t.Helper()
	near, far := socketPair(t)
	a, b := client(t, near), server(t, far)
	deadline := time.Now().Add(tlstest.Hang)
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	run := func(c conn, reads bool) (out seen) {
		out.err = c.Handshake()
		step := func(read bool) {
			if out.err != nil {
				return
			}
			if read {
				_, out.err = c.Read(make([]byte, 1))
			} else {
				_, out.err = c.Write([]byte("x"))
			}
		}
		step(reads)
		step(!reads)
		out.state = c.ConnectionState()
		return out
	}
	later := tlstest.Later(func() seen {
		out := run(b, true)
		if out.err != nil {
			b.Close()
		}
		return out
	})
	c = run(a, false)
	if c.err != nil {
		a.Close()
	}
	s = tlstest.Receive(t, later, "the server")
	a.Close()
	b.Close()
	return c, s
}

// socketPair is two connected sockets.
func socketPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	a = tlstest.Value(net.Dial("tcp", l.Addr().String()))(t)
	return a, tlstest.Value(l.Accept())(t)
}

// alertIn returns the alert that a client of crypto/tls has received, or whether there was an error.
func alertIn(err error) string {
	if err == nil {
		return ""
	}
	if _, alert, ok := strings.Cut(err.Error(), "remote error: "); ok {
		return alert
	}
	return "an error"
}

func leafOf(s tls.ConnectionState) string {
	if len(s.PeerCertificates) == 0 {
		return ""
	}
	return s.PeerCertificates[0].Subject.CommonName
}
