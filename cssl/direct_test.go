package cssl

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// directServer is a server with direct records and one suite.
func directServer(t testing.TB, suite gcmSuite, tail int) *Context {
	s := suite.server(RecordsDirect)
	s.Tail = tail
	return mustServer(t, s)
}

// taken takes and opens all that the server has to send.
func (p *recordPeer) taken() []string {
	return p.heard(p.takeAll())
}

// takeAll takes all that the server has to send.
func (p *recordPeer) takeAll() (sent []byte) {
	for n := p.server.Take(p.buf); n > 0; n = p.server.Take(p.buf) {
		sent = append(sent, p.buf[:n]...)
	}
	return sent
}

func afterRecords(t testing.TB, n uint32) {
	updateAfter = n
	t.Cleanup(func() { updateAfter = 0 })
}

// TestDirectUpdatesKey: a key is replaced before it has protected more records than it may, also within a large Write.
func TestDirectUpdatesKey(t *testing.T) {
	afterRecords(t, 8)
	sx := directServer(t, gcmSuites[0], 0)
	p := newRecordPeers(t, gcmSuites[0]).connect(t, sx)
	var want []string
	seq := 1 // behind the ticket
	for i := range 30 {
		send(t, p.server, string(rune('a'+i)))
		if seq == 8 {
			want, seq = append(want, "KeyUpdate [0]"), 0
		}
		want, seq = append(want, "data \""+string(rune('a'+i))+"\""), seq+1
	}
	if got := p.taken(); !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
	// OpenSSL's client reads on.
	c, s := engineEnds(t, mustClient(t, clientConfig()), sx)
	s.out = tlstest.Bytes(1<<20, 1)
	runEngine(t, c, s, 1<<16, func() bool { return len(c.in) == len(s.out) })
	sameBytes(t, "data", c.in, s.out)
}

