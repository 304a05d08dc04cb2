package fromtls

import (
	"bytes"
	"container/list"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/tlsio"
)

// How many results of GetCertificate and GetConfigForClient are kept.
const (
	maxCertificates = 1024
	maxConfigs      = 256
)

// chooser selects the Context for each client of one tls.Config.
type chooser struct {
	given    *tls.Config // a clone
	config   cssl.Config
	change   []func(*cssl.Config)
	contexts *cache[contextKey, *cssl.Context]
	configs  *cache[*tls.Config, *chooser] // of GetConfigForClient; nil in one of these
}

// contextKey identifies a Context: a Config, with its own certificates or with
// one of GetCertificate.
type contextKey struct {
	of      *chooser
	content [32]byte // of the chain and the OCSP response; zero: its own
	key     any      // the private key, if it can be compared
}

// newChooser converts a Config. first is the one whose GetConfigForClient
// returned it, or nil.
func newChooser(c *tls.Config, first *chooser, change []func(*cssl.Config)) (*chooser, error) {
	s := &chooser{given: c.Clone(), change: change}
	var err error
	if s.config, err = serverConfig(s.given); err != nil {
		return nil, err
	}
	if first == nil {
		s.contexts, s.configs = newCache[contextKey, *cssl.Context](maxCertificates), newCache[*tls.Config, *chooser](maxConfigs)
	} else {
		s.contexts = first.contexts
		if len(s.config.TicketKeys) > 0 && !slices.EqualFunc(s.config.TicketKeys, first.config.TicketKeys, bytes.Equal) {
			return nil, refused("SetSessionTicketKeys", "in the Config of GetConfigForClient has no effect: set the keys in the one that has the callback")
		}
		if s.config.Groups == "" && first.config.Groups != "" {
			return nil, refused("CurvePreferences", "must be set in the Config of GetConfigForClient, since the first Config sets it")
		}
	}
	for _, f := range change {
		f(&s.config)
	}
	return s, nil
}

// ask is Config.ClientHello.
func (s *chooser) ask(h *cssl.ClientHello) {
	conn := connOf(h.Owner) // whose goroutine this is
	go func() {
		defer recovered(func(err error) { h.Refuse(refusal{err, tlsio.AlertInternalError}) })
		x, err := s.choose(h, conn)
		if err != nil {
			var alert tlsio.Alert
			if !errors.As(err, &alert) {
				err = refusal{err, tlsio.AlertInternalError}
			}
			h.Refuse(err)
			return
		}
		h.Accept(x)
	}()
}

// choose returns the Context for a client, or nil for the first one.
func (s *chooser) choose(h *cssl.ClientHello, conn net.Conn) (x *cssl.Context, err error) {
	of := s
	if f := s.given.GetConfigForClient; f != nil {
		var c *tls.Config
		if err = withInfo(s.given, h, conn, func(info *tls.ClientHelloInfo) (err error) { c, err = f(info); return err }); err != nil {
			return nil, err
		}
		if c != nil {
			if of, err = s.configs.get(c, func() (*chooser, error) { return newChooser(c, s, s.change) }); err != nil {
				return nil, fmt.Errorf("GetConfigForClient: %w", err)
			}
		}
	}
	var cert *tls.Certificate
	// As in crypto/tls, clients without a server name get Certificates.
	if f := of.given.GetCertificate; f != nil && (len(of.given.Certificates) == 0 || h.ServerName != "") {
		if err = withInfo(of.given, h, conn, func(info *tls.ClientHelloInfo) (err error) { cert, err = f(info); return err }); err != nil {
			return nil, err
		}
	}
	switch {
	case cert != nil:
		return of.with(cert)
	case len(of.config.Certificates) == 0 && len(of.config.Names) == 0:
		return nil, refusal{errors.New("there is no certificate for the client: GetCertificate returned none, and Certificates is empty"),
			tlsio.AlertUnrecognizedName}
	case of == s:
		return nil, nil
	}
	return s.contexts.get(contextKey{of: of}, func() (*cssl.Context, error) { return build(of.config) })
}

// with returns the Context for a certificate of GetCertificate.
func (s *chooser) with(cert *tls.Certificate) (*cssl.Context, error) {
	return s.contexts.get(contextKey{s, contentOf(cert), identityOf(cert)}, func() (*cssl.Context, error) {
		cfg := s.config
		one, err := certificate(cert, "GetCertificate")
		if err == nil {
			cfg.SignatureAlgorithms, err = algorithms(&tls.Config{Certificates: []tls.Certificate{*cert}, ClientAuth: s.given.ClientAuth})
		}
		if err != nil {
			return nil, err
		}
		cfg.Certificates, cfg.Names = []cssl.Certificate{one}, nil
		return build(cfg)
	})
}

// build returns a Context that is closed when it becomes unreachable: a
// handshake may still need one that the cache has dropped.
func build(cfg cssl.Config) (*cssl.Context, error) {
	cfg.ClientHello, cfg.SNI, cfg.Previous = nil, nil, nil
	x, err := cssl.NewServerContext(cfg)
	if err != nil {
		return nil, err
	}
	runtime.SetFinalizer(x, (*cssl.Context).Close)
	return x, nil
}

