package interop

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
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

// follow makes o call ask now and then between its writes, and wait for the handshake that follows, or p's end.
func (h *handshakes) follow(o *command, p *party, ask func() error) {
	h.asked = 1
	o.every = 100 * volume / 10_000_003
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

// until waits for something that other goroutines bring about.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	tlstest.Must(t, eventually(what, f))
}

func eventually(what string, f func() bool) error {
	for deadline := time.Now().Add(limit); !f(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("not in time: %s", what)
		}
	}
	return nil
}

// rekeyConfigs are a server's and a client's settings that allow renegotiation.
func rekeyConfigs(v cssl.TLSVersion, cert string, server, client *handshakes) (s, c cssl.Config) {
	s = cssl.Config{
		Certificates: []cssl.Certificate{certificate(cert)}, MinVersion: v, MaxVersion: v,
		Renegotiation: true, MaxRenegotiations: 1 << 20, MaxMessages: 1 << 20,
		NoTickets: true, // so that each renegotiation is a full handshake, with the certificates
	}
	c = cssl.Config{
		CAFile: testcerts.Path("root.pem"), MinVersion: v, MaxVersion: v,
		Renegotiation: true, MaxRenegotiations: 1 << 20, MaxMessages: 1 << 20,
	}
	if server != nil {
		s.KeyLog = server
	}
	if client != nil {
		c.KeyLog = client
	}
	return s, c
}

// wants counts the results of a client's operations.
type wants struct {
	n [8][16]atomic.Int64
}

func (w *wants) trace(_ *reactor.Conn, op tlsio.Op, r tlsio.Result) {
	if r.Err == nil {
		w.n[op][r.Want].Add(1)
	}
}

// crossings says how often a read wanted to write and a write wanted to read, on either side.
func crossings(srv *server, w *wants) (readWrites, writeReads int64) {
	r := srv.Stats().Sessions.Results
	readWrites = int64(r[tlsio.OpRead][tlsio.WantWrite]) + w.n[tlsio.OpRead][tlsio.WantWrite].Load()
	writeReads = int64(r[tlsio.OpWrite][tlsio.WantRead]) + w.n[tlsio.OpWrite][tlsio.WantRead].Load()
	return readWrites, writeReads
}

