package interop

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
)

// handshakes counts the TLS 1.2 handshakes of a Context: each leaves a line in the key log.
type handshakes struct {
	n     atomic.Int64
	asked int64 // the first one and those that followed ask
}

// Write implements io.Writer.
func (h *handshakes) Write(p []byte) (int, error) {
	h.n.Add(int64(bytes.Count(p, []byte("CLIENT_RANDOM"))))
	return len(p), nil
}

// follow makes o call ask between its writes, of ten million bytes after each so many, and wait for the handshake that follows,
// or p's end.
func (h *handshakes) follow(o *peer, p *party, every int, ask func() error) {
	h.asked = 1
	o.every = every * volume / 10_000_003
	o.pause = func() error {
		if err := ask(); err != nil {
			return err
		}
		h.asked++
		return eventually("renegotiation", func() bool { return h.n.Load() >= h.asked || len(p.done) > 0 })
	}
}

// expect fails the test unless there were as many handshakes as were asked for, and a few.
func (h *handshakes) expect(t *testing.T) {
	t.Helper()
	if n := h.n.Load(); n < 4 || n != h.asked {
		t.Errorf("%d handshakes, want %d and more than 3", n, h.asked)
	}
}

// rekeyClient are a client's settings that allow renegotiation.
func rekeyClient(c combo, log *handshakes) cssl.Config {
	cfg := c.clientConfig()
	cfg.Renegotiation, cfg.MaxRenegotiations, cfg.MaxMessages = true, 1<<20, 1<<20
	if log != nil {
		cfg.KeyLog = log
	}
	return cfg
}

// rekeyServer are a server's.
func rekeyServer(c combo, log *handshakes) cssl.Config {
	cfg := rekeyClient(c, log)
	cfg.CAFile, cfg.Certificates = "", []cssl.Certificate{certificate(c.cert)}
	cfg.NoTickets = true // so that each renegotiation is a full handshake, with the certificates
	return cfg
}

// results are what both sides' operations of a kind led to.
func results(srv *server, client *reactor.Loop, op tlsio.Op, want tlsio.Want) (server, clients uint64) {
	return srv.Stats().Sessions.Results[op][want], client.Stats().Sessions.Results[op][want]
}

// TestRenegotiationOurs: TLS 1.2 renegotiations from either side in the midst of streaming
// both ways. SSL_read answers WANT_WRITE and SSL_write answers WANT_READ, and no byte
// is out of order (P07, P08, P09). The certificate chain is larger than the tail and the
// socket's buffers, so that the handshake itself gets stuck.
func TestRenegotiationOurs(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			var hs handshakes
			c := combo{feature{cert: "big"}, cssl.TLS12}
			srv, loop := newServer(t, rekeyServer(c, &hs), 4096), newLoop(t)
			// Enough for several renegotiations one after the other, also where volume is scaled down.
			size := max(volume, 4_000_000)
			s, p := srv.expect(newParty(false, false, size).set(true, false)), newParty(true, false, size).set(true, true)
			attach(t, loop, srv.addr, clientContext(t, rekeyClient(c, nil)), localhost, 4096, p)
			conn := map[string]*reactor.Conn{"client": p.opened(t), "server": s.opened(t)}[side]
			// A new one as soon as the last is over. One that is asked for just before
			// that is refused without a word, so it is asked for again soon.
			go func() {
				for !p.over.Load() {
					before := hs.n.Load()
					conn.Renegotiate()
					for start := time.Now(); hs.n.Load() == before && time.Since(start) < 50*time.Millisecond && !p.over.Load(); {
						time.Sleep(time.Millisecond)
					}
				}
			}()
			p.wait(t)
			s.wait(t)
			read1, read2 := results(srv, loop, tlsio.OpRead, tlsio.WantWrite)
			write1, write2 := results(srv, loop, tlsio.OpWrite, tlsio.WantRead)
			if n := hs.n.Load(); n < 3 || read1+read2 == 0 || write1+write2 == 0 {
				t.Errorf("%d handshakes; SSL_read wanted to write %d times, SSL_write wanted to read %d times; want a few of each",
					n, read1+read2, write1+write2)
			}
		})
	}
}

