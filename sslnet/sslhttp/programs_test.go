package sslhttp

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// program skips the test where a program is not installed, and answers a function that runs it and gives what it prints.
func program(t *testing.T, name, pkg string) func(stdin io.Reader, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("there is no %s (Debian's package %s)", name, pkg)
		}
		t.Skipf("there is no %s: install Debian's package %s", name, pkg)
	}
	return func(stdin io.Reader, args ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
		defer cancel()
		cmd := exec.CommandContext(ctx, path, args...)
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stderr = stdin, &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s%s", cmd, err, out, errs.String())
		}
		return string(out)
	}
}

// TestCurl: curl asks in both protocols, and gets an upload back unchanged.
func TestCurl(t *testing.T) {
	curl := program(t, "curl", "curl")
	if !strings.Contains(curl(nil, "--version"), "HTTP2") {
		t.Skip("this curl has no HTTP/2")
	}
	s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proto", r.Proto)
		io.Copy(w, r.Body)
	})}, serverContext(t))
	_, port, _ := strings.Cut(s.addr, ":")
	eachProtocol(t, func(t *testing.T, alpn string, major int) {
		option, version := "--http1.1", "1.1"
		if major == 2 {
			option, version = "--http2", "2"
		}
		const n = 8 << 20
		got := curl(&source{n: n}, "--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert", testcerts.Path("root.pem"), option,
			"--resolve", "example.test:"+port+":127.0.0.1", "--data-binary", "@-", "--write-out", " %{http_version} %header{proto}",
			"https://example.test:"+port+"/")
		tlstest.Must(t, whole(strings.NewReader(got[:min(len(got), n)]), n))
		tlstest.Equal(t, "what curl says", got[n:], fmt.Sprintf(" %s HTTP/%d.%d", version, major, 2-major))
	})
}

// TestH2load: many requests at once, over several connections, are all answered in either protocol.
func TestH2load(t *testing.T) {
	h2load := program(t, "h2load", "nghttp2-client")
	s := serve(t, &http.Server{Handler: show}, serverContext(t))
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		args := []string{"--requests=2000", "--clients=8", "--threads=1", s.url + "/"}
		if alpn == protoHTTP2 {
			args = append(args, "--max-concurrent-streams=20")
		} else {
			args = append(args, "--h1")
		}
		got := h2load(nil, args...)
		if !strings.Contains(got, "Application protocol: "+alpn) ||
			!strings.Contains(got, "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout") {
			t.Errorf("it says:\n%s", got)
		}
	})
}