// TestRenegotiationOurs: TLS 1.2 renegotiations from either side in the midst of streaming
// both ways. SSL_read answers WANT_WRITE and SSL_write answers WANT_READ, and no byte
// is out of order (P07, P08, P09). The certificate chain is larger than the tail and the
// socket's buffers, so that the handshake itself gets stuck.
func TestRenegotiationOurs(t *testing.T) {
	for _, side := range []string{"client", "server"} {
		t.Run(side, func(t *testing.T) {
			var hs handshakes
			sc, cc := rekeyConfigs(cssl.TLS12, "big", &hs, nil)
			srv := newServer(t, sc, 4096, 4096)
			var w wants
			loop := newLoop(t, w.trace)
			// Enough for several renegotiations one after the other, also where volume is scaled down.
			size := max(volume, 4_000_000)
			s, p := newParty(false, false, size), newParty(true, false, size)
			s.outside, p.outside, p.closes = true, true, true
			srv.expect(s)
			attach(t, loop, srv.addr, clientContext(t, cc), cssl.ConnConfig{ServerName: "localhost"}, 4096, 4096, p)
			sconn, cconn := s.opened(t), p.opened(t)
			conn := map[string]*reactor.Conn{"client": cconn, "server": sconn}[side]
			// A new one as soon as the last is over. One that is asked for just before
			// that is refused without a word, so it is asked for again soon.
			go func() {
				for {
					before := hs.n.Load()
					conn.Renegotiate()
					for start := time.Now(); hs.n.Load() == before && time.Since(start) < 50*time.Millisecond; {
						time.Sleep(time.Millisecond)
						select {
						case <-p.over:
							return
						default:
						}
					}
				}
			}()
			p.wait(t)
			s.wait(t)
			rw, wr := crossings(srv, &w)
			t.Logf("%d handshakes; SSL_read wanted to write %d times, SSL_write wanted to read %d times", hs.n.Load(), rw, wr)
			if hs.n.Load() < 3 || rw == 0 || wr == 0 {
				t.Error("want a few handshakes, and each of these wants")
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
			_, cc := rekeyConfigs(cssl.TLS12, "rsa", nil, &hs)
			cc.Certificates = []cssl.Certificate{certificate("client")} // R asks for one
			o, addr := startServer(t, append(certFlags("rsa"), "-tls1_2", "-naccept", "1", "-CAfile", testcerts.Path("root.pem"))...)
			p := newParty(true, true, volume).set(true, true)
			attach(t, newLoop(t, nil), addr, clientContext(t, cc), cssl.ConnConfig{ServerName: "localhost"}, 0, 0, p)
			p.opened(t)
			hs.follow(o, p, func() error { return o.command(letter) })
			o.exchange(downSeed, upSeed, volume).wait2(t, p)
			hs.expect(t)
		})
	}
}

// wait2 waits for our side and then for openssl's.
func (o *outcome) wait2(t *testing.T, p *party) {
	t.Helper()
	p.wait(t)
	o.wait(t)
}

// TestRenegotiationSClient: openssl s_client starts renegotiations (its command R)
// in the midst of its stream to us. Our own stream rests meanwhile: s_client drives its
// handshake by SSL_write, to which application data is a protocol error.
func TestRenegotiationSClient(t *testing.T) {
	var hs handshakes
	sc, _ := rekeyConfigs(cssl.TLS12, "ecdsa", &hs, nil)
	srv := newServer(t, sc, 0, 0)
	s := srv.expect(newParty(false, true, volume).set(true, true))
	o := start(t, "s_client", "-connect", srv.addr, "-tls1_2", "-CAfile", testcerts.Path("root.pem"))
	conn := s.opened(t)
	var run *outcome
	began := make(chan struct{})
	hs.follow(o, s, func() error { return o.command("R") })
	ask := o.pause
	o.pause = func() error {
		<-began
		s.hold.Lock()
		defer s.hold.Unlock()
		// What was on its way must have been read.
		if err := eventually("silence", func() bool { return run.got.Load() == s.written.Load() && conn.Queued() == 0 }); err != nil {
			return err
		}
		return ask()
	}
	run = o.exchange(upSeed, downSeed, volume)
	close(began)
	run.wait2(t, s)
	hs.expect(t)
}

// TestRenegotiationGoClient: our server asks Go's client for renegotiations between
// parts of the streams. Go's client takes application data in the midst of a handshake
// for an error, and its Write fails there, so both rest meanwhile.
func TestRenegotiationGoClient(t *testing.T) {
	var hs handshakes
	sc, _ := rekeyConfigs(cssl.TLS12, "ecdsa", &hs, nil)
	srv := newServer(t, sc, 0, 0)
	s := srv.expect(newParty(false, false, volume).set(true, false))
	c := tlstest.Value(tls.Dial("tcp", srv.addr, &tls.Config{
		RootCAs: goRoots(t), ServerName: "localhost", MaxVersion: tls.VersionTLS12, Renegotiation: tls.RenegotiateFreelyAsClient,
	}))(t)
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	conn := s.opened(t)
	var got atomic.Int64
	received := tlstest.Later(func() error {
		in, buf := newStream(downSeed, false), make([]byte, 20011)
		for { // also when all has come: Read is what makes the client take part in renegotiations
			k, err := c.Read(buf)
			if cerr := in.check(buf[:k]); cerr != nil {
				err = cerr
			}
			if err != nil {
				return err
			}
			got.Store(in.pos)
		}
	})
	out := newSender(upSeed, false, volume)
	var sent int64
	hs.asked = 1
	for b := out.next(); b != nil; b = out.next() {
		tlstest.Value(c.Write(b))(t)
		sent += int64(len(b))
		if out.turn%(150*volume/10_000_003) != 0 {
			continue
		}
		s.hold.Lock()
		until(t, "silence", func() bool {
			return got.Load() == s.written.Load() && conn.Queued() == 0 && s.got.Load() == sent
		})
		conn.Renegotiate()
		hs.asked++
		until(t, "renegotiation", func() bool { return hs.n.Load() >= hs.asked || len(received) > 0 })
		// Ours is done a moment before Go's client has read the last message. This waits for it.
		_ = c.ConnectionState()
		s.hold.Unlock()
	}
	until(t, "all bytes", func() bool { return got.Load() == int64(volume) || len(received) > 0 })
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	s.wait(t)
	if err := <-received; err != io.EOF || got.Load() != int64(volume) {
		t.Errorf("%d bytes came, and then %v", got.Load(), err)
	}
	hs.expect(t)
}

// keyUpdates counts the KeyUpdate messages that s_client or s_server noted with -msg.
func keyUpdates(t *testing.T, file string) (in, out int) {
	t.Helper()
	b := tlstest.Value(os.ReadFile(file))(t)
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "KeyUpdate") {
			if strings.HasPrefix(line, "<<<") {
				in++
			} else {
				out++
			}
		}
	}
	return in, out
}

