package fuzz

import (
	"bytes"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/session"
)

// peer is one side of a connection in engine mode, under a session.
type peer struct {
	session.BaseHandler
	*cssl.Conn
	session.Session
	t      *testing.T
	got    bytes.Buffer
	sent   []byte
	closes int
	err    error
	buf    []byte
}

func (p *peer) OnOpen()           { p.alive() }
func (p *peer) OnData(b []byte)   { p.alive(); p.got.Write(b) }
func (p *peer) OnEOF()            { p.alive(); p.CloseSession() }
func (p *peer) OnClose(err error) { p.alive(); p.closes++; p.err = err }
func (p *peer) CloseSession()     { p.Session.Close(nil) }

func (p *peer) alive() {
	if p.closes > 0 {
		p.t.Fatal("a callback after OnClose")
	}
}

func (p *peer) say(n int) {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(len(p.sent) + i*7)
	}
	if p.Session.Write(b) == nil {
		p.sent = append(p.sent, b...)
	}
}

// turn lets the session do what it can, in a bounded number of turns.
func (p *peer) turn() {
	p.Ready(session.Readable)
	for i := 0; p.Runnable(); i++ {
		p.Ready(0)
		if i > 200 { // what was fed at once is two records at most
			p.t.Fatal("the session does not come to rest")
		}
	}
}

// take is all that the side has to send. Then it has room again.
func (p *peer) take() (out []byte) {
	for i := 0; ; i++ {
		n := p.Take(p.buf)
		if out = append(out, p.buf[:n]...); n == 0 {
			return out
		}
		if i > 1000 {
			p.t.Fatal("output does not end")
		}
		p.Ready(session.Writable)
		p.turn()
	}
}

// hear feeds the side, size bytes at a time.
func (p *peer) hear(b []byte, size int) {
	for i := 0; len(b) > 0; i++ {
		n := p.Feed(b[:min(size, len(b))])
		b = b[n:]
		p.turn()
		if n == 0 && (p.Phase() == session.Closed || p.closes > 0 || i > 100_000) {
			return
		}
		if n == 0 {
			p.take() // what it answers may stand in the way
			if p.Feed(b[:1]) == 0 {
				return // it reads no more
			}
			b = b[1:]
		}
	}
}

// chooser takes choices from the fuzzer's input; when that has ended, zeros.
type chooser struct{ in []byte }

func (c *chooser) byte() (v int) {
	if len(c.in) > 0 {
		v, c.in = int(c.in[0]), c.in[1:]
	}
	return v
}

func (c *chooser) upTo(n int) int { return (c.byte()<<8 | c.byte()) % (n + 1) }

func (c *chooser) bytes(n int) []byte {
	n = min(n, len(c.in))
	b := c.in[:n]
	c.in = c.in[n:]
	return b
}

// mutate changes a genuine flight as the input says.
func (c *chooser) mutate(b []byte) []byte {
	for len(c.in) > 0 && len(b) < 1<<18 {
		op, at := c.byte(), c.upTo(len(b))
		n := min(c.upTo(300), len(b)-at)
		switch op % 7 {
		case 0: // flip
			if at < len(b) {
				b[at] ^= byte(1 + c.byte()%255)
			}
		case 1: // insert
			b = bytes.Join([][]byte{b[:at], c.bytes(c.byte()), b[at:]}, nil)
		case 2: // delete
			b = append(b[:at:at], b[at+n:]...)
		case 3: // truncate
			b = b[:at]
		case 4: // twice
			b = bytes.Join([][]byte{b[:at+n], b[at:]}, nil)
		case 5: // replace
			copy(b[at:], c.bytes(n))
		default: // move to the front
			b = bytes.Join([][]byte{b[at : at+n], b[:at], b[at+n:]}, nil)
		}
	}
	return b
}

const stages = 8

