package cssl

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/recordmode"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// gcmSuite is a cipher suite with AES-GCM.
type gcmSuite struct {
	version TLSVersion
	name    string
	key     int
	hash    func() hash.Hash
}

var gcmSuites = []gcmSuite{
	{TLS13, "TLS_AES_128_GCM_SHA256", 16, sha256.New},
	{TLS13, "TLS_AES_256_GCM_SHA384", 32, sha512.New384},
	{TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256", 16, sha256.New},
	{TLS12, "ECDHE-ECDSA-AES256-GCM-SHA384", 32, sha512.New384},
}

var chachaSuites = []gcmSuite{
	{version: TLS13, name: "TLS_CHACHA20_POLY1305_SHA256"}, {version: TLS12, name: "ECDHE-ECDSA-CHACHA20-POLY1305"},
}

// apply makes s the only suite of c.
func (s gcmSuite) apply(c *Config) {
	c.MinVersion, c.MaxVersion = s.version, s.version
	if s.version == TLS13 {
		c.CipherSuites = s.name
	} else {
		c.CipherList = s.name
	}
}

// server is a server with this suite alone.
func (s gcmSuite) server(records Records) Config {
	c := serverConfig("ecdsa")
	c.Records = records
	s.apply(&c)
	return c
}

// protection is the protection of one direction's records, written from the RFCs on the standard library alone.
type protection struct {
	suite  gcmSuite
	secret []byte // TLS 1.3
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
	nonces map[string]bool // explicit ones that were seen
}

func (p *protection) setKey(key, iv []byte) {
	block, err := aes.NewCipher(key)
	if err == nil {
		p.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		panic(err)
	}
	p.iv, p.seq = iv, 0
}

func (p *protection) expand(label string, n int) []byte {
	label = "tls13 " + label
	out, err := hkdf.Expand(p.suite.hash, p.secret, string([]byte{0, byte(n), byte(len(label))})+label+"\x00", n)
	if err != nil {
		panic(err)
	}
	return out
}

func (p *protection) setSecret(secret []byte) {
	p.secret = secret
	p.setKey(p.expand("key", p.suite.key), p.expand("iv", 12))
}

func (p *protection) update() { p.setSecret(p.expand("traffic upd", len(p.secret))) }

// parameters returns the nonce and the additional data of the next record. explicit is what the record carries of the nonce.
func (p *protection) parameters(header, explicit []byte, plain int) (nonce, aad []byte) {
	if p.suite.version == TLS12 {
		aad = binary.BigEndian.AppendUint64(nil, p.seq)
		return slices.Concat(p.iv, explicit), binary.BigEndian.AppendUint16(append(aad, header[:3]...), uint16(plain))
	}
	nonce = bytes.Clone(p.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, p.seq) {
		nonce[4+i] ^= b
	}
	return nonce, header
}

// seal returns a record. In TLS 1.3 plain is the whole inner plaintext, with the content type.
func (p *protection) seal(kind byte, plain []byte) []byte {
	var explicit []byte
	if p.suite.version == TLS12 {
		explicit = binary.BigEndian.AppendUint64(nil, p.seq)
	}
	header := binary.BigEndian.AppendUint16([]byte{kind, 3, 3}, uint16(len(explicit)+len(plain)+16))
	nonce, aad := p.parameters(header, explicit, len(plain))
	p.seq++
	return p.aead.Seal(append(header, explicit...), nonce, plain, aad)
}

// open returns the content type and the content of a record.
func (p *protection) open(record []byte) (kind byte, content []byte, err error) {
	header, body := record[:5], record[5:]
	var explicit []byte
	if p.suite.version == TLS12 {
		explicit, body = body[:8], body[8:]
	}
	nonce, aad := p.parameters(header, explicit, len(body)-16)
	if content, err = p.aead.Open(nil, nonce, body, aad); err != nil {
		return 0, nil, err
	}
	if p.seq++; p.suite.version == TLS12 {
		if p.nonces[string(explicit)] {
			return 0, nil, errors.New("a nonce is used again")
		}
		p.nonces[string(explicit)] = true
		return header[0], content, nil
	}
	content = bytes.TrimRight(content, "\x00")
	return content[len(content)-1], content[:len(content)-1], nil
}

// recordPeer is a server in engine mode, and a client that is done with its handshake and now writes records of any kind.
type recordPeer struct {
	*pair
	suite      gcmSuite
	send, hear protection
}

// recordPeers makes peers of servers with one suite.
type recordPeers struct {
	suite  gcmSuite
	client *Context
	log    bytes.Buffer
}

func newRecordPeers(t testing.TB, suite gcmSuite) *recordPeers {
	x := &recordPeers{suite: suite}
	c := clientConfig()
	c.KeyLog, c.ALPN = &x.log, []string{"h2", "http/1.1"}
	suite.apply(&c)
	x.client = mustClient(t, c)
	return x
}

func (x *recordPeers) connect(t testing.TB, server *Context) *recordPeer {
	t.Helper()
	x.log.Reset()
	p := &recordPeer{pair: newPair(t, x.client, server), suite: x.suite}
	p.wire = map[*Conn][]byte{}
	p.handshake()
	p.send.suite, p.hear.suite, p.hear.nonces = x.suite, x.suite, map[string]bool{}
	server1st := p.wire[p.server]
	for line := range strings.Lines(x.log.String()) {
		f := strings.Fields(line)
		secret := tlstest.Value(hex.DecodeString(f[2]))(t)
		switch f[0] {
		case "CLIENT_TRAFFIC_SECRET_0":
			p.send.setSecret(secret)
		case "SERVER_TRAFFIC_SECRET_0":
			p.hear.setSecret(secret)
		case "CLIENT_RANDOM":
			client, _ := hex.DecodeString(f[1])
			k := x.suite.key
			block := prf12(x.suite.hash, secret, slices.Concat([]byte("key expansion"), server1st[11:43], client), 2*k+8)
			p.send.setKey(block[:k], block[2*k:2*k+4])
			p.hear.setKey(block[k:2*k], block[2*k+4:])
			p.send.seq = 1 // behind Finished
		}
	}
	for _, r := range splitRecords(t, server1st) { // Finished in TLS 1.2, tickets in TLS 1.3
		if len(r) > 5+8+16 {
			p.hear.open(r)
		}
	}
	return p
}

// prf12 is the pseudorandom function of TLS 1.2 (RFC 5246, section 5).
func prf12(h func() hash.Hash, secret, seed []byte, n int) (out []byte) {
	sum := func(parts ...[]byte) []byte {
		m := hmac.New(h, secret)
		for _, p := range parts {
			m.Write(p)
		}
		return m.Sum(nil)
	}
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}

func splitRecords(t testing.TB, stream []byte) (all [][]byte) {
	t.Helper()
	for len(stream) > 0 {
		demand(t, len(stream) >= 5 && len(stream) >= 5+int(binary.BigEndian.Uint16(stream[3:])),
			"%d bytes are left that are no record", len(stream))
		n := 5 + int(binary.BigEndian.Uint16(stream[3:]))
		all = append(all, stream[:n])
		stream = stream[n:]
	}
	return all
}

// record returns a well-formed record, with padding in TLS 1.3.
func (p *recordPeer) record(kind byte, content []byte, padding int) []byte {
	if p.suite.version == TLS12 {
		return p.send.seal(kind, content)
	}
	return p.send.seal(23, slices.Concat(content, []byte{kind}, make([]byte, padding)))
}

func (p *recordPeer) data(s string) []byte       { return p.record(23, []byte(s), 0) }
func (p *recordPeer) message(b ...byte) []byte   { return p.record(22, b, 0) }
func (p *recordPeer) alert(level, n byte) []byte { return p.record(21, []byte{level, n}, 0) }
func (p *recordPeer) keyUpdate(kind byte) []byte {
	r := p.message(24, 0, 0, 1, kind)
	p.send.update()
	return r
}

// heard translates what the server has sent.
func (p *recordPeer) heard(stream []byte) (out []string) {
	for _, r := range splitRecords(p.t, stream) {
		kind, content, err := p.hear.open(r)
		switch {
		case err != nil:
			out = append(out, fmt.Sprintf("%x: %v", r, err))
		case kind == 21:
			out = append(out, fmt.Sprintf("alert %d", content))
		case kind == 22 && content[0] == 24:
			out = append(out, fmt.Sprintf("KeyUpdate %d", content[4:]))
			p.hear.update()
		case kind == 23:
			out = append(out, fmt.Sprintf("data %q", content))
		default:
			out = append(out, fmt.Sprintf("type %d: %x", kind, content))
		}
	}
	return out
}

// outcome is what a server made of its input.
type outcome struct {
	data            []byte
	heard           []string // what it sent
	read            error    // how reading ended
	write, shutdown error    // of what the application does afterwards
}

// alertOf returns the alert of an error, such as "sent 20".
func alertOf(err error) string {
	var e *tlsio.Error
	if !errors.As(err, &e) || e == nil || e.AlertSide == tlsio.AlertNone {
		return "none"
	}
	return fmt.Sprint([]string{"", "sent ", "received "}[e.AlertSide], uint8(e.Alert))
}

// unexpected are OpenSSL's reasons for unexpected_message. Which of them it gives depends on its version and on the order of its checks.
var unexpected = []string{"unexpected message", "unexpected record", "mixed handshake and non handshake data", "bad record type", "ccs received early",
	"application data after close notify", "not on record boundary"}

// openSSLToo lets a test have servers with OpenSSL's records, also if all tests have direct ones.
func openSSLToo(t testing.TB) {
	mode := recordmode.Default
	recordmode.Default = 0
	t.Cleanup(func() { recordmode.Default = mode })
}

// reasonsOf returns the reasons of libssl.
func reasonsOf(err error) (out []string) {
	var e *tlsio.Error
	if !errors.As(err, &e) || e == nil {
		return nil
	}
	for _, r := range e.Reasons {
		switch {
		case r.Library != "SSL routines", r.Text == "record layer failure": // since OpenSSL 3.2, behind the reason itself
		case slices.Contains(unexpected, r.Text):
			out = append(out, "unexpected")
		case r.Text == "packet length too long": // before OpenSSL 3.2, of a record that does not fit into its buffer
			out = append(out, "encrypted length too long")
		default:
			out = append(out, strings.TrimPrefix(r.String(), "SSL routines: "))
		}
	}
	return out
}

// ending returns what an error says, without the alert and the names of operations.
func ending(err error) string {
	var e *tlsio.Error
	if errors.As(err, &e) && e != nil {
		if e.Err == nil {
			return strings.Join(reasonsOf(e), ", ")
		}
		err = e.Err
	}
	return fmt.Sprint(err)
}

func (o outcome) String() string {
	data := fmt.Sprintf("%q", o.data)
	if len(o.data) > 200 {
		data = fmt.Sprintf("%d bytes (%x)", len(o.data), sha256.Sum256(o.data))
	}
	out := fmt.Sprintf("data %s\nsends %q", data, o.heard)
	for _, err := range []error{o.read, o.write, o.shutdown} {
		out += fmt.Sprintf("\n%s, alert %s", ending(err), alertOf(err))
	}
	return out
}

// delivery is how input reaches a server.
type delivery struct {
	chunk int
	peek  bool
}

var deliveries = []delivery{{1 << 20, false}, {1, false}, {7, true}}

// feed delivers input, and reads all that it leads to.
func (p *recordPeer) feed(input []byte, d delivery) (o outcome) {
	var sent []byte
	answered := false
	take := func() { sent = append(sent, p.takeAll()...) }
	buf := make([]byte, 20000)
	read := func() {
		for o.read == nil {
			var peeked []byte
			if d.peek {
				r := p.server.Peek(buf[:5])
				peeked = bytes.Clone(buf[:r.N])
			}
			r := p.server.Read(buf)
			take()
			if o.data, o.read = append(o.data, buf[:r.N]...), r.Err; r.Want != tlsio.WantNone {
				return
			}
			check(p.t, bytes.HasPrefix(buf[:r.N], peeked), "peeked at %q, read %q", peeked, buf[:r.N])
		}
	}
	for len(input) > 0 && o.read == nil {
		n := p.server.Feed(input[:min(d.chunk, len(input))])
		input = input[n:]
		read()
	}
	p.server.FeedEOF()
	read()
	o.write = p.server.Write([]byte("reply")).Err
	take()
	o.shutdown = p.server.Shutdown().Err
	take()
	// The answer to a KeyUpdate is due before the next data (RFC 8446, section 4.6.3). OpenSSL sends it with that, direct records at once.
	for _, s := range slices.Compact(p.heard(sent)) {
		if strings.HasPrefix(s, "data") && answered {
			o.heard = append(o.heard, "KeyUpdate")
		}
		if answered = answered || s == "KeyUpdate [0]"; s != "KeyUpdate [0]" {
			o.heard = append(o.heard, s)
		}
	}
	return o
}

// bothServers are servers with OpenSSL's records and with direct ones.
func bothServers(t testing.TB) (servers [2]*Context) {
	for i, mode := range []Records{RecordsOpenSSL, RecordsDirect} {
		s := serverConfig("ecdsa")
		s.Records, s.MaxMessages, s.MaxRenegotiations = mode, 8, 3
		servers[i] = mustServer(t, s)
	}
	return servers
}

// outcomes feeds input to both servers. Long input comes as a whole.
func (x *recordPeers) outcomes(t testing.TB, servers [2]*Context, d delivery, input func(p *recordPeer) []byte) (got [2]outcome) {
	t.Helper()
	for i, server := range servers {
		p := x.connect(t, server)
		st := p.server.State()
		demand(t, (st.Records == RecordsDirect) == (i == 1), "%v, %v", st.Records, st.RecordsReason)
		in := input(p)
		if len(in) > 2000 {
			d = deliveries[0]
		}
		got[i] = p.feed(in, d)
		p.client.Close()
		p.server.Close()
	}
	return got
}

// position is what precedes the records under test.
type position struct {
	name    string
	version TLSVersion // 0 for both
	before  func(p *recordPeer) []byte
}

var positions = []position{
	{"first", 0, func(p *recordPeer) []byte { return nil }},
	{"after data", 0, func(p *recordPeer) []byte { return append(p.data("before"), p.data("hand")...) }},
	{"after an empty record", 0, func(p *recordPeer) []byte { return p.data("") }},
	{"after a KeyUpdate", TLS13, func(p *recordPeer) []byte { return append(p.keyUpdate(0), p.data("before")...) }},
	{"after a KeyUpdate with request", TLS13, func(p *recordPeer) []byte { return p.keyUpdate(1) }},
	{"after close_notify", 0, func(p *recordPeer) []byte { return p.alert(1, 0) }},
	{"after a warning", 0, func(p *recordPeer) []byte { return p.alert(1, 90) }},
	{"within a message's header", 0, func(p *recordPeer) []byte {
		if p.suite.version == TLS13 {
			return p.message(24, 0)
		}
		return p.message(1, 0)
	}},
	{"within a message's body", 0, func(p *recordPeer) []byte {
		if p.suite.version == TLS13 {
			return p.message(24, 0, 0, 1)
		}
		return p.message(1, 0, 0, 9, 3, 3)
	}},
	{"after our close_notify", 0, func(p *recordPeer) []byte { p.server.Shutdown(); return nil }},
}

// malformed is a row of the table: bytes of a peer, some of which are wrong.
type malformed struct {
	name    string
	version TLSVersion // 0 for both
	records func(p *recordPeer) []byte
}

// repeat returns what n calls of f return.
func repeat(n int, f func() []byte) (out []byte) {
	for range n {
		out = append(out, f()...)
	}
	return out
}

// badRecords are the rows for records that are wrong by themselves.
func badRecords() (rows []malformed) {
	add := func(version TLSVersion, name string, f func(p *recordPeer) []byte) {
		rows = append(rows, malformed{name, version, f})
	}
	kinds := map[byte][]byte{23: []byte("data"), 21: {1, 0}, 22: {24, 0, 0, 1, 0}}
	for _, kind := range []byte{23, 21, 22} {
		change := func(name string, f func(r []byte)) {
			add(0, fmt.Sprintf("%s, type %d", name, kind), func(p *recordPeer) []byte {
				r := p.record(kind, kinds[kind], 0)
				f(r)
				return r
			})
		}
		change("tag", func(r []byte) { r[len(r)-1] ^= 1 })
		change("first byte of the body", func(r []byte) { r[5] ^= 1 })
		change("one byte of content", func(r []byte) { r[len(r)-17] ^= 128 })
		for _, v := range []byte{0, 20, 21, 22, 23, 24, 25, 99, 128, 255} {
			change(fmt.Sprintf("header's type %d", v), func(r []byte) { r[0] = v })
		}
		for _, v := range []byte{0, 2, 4, 255} {
			change(fmt.Sprintf("major version %d", v), func(r []byte) { r[1] = v })
		}
		for _, v := range []byte{0, 1, 2, 4, 255} {
			change(fmt.Sprintf("minor version %d", v), func(r []byte) { r[2] = v })
		}
		change("a byte longer than it is", func(r []byte) { r[4]++ })
		change("a byte shorter than it is", func(r []byte) { r[4]-- })
		change("much longer than it is", func(r []byte) { r[3] = 1 })
	}
	for _, n := range []int{0, 1, 7, 8, 15, 16, 17, 23, 24, 25, 1000, 16384, 16384 + 16, 16384 + 24, 16384 + 25, 16384 + 256, 16384 + 257, 16384 + 320, 16384 + 400, 18432, 18433, 65535} {
		add(0, fmt.Sprintf("%d bytes of nonsense", n), func(p *recordPeer) []byte {
			return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, tlstest.Bytes(n, 1)...)
		})
		if n > 16384 {
			add(0, fmt.Sprintf("the header of %d bytes alone", n), func(p *recordPeer) []byte { return []byte{23, 3, 3, byte(n >> 8), byte(n)} })
		}
	}
	for _, n := range []int{16383, 16384, 16385, 16384 + 100} {
		for _, kind := range []byte{23, 22, 21} {
			add(0, fmt.Sprintf("%d bytes of content, type %d", n, kind), func(p *recordPeer) []byte { return p.record(kind, bytes.Repeat([]byte{24}, n), 0) })
		}
	}
	for _, padding := range []int{1, 2, 100, 16384 - 1, 16384} {
		add(TLS13, fmt.Sprintf("padding of %d", padding), func(p *recordPeer) []byte { return p.record(23, make([]byte, min(4, 16384-padding)), padding) })
	}
	for _, tt := range []struct{ content, padding int }{{16384, 1}, {16384, 239}, {16385, 238}, {0, 16385}, {100, 16384}} {
		add(TLS13, fmt.Sprintf("%d bytes and padding of %d", tt.content, tt.padding), func(p *recordPeer) []byte { return p.record(23, tlstest.Bytes(tt.content, 1), tt.padding) })
	}
	for _, n := range []int{0, 1, 2, 100, 16385, 16400} {
		add(TLS13, fmt.Sprintf("inner plaintext of %d zeros", n), func(p *recordPeer) []byte { return p.send.seal(23, make([]byte, n)) })
	}
	for _, kind := range []byte{0, 1, 19, 20, 24, 25, 26, 99, 255} {
		for _, content := range []string{"", "\x01", "data"} {
			add(0, fmt.Sprintf("inner type %d, %q", kind, content), func(p *recordPeer) []byte { return p.record(kind, []byte(content), 0) })
		}
	}
	for _, kind := range []byte{21, 22, 23} {
		add(0, fmt.Sprintf("an empty record, type %d", kind), func(p *recordPeer) []byte { return p.record(kind, nil, 0) })
		add(0, fmt.Sprintf("an empty record with padding, type %d", kind), func(p *recordPeer) []byte { return p.record(kind, nil, 3) })
	}
	for _, n := range []int{31, 32, 33} {
		add(0, fmt.Sprintf("%d empty records", n), func(p *recordPeer) []byte {
			return repeat(n, func() []byte { return p.data("") })
		})
	}
	add(0, "32 empty records twice, with data between", func(p *recordPeer) []byte {
		return repeat(2, func() []byte { return append(repeat(32, func() []byte { return p.data("") }), p.data("x")...) })
	})
	add(0, "the same record twice", func(p *recordPeer) []byte { r := p.data("x"); return append(r, r...) })
	add(0, "a record left out", func(p *recordPeer) []byte { p.data("x"); return p.data("y") })
	add(0, "two records in the wrong order", func(p *recordPeer) []byte { a, b := p.data("x"), p.data("y"); return append(b, a...) })
	return rows
}