// TestDirectKeyLimit: TLS 1.2 cannot replace a key, so the connection ends. A batch is written up to the last record that the key may seal.
func TestDirectKeyLimit(t *testing.T) {
	afterRecords(t, 8)
	for _, batch := range []bool{false, true} {
		p := newRecordPeers(t, gcmSuites[2]).connect(t, directServer(t, gcmSuites[2], 0))
		for range 5 { // Finished was the first record
			send(t, p.server, "x")
		}
		bufs, eighth := [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d")}, tlsio.Result{}
		if batch {
			if r := p.server.WriteBuffers(bufs, false); r.N != 2 || r.Err != nil {
				t.Errorf("two more records: %+v", r)
			}
			eighth = p.server.WriteBuffers(bufs[2:], false)
		} else {
			send(t, p.server, "a")
			send(t, p.server, "b")
			eighth = p.server.Write([]byte("x"))
		}
		if !errors.Is(eighth.Err, tlsio.ErrLimit) || eighth.N != 0 {
			t.Errorf("the eighth record: %+v", eighth)
		}
		if got := p.taken(); len(got) != 8 || got[6] != `data "b"` || got[7] != "alert [1 0]" {
			t.Errorf("sent %q", got)
		}
		if r := p.server.Read(p.buf); !errors.Is(r.Err, tlsio.ErrLimit) {
			t.Errorf("then: %+v", r)
		}
	}
}

// TestDirectOwesOneAnswer: requests for a KeyUpdate that cannot be answered yet lead to one answer, before the next data.
func TestDirectOwesOneAnswer(t *testing.T) {
	for _, flush := range []bool{true, false} {
		p := newRecordPeers(t, gcmSuites[0]).connect(t, directServer(t, gcmSuites[0], 1))
		for range 10 {
			p.server.Feed(p.keyUpdate(1))
		}
		wants(t, "read", p.server.Read(p.buf), tlsio.WantRead)
		if got := p.taken(); !slices.Equal(got, []string{"KeyUpdate [0]"}) {
			t.Errorf("ten requests in one read lead to %q", got)
		}
		p.server.Write(make([]byte, 16384))
		for range 40 { // the first of them find room
			p.server.Feed(p.keyUpdate(1))
			if r := p.server.Read(p.buf); r.Want != tlsio.WantRead || p.server.Unsent() > minTail {
				t.Fatalf("%+v, %d bytes in the tail", r, p.server.Unsent())
			}
		}
		wants(t, "flush of a full tail", p.server.Flush(), tlsio.WantWrite)
		if got := p.taken(); len(got) < 2 || len(got) > 15 {
			t.Fatalf("%d messages", len(got))
		}
		want := []string{"KeyUpdate [0]"}
		if flush {
			p.server.Flush()
			if got := p.taken(); !slices.Equal(got, want) {
				t.Errorf("a flush sends %q, want %q", got, want)
			}
			want = nil
		}
		p.server.Write([]byte("x"))
		if got := p.taken(); !slices.Equal(got, append(want, `data "x"`)) {
			t.Errorf("a write sends %q after %q", got, want)
		}
	}
}

// TestDirectKeepsRequest: a KeyUpdate that waits for room asks for the peer's, also if another one that does not comes on top.
func TestDirectKeepsRequest(t *testing.T) {
	p := newRecordPeers(t, gcmSuites[0]).connect(t, directServer(t, gcmSuites[0], 1))
	p.server.Write(make([]byte, 16384))
	for range 20 {
		p.server.KeyUpdate(false)
	}
	for _, request := range []bool{true, false} {
		wants(t, "key update", p.server.KeyUpdate(request), tlsio.WantWrite)
	}
	p.taken()
	p.server.Flush()
	if got := p.taken(); !slices.Equal(got, []string{"KeyUpdate [1]"}) {
		t.Errorf("sent %q", got)
	}
}

// TestDirectFacts: after the switch a server knows what one with OpenSSL's records knows, and exports the same as its client.
func TestDirectFacts(t *testing.T) {
	openSSLToo(t)
	for _, version := range versions {
		for _, resume := range []bool{false, true} {
			var states [2]State
			for i, mode := range []Records{RecordsOpenSSL, RecordsDirect} {
				c, s := clientConfig(), serverConfig("rsa")
				c.MaxVersion, s.Records = version, mode
				c.Groups, c.CipherList, c.CipherSuites = "P-384:P-256", "ECDHE-RSA-AES256-GCM-SHA384", "TLS_CHACHA20_POLY1305_SHA256"
				c.ALPN, s.ALPN = []string{"http/1.1", "h2"}, []string{"h2", "http/1.1"}
				c.Certificates = serverConfig("client").Certificates
				s.Verify, s.CAPEM = VerifyRequire, testcerts.Read(t, "root.pem")
				cx, sx := mustClient(t, c), mustServer(t, s)
				p := newPair(t, cx, sx)
				if resume {
					p = earlyPair(t, cx, sx, ticketOf(t, cx, sx))
				}
				p.handshake()
				states[i] = p.server.State()
				if states[i].Records != mode || states[i].RecordsReason != "" || states[i].Resumed != resume {
					t.Fatalf("%+v", states[i])
				}
				states[i].Records = 0
				if chain, err := states[i].PeerCertificates(); err != nil || len(chain) == 0 {
					t.Errorf("the peer's chain: %v, %v", chain, err)
				}
				client := p.client.State()
				if client.Version != states[i].Version || client.CipherID != states[i].CipherID || client.Group != states[i].Group || client.ALPN != states[i].ALPN {
					t.Errorf("client %+v\nserver %+v", client, states[i])
				}
				for _, label := range []string{"EXPORTER-test", "key expansion", ""} {
					for _, context := range [][]byte{nil, {}, []byte("context"), make([]byte, 1000)} {
						for _, n := range []int{1, 32, 1000} {
							want, wantErr := p.client.ExportKeyingMaterial(label, context, n)
							got, err := p.server.ExportKeyingMaterial(label, context, n)
							if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
								t.Errorf("%v, %v, %q, context %d, %d bytes: %x (%v), want %x (%v)", version, mode, label, len(context), n, got, err, want, wantErr)
							}
						}
					}
				}
				if _, err := p.server.ExportEarlyKeyingMaterial("EXPORTER-test", nil, 8); err == nil {
					t.Error("keying material of early data that was none")
				}
			}
			if !reflect.DeepEqual(states[0], states[1]) {
				t.Errorf("%v\nOpenSSL: %+v\ndirect: %+v", version, states[0], states[1])
			}
		}
	}
}

