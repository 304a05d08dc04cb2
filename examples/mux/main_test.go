package main

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// v2Header is a header of version 2 with its command, family and addresses.
func v2Header(kind, addrs string) string {
	return v2 + kind + "\x00" + string(rune(len(addrs))) + addrs
}

// TestPort: each kind of header with TLS and with HTTP behind it, all at once and byte by byte.
func TestPort(t *testing.T) {
	s := exampletest.Start(t, run)
	for name, tc := range map[string]struct{ header, remote string }{
		"none":         {"", ""},
		"v1, IPv4":     {"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n", "192.0.2.1:1234"},
		"v1, IPv6":     {"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n", "[2001:db8::1]:1234"},
		"v1, unknown":  {"PROXY UNKNOWN\r\n", ""},
		"v2, IPv4":     {v2Header("\x21\x11", "\xc0\x00\x02\x01\xc0\x00\x02\x02\x04\xd2\x01\xbb"), "192.0.2.1:1234"},
		"v2, IPv6":     {v2Header("\x21\x21", "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 28)+"\x04\xd2\x01\xbb"), "[2001:db8::]:1234"},
		"v2, no proxy": {v2Header("\x20\x00", ""), ""},
	} {
		for _, step := range []int{1, 1000} {
			raw := s.Connect(t)
			for rest := tc.header; rest != ""; rest = rest[min(step, len(rest)):] {
				io.WriteString(raw, rest[:min(step, len(rest))])
			}
			c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
			line, err := bufio.NewReader(c).ReadString('\n')
			if want := "hello " + cmp.Or(tc.remote, raw.LocalAddr().String()) + "\n"; err != nil || line != want {
				t.Errorf("%s: it says %q, %v, want %q", name, line, err, want)
			}
			c.Close()

			raw = s.Connect(t)
			io.WriteString(raw, tc.header+"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if got := string(tlstest.Value(io.ReadAll(raw))(t)); !strings.Contains(got, "Location: https://localhost/page\r\n") {
				t.Errorf("%s: it says %q", name, got)
			}
		}
	}
}

// TestBad: what is none of them.
func TestBad(t *testing.T) {
	s := exampletest.Start(t, run)
	for _, sends := range []string{"PROXY TCP4 192.0.2.1\r\n", "PROXY TCP4 a b c d\r\n", "PROXY " + strings.Repeat("x", 200), v2Header("\x31\x11", "")} {
		raw := s.Connect(t)
		io.WriteString(raw, sends)
		if got, _ := io.ReadAll(raw); len(got) != 0 {
			t.Errorf("to %q it says %q", sends, got)
		}
	}
	for _, sends := range []string{"x\r\n\r\n", "hello\r\n\r\n", strings.Repeat("x", maxRequest+1)} {
		raw := s.Connect(t)
		io.WriteString(raw, sends)
		if got, _ := io.ReadAll(raw); !strings.HasPrefix(string(got), "HTTP/1.1 400 ") {
			t.Errorf("to %.20q it says %q", sends, got)
		}
	}
}

// TestCurl: curl, if it is installed, with a PROXY header too.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	s := exampletest.Start(t, run)
	for _, args := range [][]string{nil, {"--haproxy-protocol"}} {
		out, err := exec.CommandContext(t.Context(), "curl", append(args, "-si", "http://"+s.Addr+"/page")...).CombinedOutput()
		if want := "Location: https://" + s.Addr + "/page\r\n"; err != nil || !strings.Contains(string(out), want) {
			t.Errorf("curl says %q, %v, want %q", out, err, want)
		}
	}
}