// badMessages are the rows for alerts and handshake messages.
func badMessages() (rows []malformed) {
	add := func(version TLSVersion, name string, f func(p *recordPeer) []byte) {
		rows = append(rows, malformed{name, version, f})
	}
	for _, level := range []byte{0, 1, 2, 3, 255} {
		for _, n := range []byte{0, 10, 20, 40, 50, 80, 90, 100, 112, 255} {
			add(0, fmt.Sprintf("alert %d %d", level, n), func(p *recordPeer) []byte { return p.alert(level, n) })
		}
	}
	for _, content := range [][]byte{{1}, {2}, {1, 0, 0}, {2, 40, 2, 40}, {1, 0, 1, 0}} {
		add(0, fmt.Sprintf("alert of bytes %d", content), func(p *recordPeer) []byte { return p.record(21, content, 0) })
	}
	for _, n := range []int{4, 5} {
		for _, alert := range []byte{90, 112} {
			add(0, fmt.Sprintf("%d warnings %d in a row", n, alert), func(p *recordPeer) []byte {
				return repeat(n, func() []byte { return p.alert(1, alert) })
			})
			for _, between := range []string{"", "x"} {
				add(0, fmt.Sprintf("%d warnings %d with %q between", n, alert, between), func(p *recordPeer) []byte {
					return repeat(n, func() []byte { return append(p.alert(1, alert), p.data(between)...) })
				})
			}
		}
	}
	add(TLS13, "4 warnings and close_notify", func(p *recordPeer) []byte {
		return append(repeat(4, func() []byte { return p.alert(1, 90) }), p.alert(1, 0)...)
	})
	for _, kind := range []byte{0, 1, 2, 127, 255} {
		add(TLS13, fmt.Sprintf("KeyUpdate %d", kind), func(p *recordPeer) []byte { return p.keyUpdate(kind) })
	}
	for _, n := range []byte{0, 2, 3, 255} {
		add(TLS13, fmt.Sprintf("KeyUpdate of %d bytes", n), func(p *recordPeer) []byte { return p.message(append([]byte{24, 0, 0, n}, make([]byte, n)...)...) })
		add(TLS13, fmt.Sprintf("the header of a KeyUpdate of %d bytes", n), func(p *recordPeer) []byte { return p.message(24, 0, 0, n) })
		add(TLS13, fmt.Sprintf("the header of a KeyUpdate of %d<<16 bytes", n), func(p *recordPeer) []byte { return p.message(24, n, 0, 1) })
	}
	for split := 1; split < 5; split++ {
		for _, request := range []byte{0, 1} {
			m := []byte{24, 0, 0, 1, request}
			add(TLS13, fmt.Sprintf("KeyUpdate %d in two parts, %d", request, split), func(p *recordPeer) []byte {
				r := append(p.message(m[:split]...), p.message(m[split:]...)...)
				p.send.update()
				return r
			})
		}
		for name, between := range map[string]func(p *recordPeer) []byte{
			"data":         func(p *recordPeer) []byte { return p.data("x") },
			"empty data":   func(p *recordPeer) []byte { return p.data("") },
			"a warning":    func(p *recordPeer) []byte { return p.alert(1, 90) },
			"an alert":     func(p *recordPeer) []byte { return p.alert(2, 40) },
			"close_notify": func(p *recordPeer) []byte { return p.alert(1, 0) },
		} {
			for version, m := range map[TLSVersion][]byte{TLS13: {24, 0, 0, 1, 0}, TLS12: {1, 0, 0, 1, 7}} {
				add(version, fmt.Sprintf("a message in two parts, %d, with %s between", split, name), func(p *recordPeer) []byte {
					return slices.Concat(p.message(m[:split]...), between(p), p.message(m[split:]...))
				})
			}
		}
	}
	add(TLS13, "a KeyUpdate byte by byte", func(p *recordPeer) (out []byte) {
		for _, b := range []byte{24, 0, 0, 1, 1} {
			out = append(out, p.message(b)...)
		}
		p.send.update()
		return out
	})
	for name, m := range map[string][]byte{
		"two KeyUpdates":                   {24, 0, 0, 1, 0, 24, 0, 0, 1, 0},
		"a KeyUpdate and one of 2":         {24, 0, 0, 1, 0, 24, 0, 0, 1, 2},
		"a KeyUpdate and a part":           {24, 0, 0, 1, 0, 24},
		"a KeyUpdate and another message":  {24, 0, 0, 1, 0, 4, 0, 0, 0},
		"a KeyUpdate that is bad and more": {24, 0, 0, 1, 2, 24},
	} {
		add(TLS13, name+" in one record", func(p *recordPeer) []byte { return p.message(m...) })
	}
	add(TLS13, "a KeyUpdate under the old key", func(p *recordPeer) []byte { return append(p.message(24, 0, 0, 1, 0), p.data("x")...) })
	for _, n := range []int{8, 9, 20} {
		for _, request := range []byte{0, 1} {
			add(TLS13, fmt.Sprintf("%d KeyUpdates %d", n, request), func(p *recordPeer) []byte {
				return repeat(n, func() []byte { return p.keyUpdate(request) })
			})
		}
	}
	for _, kind := range []byte{0, 1, 2, 4, 5, 8, 11, 12, 13, 14, 15, 16, 20, 22, 67, 99, 254, 255} {
		for _, body := range [][]byte{{}, {3, 3}, make([]byte, 100)} {
			add(0, fmt.Sprintf("handshake message %d of %d bytes", kind, len(body)), func(p *recordPeer) []byte {
				return p.message(append([]byte{kind, 0, 0, byte(len(body))}, body...)...)
			})
		}
		add(0, fmt.Sprintf("the first byte of handshake message %d", kind), func(p *recordPeer) []byte { return p.message(kind) })
		add(0, fmt.Sprintf("the header of a huge handshake message %d", kind), func(p *recordPeer) []byte { return p.message(kind, 255, 255, 255) })
	}
	add(0, "a ClientHello in two parts", func(p *recordPeer) []byte { return append(p.message(1, 0, 0, 4, 3), p.message(3, 1, 2)...) })
	add(0, "two ClientHellos in a record", func(p *recordPeer) []byte { return p.message(1, 0, 0, 1, 3, 1, 0, 0, 1, 3) })
	add(0, "a ClientHello and a part of the next", func(p *recordPeer) []byte {
		return append(p.message(1, 0, 0, 1, 3, 1, 0), p.message(0, 1, 3)...)
	})
	add(0, "a ClientHello of 131396 bytes", func(p *recordPeer) (out []byte) {
		m := append([]byte{1, 2, 1, 0x44}, make([]byte, 131396)...)
		for part := range slices.Chunk(m, 16384) {
			out = append(out, p.message(part...)...)
		}
		return out
	})
	for _, n := range []int{131396, 131397} {
		add(0, fmt.Sprintf("the header of a ClientHello of %d bytes", n), func(p *recordPeer) []byte { return p.message(1, byte(n>>16), byte(n>>8), byte(n)) })
	}
	for _, n := range []int{3, 4, 6} {
		add(TLS12, fmt.Sprintf("%d ClientHellos", n), func(p *recordPeer) []byte {
			return repeat(n, func() []byte { return p.message(1, 0, 0, 2, 3, 3) })
		})
	}
	return rows
}

