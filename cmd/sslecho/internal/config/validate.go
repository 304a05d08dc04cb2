package config

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/spacemonad/go-openssl/cssl"
)

// Validate checks how the settings fit together, without opening a file and without the TLS library. Its error names
// all faults and is ErrUsage. Load and Reload have called it.
func (c *Config) Validate() error {
	v := &validator{Config: c}
	v.addresses()
	v.certificates()
	v.clients()
	v.others()
	if len(v.errs) == 0 {
		return nil
	}
	return &usageError{v.errs, c.LogFormat}
}

type validator struct {
	*Config
	errs []error
}

// fault is about the setting name, which is named as in its source.
func (v *validator) fault(name, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%s%s", v.where(name), fmt.Sprintf(format, args...)))
}

// given reports whether a setting was set at all, if only to its default.
func (v *validator) given(name string) bool { return v.sources[name] != byDefault }

func (v *validator) addresses() {
	if len(v.Listen) == 0 {
		v.fault("listen", ": there is no address to listen on")
	}
	seen := map[string]bool{}
	for _, a := range v.Listen {
		if seen[a] && !anyPort(a) {
			v.fault("listen", " %q: the address is there twice", a)
		}
		seen[a] = true
	}
	if v.Admin != "" && seen[v.Admin] && !anyPort(v.Admin) {
		v.fault("admin", " %q: --listen has the same address; use another one", v.Admin)
	}
	if v.Pprof && v.Admin == "" {
		v.fault("pprof", " without --admin: give the address where the profiles are to be served")
	}
}

// anyPort reports whether the system chooses the port of an address, so that it is another one each time.
func anyPort(a string) bool {
	_, port, err := net.SplitHostPort(a)
	return err == nil && port == "0" && !strings.HasPrefix(a, "unix:")
}

func (v *validator) certificates() {
	t := &v.TLS
	certs, keys, staples := len(t.Certs), len(t.Keys), len(t.OCSPFiles)
	switch {
	case slices.Contains(t.Certs, ""):
		v.fault("cert", ": the name of a file is missing")
	case keys > 0 && certs == 0:
		v.fault("key", " without --cert: give the certificate too")
	case keys > 0 && keys != certs:
		v.fault("key", ": there are %d keys and %d certificates; give one key for each --cert in the same order, or none at all "+
			"when they are in the files of the chains", keys, certs)
	}
	if staples > certs {
		v.fault("ocsp-file", ": there are %d responses and %d certificates; give one for each --cert, in the same order", staples, certs)
	}
	uris := slices.ContainsFunc(t.Keys, IsURI)
	seen := map[string]bool{}
	for _, n := range t.SNI {
		uris = uris || slices.ContainsFunc(n.Certificates, func(c Certificate) bool { return IsURI(c.Key) })
		name := strings.ToLower(n.Name)
		if seen[name] {
			v.fault("sni", ": %s is there twice; put all its certificates behind one name", n.Name)
		}
		seen[name] = true
	}
	if t.PINFile != "" && !uris {
		v.fault("pin-file", " without a key that is a URI: --key-passphrase-file is for encrypted files")
	}
	if t.MaxVersion != 0 && t.MinVersion > t.MaxVersion {
		v.fault("min-version", " is above --max-version: %v and %v", t.MinVersion, t.MaxVersion)
	}
	if t.NoTickets && t.TicketKeysFile != "" {
		v.fault("ticket-keys", " with --no-tickets: there is nothing to encrypt; take one of them out")
	}
}

func (v *validator) clients() {
	t := &v.TLS
	asks := t.ClientAuth == cssl.VerifyOptional || t.ClientAuth == cssl.VerifyRequire
	if asks && t.ClientCA == "" {
		v.fault("client-auth", " without --client-ca: give the CAs that clients' certificates are checked against")
	}
	// Who sets none in so many words may leave the rest in the file.
	if asks || v.given("client-auth") {
		return
	}
	for _, f := range []struct{ name, value string }{{"client-ca", t.ClientCA}, {"client-crl", t.ClientCRL}} {
		if f.value != "" {
			v.fault(f.name, " without --client-auth: no client is asked for a certificate; use optional or require")
		}
	}
}

func (v *validator) others() {
	if v.Limits.NewConnsBurst > 0 && v.Limits.NewConnsRate == 0 && !v.given("new-conns-rate") {
		v.fault("new-conns-burst", " without --new-conns-rate: there is no rate that it could go over")
	}
	if v.ProxyProtocol && len(v.ProxyTrusted) == 0 {
		v.fault("proxy-protocol", " without --proxy-trusted: name the networks of the proxies, or else everybody could "+
			"say which address they come from")
	}
	if len(v.ProxyTrusted) > 0 && !v.given("proxy-protocol") {
		v.fault("proxy-trusted", " without --proxy-protocol: no header is read")
	}
}
