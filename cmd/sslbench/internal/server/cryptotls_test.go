package server

import (
	"os"
	"testing"
)

// TestGoServer: bad settings are named.
func TestGoServer(t *testing.T) {
	for _, test := range []struct {
		s    GoServer
		says string
	}{
		{GoServer{Service: "chat"}, `--service "chat": want echo, reverse or discard`},
		{GoServer{Service: "echo", MaxVersion: "1.1"}, `--max-version "1.1": want 1.2 or 1.3`},
		{GoServer{Service: "echo", Cert: "/nonexistent.pem"}, "--cert /nonexistent.pem"},
	} {
		contains(t, test.s.Run(os.Stdout), test.says)
	}
}
