package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// refusing is an address at which nobody listens.
func refusing(t testing.TB) string {
	l := listen(t)
	defer l.Close()
	return l.Addr().String()
}

// answers reads what the client says first, answers text, and ends.
func answers(text string) func(net.Conn) {
	return func(c net.Conn) { buf := make([]byte, 4096); c.Read(buf); io.WriteString(c, text) }
}

func silent(c net.Conn) { io.Copy(io.Discard, c) }

// reset ends c by a reset.
func reset(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// echoThen echoes n bytes and then does f.
func echoThen(n int64, f func(c *tls.Conn)) func(c *tls.Conn) {
	return func(c *tls.Conn) { io.CopyN(c, c, n); f(c) }
}

// finish opens and runs a Load, and answers what failed, in either.
func finish(t *testing.T, cfg Config, d time.Duration) (Result, error) {
	t.Helper()
	l := mustNew(t, cfg)
	opened := l.Open(t.Context(), cfg.Conns)
	r, err := l.Run(t.Context(), d)
	if opened != nil {
		err = opened
	}
	tlstest.Equal(t, "connections at work after Run", l.sum(busy), 0)
	return r, err
}

// untilFailure opens a Load and runs it until something fails.
func untilFailure(t *testing.T, cfg Config) Result { t.Helper(); return untilFailures(t, cfg, 1) }

func untilFailures(t *testing.T, cfg Config, n uint64) Result {
	t.Helper()
	l := mustNew(t, cfg)
	if l.Open(t.Context(), cfg.Conns) != nil {
		return l.Collect()
	}
	ctx, cancel := context.WithTimeout(t.Context(), tlstest.Hang)
	defer cancel()
	go func() {
		for l.Progress().Failures < n && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	r, err := l.Run(ctx, time.Hour)
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run: %v", err)
	}
	return r
}

// wantOnly wants failures of one name, with a text.
func wantOnly(t *testing.T, r Result, what Failure, text string) {
	t.Helper()
	if r.Failures[what] == 0 || len(r.Failures) != 1 {
		t.Errorf("failures are %v (%v), want %q only", r.Failures, r.Examples, what)
	}
	if !strings.Contains(r.Examples[what], text) {
		t.Errorf("%q does not say %q", r.Examples[what], text)
	}
}

// TestBadTargets: what is wrong with a target that never works is named, and Run ends long before its duration.
func TestBadTargets(t *testing.T) {
	const banner = "220 mail.test ESMTP\r\n"
	for _, test := range []struct {
		name   string
		target target
		change func(*Config)
		want   Failure
		says   string
	}{
		{"refused", refusing, nil, Refused, ": connect: connection refused"},
		{"HTTP", raw(answers("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")), nil, NotTLS, "wrong version number"},
		{"greeting", raw(func(c net.Conn) { io.WriteString(c, banner); silent(c) }), nil, NotTLS, "wrong version number"},
		{"zeros", raw(answers(strings.Repeat("\x00", 100))), nil, NotTLS, ""},
		{"record of no handshake", raw(answers("\x17\x03\x03\x00\x05hello")), nil, NotTLS, ""},
		{"nonsense in a handshake record", raw(answers("\x16\x03\x03\x00\x05hello")), nil, NotTLS, ""},
		{"record too long", raw(answers("\x16\x03\x03\xff\xffhello")), nil, NotTLS, ""},
		{"echo", raw(func(c net.Conn) { io.Copy(c, c) }), nil, NotTLS, ""},
		{"closes at once", raw(func(net.Conn) {}), nil, Closed, "handshake"},
		{"closes after the hello", raw(answers("")), nil, Closed, "before the handshake was done"},
		{"resets", raw(reset), nil, Closed, "reset"},
		{"never answers", raw(silent), func(c *Config) { c.Timeout = 100 * time.Millisecond }, TimedOut, "handshake"},
		{"unknown CA", ours(echo, nil), func(c *Config) { c.TLS.CAFile = testcerts.Path("other-root.pem") },
			Certificate, "certificate verify failed"},
		{"system CAs", ours(echo, nil), func(c *Config) { c.TLS.CAFile = "" }, Certificate, "local issuer"},
		{"wrong name", goes("wrongname", discard), nil, Certificate, "hostname mismatch"},
		{"expired", goes("expired", discard), nil, Certificate, "expired"},
		{"no common version", ours(echo, func(c *cssl.Config) { c.MaxVersion = cssl.TLS12 }),
			func(c *Config) { c.TLS.MinVersion = cssl.TLS13 }, Rejected, "protocol version"},
		{"no common cipher", ours(echo, func(c *cssl.Config) { c.MaxVersion, c.CipherList = cssl.TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256" }),
			func(c *Config) { c.TLS.CipherList = "ECDHE-ECDSA-AES256-GCM-SHA384" }, Rejected, "handshake failure"},
	} {
		for _, kind := range []Kind{Handshake, Request, Send} {
			t.Run(test.name+"/"+string(kind), func(t *testing.T) {
				noLeaks(t)
				cfg := config(test.target(t), kind)
				cfg.Conns = 20
				if test.change != nil {
					test.change(&cfg)
				}
				r, err := finish(t, cfg, time.Hour)
				if err == nil || r.Units != 0 {
					t.Errorf("%v, %d units", err, r.Units)
				}
				wantOnly(t, r, test.want, test.says)
			})
		}
	}
}

// TestClientCertificate: a server that asks for a certificate rejects a client without, in TLS 1.3 after the
// client's own handshake is done.
func TestClientCertificate(t *testing.T) {
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	for _, version := range versions {
		for _, kind := range []Kind{Handshake, Request} {
			cfg := config(serveGo(t, "ecdsa", func(c *tls.Config) {
				c.ClientAuth, c.ClientCAs, c.MaxVersion = tls.RequireAndVerifyClientCert, cas, uint16(version)
			}, func(c *tls.Conn) { io.Copy(c, c) }), kind)
			r, err := finish(t, cfg, time.Hour)
			if err == nil || r.Failures[Rejected]+r.Failures[Closed] == 0 || r.Units != 0 {
				t.Errorf("%v, %v: %v; %v", version, kind, err, r.Err())
			}
			cfg.TLS.Certificates = []cssl.Certificate{{ChainFile: testcerts.Path("client.pem"), KeyFile: testcerts.Path("client.key")}}
			if r, err := finish(t, cfg, 50*time.Millisecond); err != nil || r.Err() != nil || r.Units == 0 {
				t.Errorf("%v, %v, with a certificate: %v; %v", version, kind, err, r.Err())
			}
		}
	}
}

// TestRefusedByReset: a client that is refused by a mere reset, in TLS 1.3 after its own handshake is done, has made no handshake.
func TestRefusedByReset(t *testing.T) {
	cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
	for _, version := range versions {
		target := serveRaw(t, func(c net.Conn) {
			// The server has read the client's last flight, and its alert finds no connection any more.
			refuse := func(tls.ConnectionState) error { reset(c); return errors.New("refused") }
			cfg := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert,
				MaxVersion: uint16(version), VerifyConnection: refuse}
			if tls.Server(c, cfg).Handshake() == nil {
				t.Error("the server took a client that it refuses")
			}
		})
		r, err := finish(t, config(target, Handshake), 20*time.Second)
		if err == nil || r.Units != 0 {
			t.Errorf("%v: %v; %d handshakes", version, err, r.Units)
		}
		wantOnly(t, r, Closed, "")
	}
}

// TestResetAfterEnd: a server that resets the connection after its close_notify has ended it well.
func TestResetAfterEnd(t *testing.T) {
	for _, version := range versions {
		target := serveGo(t, "ecdsa", func(c *tls.Config) { c.MaxVersion = uint16(version) }, func(c *tls.Conn) {
			c.CloseWrite()
			reset(c)
		})
		l := mustNew(t, config(target, Handshake))
		if r := mustRun(t, l, workTime); r.Units == 0 {
			t.Errorf("%v: no handshake", version)
		}
	}
}

// TestMidway: what goes wrong after the handshake is named. Some of these servers work for a while, so that
// failed connections are replaced.
func TestMidway(t *testing.T) {
	short := func(c *Config) { c.Timeout = 2 * time.Second }
	// after does f when 10,000 bytes were echoed.
	after := func(f func(c *tls.Conn)) target { return goes("ecdsa", echoThen(10_000, f)) }
	stuck := func(t testing.TB) string {
		return serveGo(t, "ecdsa", nil, func(*tls.Conn) { <-t.Context().Done() })
	}
	spoiled := handler{data: func(c *reactor.Conn, p []byte) {
		n, _ := c.Data.(int)
		c.Data = n + len(p)
		if n < 20_000 && n+len(p) >= 20_000 {
			p[0] ^= 1
		}
		c.Write(p)
	}}
	twice := handler{data: func(c *reactor.Conn, p []byte) { c.Write(p); c.Write(p) }}
	fin := func(c *tls.Conn) { c.NetConn().(*net.TCPConn).CloseWrite(); discard(c) }
	garbage := func(c *tls.Conn) { io.WriteString(c.NetConn(), "HTTP/1.1 500 oh no\r\n\r\n"); discard(c) }
	for _, test := range []struct {
		name   string
		kinds  []Kind
		target target
		change func(*Config)
		want   Failure
		says   string
	}{
		{"closes", []Kind{Request, Stream}, after(func(*tls.Conn) {}), nil, Closed, ""},
		{"closes without close_notify", []Kind{Request}, after(fin), nil, Closed, "without close_notify"},
		{"resets", []Kind{Request, Stream}, after(func(c *tls.Conn) { reset(c) }), nil, Closed, ""},
		{"garbage", []Kind{Request}, after(garbage), nil, WrongBytes, ""},
		{"a byte wrong", []Kind{Request, Stream}, ours(spoiled, nil), nil, WrongBytes, "of what the server sent is 0x"},
		{"too much", []Kind{Request}, ours(twice, nil), nil, WrongBytes, "more than"},
		{"not reversed", []Kind{Request}, ours(echo, nil), func(c *Config) { c.Answer = Reverse }, WrongBytes, ""},
		{"answers what is to be discarded", []Kind{Send}, ours(echo, nil), nil, WrongBytes, ""},
		{"never answers", []Kind{Request, Stream}, goes("ecdsa", discard), short, TimedOut, "2s"},
		{"stalls in the middle", []Kind{Request, Stream}, goes("ecdsa", echoThen(10_500, discard)), short, TimedOut, "2s"},
		{"never reads", []Kind{Send}, stuck, short, TimedOut, "took nothing"},
		{"never ends", []Kind{Handshake, Resume}, stuck, short, TimedOut, "did not close"},
		{"resets after the handshake", []Kind{Handshake, Resume}, goes("ecdsa", func(c *tls.Conn) { reset(c) }), nil, Closed, "reset"},
		{"gives no session", []Kind{Resume}, ours(echo, func(c *cssl.Config) { c.NoTickets = true }), nil, NotResumed, "gave no session"},
		{"ends idle connections", []Kind{Idle}, goes("ecdsa", func(c *tls.Conn) { time.Sleep(20 * time.Millisecond) }),
			nil, Closed, "close_notify"},
	} {
		for _, kind := range test.kinds {
			for _, version := range versions {
				t.Run(fmt.Sprintf("%s/%s/%v", test.name, kind, version), func(t *testing.T) {
					t.Parallel()
					cfg := config(test.target(t), kind)
					cfg.Size, cfg.TLS.MinVersion, cfg.TLS.MaxVersion = 1000, version, version
					if test.change != nil {
						test.change(&cfg)
					}
					r, says := untilFailure(t, cfg), test.says
					// A busy machine may need more time to come as far as that.
					for test.want == TimedOut && !strings.Contains(r.Examples[TimedOut], says) && cfg.Timeout < tlstest.Hang/4 {
						cfg.Timeout *= 2
						r, says = untilFailure(t, cfg), strings.ReplaceAll(test.says, "2s", cfg.Timeout.String())
					}
					wantOnly(t, r, test.want, says)
				})
			}
		}
	}
}

// TestNotResumed: a server that gives tickets and takes none is found out.
func TestNotResumed(t *testing.T) {
	var handshakes atomic.Uint32
	target := serveGo(t, "ecdsa", func(c *tls.Config) {
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			var key [32]byte // another one for each connection
			binary.BigEndian.PutUint32(key[:], handshakes.Add(1))
			fresh := c.Clone()
			fresh.SetSessionTicketKeys([][32]byte{key})
			return fresh, nil
		}
	}, discard)
	cfg := config(target, Resume)
	cfg.Conns = 1
	wantOnly(t, untilFailure(t, cfg), NotResumed, "full handshake")
}

// TestAsksForTicket: where closing brought no session, a message is sent to get one. That way works as well.
func TestAsksForTicket(t *testing.T) {
	for _, version := range versions {
		cfg := config(serve(t, echo, nil), Resume)
		cfg.TLS.MaxVersion = version
		l := mustNew(t, cfg)
		l.add(4)
		l.each(func(w *worker) {
			for _, slot := range w.slots {
				slot.asks = true
			}
		})
		mustOpen(t, l, 0)
		if r := mustRun(t, l, 20*time.Millisecond); r.Units == 0 || r.Opened != r.Units+4 {
			t.Errorf("%v: %d resumed, %d opened", version, r.Units, r.Opened)
		}
	}
}

// TestGivesUp: when a server goes away in the midst of a Run, that ends after some seconds of failures alone.
func TestGivesUp(t *testing.T) {
	srv := &reactor.Server{}
	l := mustNew(t, config(serveBy(t, srv, echo, nil), Request))
	mustOpen(t, l, 8)
	go func() {
		for l.Progress().Units == 0 {
			time.Sleep(time.Millisecond)
		}
		srv.Close()
	}()
	began := time.Now()
	r, err := l.Run(t.Context(), time.Hour)
	took := time.Since(began)
	if err == nil || !strings.Contains(err.Error(), "nothing gets through") || r.Units == 0 {
		t.Errorf("%v; %d units", err, r.Units)
	}
	if r.Failures[Closed] == 0 || r.Failures[Refused] == 0 {
		t.Errorf("failures are %v", r.Failures)
	}
	if n := r.Failures[Refused]; float64(n) > 400*max(1, took.Seconds()/3) {
		t.Errorf("%d attempts in %v: there is no back-off", n, took)
	}
	tlstest.Equal(t, "connections that are said to be open", r.Open, 0)
}

// TestReplaced: a connection that fails is replaced, and the work goes on.
func TestReplaced(t *testing.T) {
	target := serveGo(t, "ecdsa", nil, echoThen(50_000, func(*tls.Conn) {}))
	r := untilFailures(t, config(target, Request), 20)
	if r.Failures[Closed] < 20 || r.Units < 20*48 || r.Opened < 20 {
		t.Errorf("%d opened, %d units, %v", r.Opened, r.Units, r.Err())
	}
}

// TestCancel: a call ends soon after its context, whatever the server does, and what is cut off is no failure.
func TestCancel(t *testing.T) {
	soon := func(call func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return call(ctx)
	}
	run := func(l *Load) error {
		return soon(func(ctx context.Context) error {
			r, err := l.Run(ctx, time.Hour)
			if err == nil || r.Err() != nil || l.sum(busy) != 0 {
				t.Errorf("%s: %v; %v", l.cfg.Kind, err, r.Err())
			}
			return err
		})
	}
	stuck, half := serveRaw(t, silent), serveGo(t, "ecdsa", nil, discard)
	for _, kind := range Kinds {
		l := mustNew(t, config(stuck, kind))
		err := soon(func(ctx context.Context) error { return l.Open(ctx, 4) })
		if (err == nil) != (kind == Handshake || kind == Send) {
			t.Errorf("%s: Open: %v", kind, err)
		}
		_ = run(l)
	}
	for _, kind := range []Kind{Request, Stream} {
		l := mustNew(t, config(half, kind))
		mustOpen(t, l, 4)
		tlstest.IsError(t, "Run", run(l), context.DeadlineExceeded)
	}
}
