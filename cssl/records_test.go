package cssl

import (
	"bytes"
	"crypto/tls"
	"net"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// record is the outside of one on the wire.
type record struct {
	kind byte // 20 change_cipher_spec, 21 alert, 22 handshake, 23 application data
	size int
}

// records takes stream apart.
func records(t testing.TB, stream []byte) (all []record) {
	t.Helper()
	for _, r := range splitRecords(t, stream) {
		all = append(all, record{r[0], len(r) - 5})
	}
	return all
}

// largest is the size of the largest record.
func largest(all []record) int {
	return slices.MaxFunc(all, func(x, y record) int { return x.size - y.size }).size
}

// exchange makes a handshake, sends data both ways and answers what each side put on the wire for it.
func (p *pair) exchange(data []byte) (client, server []byte) {
	p.t.Helper()
	p.wire, p.chunk = map[*Conn][]byte{}, 16384
	p.opened()
	p.transfer(data)
	return p.wire[p.client], p.wire[p.server]
}

// transfer sends data both ways.
func (p *pair) transfer(data []byte) {
	p.t.Helper()
	for _, e := range [][2]*Conn{{p.client, p.server}, {p.server, p.client}} {
		var got []byte
		for left := data; len(got) < len(data); {
			if len(left) > 0 {
				r := e[0].Write(left)
				demand(p.t, r.Err == nil && (r.Want == tlsio.WantNone || r.Want == tlsio.WantWrite), "%+v", r)
				left = left[r.N:]
			}
			p.move(e[0], e[1])
			r := e[1].Read(p.buf)
			tlstest.Must(p.t, r.Err)
			got = append(got, p.buf[:r.N]...)
		}
		sameBytes(p.t, "data", got, data)
	}
}

// overhead is the most that a record of AEAD adds to its content: an explicit nonce in TLS 1.2, the content type in 1.3, and the tag.
const overhead = 8 + 1 + 16

// TestMaxFragment: both sides keep what the client asked for, and know it; a server that does not know the extension
// is served all the same.
func TestMaxFragment(t *testing.T) {
	for _, version := range versions {
		for _, size := range []int{0, 512, 1024, 2048, 4096} {
			c := clientUpTo(version)
			c.MaxFragment = size
			p := newPair(t, mustClient(t, c), mustServer(t, serverConfig("big")))
			client, server := p.exchange(tlstest.Bytes(40000, 1))
			for i, stream := range [][]byte{client, server} {
				all := records(t, stream)[1:] // a client's hello may be large, and nothing is agreed on before it
				n := largest(all)
				fits := size > 0 && n <= size+overhead || size == 0 && n >= 16384
				check(t, fits, "%v, %d, side %d: a record of %d bytes", version, size, i, n)
			}
			check(t, p.client.MaxFragment() == size && p.server.MaxFragment() == size,
				"%v, %d: the client says %d, the server %d", version, size, p.client.MaxFragment(), p.server.MaxFragment())
		}
	}
	c := clientConfig()
	c.MaxFragment = 512
	conn := engineConn(t, mustClient(t, c), ConnConfig{ServerName: "localhost"})
	certificate := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
	near, far := net.Pipe()
	defer near.Close()
	go tls.Server(far, &tls.Config{Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true}).Handshake()
	overPipe(t, conn, near, func() bool {
		r := conn.Handshake()
		tlstest.Must(t, r.Err)
		return r.Want == tlsio.WantNone
	})
	equal(t, conn.MaxFragment(), 0, "a server that does not know it has agreed to")
}

// TestMaxSendFragment: it holds for what we send, and for nothing else; also behind a change by server name.
func TestMaxSendFragment(t *testing.T) {
	for _, version := range versions {
		for _, size := range []int{512, 1000, 16384} {
			c, s := clientConfig(), serverConfig("ecdsa")
			c.MaxVersion, s.MaxSendFragment = version, size
			outer := serverConfig("ecdsa")
			outer.MaxSendFragment, outer.SNI = 2000, map[string]*Context{"localhost": mustServer(t, s)}
			for sx, want := range map[*Context]int{mustServer(t, s): size, mustServer(t, outer): min(size, 2000)} {
				client, server := newPair(t, mustClient(t, c), sx).exchange(tlstest.Bytes(40000, 1))
				n := largest(records(t, server))
				check(t, n <= want+overhead && n >= want, "%v, %d: a record of %d bytes", version, size, n)
				n = largest(records(t, client))
				check(t, n >= 16384, "%v, %d: the client's largest has %d bytes", version, size, n)
			}
		}
	}
}

// TestRecordSizeLimit: each side keeps the other's limit, which may differ, and nothing changes where one side does not know it.
func TestRecordSizeLimit(t *testing.T) {
	for _, version := range versions {
		for _, tt := range []struct{ client, server, wantClient, wantServer int }{
			{600, 16385, 16384, 600}, {16385, 1000, 1000, 16384}, {513, 514, 514, 513}, {16384, 16385, 16384, 16384},
			{600, 0, 16384, 16384}, {0, 600, 16384, 16384},
		} {
			c, s := clientConfig(), serverConfig("big")
			c.MaxVersion, c.RecordSizeLimit, s.RecordSizeLimit = version, tt.client, tt.server
			client, server := newPair(t, mustClient(t, c), mustServer(t, s)).exchange(tlstest.Bytes(40000, 1))
			protected := func(stream []byte) (all []record) {
				all = records(t, stream)
				if version == TLS12 { // RFC 8449, section 4: of records that are protected; those before are no matter
					i := slices.IndexFunc(all, func(r record) bool { return r.kind == 20 })
					return all[i:]
				}
				return all[1:]
			}
			for i, x := range []struct {
				stream []byte
				want   int
			}{{client, tt.wantClient}, {server, tt.wantServer}} {
				// In TLS 1.3 the limit includes the content type, which the size on the wire does too.
				limit := x.want + map[TLSVersion]int{TLS12: 16 + 8, TLS13: 16}[version]
				if x.want == 16384 {
					limit = 16384 + overhead
				}
				n := largest(protected(x.stream))
				check(t, n <= limit && n >= x.want, "%v, %+v, side %d: a record of %d bytes", version, tt, i, n)
			}
		}
	}
}

// TestRecordSizeLimitSNI: the limit is that of the Context that was selected, with and without one in the Context that accepted.
func TestRecordSizeLimitSNI(t *testing.T) {
	for _, version := range versions {
		for _, tt := range []struct{ outer, inner, want int }{{0, 600, 600}, {600, 0, 16384}, {600, 700, 700}} {
			c, outer, inner := clientUpTo(version), serverConfig("ecdsa"), serverConfig("ecdsa")
			c.RecordSizeLimit, outer.RecordSizeLimit, inner.RecordSizeLimit = 16385, tt.outer, tt.inner
			outer.SNI = map[string]*Context{"localhost": mustServer(t, inner)}
			client, _ := newPair(t, mustClient(t, c), mustServer(t, outer)).exchange(tlstest.Bytes(40000, 1))
			n := largest(records(t, client)[1:]) // after the ClientHello
			check(t, n <= tt.want+overhead && n >= tt.want, "%v, %+v: a record of %d bytes", version, tt, n)
		}
	}
}

// TestRecordSizeLimitBad: limits that are against the protocol are refused with its alert, those that OpenSSL cannot keep as they may be.
func TestRecordSizeLimitBad(t *testing.T) {
	change := func(stream []byte, limit int) {
		t.Helper()
		i := bytes.Index(stream, []byte{0, 28, 0, 2, 0x40, 1})
		demand(t, i >= 0, "no record_size_limit")
		stream[i+4], stream[i+5] = byte(limit>>8), byte(limit)
	}
	start := func(version TLSVersion) *pair {
		c, s := clientUpTo(version), serverConfig("ecdsa")
		c.RecordSizeLimit, s.RecordSizeLimit = 16385, 16385
		p := newPair(t, mustClient(t, c), mustServer(t, s))
		p.client.Handshake()
		return p
	}
	for _, version := range versions {
		for _, limit := range []int{0, 63, 64, 511} {
			p := start(version)
			n := p.client.Take(p.buf)
			hello := bytes.Clone(p.buf[:n])
			change(hello, limit)
			p.server.Feed(hello)
			r := p.server.Handshake()
			if limit < 64 {
				checkAlert(t, r.Err, tlsio.AlertSent, 47)
				continue
			}
			n = p.server.Take(p.buf)
			check(t, r.Want == tlsio.WantRead && n != 0 && (version != TLS12 || !bytes.Contains(p.buf[:n], []byte{0, 28, 0, 2, 0x40, 1})),
				"%v: a client's limit of %d: %+v, answer %x", version, limit, r, p.buf[:n])
		}
	}
	for limit, alert := range map[int]tlsio.Alert{63: 47, 64: 40, 511: 40} {
		p := start(TLS12)
		p.move(p.client, p.server)
		p.server.Handshake()
		n := p.server.Take(p.buf)
		change(p.buf[:n], limit)
		p.client.Feed(p.buf[:n])
		checkAlert(t, p.client.Handshake().Err, tlsio.AlertSent, alert)
	}
}

// TestRecordsConfig: what cannot be is refused with the setting's name.
func TestRecordsConfig(t *testing.T) {
	checkRefusals(t, false, clientConfig(), []wrongConfig{
		{"too small", func(c *Config) { c.MaxFragment = 511 }, "MaxFragment", ""},
		{"too large", func(c *Config) { c.MaxFragment = 8192 }, "MaxFragment", ""},
		{"negative", func(c *Config) { c.MaxFragment = -512 }, "MaxFragment", ""},
		{"both", func(c *Config) { c.RecordSizeLimit, c.MaxFragment = 513, 512 }, "RecordSizeLimit", ""},
		{"no tail", func(c *Config) { c.MaxFragment, c.Tail = 512, -1 }, "Tail", ""},
	})
	checkRefusals(t, true, serverConfig("ecdsa"), []wrongConfig{
		{"of a server", func(c *Config) { c.MaxFragment = 512 }, "MaxFragment", ""},
		{"too small", func(c *Config) { c.MaxSendFragment = 511 }, "MaxSendFragment", ""},
		{"too large", func(c *Config) { c.MaxSendFragment = 16385 }, "MaxSendFragment", ""},
		{"negative", func(c *Config) { c.MaxSendFragment = -1 }, "MaxSendFragment", ""},
		{"too small", func(c *Config) { c.RecordSizeLimit = 512 }, "RecordSizeLimit", ""},
		{"too large", func(c *Config) { c.RecordSizeLimit = 16386 }, "RecordSizeLimit", ""},
		{"no tail", func(c *Config) { c.RecordSizeLimit, c.Tail = 513, -1 }, "Tail", ""},
	})
}

// TestSmallRecordsSmallSockets: a Write of 16 KiB that becomes many records, over sockets that refuse each of them in the midst, with and
// without a tail: every byte arrives, with KeyUpdates in between. Without a tail a Write takes one record.
func TestSmallRecordsSmallSockets(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		for _, tail := range []int{-1, 1, 0} {
			most := 16384 // bytes for each Write of the server
			if tail < 0 {
				most = 700
			}
			for name, change := range map[string]func(c, s *Config){
				"fragment":      func(c, s *Config) { c.MaxFragment = 512 },
				"send fragment": func(c, s *Config) { c.MaxSendFragment, s.MaxSendFragment = 700, 512 },
				"limit":         func(c, s *Config) { c.RecordSizeLimit, s.RecordSizeLimit = 600, 513 },
			} {
				c, s := clientConfig(), serverConfig("ecdsa")
				c.Tail, s.Tail = tail, tail
				change(&c, &s)
				if tail < 0 && name != "send fragment" {
					continue // refused
				}
				a, b := socketEnds(t, network, true, mustClient(t, c), mustServer(t, s))
				a.out, b.out = tlstest.Bytes(100000, 1), tlstest.Bytes(100000, 2)
				a.record, b.record = 16384, 16384
				if tail >= 0 { // see TestParkedWriteKeyUpdateWithoutTail
					b.actions = []action{{50000, tlsio.OpKeyUpdate, func(c *Conn) tlsio.Result { return c.KeyUpdate(true) }}}
				}
				runSockets(t, a, b, func() bool { return len(a.in) == len(b.out) && len(b.in) == len(a.out) && a.done() && b.done() })
				sameBytes(t, name, a.in, b.out)
				sameBytes(t, name, b.in, a.out)
				writes, refused := b.seen[tlsio.OpWrite][tlsio.WantNone], b.seen[tlsio.OpWrite][tlsio.WantWrite]
				check(t, writes >= 100000/most && refused > 0, "%s, %s, tail %d: %d writes, %d refused", network, name, tail, writes,
					refused)
			}
		}
	}
}

