package config

import (
	"cmp"
	"log/slog"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/starttls"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
)

// setting is a row of the table: all that is known of one setting, but for what
// the man page adds, which is in details.yaml.
type setting struct {
	group string // the first row of a group names it
	name  string // of the flag and the key; see variable
	arg   string // what stands for the value in the help, unless its kind says that
	def   string // as a variable would have it, unless its kind says that
	usage string // fits its line of the help
	kind

	repeat  bool // each use of the flag is one element; otherwise its elements are joined by commas
	secret  bool // a wrong value may be a secret by mistake, so errors do not repeat it
	restart bool // a running daemon cannot apply a new value
	act     bool // says what to do and not how to serve: the file cannot have it
}

// What stands for a value in the help.
const (
	argFile  = "FILE"
	argNames = "NAME=FILES"
	argList  = "LIST"
)

const (
	minQueue  = 2 * services.HighWater // leaves every service the room that it counts on
	mostCount = 1 << 30
	longest   = 365 * 24 * time.Hour // sums of a few timeouts do not overflow
	// longestKeepAlive is the longest that the system takes (tcp(7),
	// TCP_KEEPIDLE).
	longestKeepAlive = (1<<15 - 1) * time.Second
)

func serviceNames() (names []string) {
	for _, s := range services.All {
		names = append(names, s.Name)
	}
	return names
}

// settings is the table for all that needs no values.
var settings = new(Config).settings()

