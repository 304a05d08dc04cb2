package fromtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/tlsio"
)

// alone waits until the Contexts of earlier tests are closed: the collector closes those that a cache held.
func alone(t testing.TB) {
	t.Helper()
	tlstest.Until(t, "no other test has a Context", func() bool { runtime.GC(); return live.Contexts() == 0 })
}

// clientFor trusts our CA.
func clientFor(name string) *tls.Config {
	return &tls.Config{RootCAs: ours().pool, ServerName: name}
}

// TestCached: a certificate of GetCertificate has one Context, however often it comes; another one, also in the same place, has
// its own.
func TestCached(t *testing.T) {
	alone(t)
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	var mu sync.Mutex
	give := func() *tls.Certificate { c := cert; return &c }
	x := serverContext(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		return give(), nil
	}})
	server := func(t testing.TB, raw net.Conn) conn { return tlstest.Value(sslnet.Server(raw, x))(t) }
	serial := func() string {
		t.Helper()
		c, s := connect(t, goClient(clientFor("a.example")), server)
		tlstest.Must(t, errors.Join(c.err, s.err))
		return c.state.PeerCertificates[0].SerialNumber.String()
	}
	before := live.Contexts()
	first := serial()
	if again := serial(); again != first || live.Contexts() != before+1 {
		t.Errorf("%d Contexts for one certificate", live.Contexts()-before)
	}
	fixed := cert
	mu.Lock()
	give = func() *tls.Certificate { return &fixed }
	mu.Unlock()
	if serial() != first {
		t.Error("another certificate")
	}
	mu.Lock()
	fixed.Certificate = ours().issue(t, keys()["ECDSA"], nil, "a.example").Certificate
	mu.Unlock()
	if second := serial(); second == first {
		t.Error("a changed certificate is not seen")
	}
	mu.Lock()
	fixed.PrivateKey = remote{keys()["ECDSA"]}
	mu.Unlock()
	serial()
	tlstest.Equal(t, "Contexts", live.Contexts(), before+3)
	for name, key := range keys() { // one that is read again is the same one
		der := tlstest.Value(x509.MarshalPKCS8PrivateKey(key))(t)
		mu.Lock()
		cert = ours().issue(t, key, nil, "a.example")
		give = func() *tls.Certificate {
			c := cert
			c.PrivateKey = tlstest.Value(x509.ParsePKCS8PrivateKey(der))(t)
			return &c
		}
		mu.Unlock()
		before := live.Contexts()
		serial()
		serial()
		tlstest.Equal(t, name+" key that is read again: Contexts", live.Contexts(), before+1)
	}
}

// TestCache: the least recently used are dropped; what failed is made again.
func TestCache(t *testing.T) {
	c := newCache[int, int](2)
	made := []int{}
	get := func(k int) {
		c.get(k, func() (int, error) { made = append(made, k); return k, nil })
	}
	for _, k := range []int{1, 2, 1, 3, 1, 2} {
		get(k)
	}
	if !slices.Equal(made, []int{1, 2, 3, 2}) {
		t.Errorf("made %v", made)
	}
	bad := errors.New("bad")
	for range 2 {
		if _, err := c.get(9, func() (int, error) { return 0, bad }); err != bad {
			t.Error(err)
		}
	}
	if v, err := c.get(9, func() (int, error) { return 9, nil }); v != 9 || err != nil {
		t.Error(v, err)
	}
	func() {
		defer func() { recover() }()
		c.get(10, func() (int, error) { panic("x") })
	}()
	if _, err := c.get(10, func() (int, error) { return 1, nil }); err == nil || c.order.Len() > 2 {
		t.Error(err, c.order.Len())
	}
	if v, err := c.get(10, func() (int, error) { return 1, nil }); v != 1 || err != nil {
		t.Error(v, err)
	}
}

// TestEvicted: a Context that the cache drops is closed, and a handshake that has it goes on.
func TestEvicted(t *testing.T) {
	alone(t)
	s := tlstest.Value(newChooser(&tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}, nil, nil))(t)
	s.contexts.max = 2
	before := live.Contexts()
	var kept *cssl.Context
	for range 5 {
		cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
		x := tlstest.Value(s.with(&cert))(t)
		if kept == nil {
			kept = x
		}
	}
	tlstest.Until(t, "two are closed", func() bool { runtime.GC(); return live.Contexts() <= before+3 })
	c := tlstest.Value(kept.NewEngineConn(cssl.ConnConfig{}))(t)
	c.Close()
	runtime.KeepAlive(kept)
}