func contentOf(c *tls.Certificate) (sum [32]byte) {
	h := sha256.New()
	for _, part := range append(slices.Clone(c.Certificate), c.OCSPStaple) {
		binary.Write(h, binary.BigEndian, int64(len(part)))
		h.Write(part)
	}
	for _, s := range c.SupportedSignatureAlgorithms {
		binary.Write(h, binary.BigEndian, uint16(s))
	}
	h.Sum(sum[:0])
	return sum
}

// identityOf tells private keys of the same certificate apart. The certificate
// determines a key in memory.
func identityOf(c *tls.Certificate) any {
	switch c.PrivateKey.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey, ed25519.PrivateKey:
		return nil
	}
	if c.PrivateKey != nil && reflect.ValueOf(c.PrivateKey).Comparable() {
		return c.PrivateKey
	}
	return nil
}

// errSeen ends the handshake of withInfo.
var errSeen = errors.New("the ClientHello was seen")

// withInfo calls f with the ClientHelloInfo that crypto/tls makes for h and c.
// Only crypto/tls can set its context, and its Config for SupportsCertificate.
func withInfo(c *tls.Config, h *cssl.ClientHello, conn net.Conn, f func(*tls.ClientHelloInfo) error) error {
	seen := false
	var err error
	c = c.Clone()
	c.GetConfigForClient = func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = true
		info.Conn = conn
		err = f(info)
		return nil, errSeen
	}
	if e := tls.Server(&helloConn{records: records(h.Raw)}, c).HandshakeContext(context.Background()); !seen {
		return refusal{fmt.Errorf("crypto/tls cannot read the ClientHello: %w", e), tlsio.AlertDecodeError}
	}
	return err
}

// records returns a handshake message in records.
func records(message []byte) *bytes.Reader {
	var out []byte
	for p := range slices.Chunk(message, tlsio.MaxPlaintext) {
		out = append(binary.BigEndian.AppendUint16(append(out, 22, 3, 1), uint16(len(p))), p...)
	}
	return bytes.NewReader(out)
}

// helloConn has a ClientHello to read, and drops what is written.
type helloConn struct {
	noConn
	records io.Reader
}

func (c *helloConn) Read(p []byte) (int, error)  { return c.records.Read(p) }
func (c *helloConn) Write(p []byte) (int, error) { return len(p), nil }

// noConn is a net.Conn that has only addresses, which may be nil.
type noConn struct{ local, remote net.Addr }

func (noConn) Read([]byte) (int, error)         { return 0, os.ErrInvalid }
func (noConn) Write([]byte) (int, error)        { return 0, os.ErrInvalid }
func (noConn) Close() error                     { return nil }
func (c noConn) LocalAddr() net.Addr            { return c.local }
func (c noConn) RemoteAddr() net.Addr           { return c.remote }
func (noConn) SetDeadline(time.Time) error      { return nil }
func (noConn) SetReadDeadline(time.Time) error  { return nil }
func (noConn) SetWriteDeadline(time.Time) error { return nil }

// connOf returns the connection below the owner, or the owner as a net.Conn, or
// a net.Conn with its addresses.
func connOf(owner any) net.Conn {
	if o, ok := owner.(interface{ NetConn() net.Conn }); ok {
		return o.NetConn()
	}
	if c, ok := owner.(net.Conn); ok {
		return c
	}
	c := noConn{}
	if o, ok := owner.(interface{ LocalAddr() net.Addr }); ok {
		c.local = o.LocalAddr()
	}
	if o, ok := owner.(interface{ RemoteAddr() net.Addr }); ok {
		c.remote = o.RemoteAddr()
	}
	return c
}

// cache keeps values until max others were used later.
type cache[K comparable, V any] struct {
	mu    sync.Mutex
	max   int
	all   map[K]*list.Element // of *cached
	order list.List           // used last: at the front
}

type cached[K comparable, V any] struct {
	key   K
	once  sync.Once
	value V
	err   error
}

func newCache[K comparable, V any](max int) *cache[K, V] {
	return &cache[K, V]{max: max, all: map[K]*list.Element{}}
}

// get returns the value of key, which it makes if there is none. Only one
// goroutine makes it. An error is not kept.
func (c *cache[K, V]) get(key K, create func() (V, error)) (V, error) {
	c.mu.Lock()
	e := c.all[key]
	if e == nil {
		e = c.order.PushFront(&cached[K, V]{key: key})
		c.all[key] = e
		if last := c.order.Back(); c.order.Len() > c.max {
			c.order.Remove(last)
			delete(c.all, last.Value.(*cached[K, V]).key)
		}
	} else {
		c.order.MoveToFront(e)
	}
	c.mu.Unlock()
	v := e.Value.(*cached[K, V])
	v.once.Do(func() {
		v.err = errors.New("panicked") // unless create returns
		v.value, v.err = create()
	})
	if v.err != nil {
		c.mu.Lock()
		if c.all[key] == e {
			c.order.Remove(e)
			delete(c.all, key)
		}
		c.mu.Unlock()
	}
	return v.value, v.err
}
