// Package config reads the settings of sslecho from flags, the environment and
// a file, which one table describes: settings.go.
//
// A flag wins over the environment, the environment over the file, the file
// over the default, and the whole value wins: lists are not joined. Each source
// gives texts, which are read in one place, so that a value means the same
// wherever it stands, and an error can name the flag, the variable or the key
// of the file.
//
// A flag that may be repeated takes one element each time, so that an element
// may contain a comma. In a variable the elements are joined by commas, those
// of SSLECHO_SNI by semicolons. In the file a list is a list, or one element
// alone.
//
// No setting holds a secret; some name a file that does. A key that is given in
// place of the name of its file is refused, and an error about such a setting
// does not repeat the value.
package config

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/starttls"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/filetype"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/reactor/connlimit"
)

// Config is all settings. Whoever has it must not change what its slices hold.
// It may be used from any goroutine.
type Config struct {
	Listen  []string        // "host:port" or "unix:/path", as reactor.Server.Addr takes them
	Loops   int             // 0: one for each core
	Service reactor.Handler // of services.All
	// StartTLS is what comes in the clear before TLS, or nil.
	StartTLS *starttls.Protocol

	TLS                                 TLS
	Server                              reactor.Limits   // MaxQueue is never 0 after a load
	Conns                               connlimit.Limits // see ConnLimits
	KeepAlive                           time.Duration    // of TCP; 0 is none
	DrainDelay, DrainWait, DrainTimeout time.Duration    // the steps of a drain
	ReloadTimeout                       time.Duration

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

	given   map[string]given // of each setting
	flags   raw              // what the command line set
	environ func() []string
}

// What LogFormat may be.
const (
	LogText = "text"
	LogJSON = "json"
)

// User is whom the process becomes. Both are names or numbers; Group is empty
// for the user's own. The zero User is no change.
type User struct{ Name, Group string }

// TLS is what a server's Context is built from. Files are named, not read:
// those of Config are the files of clients' CAs, revocation lists and keys.
type TLS struct {
	cssl.Config // Verify is never VerifyDefault after a load

	Library                cssl.LibraryConfig
	Certs, Keys, OCSPFiles []string // see Certificates
	SNI                    []ServerName
	PassphraseFile         string // of all keys and PKCS#12 files that are encrypted
	PINFile                string // of all URIs
	TicketKeysFile         string
	PSKFile                string
	ECHKeyFiles            []string
	KeyLogFile             string
}

// Certificate names the files of one, or URIs in place of Chain and Key (IsURI).
// Key is empty when the key is in Chain; OCSP when nothing is to be stapled.
type Certificate struct{ Chain, Key, OCSP string }

// ServerName is a name that clients ask for, exact or a wildcard ("*.example"),
// and its certificates.
type ServerName struct {
	Name         string
	Certificates []Certificate
}

// Certificates are those for clients that ask for no name, or for none of SNI:
// none when one is to be made in memory.
func (t *TLS) Certificates() (out []Certificate) {
	of := func(files []string, i int) string {
		if i < len(files) {
			return files[i]
		}
		return ""
	}
	for i, chain := range t.Certs {
		out = append(out, Certificate{Chain: chain, Key: of(t.Keys, i), OCSP: of(t.OCSPFiles, i)})
	}
	return out
}

// File is a file or a URI that a setting names, or empty.
type File struct{ Flag, Name string }

// Files are those that a build reads each time, and the URIs.
func (t *TLS) Files() []File {
	files := []File{{"--key-passphrase-file ", t.PassphraseFile}, {"--pin-file ", t.PINFile}, {"--client-ca ", t.CAFile},
		{"--client-crl ", t.CRLFile}, {"--client-keys ", t.PeerKeysFile}, {"--ticket-keys ", t.TicketKeysFile},
		{"--psk-file ", t.PSKFile}}
	for _, x := range t.Certificates() {
		files = append(files, File{"--cert ", x.Chain}, File{"--key ", x.Key}, File{"--ocsp-file ", x.OCSP})
	}
	for _, name := range t.ECHKeyFiles {
		files = append(files, File{"--ech-key ", name})
	}
	for _, n := range t.SNI {
		for _, x := range n.Certificates {
			files = append(files, File{"--sni " + n.Name + "=", x.Chain}, File{"--sni " + n.Name + "=", x.Key})
		}
	}
	return slices.DeleteFunc(files, func(f File) bool { return f.Name == "" })
}

// Files are the files that a reload reads: the configuration file, and those
// that settings name, those of file: URIs too.
func (c *Config) Files() []string {
	files := []string{c.File}
	for _, f := range c.TLS.Files() {
		if IsURI(f.Name) {
			f.Name = filetype.PathOf(f.Name)
		}
		files = append(files, f.Name)
	}
	return slices.DeleteFunc(files, func(f string) bool { return f == "" })
}

