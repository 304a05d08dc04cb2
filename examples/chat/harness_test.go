package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// hang is how long a step may take. It is far more than it needs.
const hang = 30 * time.Second

// start runs the program, answers where it listens, and how to stop it, which the test's end does at the latest.
func start(t *testing.T, args ...string) (addr string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stdout, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		defer w.Close()
		done <- run(ctx, append([]string{"-listen=127.0.0.1:0",
			"-cert=" + testcerts.Path("ecdsa.pem"), "-key=" + testcerts.Path("ecdsa.key")}, args...), w)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(hang):
			t.Error("the program does not end")
		}
	})
	t.Cleanup(stop)
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	return strings.TrimPrefix(strings.TrimSpace(line), "listening on "), stop
}

// dial connects to the program until the end of the test.
func dial(t *testing.T, addr string) *tls.Conn {
	t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: hang}, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(hang))
	return c
}