// settings is the table, whose values are those of c. Flags, variables, the keys
// of the file, the help, the man page, completions and --print-config are
// derived from it.
func (c *Config) settings() []*setting {
	t, l, s, group := &c.TLS, &c.Conns, &c.Server, ""
	all := []*setting{
		{group: "Listening", name: "listen", def: "127.0.0.1:8443", repeat: true, restart: true,
			usage: "host:port or unix:/path", kind: many(&c.Listen, "ADDR", parseAddress)},
		{name: "loops", restart: true, usage: "event loops (0: one for each core)", kind: number(&c.Loops, 0, 1024)},
		{group: "Service", name: "service", def: services.All[0].Name, restart: true,
			usage: "echo, discard, chargen or reverse", kind: one(&c.Service, "NAME", "", services.Named, serviceNames()...)},
		{name: "starttls", restart: true, usage: "smtp, imap, pop3, ldap, postgres, mysql or xmpp",
			kind: one(&c.StartTLS, "PROTOCOL", "", starttls.Named, starttls.Names()...)},
		{group: "TLS", name: "cert", repeat: true, usage: "PEM, PKCS#12 or a URI (default: made in memory)",
			kind: many(&t.Certs, argFile, parseFileOrURI)},
		{name: "key", repeat: true, secret: true, usage: "its key in PEM, or its URI (default: in --cert)",
			kind: many(&t.Keys, argFile, parseFileOrURI)},
		{name: "sni", repeat: true, usage: "for a server name: a.example=chain.pem,key.pem",
			kind: many(&t.SNI, argNames, parseServerName)},
		{name: "key-passphrase-file", secret: true, usage: "passphrase of encrypted keys and PKCS#12 files", kind: file(&t.PassphraseFile)},
		{name: "pin-file", secret: true, usage: "PIN of what --cert and --key name by URI", kind: file(&t.PINFile)},
		{name: "min-version", def: "1.2", usage: "lowest TLS version, 1.0 to 1.3", kind: version(&t.MinVersion)},
		{name: "max-version", usage: "highest TLS version (default: the newest)", kind: version(&t.MaxVersion)},
		{name: "ciphers", usage: "up to TLS 1.2, such as ECDHE+AESGCM:@SECLEVEL=2", kind: text(&t.CipherList)},
		{name: "ciphersuites", usage: "of TLS 1.3, joined by colons", kind: text(&t.CipherSuites)},
		{name: "groups", usage: "key exchange groups, such as X25519:P-256", kind: text(&t.Groups)},
		{name: "sigalgs", usage: "signature algorithms, joined by colons", kind: text(&t.SignatureAlgorithms)},
		{name: "alpn", usage: "protocols to accept, joined by commas, best first", kind: many(&t.ALPN, argList, anyText)},
		{name: "renegotiation", usage: "let TLS 1.2 clients renegotiate", kind: toggle(&t.Renegotiation)},
		{name: "records", def: "openssl", usage: "openssl, direct or kernel",
			kind: choice(&t.Records, "KIND", strings.Fields("openssl direct kernel"),
				cssl.RecordsOpenSSL, cssl.RecordsDirect, cssl.RecordsKernel)},
		{name: "ocsp-file", repeat: true, usage: "response (DER) to staple, one for each --cert", kind: many(&t.OCSPFiles, argFile, parseFile)},
		{name: "ech-key", repeat: true, secret: true, usage: "for Encrypted Client Hello, newest first", kind: many(&t.ECHKeyFiles, argFile, parseFile)},
		{name: "cert-compression", usage: "of certificates, best first: zstd,zlib,brotli",
			kind: many(&t.CertificateCompression, argList, anyText)},
		{name: "raw-public-key", usage: "send the bare key to clients that accept it", kind: toggle(&t.RawPublicKey)},
		{name: "psk-file", secret: true, usage: "keys shared with TLS 1.3 clients: identity:hexkey", kind: file(&t.PSKFile)},
		{name: "keylog", restart: true, usage: "append secrets, for debugging: breaks encryption", kind: file(&t.KeyLogFile)},
		{group: "OpenSSL", name: "providers", restart: true, usage: "to load, in order, such as fips,base",
			kind: many(&t.Library.Providers, argList, parseProvider)},
		{name: "provider-path", arg: "DIR", restart: true, usage: "where their modules are (default: OpenSSL's)",
			kind: file(&t.Library.ProviderPath)},
		{name: "openssl-config", restart: true, usage: "an openssl.cnf that activates providers", kind: file(&t.Library.ConfigFile)},
		{name: "properties", arg: "QUERY", usage: "what algorithms must have, such as fips=yes", kind: text(&t.Properties)},
		{group: "Clients' certificates", name: "client-auth", def: "none", usage: "none, optional or require",
			kind: choice(&t.Verify, "MODE", strings.Fields("none optional require"), cssl.VerifyNone, cssl.VerifyOptional, cssl.VerifyRequire)},
		{name: "client-ca", usage: "CAs that sign clients' certificates (PEM)", kind: file(&t.CAFile)},
		{name: "client-keys", usage: "clients' raw public keys (PEM)", kind: file(&t.PeerKeysFile)},
		{name: "client-crl", usage: "revocation lists of these CAs (PEM)", kind: file(&t.CRLFile)},
		{name: "client-verify-depth", usage: "most intermediates in a chain (0: 100)", kind: number(&t.VerifyDepth, 0, 100)},
		{group: "Sessions", name: "tickets", def: "1", usage: "TLS 1.3 tickets for a full handshake", kind: number(&t.Tickets, 1, 16)},
		{name: "no-tickets", usage: "no session tickets at all, whatever --tickets is", kind: toggle(&t.NoTickets)},
		{name: "ticket-keys", secret: true, usage: "ticket keys that hosts share, newest first", kind: file(&t.TicketKeysFile)},
		{name: "session-lifetime", def: "24h", usage: "for which a client may resume",
			kind: within(&t.SessionLifetime, time.Second, longest)},
		{name: "session-cache", usage: "sessions kept for TLS 1.2 without tickets", kind: number(&t.SessionCache, 0, mostCount)},
		{group: "Limits", name: "max-conns", usage: "connections in all (0: no limit)", kind: number(&l.MaxConns, 0, mostCount)},
		{name: "max-conns-per-addr", usage: "connections from one address (0: no limit)", kind: number(&l.MaxConnsPerAddr, 0, mostCount)},
		{name: "max-handshakes", usage: "handshakes at once (0: 1024 for each loop)", kind: number(&s.MaxHandshakes, 0, mostCount)},
		{name: "new-conns-rate", usage: "new ones from an address a second (0: no limit)", kind: rate(&l.Rate, 1e6)},
		{name: "new-conns-burst", usage: "how many at once (0: those of one second)", kind: number(&l.Burst, 0, mostCount)},
		{name: "max-queue", def: "16MiB", usage: "bytes queued for a connection", kind: size(&s.MaxQueue, false)},
		{name: "max-queued", usage: "bytes queued in all, such as 1GiB (0: no limit)", kind: size(&s.MaxQueued, true)},
		{group: "Timeouts", name: "handshake-timeout", def: "10s", usage: "for a whole handshake",
			kind: within(&s.HandshakeTimeout, time.Millisecond, longest)},
		{name: "idle-timeout", usage: "without any data (0: none)", kind: within(&s.IdleTimeout, 0, longest)},
		{name: "write-timeout", usage: "that a peer may take no data (0: none)", kind: within(&s.WriteTimeout, 0, longest)},
		{name: "close-timeout", def: "5s", usage: "for the peer to close too", kind: within(&s.CloseTimeout, time.Millisecond, longest)},
		{name: "keep-alive", def: "15s", restart: true, usage: "silence before TCP probes (0: none)",
			kind: within(&c.KeepAlive, 0, longestKeepAlive)},
		{name: "drain-delay", usage: "after SIGTERM, to serve on but not be ready", kind: within(&c.DrainDelay, 0, longest)},
		{name: "drain-wait", usage: "then, for connections to end by themselves", kind: within(&c.DrainWait, 0, longest)},
		{name: "drain-timeout", def: "10s", usage: "to end connections after SIGTERM", kind: within(&c.DrainTimeout, 0, longest)},
		{name: "reload-timeout", def: "30s", usage: "for a reload to read its files",
			kind: within(&c.ReloadTimeout, time.Millisecond, longest)},
		{group: "PROXY protocol", name: "proxy-protocol", restart: true, usage: "read a PROXY header (v1 or v2) before TLS",
			kind: toggle(&c.ProxyProtocol)},
		{name: "proxy-trusted", restart: true, usage: "networks that send it, such as 10.0.0.0/8",
			kind: many(&c.ProxyTrusted, argList, parseNetwork)},
		{group: "Watching", name: "admin", restart: true, usage: "serve /metrics, /healthz and /readyz there",
			kind: one(&c.Admin, "ADDR", "", parseAdmin)},
		{name: "pprof", restart: true, usage: "serve Go's profiles there too", kind: toggle(&c.Pprof)},
		{name: "log-level", def: "info", usage: "debug, info, warn or error",
			kind: choice(&c.LogLevel, "LEVEL", strings.Fields("debug info warn error"),
				slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError)},
		{name: "log-format", def: LogText, restart: true, usage: "text or json",
			kind: choice(&c.LogFormat, "FORMAT", []string{LogText, LogJSON}, LogText, LogJSON)},
		{name: "trace", restart: true, usage: "print each TLS operation and what it waits for", kind: toggle(&c.Trace)},
		{group: "Process", name: "user", restart: true, usage: "become this user after binding and reading keys",
			kind: one(&c.User, "NAME[:GROUP]", "", parseUser)},
		{name: "pid-file", restart: true, usage: "write the process id there", kind: file(&c.PIDFile)},
		{name: "watch", restart: true, usage: "reload when a file changes, without a signal", kind: toggle(&c.Watch)},
		{name: "check", act: true, usage: "check all settings and files, then exit", kind: toggle(&c.Check)},
		{name: "print-config", act: true, usage: "print the settings that result, then exit", kind: toggle(&c.PrintConfig)},
		{name: "config", act: true, usage: "YAML file whose keys are the names of flags", kind: file(&c.File)},
	}
	for _, s := range all {
		group = cmp.Or(s.group, group)
		s.group, s.arg, s.def = group, cmp.Or(s.arg, s.kind.arg), cmp.Or(s.def, s.kind.def)
	}
	return all
}
