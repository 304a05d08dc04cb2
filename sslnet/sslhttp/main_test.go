package sslhttp

import (
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testmain"
)

// TestMain fails when the tests have left an SSL or a goroutine behind.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	testmain.Run(m, func() error {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		for deadline := time.Now().Add(hang); live.Conns() > 0 || runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				return fmt.Errorf("%d SSLs and %d goroutines were left behind\n%s",
					live.Conns(), runtime.NumGoroutine()-before, buf[:runtime.Stack(buf, true)])
			}
		}
		return nil
	})
}
