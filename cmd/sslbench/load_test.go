package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// loadEcho is an echo server; a spoiled one changes a bit in each piece.
type loadEcho struct {
	reactor.BaseHandler
	spoil bool
	heard func() // if not nil, called for each message
}

func (h loadEcho) OnData(c *reactor.Conn, p []byte) {
	if h.spoil {
		p[len(p)/2] ^= 1
	}
	c.Write(p)
	if h.heard != nil {
		h.heard()
	}
}

// loadTarget starts an echo server for the test, with settings to which a certificate is added.
func loadTarget(t *testing.T, h loadEcho, c cssl.Config) string {
	t.Helper()
	c.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}
	x := tlstest.Value(cssl.NewServerContext(c))(t)
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	srv := &reactor.Server{Handler: h, Context: x, Loops: 1}
	served := tlstest.Later(func() error { return srv.Serve(l) })
	t.Cleanup(func() { srv.Close(); <-served; x.Close() })
	return l.Addr().String()
}

// runLoadArgs runs sslbench load with args against target.
func runLoadArgs(target, args string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	argv := append([]string{"load", "--target", target, "--ca", testcerts.Path("root.pem"), "--duration", "100ms"}, strings.Fields(args)...)
	status = run(context.Background(), argv, &out, &errs)
	return status, out.String(), errs.String()
}

// TestLoadUsage: each piece of bad usage is status 2, with one line that names it and nothing on standard output.
func TestLoadUsage(t *testing.T) {
	const target = "--target 127.0.0.1:443 "
	for args, says := range map[string]string{
		"":                               "--target",
		"--target localhost":             "host:port",
		target + "extra":                 `"extra"`,
		target + "--no-such-flag":        "no-such-flag",
		target + "--kind flood":          `kind "flood"`,
		target + "--size 0":              "--size",
		target + "--rate -1":             "rate -1", // see load.Config
		target + "--conns 0":             "--conns",
		target + "--loops 0":             "--loops",
		target + "--timeout 0s":          "--timeout",
		target + "--duration 0s":         "--duration",
		target + "--warmup -1s":          "--warmup",
		target + "--format xml":          "--format",
		target + "--progress maybe":      "--progress",
		target + "--tls 1.4":             "1.4",
		target + "--insecure --ca x.pem": "--insecure",
		target + "--key x.key":           "--cert",
	} {
		var out, errs bytes.Buffer
		status := run(t.Context(), append([]string{"load"}, strings.Fields(args)...), &out, &errs)
		if status != 2 || !strings.Contains(errs.String(), says) || strings.Count(errs.String(), "\n") != 1 || out.Len() > 0 {
			t.Errorf("%q: status %d, %q; want 2 and a line that says %q; output %q", args, status, &errs, says, &out)
		}
	}
}

// TestLoadRefusals: settings that cannot be used are status 1 and named by their flag.
func TestLoadRefusals(t *testing.T) {
	for args, says := range map[string]string{
		"--ca /nonexistent.pem":          "--ca: open /nonexistent.pem",
		"--ciphers nonsense":             `--ciphers "nonsense"`,
		"--ciphersuites nonsense":        "--ciphersuites",
		"--tls 1.1":                      `--tls "TLSv1.1": needs security level 0`,
		"--groups nonsense":              "--groups",
		"--cert /nonexistent.pem":        "--cert",
		"--conns 10000000":               "file descriptors",
		"--target no-such-host.test:443": "no-such-host.test",
		"--cert " + testcerts.Path("ecdsa.pem") + " --key " + testcerts.Path("rsa.key"): "--cert",
	} {
		status, stdout, stderr := runLoadArgs("127.0.0.1:443", args)
		if status != 1 || !strings.Contains(stderr, says) || stdout != "" {
			t.Errorf("%q: status %d, %q; want 1 and %q; output %q", args, status, stderr, says, stdout)
		}
	}
}