// TestKeyUpdateOpenSSL: KeyUpdates from both sides while both stream (P16, P34). The
// command K asks the peer for one too, k does not.
func TestKeyUpdateOpenSSL(t *testing.T) {
	for _, letter := range []string{"K", "k"} {
		t.Run("s_client "+letter, func(t *testing.T) {
			sc, _ := rekeyConfigs(cssl.TLS13, "ecdsa", nil, nil)
			srv := newServer(t, sc, 0, 0)
			s := srv.expect(newParty(false, true, volume).set(true, true))
			msgs := filepath.Join(t.TempDir(), "msg")
			o := start(t, "s_client", "-connect", srv.addr, "-tls1_3", "-CAfile", testcerts.Path("root.pem"), "-msg", "-msgfile", msgs)
			streamWithKeyUpdates(t, o, letter, s, msgs, upSeed, downSeed)
		})
		t.Run("s_server "+letter, func(t *testing.T) {
			_, cc := rekeyConfigs(cssl.TLS13, "ecdsa", nil, nil)
			msgs := filepath.Join(t.TempDir(), "msg")
			o, addr := startServer(t, append(certFlags("ecdsa"), "-tls1_3", "-naccept", "1", "-msg", "-msgfile", msgs)...)
			p := newParty(true, true, volume).set(true, true)
			attach(t, newLoop(t, nil), addr, clientContext(t, cc), cssl.ConnConfig{ServerName: "localhost"}, 0, 0, p)
			streamWithKeyUpdates(t, o, letter, p, msgs, downSeed, upSeed)
		})
	}
}

func streamWithKeyUpdates(t *testing.T, o *command, letter string, p *party, msgs string, send, receive uint64) {
	t.Helper()
	conn := p.opened(t)
	commands, ours := 0, 0
	o.every = 50 * volume / 10_000_003
	o.pause = func() error {
		conn.KeyUpdate(ours%2 == 0)
		ours++
		commands++
		return o.command(letter)
	}
	o.exchange(send, receive, volume).wait2(t, p)
	o.end()
	in, out := keyUpdates(t, msgs)
	t.Logf("%d commands, openssl sent %d KeyUpdates and received %d", commands, out, in)
	if commands < 3 || out < commands {
		t.Errorf("openssl sent %d KeyUpdates for %d commands", out, commands)
	}
	if in < 2 || letter == "K" && in < commands {
		t.Errorf("openssl received %d KeyUpdates, %d were asked for", in, commands)
	}
}

// TestKeyUpdateGo: our KeyUpdates, with and without a request, to Go's client while both
// stream.
func TestKeyUpdateGo(t *testing.T) {
	sc, _ := rekeyConfigs(cssl.TLS13, "ecdsa", nil, nil)
	srv := newServer(t, sc, 0, 0)
	s := newParty(false, false, volume)
	s.outside = true
	// Paced by bytes: Go's client refuses more than 16 in a row without data between them. And
	// not near the end: a request that reaches it after its CloseWrite makes it answer
	// nothing and keep the old key, so that what follows is a bad MAC to it.
	asked, last := 0, int64(0)
	s.wrote = func(c *reactor.Conn, n int64) {
		if n > last+int64(volume)/30 && n < int64(volume)*2/3 {
			c.KeyUpdate(asked%2 == 0)
			asked, last = asked+1, n
		}
	}
	srv.expect(s)
	c := tlstest.Value(tls.Dial("tcp", srv.addr, &tls.Config{RootCAs: goRoots(t), ServerName: "localhost"}))(t)
	if err := goExchange(c, upSeed, downSeed, volume, true); err != nil {
		t.Error(err)
	}
	s.wait(t)
	if n := srv.Stats().Sessions.Results[tlsio.OpKeyUpdate][tlsio.WantNone]; n < 3 {
		t.Errorf("%d KeyUpdates, want a few", n)
	}
}

// TestKeyUpdateOurs: KeyUpdates from both sides at once, each asking for the other's,
// with socket buffers so small that writes wait (P16, P34).
func TestKeyUpdateOurs(t *testing.T) {
	sc, cc := rekeyConfigs(cssl.TLS13, "ecdsa", nil, nil)
	srv := newServer(t, sc, 4096, 4096)
	var w wants
	s, p := newParty(false, false, volume), newParty(true, false, volume)
	s.outside, p.outside, p.closes = true, true, true
	for _, side := range []*party{s, p} {
		asked, last := 0, int64(0)
		side.wrote = func(c *reactor.Conn, n int64) {
			if n > last+int64(volume)/200 {
				c.KeyUpdate(asked%3 != 0)
				asked, last = asked+1, n
			}
		}
	}
	srv.expect(s)
	attach(t, newLoop(t, w.trace), srv.addr, clientContext(t, cc), cssl.ConnConfig{ServerName: "localhost"}, 4096, 4096, p)
	p.wait(t)
	s.wait(t)
	// After a want, Handshake continues it, so that each is counted once.
	results := srv.Stats().Sessions.Results[tlsio.OpKeyUpdate]
	if n := results[tlsio.WantNone] + results[tlsio.WantWrite]; n < 3 {
		t.Errorf("%d KeyUpdates of the server, want a few", n)
	}
	if n := w.n[tlsio.OpKeyUpdate][tlsio.WantNone].Load(); n < 3 {
		t.Errorf("%d KeyUpdates of the client, want a few", n)
	}
}
