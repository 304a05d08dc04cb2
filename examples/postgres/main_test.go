package main

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// TestClients: psql and openssl s_client, if they are installed. Each says what it wants in its output.
func TestClients(t *testing.T) {
	s := exampletest.Start(t, run)
	_, port, _ := net.SplitHostPort(s.Addr)
	psql := func(settings string, args ...string) []string {
		return append([]string{"psql", "host=localhost hostaddr=127.0.0.1 user=me dbname=db port=" + port + " " + settings, "-XAtc"}, args...)
	}
	trusted := "sslmode=verify-full sslrootcert=" + testcerts.Path("root.pem")
	for _, tc := range []struct {
		name    string
		command []string
		says    string
	}{
		{"require", psql("sslmode=require", "select 1"), "1\n"},
		{"verify-full", psql(trusted, "select of several words;"), "of several words\n"},
		{"disable", psql("sslmode=disable", "select 1"), "this server wants TLS"},
		{"direct TLS", psql("sslnegotiation=direct sslmode=require", "select 1"), "1\n"},
		{"another query", psql(trusted, "delete"), "this server knows SELECT only"},
		{"s_client", []string{"openssl", "s_client", "-starttls", "postgres", "-connect", s.Addr, "-brief"}, "CONNECTION ESTABLISHED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := exec.LookPath(tc.command[0]); err != nil {
				t.Skip(err)
			}
			out, _ := exec.CommandContext(t.Context(), tc.command[0], tc.command[1:]...).CombinedOutput()
			if strings.Contains(string(out), `invalid connection option "sslnegotiation"`) {
				t.Skipf("it is older than 17: %s", out)
			}
			if !strings.Contains(string(out), tc.says) {
				t.Errorf("it says %q, want %q", out, tc.says)
			}
		})
	}
}

// request is a startup message without parameters.
func request(code uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, code)
}

// TestRequests: what the client may send in the clear, byte by byte, and the response.
func TestRequests(t *testing.T) {
	s := exampletest.Start(t, run)
	for _, tc := range []struct {
		name   string
		sends  []byte
		hears  string // before the end, or before TLS
		speaks bool   // TLS then
	}{
		{"SSLRequest", request(codeSSL), "S", true},
		{"GSSENCRequest first", append(request(codeGSS), request(codeSSL)...), "NS", true},
		{"CancelRequest", request(codeCancel), "", false},
		{"StartupMessage", request(3 << 16), string(problem("FATAL", "08P01", "this server wants TLS: use sslmode=require")), false},
		{"something else", []byte("GET / HTTP/1.1\r\n\r\n"), "E", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			raw := s.Connect(t)
			for _, b := range tc.sends {
				raw.Write([]byte{b})
			}
			got := make([]byte, len(tc.hears))
			tlstest.Value(io.ReadFull(raw, got))(t)
			tlstest.Equal(t, "it hears", string(got), tc.hears)
			if tc.speaks {
				tlstest.Must(t, tls.Client(raw, &tls.Config{InsecureSkipVerify: true}).Handshake())
				return
			}
			raw.CloseWrite()
			io.Copy(io.Discard, raw)
		})
	}
}

// TestDirect: a ClientHello at once, with ALPN and without.
func TestDirect(t *testing.T) {
	s := exampletest.Start(t, run)
	for _, protocols := range [][]string{{alpn}, nil} {
		c := tls.Client(s.Connect(t), &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
		tlstest.Must(t, c.Handshake())
		c.Write(request(3 << 16))
		if _, err := io.ReadFull(c, make([]byte, 9)); (err == nil) != (protocols != nil) {
			t.Errorf("with ALPN %q: %v", protocols, err)
		}
	}
}

// TestInjection: a startup message in the clear behind SSLRequest ends the connection.
func TestInjection(t *testing.T) {
	s := exampletest.Start(t, run)
	raw := s.Connect(t)
	raw.Write(append(request(codeSSL), request(3<<16)...))
	if n, _ := raw.Read(make([]byte, 2)); n > 1 {
		t.Error("a request in the clear got a response")
	}
	if tls.Client(raw, &tls.Config{InsecureSkipVerify: true}).Handshake() == nil {
		t.Error("the connection goes on")
	}
}
