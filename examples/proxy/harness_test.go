package main

import (
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// hang is how long a step may take. It is far more than it needs.
const hang = 60 * time.Second

// start runs the program, answers where it listens, and how to stop it, which the test's end does at the latest.
func start(t *testing.T, args ...string) (addr string, stop func()) {
	t.Helper()
	s := exampletest.Start(t, run, append([]string{"-cert=" + testcerts.Path("ecdsa.pem"), "-key=" + testcerts.Path("ecdsa.key")}, args...)...)
	return s.Addr, s.Stop
}
