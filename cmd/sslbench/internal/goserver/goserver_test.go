package goserver

import (
	"strings"
	"testing"
)

// TestSettings: bad settings are named. That the servers serve, the tests of
// package server show.
func TestSettings(t *testing.T) {
	for _, test := range []struct {
		s    Server
		says string
	}{
		{Server{Addr: "127.0.0.1:0", Service: "shout", Stack: "crypto/tls"}, `service "shout"`},
		{Server{Addr: "127.0.0.1:0", Service: "http", Stack: "none"}, `over "none"`},
		{Server{Addr: "127.0.0.1:0", Service: "echo", Stack: "sslhttp"}, `over "sslhttp"`},
		{Server{Addr: "127.0.0.1", Service: "echo"}, "missing port"},
		{Server{Addr: "127.0.0.1:0", Service: "http", Stack: "crypto/tls", Cert: "/none.pem"}, "/none.pem"},
		{Server{Addr: "127.0.0.1:0", Service: "http", Stack: "sslhttp", Cert: "/none.pem"}, "/none.pem"},
	} {
		if err := test.s.Run(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v, want %q", test.s, err, test.says)
		}
	}
}