// TestMiddleboxCompat looks at the bytes: change_cipher_spec records and the client's session id are there, or not, as each side has it.
func TestMiddleboxCompat(t *testing.T) {
	for _, tt := range []struct{ client, server bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
		c, s := clientConfig(), serverConfig("ecdsa")
		c.NoMiddleboxCompat = tt.client
		outer := serverConfig("ecdsa")
		inner := s
		inner.NoMiddleboxCompat = tt.server
		outer.NoMiddleboxCompat = !tt.server
		outer.SNI = map[string]*Context{"localhost": mustServer(t, inner)}
		for _, sx := range []*Context{mustServer(t, inner), mustServer(t, outer)} {
			client, server := newPair(t, mustClient(t, c), sx).exchange([]byte("data"))
			// A record's header, the message's, the version and the random go before the length of the session id.
			id := client[5+4+2+32] != 0
			check(t, id != tt.client, "%+v: the client sent a session id: %v", tt, id)
			ccs := func(stream []byte) bool {
				return slices.ContainsFunc(records(t, stream), func(r record) bool { return r.kind == 20 })
			}
			check(t, ccs(client) != tt.client && ccs(server) != tt.server,
				"%+v: change_cipher_spec from the client %v, from the server %v", tt, ccs(client), ccs(server))
		}
	}
}