// TestClientHelloInfo: callbacks see what those of crypto/tls see of the same client.
func TestClientHelloInfo(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	client := clientFor("a.example")
	client.NextProtos = []string{"x", "y"}
	var infos []tls.ClientHelloInfo
	var conns []bool
	server := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"y"}, GetCertificate: func(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
		ctx := info.Context()
		if ctx == nil || ctx.Err() != nil {
			t.Errorf("context %v", ctx)
		}
		if err := info.SupportsCertificate(&cert); err != nil {
			t.Error(err)
		}
		_, raw := info.Conn.(*net.TCPConn)
		conns = append(conns, raw)
		infos = append(infos, *info)
		return &cert, nil
	}}
	for _, end := range []end{goServer(server), ourServer(t, server)} {
		c, s := connect(t, goClient(client), end)
		tlstest.Must(t, errors.Join(c.err, s.err))
	}
	if !slices.Equal(conns, []bool{true, true}) {
		t.Errorf("Conns: %v", conns)
	}
	a, b := reflect.ValueOf(infos[0]), reflect.ValueOf(infos[1])
	for i := range a.NumField() {
		f := a.Type().Field(i)
		if f.IsExported() && f.Name != "Conn" && !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			t.Errorf("%s: %v, of crypto/tls %v", f.Name, b.Field(i), a.Field(i))
		}
	}
}

// TestOwners: an owner that is no net.Conn has addresses.
func TestOwners(t *testing.T) {
	if c := connOf("x"); c.LocalAddr() != nil || c.RemoteAddr() != nil {
		t.Error(c)
	}
	if c := connOf(hasAddrs{}); c.LocalAddr().String() != "127.0.0.1:1" || c.RemoteAddr().String() != "127.0.0.1:2" {
		t.Error(c)
	}
}

type hasAddrs struct{}

func (hasAddrs) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
func (hasAddrs) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }

// TestLargeHello: a ClientHello of several records is read.
func TestLargeHello(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	client := clientFor("a.example")
	for range 90 {
		client.NextProtos = append(client.NextProtos, strings.Repeat("p", 200))
	}
	server := &tls.Config{GetCertificate: func(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if len(info.SupportedProtos) != 90 {
			t.Error(len(info.SupportedProtos))
		}
		return &cert, nil
	}}
	c, s := connect(t, goClient(client), ourServer(t, server))
	tlstest.Must(t, errors.Join(c.err, s.err))
}

// TestCallbacksBlock: a callback of one connection may wait for another connection.
func TestCallbacksBlock(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example", "b.example")
	second := make(chan struct{})
	server := ourServer(t, &tls.Config{GetCertificate: func(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if info.ServerName == "a.example" {
			<-second
		} else {
			close(second)
		}
		return &cert, nil
	}})
	first := tlstest.Later(func() error {
		c, s := connect(t, goClient(clientFor("a.example")), server)
		return errors.Join(c.err, s.err)
	})
	c, s := connect(t, goClient(clientFor("b.example")), server)
	tlstest.Must(t, errors.Join(c.err, s.err, tlstest.Receive(t, first, "the first")))
}

// TestCallbacksPanic: a panic is the error of its connection.
func TestCallbacksPanic(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	for name, set := range map[string]func(*tls.Config){
		"GetCertificate": func(c *tls.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { panic("x") }
		},
		"GetConfigForClient": func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { panic("x") }
		},
		"VerifyPeerCertificate": func(c *tls.Config) {
			c.ClientAuth = tls.RequireAnyClientCert
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { panic("x") }
		},
		"VerifyConnection": func(c *tls.Config) { c.VerifyConnection = func(tls.ConnectionState) error { panic("x") } },
	} {
		server := &tls.Config{Certificates: []tls.Certificate{cert}}
		set(server)
		client := clientFor("a.example")
		client.Certificates = []tls.Certificate{cert}
		_, s := connect(t, goClient(client), ourServer(t, server))
		if !errors.Is(s.err, cssl.ErrCallbackPanic) {
			t.Errorf("%s: %v", name, s.err)
		}
	}
}

