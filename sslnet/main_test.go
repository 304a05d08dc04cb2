package sslnet

import (
	"fmt"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testmain"
)

// TestMain fails when a test has left an SSL behind.
func TestMain(m *testing.M) {
	testmain.Run(m, func() error {
		if n := cssl.Live(); n != 0 {
			return fmt.Errorf("%d SSLs were not freed", n)
		}
		return nil
	})
}