// TestDirectBatches: with direct records one recv reads several records, and one send takes several. The socket keeps apart what was sent
// together, so that both can be seen.
func TestDirectBatches(t *testing.T) {
	for _, version := range versions {
		c, s := clientConfig(), serverConfig("ecdsa")
		c.MaxVersion, s.Records, s.Tail = version, RecordsDirect, 1<<17 // a Write takes what the tail could keep
		fds := tlstest.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0))(t)
		defer unix.Close(fds[0])
		defer unix.Close(fds[1])
		client := engineConn(t, mustClient(t, c), ConnConfig{ServerName: "localhost"})
		server := socketConn(t, mustServer(t, s), fds[1], ConnConfig{})
		wire, plain := make([]byte, 1<<17), make([]byte, 1<<17)
		send := func(p []byte) { tlstest.Value(unix.Write(fds[0], p))(t) }
		receive := func() []record {
			n, err := unix.Read(fds[0], wire)
			demand(t, err == nil || err == unix.EAGAIN, "%v", err)
			for left := wire[:max(n, 0)]; len(left) > 0; {
				left = left[client.Feed(left):]
				client.Read(plain) // the handshake goes on, too
			}
			return records(t, wire[:max(n, 0)])
		}
		for range 4 { // more than the handshake's flights
			client.Handshake()
			if n := client.Take(wire); n > 0 {
				send(wire[:n])
			}
			server.Handshake()
			server.Flush()
			receive()
		}
		data := tlstest.Bytes(4*tlsio.MaxPlaintext, 1)
		var all []byte
		for left := data; len(left) > 0; {
			left = left[client.Write(left).N:]
			all = append(all, wire[:client.Take(wire)]...)
		}
		send(all)
		r := server.Read(plain)
		check(t, r.N == len(data) && bytes.Equal(plain[:r.N], data), "%v: one recv of four records: %+v", version, r)
		r = server.Write(data)
		check(t, r.N == len(data) && !r.Unsent, "%v: a Write of four records: %+v", version, r)
		equal(t, len(receive()), 4, "%v: records of one send", version)
	}
}
