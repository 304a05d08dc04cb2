package cssl

import (
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// promptly is the result of an operation that must not wait. One that does ends the process: nothing may be freed below it.
func promptly(what string, op func() tlsio.Result) tlsio.Result {
	defer time.AfterFunc(time.Minute, func() { panic(what + " waits") }).Stop()
	return op()
}

// TestSocketMadeBlocking (P41): whoever shares the socket can make it block at any time, such as by os.File's Fd. No operation
// waits for all that.
func TestSocketMadeBlocking(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for _, version := range versions {
			t.Run(network+" "+version.String(), func(t *testing.T) {
				cx, sx := mode{version: version, ahead: true, cert: "ecdsa"}.contexts(t)
				c, s := socketEnds(t, network, true, cx, sx)
				for _, e := range []*endpoint{c, s} {
					tlstest.Must(t, syscall.SetNonblock(e.c.fd, false))
				}
				if r := promptly("Handshake", s.c.Handshake); r.Want != tlsio.WantRead {
					t.Fatalf("the server's Handshake, before there was a hello: %+v", r)
				}
				promptly("the handshake", func() tlsio.Result {
					runSockets(t, c, s, func() bool { return c.established() && s.established() })
					return tlsio.Result{}
				})
				if r := promptly("Read", func() tlsio.Result { return s.c.Read(s.readBuf) }); r.Want != tlsio.WantRead {
					t.Errorf("Read: %+v", r)
				}
				p := make([]byte, 16<<10)
				for r := (tlsio.Result{}); r.Want != tlsio.WantWrite; {
					if r = promptly("Write", func() tlsio.Result { return s.c.Write(p) }); r.Err != nil {
						t.Fatalf("Write: %+v", r)
					}
				}
				for what, op := range map[string]func() tlsio.Result{"Flush": s.c.Flush, "Shutdown": s.c.Shutdown,
					"KeyUpdate": func() tlsio.Result { return s.c.KeyUpdate(true) }, "Handshake": s.c.Handshake} {
					promptly(what, op)
				}
			})
		}
	}
}

// TestBlockingConn: where it is asked for, the operations wait as long as the socket does.
func TestBlockingConn(t *testing.T) {
	cx, sx := mode{version: TLS13, ahead: true, cert: "ecdsa"}.contexts(t)
	cfd, sfd := socketPair(t, "unix", false)
	defer syscall.Close(cfd)
	defer syscall.Close(sfd)
	sc := tlstest.Value(sx.NewBlockingConn(sfd, ConnConfig{}))(t)
	defer sc.Close()
	if r := sc.Handshake(); r.Want != tlsio.WantRead || r.In {
		t.Fatalf("Handshake over a socket that does not block: %+v", r)
	}
	tlstest.Must(t, syscall.SetNonblock(sfd, false))
	cc := tlstest.Value(cx.NewConn(cfd, ConnConfig{ServerName: "localhost"}))(t)
	defer cc.Close()
	done := make(chan tlsio.Result, 1)
	go func() {
		for {
			if r := sc.Handshake(); r.Want == tlsio.WantNone || !r.In { // In: a recv came back short
				done <- r
				return
			}
		}
	}()
	for r := (tlsio.Result{Want: tlsio.WantRead}); r.Want != tlsio.WantNone; {
		if r = cc.Handshake(); r.Err != nil {
			t.Fatal(r.Err)
		}
		time.Sleep(time.Millisecond)
	}
	if r := <-done; r.Err != nil || r.Want != tlsio.WantNone {
		t.Errorf("Handshake: %+v", r)
	}
	if _, err := sx.NewBlockingConn(-1, ConnConfig{}); err == nil {
		t.Error("there is a connection over no socket")
	}
}