// TestRenegotiationSServer: openssl s_server asks for renegotiations (its commands r
// and R) while both sides stream.
func TestRenegotiationSServer(t *testing.T) {
	for _, letter := range []string{"r", "R"} {
		t.Run(letter, func(t *testing.T) {
			var hs handshakes
			cc := rekeyClient(ecdsa12, &hs)
			cc.Certificates = []cssl.Certificate{certificate("client")} // R asks for one
			o, addr := startServer(t, append(ecdsa12.serverFlags(), "-CAfile", testcerts.Path("root.pem"))...)
			p := newParty(true, true, volume).set(true, true)
			attach(t, newLoop(t), addr, clientContext(t, cc), localhost, 0, p)
			p.opened(t)
			hs.follow(&o.peer, p, 100, func() error { return o.command(letter) })
			o.exchange(down, up, volume).and(t, p)
			hs.expect(t)
		})
	}
}

// quietly makes ask wait until neither side has anything on its way, and the side that is s keeps silent during it.
func quietly(o *peer, s *party, ask func() error) func() error {
	return func() error {
		s.hold.Lock()
		defer s.hold.Unlock()
		if err := eventually("silence", func() bool {
			return o.got.Load() == s.written.Load() && s.conn.Load().Queued() == 0 || len(s.done) > 0
		}); err != nil {
			return err
		}
		return ask()
	}
}

// TestRenegotiationSClient: openssl s_client starts renegotiations (its command R)
// in the midst of its stream to us. Our own stream rests meanwhile: s_client drives its
// handshake by SSL_write, to which application data is a protocol error.
func TestRenegotiationSClient(t *testing.T) {
	var hs handshakes
	srv := newServer(t, rekeyServer(ecdsa12, &hs), 0)
	s := srv.expect(newParty(false, true, volume).set(true, true))
	o := start(t, ecdsa12.clientFlags(srv.addr)...)
	s.opened(t)
	hs.follow(&o.peer, s, 100, func() error { return o.command("R") })
	o.pause = quietly(&o.peer, s, o.pause)
	o.exchange(up, down, volume).and(t, s)
	hs.expect(t)
}

// TestRenegotiationGoClient: our server asks Go's client for renegotiations between
// parts of the streams. Go's client takes application data in the midst of a handshake
// for an error, and its Write fails there, so both rest meanwhile.
func TestRenegotiationGoClient(t *testing.T) {
	var hs handshakes
	srv := newServer(t, rekeyServer(ecdsa12, &hs), 0)
	s := srv.expect(newParty(false, false, volume).set(true, true))
	cfg := ecdsa12.goConfig(t, "")
	cfg.Renegotiation = tls.RenegotiateFreelyAsClient
	c := goDial(t, srv.addr, cfg)
	o := &peer{in: c, out: c}
	conn := s.opened(t)
	hs.follow(o, s, 150, func() error {
		err := eventually("all has come that was sent", func() bool { return s.got.Load() == o.gave || len(s.done) > 0 })
		conn.Renegotiate()
		return err
	})
	ask := o.pause
	o.pause = quietly(o, s, func() error {
		defer c.ConnectionState() // our handshake is done a moment before Go's client has read the last message: this waits for it
		return ask()
	})
	o.exchange(up, down, volume).wait(t)
	c.Close()
	s.wait(t)
	hs.expect(t)
}

// TestKeyUpdateOpenSSL: KeyUpdates from both sides while both stream (P16, P34). The
// command K asks the peer for one too, k does not.
func TestKeyUpdateOpenSSL(t *testing.T) {
	for _, letter := range []string{"K", "k"} {
		t.Run("s_client "+letter, func(t *testing.T) {
			srv := newServer(t, rekeyServer(ecdsa13, nil), 0)
			s := srv.expect(newParty(false, true, volume).set(true, true))
			msgs := filepath.Join(t.TempDir(), "msg")
			o := start(t, ecdsa13.clientFlags(srv.addr, "-msg", "-msgfile", msgs)...)
			streamWithKeyUpdates(t, o, letter, s, msgs, up, down)
		})
		t.Run("s_server "+letter, func(t *testing.T) {
			msgs := filepath.Join(t.TempDir(), "msg")
			o, addr := startServer(t, append(ecdsa13.serverFlags(), "-msg", "-msgfile", msgs)...)
			p := newParty(true, true, volume).set(true, true)
			attach(t, newLoop(t), addr, clientContext(t, rekeyClient(ecdsa13, nil)), localhost, 0, p)
			streamWithKeyUpdates(t, o, letter, p, msgs, down, up)
		})
	}
}

