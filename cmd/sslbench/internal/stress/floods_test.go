package stress

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// flood is something that a peer can send as often as it likes.
type flood struct {
	name    string
	figure  string // of the document, shared by some
	version uint16
	message func(f *flooder, i int) // the i-th
	// allowed is how many are taken; the next one ends the connection, with the error that ends tells. -1: no end.
	allowed int
	ends    string
	// perData is how many messages come with one byte of data among them; 0 is none at all.
	perData int
	// unread: the server answers each, which is more than Go's client puts up with, so the answers are not read.
	unread bool
}

var (
	keyUpdates      = func(f *flooder, _ int) { f.rekey(0) }
	askedKeyUpdates = func(f *flooder, _ int) { f.rekey(1) }
	clientHello     = func(f *flooder, _ int) { f.record(typeHandshake, f.hello...) }
	ticket          = func(f *flooder, _ int) { f.record(typeHandshake, 4, 0, 0, 0) }
	oneByte         = func(f *flooder, _ int) { f.data() }
	emptyRecord     = func(f *flooder, _ int) { f.record(typeData) }
	warning         = func(f *flooder, _ int) { f.record(typeAlert, 1, 90) } // user_canceled
)

// every is a flood with a byte of data after each n messages, which makes OpenSSL count anew.
func every(n int, message func(*flooder, int)) func(*flooder, int) {
	return func(f *flooder, i int) {
		if i%(n+1) == n {
			f.data()
		} else {
			message(f, i)
		}
	}
}

// The limits: 4096 is cssl.Config.MaxMessages and 16 MaxRenegotiations, counted over a connection's life; 32 empty records and
// 4 warnings in a row are OpenSSL's own.
var floods = []flood{
	{"KeyUpdates", "stress-keyupdates", tls.VersionTLS13, keyUpdates, 4096, "limit", 0, false},
	{"KeyUpdates between data", "stress-keyupdates", tls.VersionTLS13, every(1, keyUpdates), 2 * 4096, "limit", 0, false},
	{"KeyUpdates that ask for one back", "stress-keyupdates", tls.VersionTLS13, askedKeyUpdates, 4096, "limit", 0, true},
	{"refused renegotiations", "stress-renegotiations-refused", tls.VersionTLS12, clientHello, 16, "limit", 0, false},
	{"1-byte records of TLS 1.3", "stress-onebyte", tls.VersionTLS13, oneByte, -1, "", 1, false},
	{"1-byte records of TLS 1.2", "stress-onebyte", tls.VersionTLS12, oneByte, -1, "", 1, false},
	{"empty records of TLS 1.3", "stress-empty", tls.VersionTLS13, emptyRecord, 32, "record too small", 0, false},
	{"empty records of TLS 1.2", "stress-empty", tls.VersionTLS12, emptyRecord, 32, "record too small", 0, false},
	{"31 empty records to a byte", "stress-empty", tls.VersionTLS13, every(31, emptyRecord), -1, "", 32, false},
	{"warnings of TLS 1.3", "stress-alerts", tls.VersionTLS13, warning, 4, "too many warn alerts", 0, false},
	{"warnings of TLS 1.2", "stress-alerts", tls.VersionTLS12, warning, 4, "too many warn alerts", 0, false},
	{"4 warnings to a byte", "stress-alerts", tls.VersionTLS12, every(4, warning), -1, "", 5, false},
	{"tickets for the server", "stress-alerts", tls.VersionTLS13, ticket, 0, "unexpected message", 0, false},
}

