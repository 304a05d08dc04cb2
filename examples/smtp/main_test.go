package main

import (
	"bytes"
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

// says sends text and wants the response.
func says(t *testing.T, c io.ReadWriter, text, response string) {
	t.Helper()
	tlstest.Value(io.WriteString(c, text))(t)
	p := make([]byte, len(response))
	n, _ := io.ReadFull(c, p)
	tlstest.Equal(t, "the response to "+text, string(p[:n]), response)
}

const greeting, noTLS, goAhead = "220 localhost ESMTP\r\n", "530 Must issue a STARTTLS command first\r\n", "220 go ahead\r\n"

// TestMail: no mail without TLS, and one with it; commands come together, and in pieces.
func TestMail(t *testing.T) {
	raw := exampletest.Start(t, run).Connect(t)
	says(t, raw, "", greeting)
	says(t, raw, "EHLO me\r\nMAIL FROM:<a>\r\n", "250-localhost\r\n250 STARTTLS\r\n"+noTLS)
	says(t, raw, "STARTTLS\r\n", goAhead)
	c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
	defer c.Close()
	says(t, c, "EHLO me\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n", "250 localhost\r\n250 OK\r\n250 OK\r\n354 end with a dot\r\n")
	says(t, c, "Subject: x\r\n\r\nQUIT\r\n.", "")
	says(t, c, "\r\nQUIT\r\n", "250 dropped\r\n221 bye\r\n")
}

// TestInjection: a command in the clear behind STARTTLS gets no response, in the clear or encrypted.
func TestInjection(t *testing.T) {
	raw := exampletest.Start(t, run).Connect(t)
	says(t, raw, "", greeting)
	io.WriteString(raw, "STARTTLS\r\nRSET\r\n")
	p := make([]byte, len(goAhead)+1)
	if n, _ := raw.Read(p); n > 0 && string(p[:n]) != goAhead {
		t.Errorf("the response is %q", p[:n])
	}
	if tls.Client(raw, &tls.Config{InsecureSkipVerify: true}).Handshake() == nil {
		t.Error("the connection goes on")
	}
}

// TestClients: openssl s_client and swaks, if they are installed.
func TestClients(t *testing.T) {
	s := exampletest.Start(t, run)
	for _, tc := range []struct {
		command []string
		says    string
	}{
		{[]string{"openssl", "s_client", "-quiet", "-starttls", "smtp", "-connect", s.Addr}, "250 STARTTLS\r\n221 bye\r\n"},
		{[]string{"swaks", "--server", s.Addr, "--tls", "--from", "a@localhost", "--to", "b@localhost"}, "250 dropped"},
	} {
		t.Run(tc.command[0], func(t *testing.T) {
			if _, err := exec.LookPath(tc.command[0]); err != nil {
				t.Skip(err)
			}
			cmd := exec.CommandContext(t.Context(), tc.command[0], tc.command[1:]...)
			cmd.Stdin = strings.NewReader("QUIT\r\n")
			out, _ := cmd.CombinedOutput()
			if bytes.Contains(out, []byte("requires Net::SSLeay")) {
				t.Skipf("it has no TLS: %s", out)
			}
			if !bytes.Contains(out, []byte(tc.says)) {
				t.Errorf("it says %q, want %q", out, tc.says)
			}
		})
	}
}