func streamWithKeyUpdates(t *testing.T, o *program, letter string, p *party, msgs string, send, receive int) {
	t.Helper()
	conn, commands := p.opened(t), 0
	o.every = 50 * volume / 10_000_003
	o.pause = func() error {
		conn.KeyUpdate(commands%2 == 0)
		commands++
		return o.command(letter)
	}
	o.exchange(send, receive, volume).and(t, p)
	o.end()
	// The messages that openssl noted with -msg.
	in, out := 0, 0
	for line := range strings.Lines(string(tlstest.Value(os.ReadFile(msgs))(t))) {
		switch {
		case !strings.Contains(line, "KeyUpdate"):
		case strings.HasPrefix(line, "<<<"):
			in++
		default:
			out++
		}
	}
	if commands < 3 || out < commands {
		t.Errorf("openssl sent %d KeyUpdates for %d commands", out, commands)
	}
	if in < 2 || letter == "K" && in < commands {
		t.Errorf("openssl received %d KeyUpdates, %d were asked for", in, commands)
	}
}

// everySo makes a party start a KeyUpdate after each so many bytes, as long as it has written less than an end. Of as many as
// asks says the last asks for none of the peer's.
func (p *party) everySo(bytes, end int64, asks int) {
	started, last := 0, int64(0)
	p.wrote = func(c *reactor.Conn, n int64) {
		if n > last+bytes && n < end {
			started, last = started+1, n
			c.KeyUpdate(started%asks != 0)
		}
	}
}

// TestKeyUpdateGo: our KeyUpdates, with and without a request, to Go's client while both
// stream.
func TestKeyUpdateGo(t *testing.T) {
	srv := newServer(t, rekeyServer(ecdsa13, nil), 0)
	s := newParty(false, false, volume).set(true, false)
	// Paced by bytes: Go's client refuses more than 16 in a row without data between them. And
	// not near the end: a request that reaches it after its CloseWrite makes it answer
	// nothing and keep the old key, so that what follows is a bad MAC to it.
	s.everySo(int64(volume)/30, int64(volume)*2/3, 2)
	srv.expect(s)
	tlstest.Must(t, goExchange(goDial(t, srv.addr, ecdsa13.goConfig(t, "")), up, down, volume, true))
	s.wait(t)
	if n := srv.Stats().Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone]; n < 3 {
		t.Errorf("%d KeyUpdates, want a few", n)
	}
}

// TestKeyUpdateOurs: KeyUpdates from both sides at once, each asking for the other's,
// with socket buffers so small that writes wait (P16, P34).
func TestKeyUpdateOurs(t *testing.T) {
	srv, loop := newServer(t, rekeyServer(ecdsa13, nil), 4096), newLoop(t)
	s, p := newParty(false, false, volume).set(true, false), newParty(true, false, volume).set(true, true)
	for _, side := range []*party{s, p} {
		side.everySo(int64(volume)/200, int64(volume), 3)
	}
	srv.expect(s)
	attach(t, loop, srv.addr, clientContext(t, rekeyClient(ecdsa13, nil)), localhost, 4096, p)
	p.wait(t)
	s.wait(t)
	// After a want, Handshake continues it, so that each is counted once.
	done1, done2 := results(srv, loop, tlsio.OpKeyUpdate, tlsio.WantNone)
	begun1, begun2 := results(srv, loop, tlsio.OpKeyUpdate, tlsio.WantWrite)
	if server, client := done1+begun1, done2+begun2; server < 3 || client < 3 {
		t.Errorf("%d KeyUpdates of the server and %d of the client, want a few", server, client)
	}
}