// TestConfigForClient: a Config has one Context; the ticket keys are those of the first Config, and so must its curves be set.
func TestConfigForClient(t *testing.T) {
	alone(t)
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	inner := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"x"}}
	var got atomic.Pointer[tls.Config]
	got.Store(inner)
	outer := &tls.Config{CurvePreferences: nil, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return got.Load(), nil }}
	x := serverContext(t, outer)
	server := func(t testing.TB, raw net.Conn) conn { return tlstest.Value(sslnet.Server(raw, x))(t) }
	client := clientFor("a.example")
	client.NextProtos, client.ClientSessionCache = []string{"x"}, tls.NewLRUClientSessionCache(1)
	before := live.Contexts()
	for i := range 2 {
		c, s := connect(t, goClient(client), server)
		tlstest.Must(t, errors.Join(c.err, s.err))
		if c.state.NegotiatedProtocol != "x" || c.state.DidResume != (i == 1) {
			t.Errorf("%d: %+v", i, c.state)
		}
	}
	tlstest.Equal(t, "Contexts", live.Contexts(), before+1)
	bad := inner.Clone()
	bad.SetSessionTicketKeys([][32]byte{{1}})
	got.Store(bad)
	if _, s := connect(t, goClient(clientFor("a.example")), server); s.err == nil || !strings.Contains(s.err.Error(), "SetSessionTicketKeys") {
		t.Error(s.err)
	}
	outer = outer.Clone()
	outer.CurvePreferences = []tls.CurveID{tls.CurveP256}
	got.Store(inner)
	if _, s := connect(t, goClient(clientFor("a.example")), ourServer(t, outer)); s.err == nil || !strings.Contains(s.err.Error(), "CurvePreferences") {
		t.Error(s.err)
	}
}

// TestChange: what is changed holds for all Contexts.
func TestChange(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	library := tlstest.Value(cssl.NewLibrary(cssl.LibraryConfig{}))(t)
	times := 0
	x := serverContext(t, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }},
		func(c *cssl.Config) { c.Library = library; times++ })
	c, s := connect(t, goClient(clientFor("a.example")), func(t testing.TB, raw net.Conn) conn { return tlstest.Value(sslnet.Server(raw, x))(t) })
	tlstest.Must(t, errors.Join(c.err, s.err))
	cfg, _, err := Client(clientFor("a.example"), func(c *cssl.Config) { c.Library = library })
	if err != nil || cfg.Library != library {
		t.Error(err)
	}
}

// TestTicketKeys: servers with the same keys resume each other's sessions.
func TestTicketKeys(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	with := func(set func(*tls.Config)) end {
		c := &tls.Config{Certificates: []tls.Certificate{cert}}
		set(c)
		return ourServer(t, c)
	}
	keysOf := func(b ...byte) func(*tls.Config) {
		return func(c *tls.Config) {
			var keys [][32]byte
			for _, b := range b {
				keys = append(keys, [32]byte{b})
			}
			c.SetSessionTicketKeys(keys)
		}
	}
	for name, tc := range map[string]struct {
		first, second func(*tls.Config)
		resumes       bool
	}{
		"the same": {keysOf(1), keysOf(1), true},
		"rotated":  {keysOf(1), keysOf(2, 1), true},
		"others":   {keysOf(1), keysOf(2), false},
		"none":     {func(*tls.Config) {}, func(*tls.Config) {}, false},
		"deprecated": {keysOf(1), func(c *tls.Config) {
			//lint:ignore SA1019 it is honoured
			c.SessionTicketKey = [32]byte{1}
		}, true},
	} {
		client := clientFor("a.example")
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		connect(t, goClient(client), with(tc.first))
		c, s := connect(t, goClient(client), with(tc.second))
		tlstest.Must(t, errors.Join(c.err, s.err))
		tlstest.Equal(t, name+": resumed", c.state.DidResume, tc.resumes)
	}
	// One that crypto/tls has generated is no key.
	c := &tls.Config{Certificates: []tls.Certificate{cert}}
	connect(t, goClient(clientFor("a.example")), goServer(c))
	if got := tlstest.Value(ticketKeys(c))(t); len(got) != 0 {
		t.Errorf("%d keys", len(got))
	}
}

// acmeManager is shaped like autocert.Manager: certificates for names, and those of the challenge tls-alpn-01 (RFC 8737).
type acmeManager struct {
	t      testing.TB
	mu     sync.Mutex
	tokens map[string]*tls.Certificate
	orders int
}