// differences are where direct records end another way than OpenSSL, with the alert that the RFC names.
var differences = []struct {
	version         TLSVersion
	before          uint32 // the series of OpenSSL that no longer differs; 0: all do
	where           string // of the row and the position
	openssl, direct string // how reading ends
	alert           string // of direct records
	why             string
	long            bool // no row of the short form differs so
}{
	{TLS13, 0, "", "excessive message size", "bad key update", "sent 50", "RFC 8446, section 6.2: the length of a message was incorrect", false},
	{TLS13, 0, "after a KeyUpdate with request", "unexpected", "bad key update", "sent 50", "the same; OpenSSL first reads the next record", true},
	{TLS13, 0, "handshake message 0 .*header", "unexpected", "bad key update", "sent 50", "the same, and more behind it in the record", true},
	{TLS13, 0, "zeros", "decryption failed or bad record mac", "unexpected", "sent 10", "RFC 8446, section 5.4: no content type; OpenSSL does not open a record that is this short", false},
	{TLS13, 0, "padding", "EOF", "data length too long", "sent 22", "RFC 8446, section 5.4: padding counts; OpenSSL looks at the content alone", false},
	{TLS13, 0, "padding", "unexpected", "data length too long", "sent 22", "the same, in the midst of a message", true},
	{TLS13, 0, "zeros", "unexpected", "data length too long", "sent 22", "the same", false},
	{TLS13, 0, "body|two parts, 4", "*", "unexpected", "sent 10", "RFC 8446, section 5.1: nothing may come between the parts of a message; OpenSSL lets alerts pass", false},
	{TLS13, 0x302, "major version", "wrong version number", "wrong version number", "sent 50", "RFC 8446, section 6.2: a field is out of its range; OpenSSL sends protocol_version", false},
	{TLS13, 0x302, "4 warnings and close_notify", "too many warn alerts", "EOF", "none", "RFC 8446, section 6.1: close_notify is not one warning too many", false},
	{TLS12, 0x305, "nonsense", "internal error", "decryption failed or bad record mac", "sent 20", "RFC 5246, section 7.2.2; the body is too short for nonce and tag", false},
}

