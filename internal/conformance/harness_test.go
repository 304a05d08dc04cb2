package conformance

import (
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestMain fails when a test has left an SSL behind.
func TestMain(m *testing.M) { testmain.Run(m, testmain.Freed) }

// serverContext and clientContext make a Context that the end of the test
// closes, with changes.
func serverContext(t *testing.T, change func(*cssl.Config)) *cssl.Context {
	return newContext(t, cssl.NewServerContext, change, cssl.Config{Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}})
}

func clientContext(t *testing.T, change func(*cssl.Config)) *cssl.Context {
	return newContext(t, cssl.NewClientContext, change, cssl.Config{CAFile: testcerts.Path("root.pem")})
}

func newContext(t *testing.T, make func(cssl.Config) (*cssl.Context, error), change func(*cssl.Config), c cssl.Config) *cssl.Context {
	t.Helper()
	change(&c)
	x := tlstest.Value(make(c))(t)
	t.Cleanup(x.Close)
	return x
}
