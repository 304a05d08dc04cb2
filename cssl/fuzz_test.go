package cssl

import (
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// FuzzServerName: whatever stands in the extension, a name lies within it.
func FuzzServerName(f *testing.F) {
	f.Add([]byte{0, 12, 0, 0, 9, 'l', 'o', 'c', 'a', 'l', 'h', 'o', 's', 't'})
	f.Add([]byte{0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, ext []byte) {
		if name, ok := serverNameOf(ext); ok && (len(name) == 0 || len(name) > len(ext)-5) {
			t.Errorf("%q from %x", name, ext)
		}
	})
}

// FuzzServerInput: whatever a peer says first, the server waits, or fails with an error that sticks.
func FuzzServerInput(f *testing.F) {
	x, err := NewServerContext(Config{
		Certificates: []Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
		ALPN:         []string{"h2"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(x.Close)
	cx, err := NewClientContext(clientConfig())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(cx.Close)
	c, err := cx.NewEngineConn(ConnConfig{ServerName: "localhost"})
	if err != nil {
		f.Fatal(err)
	}
	defer c.Close()
	c.Handshake()
	hello := make([]byte, 4096)
	f.Add(hello[:c.Take(hello)])
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		s, err := x.NewEngineConn(ConnConfig{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for len(input) > 0 {
			n := s.Feed(input)
			input = input[n:]
			r := s.Handshake()
			if r.Want == WantNone && r.Err == nil {
				t.Fatal("a handshake was done with what the peer cannot know")
			}
			if r.Err != nil {
				if again := s.Handshake(); again.Err != r.Err {
					t.Fatalf("%v, and then %v", r.Err, again.Err)
				}
				return
			}
			if n == 0 {
				return
			}
		}
	})
}