// TestDirectEarlyData: early data goes before the switch; its exporter works after it, too.
func TestDirectEarlyData(t *testing.T) {
	s := earlyServer(16384)
	s.Records = RecordsDirect
	cx, sx := mustClient(t, clientConfig()), mustServer(t, s)
	p := earlyPair(t, cx, sx, ticketOf(t, cx, sx))
	p.writeEarly([]byte("early"))
	p.readEarly()
	p.handshake()
	if st := p.server.State(); st.Records != RecordsDirect || st.EarlyData != EarlyDataAccepted || string(p.early) != "early" {
		t.Fatalf("%+v, early data %q", st, p.early)
	}
	for _, context := range [][]byte{nil, []byte("context")} {
		want := tlstest.Value(p.client.ExportEarlyKeyingMaterial("EXPORTER-test", context, 40))(t)
		if got, err := p.server.ExportEarlyKeyingMaterial("EXPORTER-test", context, 40); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x (%v), want %x", got, err, want)
		}
	}
	p.client.Write([]byte("late"))
	p.client.Shutdown()
	p.move(p.client, p.server)
	reads(t, p.server, "late")
	if r := p.server.Read(p.buf); r.Err != io.EOF {
		t.Errorf("%+v", r)
	}
}

// TestDirectSockets echoes over sockets with the smallest buffers, so that records come and go in parts.
func TestDirectSockets(t *testing.T) {
	for _, suite := range gcmSuites {
		c, s := socketEnds(t, "unix", true, mustClient(t, clientConfig()), directServer(t, suite, 0))
		c.out, s.echo, c.close, s.close = tlstest.Bytes(100_000, 1), true, true, true
		runSockets(t, c, s, finished(c, s))
		sameBytes(t, "echo", c.in, c.out)
	}
}

// TestDirectBytewise: records of data come over a socket byte by byte, with a read after each.
func TestDirectBytewise(t *testing.T) {
	for _, suite := range gcmSuites {
		fd, far := socketPair(t, "unix", false)
		c := engineConn(t, mustClient(t, clientConfig()), ConnConfig{ServerName: "localhost"})
		s := socketConn(t, directServer(t, suite, 0), far, ConnConfig{})
		buf := make([]byte, 20000)
		sent := func() []byte { return buf[:c.Take(buf)] }
		for cr, sr := c.Handshake(), s.Handshake(); cr.Want != tlsio.WantNone || sr.Want != tlsio.WantNone; cr, sr = c.Handshake(), s.Handshake() {
			noErrors(t, cr.Err, sr.Err)
			syscall.Write(fd, sent())
			s.Handshake()
			if n, _ := syscall.Read(fd, buf); n > 0 {
				c.Feed(buf[:n])
			}
		}
		if st := s.State(); st.Records != RecordsDirect {
			t.Fatal(st.RecordsReason)
		}
		c.Write([]byte("some"))
		c.Write([]byte("data"))
		var got []byte
		for _, b := range bytes.Clone(sent()) {
			syscall.Write(fd, []byte{b})
			r := s.Read(buf)
			tlstest.Must(t, r.Err)
			got = append(got, buf[:r.N]...)
		}
		if string(got) != "somedata" {
			t.Errorf("%s: read %q", suite.name, got)
		}
		s.Close()
		syscall.Close(fd)
		syscall.Close(far)
	}
}

// TestDirectChaCha20: OpenSSL's client reads and writes the records of ChaCha20-Poly1305, before and after new keys. A record that is forged
// ends the connection.
func TestDirectChaCha20(t *testing.T) {
	for _, suite := range []gcmSuite{{version: TLS13, name: "TLS_CHACHA20_POLY1305_SHA256"}, {version: TLS12, name: "ECDHE-ECDSA-CHACHA20-POLY1305"}} {
		t.Run(suite.version.String(), func(t *testing.T) {
			p := newPair(t, mustClient(t, clientConfig()), directServer(t, suite, 0))
			p.exchange(tlstest.Bytes(100_000, 1))
			if st := p.server.State(); st.Records != RecordsDirect || st.Cipher != suite.name {
				t.Fatalf("%+v", st)
			}
			if suite.version == TLS13 {
				tlstest.Must(t, p.server.KeyUpdate(true).Err)
				p.exchange(tlstest.Bytes(100_000, 2))
			}
			p.client.Write([]byte("forged"))
			n := p.client.Take(p.buf)
			p.buf[n-1] ^= 1
			p.server.Feed(p.buf[:n])
			if r := p.server.Read(p.buf); !errors.Is(r.Err, tlsio.AlertBadRecordMAC) {
				t.Errorf("the server reads %+v", r)
			}
			p.move(p.server, p.client)
			checkAlert(t, p.client.Read(p.buf).Err, tlsio.AlertReceived, tlsio.AlertBadRecordMAC)
		})
	}
}