// brokenHello names the rows with ClientHellos in TLS 1.2, which are not whole.
// OpenSSL 4.0 parses a hello before it refuses to renegotiate, and sends
// illegal_parameter; direct records and the older series refuse unseen.
var brokenHello = regexp.MustCompile(`ClientHello|^a message in two parts`)

// tolerated reports whether direct records may differ from OpenSSL's here, and
// marks the row of differences that says so in used.
func tolerated(version TLSVersion, where string, openssl, direct outcome, used []bool) bool {
	if !bytes.HasPrefix(openssl.data, direct.data) {
		return false
	}
	o, d := ending(openssl.read), ending(direct.read)
	if o == d && strings.HasSuffix(o, "EOF") && ending(openssl.write) == o {
		return true // what OpenSSL has of a message keeps it from writing
	}
	for i, x := range differences {
		alert := x.alert
		if strings.Contains(where, "our close_notify") {
			alert = "none"
		}
		if x.version == version && (x.before == 0 || linked.Run.series() < x.before) && regexp.MustCompile(x.where).MatchString(where) &&
			(x.openssl == o || x.openssl == "*") && x.direct == d && alert == alertOf(direct.read) {
			used[i] = true
			n, sent := strings.CutPrefix(alert, "sent ")
			return !sent || slices.Equal(direct.heard, []string{"alert [2 " + n + "]"})
		}
	}
	return false
}

