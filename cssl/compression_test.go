package cssl

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// compressionsBuilt are the algorithms that OpenSSL was built with. The test is skipped where there is none.
func compressionsBuilt(t testing.TB) (names []string) {
	t.Helper()
	for name := range compressions {
		if x, err := NewClientContext(Config{CertificateCompression: []string{name}}); err == nil {
			x.Close()
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Skipf("%v compresses no certificates", linked.Run)
	}
	slices.Sort(names)
	return names
}

// sizes makes a handshake and returns how many bytes the server and the client have sent.
func (p *pair) sizes() (server, client int) {
	p.t.Helper()
	p.wire = map[*Conn][]byte{}
	p.handshake()
	return len(p.wire[p.server]), len(p.wire[p.client])
}

// TestCertificateCompression: certificates are shorter on the way where both sides have the algorithm, and arrive whole: those of a
// server, also by server name and from a Context that a name leads to, and those of a client.
func TestCertificateCompression(t *testing.T) {
	const less = 100 // what it spares at least; signatures differ by a few bytes
	names := compressionsBuilt(t)
	var none []string
	byName := func(s *Config) {
		s.Names, s.Certificates = map[string][]Certificate{"localhost": s.Certificates}, serverConfig("wrongname").Certificates
	}
	for _, tt := range []struct {
		name           string
		client, server []string
		change         func(c, s *Config)
		compressed     bool
	}{
		{"all", names, names, nil, true},
		{"one of the client's", names[:1], names, nil, true},
		{"the client has none", none, names, nil, false},
		{"the server has none", names, none, nil, false},
		{"TLS 1.2", names, names, func(c, _ *Config) { c.MaxVersion = TLS12 }, false},
		{"by name", names, names, func(_, s *Config) { byName(s) }, true},
		{"OpenSSL's records", names, names, func(_, s *Config) { s.Records = RecordsOpenSSL }, true},
		{"direct records", names, names, func(_, s *Config) { s.Records = RecordsDirect }, true},
		{"by SNI", names, names, func(_, s *Config) {
			x := mustServer(t, *s)
			*s = serverConfig("wrongname")
			s.SNI = map[string]*Context{"localhost": x}
		}, true},
		{"not by SNI", names, none, func(_, s *Config) {
			x := mustServer(t, *s)
			*s = serverConfig("wrongname")
			s.CertificateCompression, s.SNI = names, map[string]*Context{"localhost": x}
		}, false},
		{"replaced", names, names, func(_, s *Config) {
			wrong := *s
			wrong.Certificates = serverConfig("wrongname").Certificates
			s.Previous = mustServer(t, wrong)
		}, true},
		{"unchanged", names, names, func(_, s *Config) { s.Previous = mustServer(t, *s) }, true},
		{"turned on", names, names, func(_, s *Config) {
			without := *s
			without.CertificateCompression = nil
			s.Previous = mustServer(t, without)
		}, true},
		{"turned off", names, none, func(_, s *Config) {
			with := *s
			with.CertificateCompression = names
			s.Previous = mustServer(t, with)
		}, false},
	} {
		connect := func(client, server []string) *pair {
			s, c := mutual(0)
			c.CertificateCompression, s.CertificateCompression = client, server
			if tt.change != nil {
				tt.change(&c, &s)
			}
			return pairOf(t, c, s)
		}
		server, client := connect(none, none).sizes()
		p := connect(tt.client, tt.server)
		s, c := p.sizes()
		check(t, (s < server-less) == tt.compressed && (c < client-less) == tt.compressed,
			"%s: the server sends %d bytes instead of %d, the client %d instead of %d", tt.name, s, server, c, client)
		for _, conn := range []*Conn{p.client, p.server} {
			chain := tlstest.Value(conn.State().VerifiedChain())(t)
			check(t, len(chain) == 3 && conn.State().VerifyError == nil, "%s: a chain of %d, %v", tt.name, len(chain), conn.State().VerifyError)
		}
		tlstest.Must(t, leaf(t, p.client).VerifyHostname("localhost"))
	}
}

// TestCompressionSparesStaple: a certificate with an OCSP response is sent whole, for the response would be lost.
func TestCompressionSparesStaple(t *testing.T) {
	c, s := clientConfig(), serverConfig("ecdsa")
	c.CertificateCompression, s.CertificateCompression = compressionsBuilt(t), compressionsBuilt(t)
	c.Staples, s.Certificates[0].OCSP = true, ocspResponse(t, 0)
	sameBytes(t, "the response", pairOf(t, c, s).shaken().client.State().OCSP, s.Certificates[0].OCSP)
}

// TestCompressionSparesExtension: a certificate that has an extension of the application is not compressed either.
func TestCompressionSparesExtension(t *testing.T) {
	log, c, s := extensionPair(TLS13)
	c.CertificateCompression, s.CertificateCompression = compressionsBuilt(t), compressionsBuilt(t)
	pairOf(t, c, s).shaken()
	check(t, slices.Contains(log.calls, "client parses Certificate 0 cert"), "not sent: %v", log.calls)
}

// TestCompressionRefused: what is no algorithm, or none that OpenSSL was built with, is named.
func TestCompressionRefused(t *testing.T) {
	names := compressionsBuilt(t)
	rows := []wrongConfig{
		{"unknown", func(c *Config) { c.CertificateCompression = []string{"gzip"} }, "CertificateCompression", `"gzip"|zlib, brotli or zstd`},
		{"twice", func(c *Config) { c.CertificateCompression = []string{names[0], names[0]} }, "CertificateCompression", "twice"},
	}
	for name := range compressions {
		if !slices.Contains(names, name) {
			rows = append(rows, wrongConfig{name, func(c *Config) { c.CertificateCompression = []string{names[0], name} }, "CertificateCompression",
				name + "|built without"})
		}
	}
	checkRefusals(t, true, serverConfig("ecdsa"), rows)
	checkRefusals(t, false, clientConfig(), rows)
}

// TestDecompressionBomb: a client's certificate that becomes longer than it says, or says that it is longer than a certificate may be, ends
// its own handshake. The client's records are made by hand.
func TestDecompressionBomb(t *testing.T) {
	if !slices.Contains(compressionsBuilt(t), "zlib") {
		t.Skip("zlib is missing")
	}
	packed := func(n int) []byte {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		tlstest.Value(w.Write(make([]byte, n)))(t)
		tlstest.Must(t, w.Close())
		return b.Bytes()
	}
	u24 := func(n int) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }
	s, c := mutual(TLS13)
	s.CertificateCompression, c.CertificateCompression = []string{"zlib"}, []string{"zlib"}
	var log bytes.Buffer
	c.KeyLog = &log
	suite := gcmSuites[0]
	suite.apply(&c)
	sx, cx := mustServer(t, s), mustClient(t, c)
	for _, tt := range []struct {
		name  string
		alg   byte
		whole int
		data  []byte
		says  string
		alert tlsio.Alert
	}{
		{"becomes longer than it says", 1, 1000, packed(10 << 20), "bad decompression", tlsio.AlertBadCertificate},
		{"longer than a certificate may be", 1, 10 << 20, packed(10 << 20), "", tlsio.AlertBadCertificate},
		{"the greatest length", 1, 1<<24 - 1, packed(1000), "", tlsio.AlertBadCertificate},
		{"shorter than it says", 1, 1000, packed(999), "bad decompression", tlsio.AlertBadCertificate},
		{"no zlib", 1, 1000, make([]byte, 100), "bad decompression", tlsio.AlertBadCertificate},
		{"empty", 1, 1000, nil, "bad decompression", 50},
		{"an algorithm that was not offered", 3, 1000, packed(1000), "bad compression algorithm", 47},
		{"no algorithm", 9, 1000, packed(1000), "bad compression algorithm", 47},
	} {
		log.Reset()
		p := newPair(t, cx, sx)
		p.client.Handshake()
		p.move(p.client, p.server)
		shake(p.server)
		p.move(p.server, p.client)
		wants(t, tt.name, p.client.Handshake(), 0)
		_, secret, _ := strings.Cut(log.String(), "CLIENT_HANDSHAKE_TRAFFIC_SECRET ")
		send := protection{suite: suite}
		send.setSecret(tlstest.Value(hex.DecodeString(strings.Fields(secret)[1]))(t))
		body := slices.Concat([]byte{0, tt.alg}, u24(tt.whole), u24(len(tt.data)), tt.data)
		for message := slices.Concat([]byte{25}, u24(len(body)), body); len(message) > 0; {
			n := min(len(message), 1<<14)
			p.server.Feed(send.seal(23, append(slices.Clone(message[:n]), 22)))
			message = message[n:]
		}
		err := shake(p.server).Err
		says(t, tt.name, err, tt.says)
		checkAlert(t, err, tlsio.AlertSent, tt.alert)
	}
	newPair(t, cx, sx).shaken()
}

// BenchmarkCertificateCompression tells what a server sends in a handshake, with and without.
func BenchmarkCertificateCompression(b *testing.B) {
	certs := []string{"rsa", "ecdsa"}
	if has35() {
		certs = append(certs, "mldsa44", "mldsa65", "mldsa87")
	}
	for _, cert := range certs {
		for _, names := range append([][]string{nil}, chunks(compressionsBuilt(b))...) {
			b.Run(fmt.Sprintf("%s/%s", cert, strings.Join(names, "")), func(b *testing.B) {
				c, s := Config{CAPEM: slices.Concat(testcerts.Read(b, "root.pem"), testcerts.Read(b, cert+".pem"))}, serverConfig(cert)
				c.CertificateCompression, s.CertificateCompression = names, names
				cx, sx := mustClient(b, c), mustServer(b, s)
				var n int
				for b.Loop() {
					n, _ = newPair(b, cx, sx).sizes()
				}
				b.ReportMetric(float64(n), "server-bytes")
			})
		}
	}
}

func chunks(names []string) [][]string { return slices.Collect(slices.Chunk(names, 1)) }
