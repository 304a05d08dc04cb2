package walk

import (
	"fmt"
	"sync"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// combo is what a seed's remainder decides, so that neighbouring seeds cover all of them.
type combo struct {
	version   cssl.TLSVersion
	tail      int // index of tails
	ahead     bool
	release   bool
	overBytes bool // Feed and Take instead of sockets
}

// tails are the bounds of cssl.Config.Tail: none, the least (one record), one that holds a little more, the default.
var tails = [...]int{-1, 1, 20_000, 0}

const combos = 2 * len(tails) * 2 * 2 * 2

// comboOf is the combination of a seed.
func comboOf(seed uint64) combo {
	i := int(seed % uint64(combos))
	c := combo{version: cssl.TLS12, overBytes: i>>1&1 == 1, ahead: i>>2&1 == 1, release: i>>3&1 == 1, tail: i >> 4}
	if i&1 == 1 {
		c.version = cssl.TLS13
	}
	return c
}

func (c combo) String() string {
	return fmt.Sprintf("%v, tail %d, read-ahead %v, release buffers %v, engine mode %v",
		c.version, tails[c.tail], c.ahead, c.release, c.overBytes)
}

// bare: there is no tail at all, as over a plain socket BIO. Then whatever makes the peer's
// SSL_read write while its SSL_write is unfinished fails, as the documentation of cssl says.
func (c combo) bare() bool { return tails[c.tail] < 0 && !c.overBytes }

// setting is what a Context is made from.
type setting struct {
	combo                     // without overBytes
	server, reneg, clientAuth bool
	tickets                   int
	cert                      string
}

// contexts keeps one Context for each setting.
type contexts struct {
	mu   sync.Mutex
	made map[setting]*cssl.Context
}

func (x *contexts) get(s setting) *cssl.Context {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.made[s]; c != nil {
		return c
	}
	cfg := cssl.Config{
		MinVersion: s.version, MaxVersion: s.version, Tail: tails[s.tail], NoReadAhead: !s.ahead, ReleaseBuffers: s.release,
		Renegotiation: s.reneg, Groups: "X25519:P-256", MaxMessages: 1 << 20, MaxRenegotiations: 1 << 20, Tickets: s.tickets,
	}
	make := cssl.NewClientContext
	if s.server {
		make = cssl.NewServerContext
		cfg.Certificates = certificate(s.cert)
		if s.clientAuth {
			cfg.CAFile, cfg.Verify = testcerts.Path("root.pem"), cssl.VerifyRequire
		}
	} else {
		cfg.CAFile = testcerts.Path("root.pem")
		if s.clientAuth {
			cfg.Certificates = certificate("client")
		}
	}
	c, err := make(cfg)
	mustBe(err)
	x.made[s] = c
	return c
}

func certificate(name string) []cssl.Certificate {
	return []cssl.Certificate{{ChainFile: testcerts.Path(name + ".pem"), KeyFile: testcerts.Path(name + ".key")}}
}

func (x *contexts) close() {
	for _, c := range x.made {
		c.Close()
	}
}
