package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spacemonad/go-openssl/reactor"
)

// Config is all settings. Whoever has it must not change what its slices hold. It may be used from any goroutine.
type Config struct {
	Listen      []string // "host:port" or "unix:/path", as reactor.Server.Addr takes them
	Loops       int      // 0: one for each core
	ServiceName string   // one of services.All; see Service

	TLS      TLS
	Limits   Limits
	Timeouts Timeouts

	ProxyProtocol bool
	ProxyTrusted  []netip.Prefix // masked

	Admin string // as an element of Listen, or empty
	Pprof bool

	LogLevel  slog.Level
	LogFormat string // LogText or LogJSON
	Trace     bool

	User        User
	PIDFile     string
	Watch       bool   // reload when one of Files changes
	Check       bool   // check everything, then exit
	PrintConfig bool   // Command prints it; nothing is left to do
	File        string // the configuration file, or empty

	sources map[string]source // by setting; those that are not here have their default
	flags   map[string]any    // what the command line set
	environ func() []string
}

// TLS is what a server's Context is built from. Files are named, not read.
type TLS struct {
	Certs, Keys, OCSPFiles []string // see Certificates
	SNI                    []ServerName
	PassphraseFile         string // of all keys that are encrypted
	PINFile                string // of all keys that are URIs

	Providers                   []string // none: those of OpenSSLConfig, or OpenSSL's own choice
	ProviderPath, OpenSSLConfig string
	Properties                  string // of algorithms

	MinVersion, MaxVersion                 cssl.TLSVersion // 0: the library's choice
	Records                                cssl.Records
	Ciphers, CipherSuites, Groups, SigAlgs string
	ALPN                                   []string
	Renegotiation                          bool
	KeyLogFile                             string

	ClientAuth          cssl.VerifyMode // never VerifyDefault after Load
	ClientCA, ClientCRL string
	ClientVerifyDepth   int // 0: OpenSSL's default

	Tickets         int // of TLS 1.3 for a full handshake
	NoTickets       bool
	TicketKeysFile  string
	SessionLifetime time.Duration // from the full handshake on
	SessionCache    int           // entries; 0: none
}

// Certificate names the files of one. Key is empty when the key is in Chain, or a URI (IsURI); OCSP is empty when nothing is to be stapled.
type Certificate struct {
	Chain, Key, OCSP string
}

// ServerName is a name that clients ask for, exact or a wildcard ("*.example"), and its certificates.
type ServerName struct {
	Name         string
	Certificates []Certificate
}

// Certificates are those for clients that ask for no name, or for none of SNI: none when one is to be made in memory.
func (t *TLS) Certificates() []Certificate {
	var out []Certificate
	for i, chain := range t.Certs {
		c := Certificate{Chain: chain}
		if i < len(t.Keys) {
			c.Key = t.Keys[i]
		}
		if i < len(t.OCSPFiles) {
			c.OCSP = t.OCSPFiles[i]
		}
		out = append(out, c)
	}
	return out
}

// Limits of connections. 0 is no limit, except where it says otherwise.
type Limits struct {
	MaxConns, MaxConnsPerAddr int
	MaxHandshakes             int     // 0: reactor's default
	NewConnsRate              float64 // of one address, a second
	NewConnsBurst             int     // see Burst
	MaxQueue                  int64   // bytes for one connection; never 0 after Load
	MaxQueued                 int64   // bytes over all connections
}

// Burst is how many connections of one address may come at once under NewConnsRate: unless it was set, as many as the
// rate allows in a second, and at least one.
func (l *Limits) Burst() int {
	if l.NewConnsBurst > 0 {
		return l.NewConnsBurst
	}
	return max(1, int(math.Ceil(l.NewConnsRate)))
}

// Timeouts of connections. Idle, Write and KeepAlive are 0 for none; Drain is 0 when connections get no time to end. A drain has DrainDelay first,
// then DrainWait, then Drain.
type Timeouts struct {
	Handshake, Idle, Write, Close, Drain time.Duration
	DrainDelay, DrainWait                time.Duration
	KeepAlive                            time.Duration // of TCP; not reloaded
	Reload                               time.Duration
}

// User is whom the process becomes. Both are names or numbers; Group is empty for the user's own. The zero User is
// no change.
type User struct {
	Name, Group string
}

// String is name or name:group, and empty for the zero User.
func (u User) String() string {
	if u.Group == "" {
		return u.Name
	}
	return u.Name + ":" + u.Group
}

// What LogFormat may be.
const (
	LogText = "text"
	LogJSON = "json"
)

// Service is what ServiceName names.
func (c *Config) Service() reactor.Handler {
	s, err := services.Named(c.ServiceName)
	if err != nil {
		panic(err) // Load lets no other name in
	}
	return s
}

// Warnings are what an operator should know of settings that are valid and dangerous, a line each.
func (c *Config) Warnings() []string {
	var out []string
	if f := c.TLS.KeyLogFile; f != "" {
		out = append(out, fmt.Sprintf("%s: the secrets of all connections are written to %s; who reads it can decrypt them",
			c.where("keylog"), f))
	}
	for _, p := range c.ProxyTrusted {
		if c.ProxyProtocol && p.Bits() == 0 {
			out = append(out, fmt.Sprintf("%s %v: everybody may say which address they come from", c.where("proxy-trusted"), p))
		}
	}
	return out
}

// ErrUsage is found by errors.Is in what is wrong with the arguments, the environment or the configuration file, as
// opposed to what fails later.
var ErrUsage = errors.New("bad usage")

// usageError is one or more faults in the settings, on one line.
type usageError struct {
	errs   []error
	format string // LogFormat; empty if it is not known
}

func (e *usageError) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = err.Error()
	}
	return strings.ReplaceAll(strings.Join(texts, "; "), "\n", " ")
}

func (e *usageError) Is(target error) bool { return target == ErrUsage }

func (e *usageError) Unwrap() []error { return e.errs }

// usage is nil without errors.
func usage(errs ...error) error {
	if len(errs) == 0 {
		return nil
	}
	return &usageError{errs: errs}
}