// TestDirectDifferential feeds the same records of a peer to OpenSSL's record layer and to the direct one. Both must return the same data,
// send the same, and end with the same error, but for the differences, each of which is seen.
func TestDirectDifferential(t *testing.T) {
	openSSLToo(t)
	used := make([]bool, len(differences))
	for _, suite := range gcmSuites {
		t.Run(suite.name, func(t *testing.T) {
			peers, servers := newRecordPeers(t, suite), bothServers(t)
			n := 0
			for _, row := range slices.Concat(badRecords(), badMessages()) {
				for i, at := range positions {
					if cmp.Or(row.version, suite.version) != suite.version || cmp.Or(at.version, suite.version) != suite.version {
						continue
					}
					if suite.version == TLS12 && linked.Run.series() >= 0x400 && brokenHello.MatchString(row.name) {
						continue
					}
					if n++; suite.key == 32 && i%3 != 0 || testing.Short() && i%9 != 0 {
						continue
					}
					d := deliveries[n%len(deliveries)]
					got := peers.outcomes(t, servers, d, func(p *recordPeer) []byte {
						return slices.Concat(at.before(p), row.records(p), p.data("after"), p.alert(1, 0))
					})
					where := row.name + ", " + at.name
					check(t, got[0].String() == got[1].String() || tolerated(suite.version, where, got[0], got[1], used),
						"%s, %+v\nOpenSSL: %s\ndirect: %s", where, d, got[0], got[1])
				}
			}
		})
	}
	for i, x := range differences {
		check(t, used[i] || (x.long && testing.Short()) || (x.before != 0 && linked.Run.series() >= x.before), "no row differs as %+v", x)
	}
}
