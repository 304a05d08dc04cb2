package sslnet

import (
	"fmt"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testmain"
)

// TestMain fails when a test has left an SSL behind.
func TestMain(m *testing.M) {
	testmain.Run(m, func() error {
		// What the end of a context closes is freed on a goroutine of its own.
		for deadline := time.Now().Add(hang); live.Conns() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return fmt.Errorf("%d SSLs were not freed", live.Conns())
			}
		}
		return nil
	})
}