// pour sends n messages, over as many connections as that takes.
func (fl flood) pour(addr string, n int) error {
	per := n
	if fl.allowed >= 0 {
		per = fl.allowed + 1
	}
	for ; n > 0; n -= per {
		f, err := dialFlooder(addr, fl.version)
		if err != nil {
			return err
		}
		if fl.allowed >= 0 {
			fl.send(f, per)
			err = f.cut()
		} else {
			err = fl.endless(f, per)
		}
		f.raw.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// send sends n messages. It may be cut off before the last.
func (fl flood) send(f *flooder, n int) {
	for i := range n {
		fl.message(f, i)
	}
	_ = f.flush()
}

// endless sends n messages and a byte on one connection, while it reads what is echoed.
func (fl flood) endless(f *flooder, n int) error {
	const batch = 64
	data := 1
	if fl.perData > 0 {
		data += n / fl.perData
	}
	sent := tlstest.Later(func() (err error) {
		for i := 0; i < n && err == nil; i++ {
			fl.message(f, i)
			if i%batch == batch-1 {
				err = f.flush()
			}
		}
		f.data() // its echo shows that all before it was taken
		return errors.Join(err, f.flush())
	})
	err := f.echoes(data)
	if err != nil {
		f.raw.Close()
	}
	return errors.Join(err, <-sent)
}

// TestFloods: how many of each message the server takes, to the very one; what one costs it; and that honest clients notice
// nothing while they come, and nothing is left of it afterwards.
func TestFloods(t *testing.T) {
	alone(t)
	texts := make([]string, len(floods))
	t.Cleanup(func() { // after all of them
		figures := map[string][]string{}
		for i, fl := range floods {
			figures[fl.figure] = append(figures[fl.figure], fl.name+": "+texts[i])
		}
		for name, parts := range figures {
			record(t, name, "%s", strings.Join(parts, "; "))
		}
	})
	for i, fl := range floods {
		t.Run(fl.name, func(t *testing.T) {
			alone(t)
			s := server(t, settings{})
			n, ended := fl.size(), 0
			if fl.allowed >= 0 {
				fl.edge(t, s)
				ended = 1 + 2*n/(fl.allowed+1) // one of edge's two connections was cut off as well
			}
			texts[i] = s.besieged(t, n, func() error { return fl.pour(s.addr, n) })
			if got := s.report().Ended[fl.ends]; ended > 0 && got != ended {
				t.Errorf("%d connections ended with %q, want %d: %v", got, fl.ends, ended, s.report().Ended)
			}
			s.stop()
			limit := "no limit"
			if fl.allowed >= 0 {
				limit = fmt.Sprintf("%d taken, the next one ends the connection", fl.allowed)
			}
			texts[i] = limit + "; " + texts[i]
		})
	}
}

// besieged lets a flood of n messages come twice, the second time beside honest clients, who notice nothing. It answers
// what a message costs.
func (p *process) besieged(t *testing.T, n int, flood func() error) string {
	t.Helper()
	before, cpu := p.resident(), p.cpu()
	tlstest.Must(t, flood())
	p.allGone()
	cost := p.cpu() - cpu
	end := beside(t, p.addr, scaled(200, 10), scaled(1000.0, 100))
	if err := flood(); err != nil {
		t.Error(err)
	}
	end()
	p.allGone()
	after := p.resident()
	if after > before+growth(before) {
		t.Errorf("resident before %v, after %v", before, after)
	}
	return fmt.Sprintf("%v of CPU time each, with their connections, resident %v before, %v after", show(cost/time.Duration(n)), before, after)
}

// size is how many messages a flood has.
func (fl flood) size() int {
	switch {
	case fl.allowed < 0:
		return scaled(500_000, 3000)
	case fl.allowed < 100:
		return scaled(500, 4) * (fl.allowed + 1)
	}
	return scaled(100, 1) * (fl.allowed + 1)
}

// edge shows the limit to the very message: a connection on which as many come as are allowed still echoes, and one more
// is the end of another one.
func (fl flood) edge(t *testing.T, s *process) {
	t.Helper()
	var fs [2]*flooder
	for i := range fs {
		f := tlstest.Value(dialFlooder(s.addr, fl.version))(t)
		defer f.raw.Close()
		fl.send(f, fl.allowed+i)
		fs[i] = f
	}
	fs[0].data()
	tlstest.Must(t, fs[0].flush())
	if !fl.unread {
		tlstest.Must(t, fs[0].echoes(fs[0].sent.N))
	}
	tlstest.Must(t, fs[1].cut())
	waitFor(t, "the server's count", func() bool { return s.report().Ended[fl.ends] == 1 })
	if fl.unread { // the first one's may be read later: it is another loop's
		waitFor(t, "what was sent to be read", func() bool {
			return s.report().Stats.Sessions.BytesRead == uint64(fs[0].sent.N+fs[1].sent.N)
		})
	}
}

// renegotiator is the handler of a client that asks for another handshake after each byte that comes back, until it is cut off.
type renegotiator struct {
	reactor.BaseHandler
	sent, got tlstest.Stream // a handshake for each byte
	ends      chan error
}

func (r *renegotiator) OnOpen(c *reactor.Conn) {
	c.Renegotiate()
	c.Write(r.sent.Next(1))
}

func (r *renegotiator) OnData(c *reactor.Conn, p []byte) {
	r.got.Check(p)
	r.OnOpen(c)
}

func (r *renegotiator) OnClose(c *reactor.Conn, err error) {
	// 16 are allowed; the answer to the next one is the end.
	if r.sent.N != 17 || r.got.N != 16 || r.got.Bad != nil {
		r.ends <- fmt.Errorf("cut off at handshake %d, with %d bytes echoed (%v): %v", r.sent.N, r.got.N, r.got.Bad, err)
	} else {
		r.ends <- nil
	}
}

// TestRenegotiations: a server that allows TLS 1.2 clients to renegotiate does so 16 times for each
// (cssl.Config.MaxRenegotiations), and ends the connection then. Honest clients notice nothing.
func TestRenegotiations(t *testing.T) {
	alone(t)
	s := server(t, settings{Renegotiation: true})
	cfg := cssl.Config{CAFile: testcerts.Path("root.pem"), MaxVersion: cssl.TLS12, Renegotiation: true}
	x := tlstest.Value(cssl.NewClientContext(cfg))(t)
	defer x.Close()
	limits := reactor.Limits{HandshakeTimeout: hang, CloseTimeout: hang}
	loop := tlstest.Value(reactor.NewLoop(reactor.LoopConfig{Limits: limits}))(t)
	ran := tlstest.Later(loop.Run)
	defer func() {
		loop.Stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	conns := scaled(300, 10)
	text := s.besieged(t, 17*conns, func() error {
		for range conns {
			r := &renegotiator{ends: make(chan error, 1)}
			err := loop.Connect(netip.MustParseAddrPort(s.addr), x, cssl.ConnConfig{ServerName: "localhost"}, r, nil)
			if err == nil {
				err = tlstest.Receive(t, r.ends, "the end of a connection")
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	tlstest.Equal(t, "connections that ended at the limit", s.report().Ended["limit"], 2*conns)
	s.stop()
	record(t, "stress-renegotiations", "16 taken, the next one ends the connection (17 handshakes); %s", text)
}

// The types of records and messages that flooders send.
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
	keyUpdate     = 24
)

// flooder is a client that sends whichever records it likes after a proper handshake: Go's own client makes that and
// reads, while the records are sealed here with its keys.
type flooder struct {
	raw     *recorded
	in      *tls.Conn
	version uint16
	secret  []byte // TLS 1.3
	aead    cipher.AEAD
	iv      []byte // in TLS 1.2 its first four bytes
	seq     uint64
	hello   []byte         // the ClientHello, without the header of its record
	out     []byte         // sealed, not yet sent
	sent    tlstest.Stream // application data sealed
	got     tlstest.Stream // and read
}

// recorded remembers the first record of each direction.
type recorded struct {
	net.Conn
	read, written []byte
}

// firstRecord is enough of a flight to hold what is looked for.
const firstRecord = 2048

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.read = append(r.read, p[:min(n, firstRecord-len(r.read))]...)
	return n, err
}

func (r *recorded) Write(p []byte) (int, error) {
	r.written = append(r.written, p[:min(len(p), firstRecord-len(r.written))]...)
	return r.Conn.Write(p)
}

// keyLine is a line of the key log: the client's traffic secret of TLS 1.3, or its random and the secret of TLS 1.2.
var keyLine = regexp.MustCompile(`(?m)^(?:CLIENT_TRAFFIC_SECRET_0|CLIENT_RANDOM) (\w+) (\w+)$`)

func dialFlooder(addr string, version uint16) (*flooder, error) {
	raw, err := net.DialTimeout("tcp", addr, hang)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Now().Add(hang))
	var log bytes.Buffer
	f := &flooder{raw: &recorded{Conn: raw}, version: version}
	f.in = tls.Client(f.raw, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, KeyLogWriter: &log})
	if err := f.in.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	line := keyLine.FindStringSubmatch(log.String())
	random, secret := must(hex.DecodeString(line[1])), must(hex.DecodeString(line[2]))
	if version == tls.VersionTLS13 {
		f.useSecret(secret)
	} else {
		// Behind the headers of record and message, and the version.
		server := f.raw.read[11:43]
		keys := prf(secret, slices.Concat([]byte("key expansion"), server, random), 2*16+2*4)
		f.useKey(keys[:16], keys[32:36])
		f.seq = 1 // Finished was record 0
	}
	f.hello = f.raw.written[5:][:binary.BigEndian.Uint16(f.raw.written[3:])]
	return f, nil
}

func (f *flooder) useKey(key, iv []byte) {
	f.aead, f.iv, f.seq = must(cipher.NewGCM(must(aes.NewCipher(key)))), iv, 0
}

// useSecret begins with a traffic secret of TLS 1.3.
func (f *flooder) useSecret(secret []byte) {
	f.secret = secret
	f.useKey(f.expand("key", 16), f.expand("iv", 12))
}

// expand is HKDF-Expand-Label of RFC 8446 without a context.
func (f *flooder) expand(label string, n int) []byte {
	label = "tls13 " + label
	return must(hkdf.Expand(sha256.New, f.secret, string([]byte{0, byte(n), byte(len(label))})+label+"\x00", n))
}

// prf is that of TLS 1.2 (RFC 5246, section 5), with SHA-256. The seed begins with the label.
func prf(secret, seed []byte, n int) (out []byte) {
	sum := func(p ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(slices.Concat(p...))
		return h.Sum(nil)
	}
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}

// record seals a record of a type.
func (f *flooder) record(typ byte, payload ...byte) {
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], f.seq)
	f.seq++
	if f.version == tls.VersionTLS13 {
		nonce := bytes.Clone(f.iv)
		for i, b := range seq {
			nonce[4+i] ^= b
		}
		n := len(payload) + 1 + 16
		from := len(f.out)
		f.out = append(f.out, typeData, 3, 3, byte(n>>8), byte(n))
		f.out = f.aead.Seal(f.out, nonce, append(payload, typ), f.out[from:])
		return
	}
	n := 8 + len(payload) + 16
	f.out = append(f.out, typ, 3, 3, byte(n>>8), byte(n))
	f.out = append(f.out, seq[:]...)
	aad := append(bytes.Clone(seq[:]), typ, 3, 3, byte(len(payload)>>8), byte(len(payload)))
	f.out = f.aead.Seal(f.out, append(bytes.Clone(f.iv), seq[:]...), payload, aad)
}

// rekey says KeyUpdate and goes on with the next key.
func (f *flooder) rekey(request byte) {
	f.record(typeHandshake, keyUpdate, 0, 0, 1, request)
	f.useSecret(f.expand("traffic upd", 32))
}

// data is a record with the next byte of application data.
func (f *flooder) data() { f.record(typeData, f.sent.Next(1)...) }

// flush sends what was sealed.
func (f *flooder) flush() error {
	_, err := f.raw.Conn.Write(f.out)
	f.out = f.out[:0]
	return err
}

// echoes reads and compares until all data has come back.
func (f *flooder) echoes(until int) error {
	buf := make([]byte, 16<<10)
	for f.got.N < until {
		n, err := f.in.Read(buf)
		f.got.Check(buf[:n])
		if err = errors.Join(err, f.got.Bad); err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", f.got.N, until, err)
		}
	}
	return nil
}

// cut waits until the server has ended the connection: by a FIN, or a reset because it did not read all.
func (f *flooder) cut() error {
	if _, err := io.Copy(io.Discard, f.raw.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server does not end the connection")
	}
	return nil
}