func (m *acmeManager) GetCertificate(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
	ctx, cancel := context.WithTimeout(info.Context(), time.Minute)
	defer cancel()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Equal(info.SupportedProtos, []string{"acme-tls/1"}) {
		if cert := m.tokens[info.ServerName]; cert != nil {
			return cert, nil
		}
		return nil, errors.New("no token")
	}
	if !slices.Contains(info.SignatureSchemes, tls.ECDSAWithP256AndSHA256) {
		return nil, errors.New("no ECDSA")
	}
	m.orders++
	cert := ours().issue(m.t, keys()["ECDSA"], nil, info.ServerName)
	return &cert, nil
}

// TestACME: an ACME client's GetCertificate works, with the challenge tls-alpn-01.
func TestACME(t *testing.T) {
	id := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	token := ours().issue(t, keys()["ECDSA"], func(c *x509.Certificate) {
		value, _ := asn1.Marshal(tlstest.Bytes(32, 1))
		c.ExtraExtensions = []pkix.Extension{{Id: id, Critical: true, Value: value}}
	}, "new.example")
	m := &acmeManager{t: t, tokens: map[string]*tls.Certificate{"new.example": &token}}
	server := ourServer(t, &tls.Config{GetCertificate: m.GetCertificate, NextProtos: []string{"h2", "http/1.1", "acme-tls/1"}})
	validate := &tls.Config{ServerName: "new.example", NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true}
	c, s := connect(t, goClient(validate), server)
	tlstest.Must(t, errors.Join(c.err, s.err))
	if c.state.NegotiatedProtocol != "acme-tls/1" || !slices.ContainsFunc(c.state.PeerCertificates[0].Extensions, func(e pkix.Extension) bool { return e.Id.Equal(id) }) {
		t.Errorf("%q, %v", c.state.NegotiatedProtocol, c.state.PeerCertificates[0].Extensions)
	}
	validate.ServerName = "other.example"
	if c, s := connect(t, goClient(validate), server); c.err == nil || s.err == nil || !strings.Contains(s.err.Error(), "no token") {
		t.Error(c.err, s.err)
	}
	client := clientFor("new.example")
	client.NextProtos = []string{"http/1.1"}
	c, s = connect(t, goClient(client), server)
	tlstest.Must(t, errors.Join(c.err, s.err))
	if c.state.NegotiatedProtocol != "http/1.1" || m.orders != 1 {
		t.Error(c.state.NegotiatedProtocol, m.orders)
	}
}

// TestVerifyConnectionAlert: what a callback refuses with can have an alert of its own, for a server.
func TestVerifyConnectionAlert(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	server := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert,
		VerifyConnection: func(tls.ConnectionState) error { return errors.New("no") }}
	client := clientFor("a.example")
	client.Certificates = []tls.Certificate{cert}
	_, s := connect(t, goClient(client), ourServer(t, server))
	tlstest.IsError(t, "the server", s.err, tlsio.AlertBadCertificate)
}

// TestBinding: a session of one who was not verified is not resumed where he must be.
func TestBinding(t *testing.T) {
	cert := ours().issue(t, keys()["ECDSA"], nil, "a.example")
	shared := func(auth tls.ClientAuthType) *tls.Config {
		c := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: auth, ClientCAs: ours().pool}
		c.SetSessionTicketKeys([][32]byte{{1}})
		return c
	}
	stranger := theirs().issue(t, keys()["ECDSA"], nil, "client")
	for _, auth := range [][2]tls.ClientAuthType{{tls.RequireAnyClientCert, tls.RequireAndVerifyClientCert}, {tls.RequestClientCert, tls.VerifyClientCertIfGiven}} {
		client := clientFor("a.example")
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }
		c, s := connect(t, goClient(client), ourServer(t, shared(auth[0])))
		tlstest.Must(t, errors.Join(c.err, s.err))
		if _, s = connect(t, goClient(client), ourServer(t, shared(auth[1]))); s.err == nil {
			t.Errorf("%v: resumed %v", auth, s.state.DidResume)
		}
	}

	// Another CA of the same name is another one.
	other := newAuthority("ours")
	named := other.issue(t, keys()["ECDSA"], nil, "client")
	client := clientFor("a.example")
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &named, nil }
	of := shared(tls.RequireAndVerifyClientCert)
	of.ClientCAs = other.pool
	first, s := connect(t, goClient(client), ourServer(t, of))
	tlstest.Must(t, errors.Join(first.err, s.err))
	if _, s = connect(t, goClient(client), ourServer(t, shared(tls.RequireAndVerifyClientCert))); s.err == nil {
		t.Errorf("a CA of the same name: resumed %v", s.state.DidResume)
	}

	server := ourServer(t, shared(tls.NoClientCert))
	var session *cssl.Session
	for i, c := range []*tls.Config{{InsecureSkipVerify: true, ServerName: "a.example"}, {RootCAs: theirs().pool, ServerName: "a.example"}} {
		cfg, one, err := Client(c)
		tlstest.Must(t, err)
		one.Session = session
		x := tlstest.Value(cssl.NewClientContext(cfg))(t)
		defer x.Close()
		got, _ := connect(t, func(t testing.TB, raw net.Conn) conn {
			return keepsSession{tlstest.Value(sslnet.Client(raw, x, one))(t), &session}
		}, server)
		if (got.err == nil) != (i == 0) || i == 0 && session == nil {
			t.Errorf("%d: %v, session %v", i, got.err, session != nil)
		}
	}
}