// TestLoadHelp: help is no error and fits a terminal.
func TestLoadHelp(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"load", "--help"}, &out, &errs); status != 0 || errs.Len() > 0 {
		t.Errorf("status %d, %q", status, &errs)
	}
	for _, line := range strings.Split(out.String(), "\n") {
		if len(line) > 80 {
			t.Errorf("wider than 80 columns: %q", line)
		}
	}
	for _, kind := range load.Kinds {
		if !strings.Contains(out.String(), "\n  "+string(kind)+" ") {
			t.Errorf("%s is not explained", kind)
		}
	}
}

// TestLoadOldVersion: TLS 1.0 and 1.1 are spoken with the ciphers that they need, and named in what comes out.
func TestLoadOldVersion(t *testing.T) {
	target := loadTarget(t, loadEcho{}, cssl.Config{MinVersion: cssl.TLS10, CipherList: "DEFAULT:@SECLEVEL=0"})
	for args, want := range map[string]string{"--tls 1.0": "TLSv1", "--tls 1.1": "TLSv1.1"} {
		status, text, stderr := runLoadArgs(target, "--ciphers DEFAULT:@SECLEVEL=0 --format json "+args)
		var p loadReport
		if err := json.Unmarshal([]byte(text), &p); err != nil || status != 0 || p.TLS.Version != want || p.Units == 0 {
			t.Errorf("%s: status %d, %v\n%s%s", args, status, err, text, stderr)
		}
	}
}

// TestLoadFormats: both formats tell the same.
func TestLoadFormats(t *testing.T) {
	target := loadTarget(t, loadEcho{}, cssl.Config{})
	for _, kind := range []string{"full-handshake", "resumed-handshake", "request", "stream", "idle"} {
		args := "--kind " + kind + " --conns 3 --size 2k --warmup 10ms --tls 1.3 --format "
		status, text, stderr := runLoadArgs(target, args+"text")
		if status != 0 || stderr != "" || !strings.Contains(text, "TLSv1.3, TLS_AES") || !strings.Contains(text, "none") {
			t.Fatalf("%s: status %d\n%s%s", kind, status, text, stderr)
		}
		status, text, stderr = runLoadArgs(target, args+"json")
		var p loadReport
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&p); err != nil || status != 0 || d.Decode(&p) != io.EOF {
			t.Fatalf("%s: status %d, %v\n%s%s", kind, status, err, text, stderr)
		}
		if p.Settings["kind"] != kind || p.Settings["target"] != target || p.Settings["conns"] != "3" || p.Settings["size"] != "2k" ||
			p.ElapsedSeconds < 0.1 || p.Failed != 0 || p.Error != "" || p.TLS.Version != "TLSv1.3" {
			t.Errorf("%s: %s", kind, text)
		}
		// The connections were opened before the warm-up, but for the handshakes.
		if handshakes := strings.HasSuffix(kind, "handshake"); p.Opened < 3 || !handshakes && (p.Opened != 3 || p.Open != 3) ||
			kind == "resumed-handshake" && p.Opened < p.Units+3 ||
			kind == "idle" && (p.Units != 3 || p.Latency.Count != 3 || p.Latency.P50 <= 0) {
			t.Errorf("%s: %s", kind, text)
		}
		if (kind == "request" || kind == "stream") && (p.SentBytes == 0 || p.SentBytes != p.ReceivedBytes || p.SentPerSecond == 0) {
			t.Errorf("%s: %s", kind, text)
		}
		if l := p.Latency; kind == "request" && (p.UnitsPerSecond == 0 || l.Count != int64(p.Units) || l.P50 <= 0 ||
			l.Min > l.P50 || l.P50 > l.P90 || l.P90 > l.P99 || l.P99 > l.P999 || l.P999 > l.Max || l.Mean > l.Max) {
			t.Errorf("%s: %+v", kind, l)
		}
	}
}

// TestLoadProgress: a bar is shown if it is asked for, and not without a terminal.
func TestLoadProgress(t *testing.T) {
	target := loadTarget(t, loadEcho{}, cssl.Config{})
	for mode, want := range map[string]bool{"always": true, "auto": false, "never": false} {
		status, _, stderr := runLoadArgs(target, "--duration 700ms --progress "+mode)
		if status != 0 || strings.Contains(stderr, "request") != want || strings.Contains(stderr, "1 open, 0 failed") != want {
			t.Errorf("%s: status %d, %q", mode, status, stderr)
		}
	}
}

