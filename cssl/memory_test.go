package cssl

import "testing"

// TestTrimMemory: what lives is left alone.
func TestTrimMemory(t *testing.T) {
	p := newPair(t, mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa")))
	p.handshake()
	for range 100 {
		c, err := mustServer(t, serverConfig("ecdsa")).NewEngineConn(ConnConfig{})
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	TrimMemory()
	if r := p.client.Write([]byte("after")); r.Err != nil {
		t.Fatal(r.Err)
	}
	p.move(p.client, p.server)
	if r := p.server.Read(p.buf); r.N != 5 || string(p.buf[:5]) != "after" {
		t.Fatalf("%+v %q", r, p.buf[:r.N])
	}
}