// FuzzCiphertext brings a client and a server to a stage of their connection, takes what one sends the other, changes it
// as the input says, and delivers it. Whatever that is: no crash, the session ends when it is told to, in a bounded
// number of calls, and nothing is handed to the application but what the peer wrote. Unchanged, all of it arrives.
func FuzzCiphertext(f *testing.F) {
	var contexts [2][2]*cssl.Context
	var buffers [2][]byte
	for i, v := range []cssl.TLSVersion{cssl.TLS12, cssl.TLS13} {
		buffers[i] = make([]byte, 1<<15)
		cfg := cssl.Config{MinVersion: v, MaxVersion: v, Renegotiation: true, CAFile: testcerts.Path("root.pem"), ALPN: []string{"h2", "x"},
			MaxMessages: 20, MaxRenegotiations: 5}
		contexts[i][0] = tlstest.Value(cssl.NewClientContext(cfg))(f)
		cfg.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path("ed25519.pem"), KeyFile: testcerts.Path("ed25519.key")}}
		contexts[i][1] = tlstest.Value(cssl.NewServerContext(cfg))(f)
		f.Cleanup(contexts[i][0].Close)
		f.Cleanup(contexts[i][1].Close)
	}
	for kind := range 4 * stages {
		for _, tail := range [][]byte{{}, {0, 0, 0, 30, 0, 0, 1}, {3, 0, 40}, {2, 0, 9, 0, 9}, {4, 0, 0, 0, 60}, {1, 0, 5, 0, 0, 3, 22, 3, 3}} {
			f.Add(append([]byte{byte(kind), 0, 255}, tail...))
		}
	}
	f.Add(append([]byte{0, 1, 255}, "GET / HTTP/1.1\r\n\r\n"...))
	f.Add([]byte{1, 1, 3, 22, 3, 1, 0, 4, 1, 0, 0, 0})
	cfg := &session.Config{HalfClose: true}
	f.Fuzz(func(t *testing.T, input []byte) {
		alive := live.Conns()
		c := &chooser{input}
		kind, raw, size := c.byte(), c.byte()%4 == 1, 1+c.byte()
		if size > 200 {
			size = 1 << 15
		}
		var ends [2]*peer
		for i, x := range contexts[kind&1] {
			conn := tlstest.Value(x.NewEngineConn(cssl.ConnConfig{ServerName: "localhost"}))(t)
			defer conn.Close()
			ends[i] = &peer{Conn: conn, t: t, buf: buffers[i]}
			ends[i].Init(conn, ends[i], cfg)
			ends[i].turn()
		}
		target, other := ends[kind>>1&1], ends[1-kind>>1&1]
		flight, whole := stage(kind>>2%stages, ends[0], ends[1], target, other)
		genuine := bytes.Clone(flight)
		if raw {
			flight = c.bytes(len(c.in))
		} else {
			flight = c.mutate(flight)
		}
		target.hear(flight, size)
		if bytes.Equal(flight, genuine) && whole && !bytes.Equal(target.got.Bytes(), other.sent) {
			t.Fatalf("%d bytes came of %d: %v", target.got.Len(), len(other.sent), target.err)
		}
		// What follows is genuine again, and then both end.
		for range 10 {
			other.hear(target.take(), 1<<15)
			target.hear(other.take(), 1<<15)
		}
		for _, e := range ends {
			if !bytes.HasPrefix(ends[0].sent, ends[1].got.Bytes()) || !bytes.HasPrefix(ends[1].sent, ends[0].got.Bytes()) {
				t.Fatal("bytes came that were not sent")
			}
			e.CloseSession()
			e.turn()
			e.take()
			e.FeedEOF()
			e.turn()
			for range 5 {
				e.take()
				e.Ready(session.Readable | session.Writable)
			}
			if e.closes != 1 {
				t.Fatalf("OnClose came %d times: phase %v, interest %v, runnable %v, queued %d",
					e.closes, e.Phase(), e.Interest(), e.Runnable(), e.Queued())
			}
			e.Conn.Close()
		}
		if n := live.Conns(); n != alive {
			t.Fatalf("%d connections alive, %d before", n, alive)
		}
	})
}

// stage brings a connection to where the target is about to hear what other has to say, and answers that. whole says
// that it carries all that other wrote.
func stage(n int, client, server, target, other *peer) (flight []byte, whole bool) {
	exchange := func(rounds int) {
		for range rounds {
			server.hear(client.take(), 1<<15)
			client.hear(server.take(), 1<<15)
		}
	}
	switch n {
	case 0: // the first flight
		if target == client {
			server.hear(client.take(), 1<<15)
		}
		return other.take(), false
	case 1: // the second
		server.hear(client.take(), 1<<15)
		client.hear(server.take(), 1<<15)
		if target == client {
			server.hear(client.take(), 1<<15)
		}
		return other.take(), false
	}
	exchange(4)
	other.say(100)
	other.turn()
	rekey := func(p *peer) {
		if p.State().Version == cssl.TLS13 {
			_ = p.Session.KeyUpdate(true)
		} else {
			_ = p.Session.Renegotiate()
		}
		p.turn()
	}
	switch n {
	case 2: // application data alone
		other.say(20_000)
	case 3: // the peer asks for a handshake, with data around it
		rekey(other)
	case 4: // the peer's answer to ours
		rekey(target)
		other.hear(target.take(), 1<<15)
	case 5: // after both
		rekey(target)
		exchange(3)
		rekey(other)
		exchange(3)
		other.say(300)
	case 6: // while the target closes
		other.turn()
		first := other.take()
		target.say(500)
		target.CloseSession()
		target.turn()
		return first, false
	case 7: // the peer's end
		other.CloseSession()
	}
	if n != 3 && n != 4 && n != 7 {
		other.say(10)
	}
	other.turn()
	return other.take(), n == 2 || n == 7
}