// TestLoadFailures: what fails is in the output in each format, on standard error in one line, and status 1.
func TestLoadFailures(t *testing.T) {
	closed := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	closed.Close()
	honest, liar := loadTarget(t, loadEcho{}, cssl.Config{}), loadTarget(t, loadEcho{spoil: true}, cssl.Config{})
	for _, test := range []struct{ name, target, args, want string }{
		{"refused", closed.Addr().String(), "--duration 1h", "refused"},
		{"wrong name", honest, "--sni other.test --duration 1h", "certificate"},
		{"unknown CA", honest, "--ca " + testcerts.Path("other-root.pem") + " --duration 1h", "certificate"},
		{"wrong bytes", liar, "--duration 300ms", "wrong bytes"},
		{"wrong bytes in the warm-up", liar, "--duration 10ms --warmup 300ms", "wrong bytes"},
	} {
		for _, format := range []string{"text", "json"} {
			status, stdout, stderr := runLoadArgs(test.target, test.args+" --format "+format)
			if status != 1 || !strings.Contains(stdout, test.want) || !strings.Contains(stderr, "× "+test.want) ||
				strings.Count(stderr, "\n") != 1 {
				t.Errorf("%s, %s: status %d\n%s%s", test.name, format, status, stdout, stderr)
			}
		}
	}
}

// TestLoadInsecure: without verification any certificate and any name will do.
func TestLoadInsecure(t *testing.T) {
	var out, errs bytes.Buffer
	args := []string{"load", "--target", loadTarget(t, loadEcho{}, cssl.Config{}), "--duration", "20ms", "--insecure", "--sni", "other.test"}
	if status := run(t.Context(), args, &out, &errs); status != 0 {
		t.Errorf("status %d: %s", status, &errs)
	}
}

// TestLoadStopped: when its context ends, the command tells what there is, and status 1.
func TestLoadStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs bytes.Buffer
	target := loadTarget(t, loadEcho{heard: cancel}, cssl.Config{})
	status := run(ctx, []string{"load", "--target", target, "--insecure", "--duration", "1h"}, &out, &errs)
	if status != 1 || !strings.Contains(errs.String(), "stopped by a signal") || !strings.Contains(out.String(), "messages") {
		t.Errorf("status %d: %s\n%s", status, &errs, &out)
	}
}

// loadSignalTarget tells the test binary to be sslbench load against that target.
const loadSignalTarget = "SSLBENCH_TEST_LOAD_TARGET"

// TestLoadSignal: an interrupt ends the command with its output and status 1.
func TestLoadSignal(t *testing.T) {
	if target := os.Getenv(loadSignalTarget); target != "" {
		os.Args = []string{"sslbench", "load", "--target", target, "--insecure", "--duration", "1h", "--progress", "always"}
		main()
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestLoadSignal$")
		cmd.Env = append(os.Environ(), loadSignalTarget+"="+loadTarget(t, loadEcho{}, cssl.Config{}))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var out, progress tlstest.Buffer
		cmd.Stdout, cmd.Stderr = &out, &progress
		tlstest.Must(t, cmd.Start())
		defer cmd.Process.Kill()
		// Once the bar tells of the requests, the signals are heard.
		tlstest.Until(t, "the bar shows", func() bool { return strings.Contains(progress.String(), "1 open") })
		cmd.Process.Signal(sig)
		err := cmd.Wait()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(out.String(), "messages") ||
			!strings.Contains(progress.String(), "stopped by a signal") {
			t.Errorf("%v: %v\n%s\n%q", sig, err, out.String(), progress.String())
		}
	}
}

// TestParseSize reads sizes.
func TestParseSize(t *testing.T) {
	for s, want := range map[string]int{"1": 1, "64": 64, "16k": 16384, "16K": 16384, "1m": 1 << 20, "16M": 16 << 20,
		"": 0, "k": 0, "0": 0, "-1": 0, "1.5k": 0, "17m": 0, "1kb": 0, "0x10": 0} {
		if n, err := parseSize(s); n != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v; want %d", s, n, err, want)
		}
	}
}