// TestBindingOfPools: a binding tells CertPools apart by their certificates, in any order, and one whose rules it cannot read from all.
func TestBindingOfPools(t *testing.T) {
	pool := func(of ...*authority) *x509.CertPool {
		p := x509.NewCertPool()
		for _, a := range of {
			p.AddCert(a.cert)
		}
		return p
	}
	ruled := pool(ours())
	ruled.AddCertWithConstraint(theirs().cert, func([]*x509.Certificate) error { return nil })
	var seen []string
	for _, p := range []*x509.CertPool{nil, pool(), pool(ours()), pool(newAuthority("ours")), pool(ours(), theirs()), ruled, ruled} {
		binding := (&verifier{config: &tls.Config{RootCAs: p}, role: client, check: true}).binding()
		if slices.Contains(seen, string(binding)) {
			t.Errorf("pool %d has the binding of another one", len(seen))
		}
		seen = append(seen, string(binding))
	}
	again := (&verifier{config: &tls.Config{RootCAs: pool(theirs(), ours())}, role: client, check: true}).binding()
	if string(again) != seen[4] {
		t.Error("another order is another binding")
	}
}

// keepsSession takes the session when its state is asked for.
type keepsSession struct {
	*sslnet.Conn
	session **cssl.Session
}

func (k keepsSession) ConnectionState() tls.ConnectionState {
	if s := k.Session(); s != nil {
		*k.session = s
	}
	return k.Conn.ConnectionState()
}

// TestClientVerifiesElsewhere: the goroutine that runs a client's handshake does not verify the server's certificate.
func TestClientVerifiesElsewhere(t *testing.T) {
	for _, version := range tlsVersions {
		verifying, release := make(chan struct{}), make(chan struct{})
		config := clientFor("a.example")
		config.MaxVersion = version
		config.Time = func() time.Time {
			close(verifying)
			select {
			case <-release:
			case <-time.After(tlstest.Hang):
				t.Error("the handshake waits for it")
			}
			return time.Now()
		}
		cfg, one, err := Client(config)
		tlstest.Must(t, err)
		x := tlstest.Value(cssl.NewClientContext(cfg))(t)
		defer x.Close()
		client := tlstest.Value(x.NewEngineConn(one))(t)
		defer client.Close()
		server := tlstest.Value(serverContext(t, &tls.Config{Certificates: []tls.Certificate{ours().issue(t, keys()["ECDSA"], nil, "a.example")}}).NewEngineConn(cssl.ConnConfig{}))(t)
		defer server.Close()
		woken := make(chan struct{}, 10)
		client.Bind(nil, func() { woken <- struct{}{} })
		buf := make([]byte, 1<<16)
		for {
			r := client.Handshake()
			tlstest.Must(t, r.Err)
			if r.Want == tlsio.WantNone {
				break
			}
			if r.Want == tlsio.WantRetryVerify || r.Want == tlsio.WantAsync {
				if r.Want == tlsio.WantRetryVerify {
					tlstest.Receive(t, verifying, "the verification")
					close(release)
				}
				tlstest.Receive(t, woken, "a wake-up")
				continue
			}
			server.Feed(buf[:client.Take(buf)])
			tlstest.Must(t, server.Handshake().Err)
			client.Feed(buf[:server.Take(buf)])
		}
	}
}