// AsksClients reports whether clients are asked for certificates.
func (t *TLS) AsksClients() bool {
	return t.Verify == cssl.VerifyOptional || t.Verify == cssl.VerifyRequire
}

// ConnLimits are the limits by address. Unless it was set, the burst is as many
// as the rate allows in a second, and at least one.
func (c *Config) ConnLimits() connlimit.Limits {
	l := c.Conns
	if l.Burst == 0 {
		l.Burst = max(1, int(math.Ceil(l.Rate)))
	}
	return l
}

// Warnings are what an operator should know of settings that are valid and
// dangerous, a line each.
func (c *Config) Warnings() (out []string) {
	if f := c.TLS.KeyLogFile; f != "" {
		out = append(out, c.where("keylog")+": the secrets of all connections are written to "+f+"; who reads it can decrypt them")
	}
	for _, p := range c.ProxyTrusted {
		if c.ProxyProtocol && p.Bits() == 0 {
			out = append(out, fmt.Sprintf("%s %v: everybody may say which address they come from", c.where("proxy-trusted"), p))
		}
	}
	return out
}

// conflicts are the settings that do not fit together. An error names the
// setting as in its source.
func (c *Config) conflicts() (errs faults) {
	t := &c.TLS
	given := func(name string) bool { return c.given[name].by != byDefault } // if only to its default
	check := func(bad bool, name, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("%s"+format, append([]any{c.where(name)}, args...)...))
		}
	}
	check(len(c.Listen) == 0, "listen", ": there is no address to listen on")
	seen := map[string]bool{}
	for _, a := range c.Listen {
		check(seen[a] && !anyPort(a), "listen", " %q: the address is there twice", a)
		seen[a] = true
	}
	check(c.Admin != "" && seen[c.Admin] && !anyPort(c.Admin), "admin", " %q: --listen has the same address; use another one", c.Admin)
	check(c.Pprof && c.Admin == "", "pprof", " without --admin: give the address where the profiles are to be served")

	certs, keys, staples := len(t.Certs), len(t.Keys), len(t.OCSPFiles)
	check(slices.Contains(t.Certs, ""), "cert", ": the name of a file is missing")
	check(keys > 0 && certs == 0, "key", " without --cert: give the certificate too")
	check(keys > 0 && certs > 0 && keys != certs, "key", ": there are %d keys and %d certificates; give one key for each --cert "+
		"in the same order, or none at all when they are in the files of the chains", keys, certs)
	check(staples > 0 && certs == 0, "ocsp-file", " without --cert: give the certificate that the response is about")
	check(staples > certs && certs > 0, "ocsp-file", ": there are %d responses and %d certificates; give at most one for each --cert, "+
		"in the same order", staples, certs)
	names := map[string]bool{}
	for _, n := range t.SNI {
		lower := strings.ToLower(n.Name)
		check(names[lower], "sni", ": %s is there twice; put all its certificates behind one name", n.Name)
		names[lower] = true
	}
	uris := slices.ContainsFunc(t.Files(), func(f File) bool { return IsURI(f.Name) })
	check(t.PINFile != "" && !uris, "pin-file", " without a URI in --cert, --key or --sni: --key-passphrase-file is for encrypted files")
	check(t.MaxVersion != 0 && t.MinVersion > t.MaxVersion, "min-version", " is above --max-version: %v and %v", t.MinVersion, t.MaxVersion)
	check(t.NoTickets && t.TicketKeysFile != "", "ticket-keys", " with --no-tickets: there is nothing to encrypt; take one of them out")

	check(t.AsksClients() && t.CAFile == "" && t.PeerKeysFile == "", "client-auth",
		" without --client-ca and --client-keys: give the CAs that clients' certificates are checked against, or clients' raw public keys")
	// Who sets none in so many words may leave the rest in the file.
	none := !t.AsksClients() && !given("client-auth")
	const noAuth = " without --client-auth: no client is asked for a certificate; use optional or require"
	check(none && t.CAFile != "", "client-ca", noAuth)
	check(none && t.CRLFile != "", "client-crl", noAuth)
	check(none && t.PeerKeysFile != "", "client-keys", noAuth)

	check(c.Conns.Burst > 0 && c.Conns.Rate == 0 && !given("new-conns-rate"), "new-conns-burst",
		" without --new-conns-rate: there is no rate that it could go over")
	check(c.ProxyProtocol && len(c.ProxyTrusted) == 0, "proxy-protocol", " without --proxy-trusted: name the networks of the proxies, "+
		"or else everybody could say which address they come from")
	check(len(c.ProxyTrusted) > 0 && !given("proxy-protocol"), "proxy-trusted", " without --proxy-protocol: no header is read")
	return errs
}

// anyPort reports whether the system chooses the port of an address, so that it
// is another one each time.
func anyPort(a string) bool {
	_, port, err := net.SplitHostPort(a)
	return err == nil && port == "0" && !strings.HasPrefix(a, "unix:")
}
