package config

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
)

// setting is a row of the table: all that is known of one setting.
type setting struct {
	group string
	name  string // of the flag and the key; see variable
	arg   string // what stands for the value in the help, unless its kind says that
	def   string // as a variable would have it, unless its kind says that
	usage string // fits its line of the help
	more  string // sentences that the man page adds
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
	argAddr  = "ADDR"
)

const (
	minQueue  = "256KiB" // leaves every service the room that it counts on, twice services.HighWater
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
func (c *Config) settings() (all []*setting) {
	t, l, o := &c.TLS, &c.Limits, &c.Timeouts
	group := func(name string, rows []*setting) {
		for _, s := range rows {
			s.group = name
			s.arg, s.def = cmp.Or(s.arg, s.kind.arg), cmp.Or(s.def, s.kind.def)
		}
		all = append(all, rows...)
	}
	group("Listening", []*setting{
		{name: "listen", arg: argAddr, def: "127.0.0.1:8443", repeat: true, restart: true, usage: "host:port or unix:/path",
			kind: many(&c.Listen, parseAddress)},
		{name: "loops", restart: true, usage: "event loops (0: one for each core)", kind: number(&c.Loops, 0, 1024, "one for each core")},
	})
	group("Service", []*setting{
		{name: "service", arg: "NAME", def: services.All[0].Name, restart: true, usage: "echo, discard, chargen or reverse",
			more: "Discard reads and says nothing. Chargen sends the pattern of RFC 864 as fast as the client reads. Reverse answers " +
				"each line of up to 16384 bytes backwards, as openssl s_server -rev does.",
			kind: choice(&c.ServiceName, serviceNames(), serviceNames()...)},
	})
	group("TLS", []*setting{
		{name: "cert", repeat: true, usage: "chain in PEM (default: one made in memory)", kind: files(&t.Certs),
			more: "The leaf comes first, then the intermediates. Repeat it for further types of key (RSA, ECDSA, Ed25519): the client's " +
				"abilities decide."},
		{name: "key", arg: argFile, repeat: true, secret: true, usage: "its key in PEM, or its URI (default: in --cert)",
			more: "With several certificates give either no key or one for each, in the same order; an empty one is in the chain's file. A URI " +
				"such as `pkcs11:token=a;object=b` names a key that stays in its token; see --pin-file and --openssl-config. A " +
				"file whose name looks like a URI is written with ./ in front.",
			kind: many(&t.Keys, parseKey)},
		{name: "sni", arg: argNames, repeat: true, usage: "for a server name: a.example=chain.pem,key.pem",
			more: "The name is exact, or a wildcard for one label such as `*.example`. Further pairs of files are for other types of key; " +
				"one file alone has both chain and key. The variable joins several names by semicolons. Other names get the certificates of --cert.",
			kind: many(&t.SNI, parseServerName)},
		{name: "key-passphrase-file", secret: true, usage: "passphrase of keys that are encrypted", kind: file(&t.PassphraseFile)},
		{name: "pin-file", secret: true, usage: "PIN of tokens whose keys are URIs", kind: file(&t.PINFile),
			more: "It is read when a token asks for it. A file that everybody can read is refused."},
		{name: "min-version", def: "1.2", usage: "lowest TLS version, 1.0 to 1.3", kind: version(&t.MinVersion),
			more: "1.0 and 1.1 are for tests of old clients, and need --ciphers with @SECLEVEL=0 too, such as DEFAULT:@SECLEVEL=0."},
		{name: "max-version", usage: "highest TLS version (default: the newest)", kind: version(&t.MaxVersion)},
		{name: "ciphers", usage: "up to TLS 1.2, such as ECDHE+AESGCM:@SECLEVEL=2", kind: text(&t.CipherList),
			more: "The syntax is that of openssl-ciphers(1). The default is what has forward secrecy and is AEAD."},
		{name: "ciphersuites", usage: "of TLS 1.3, joined by colons", kind: text(&t.CipherSuites)},
		{name: "groups", usage: "key exchange groups, such as X25519:P-256", kind: text(&t.Groups),
			more: "X25519MLKEM768 and its like need OpenSSL 3.5, where they come first by default."},
		{name: "sigalgs", usage: "signature algorithms, joined by colons", kind: text(&t.SignatureAlgorithms)},
		{name: "alpn", arg: argList, usage: "protocols to accept, joined by commas, best first", kind: many(&t.ALPN, anyText)},
		{name: "renegotiation", usage: "let TLS 1.2 clients renegotiate", kind: toggle(&t.Renegotiation)},
		{name: "records", arg: "KIND", def: "openssl", usage: "openssl, direct or kernel",
			more: "With direct records, OpenSSL's SSL object is freed after the handshake: an idle connection takes a fifth of the memory, and each " +
				"record less CPU. Connections that cannot do without the object keep it. The kernel gets the same keys, if it has TLS; what it does not take is direct. The metric " +
				"sslecho_handshake_records_total says why.",
			kind: choice(&t.Records, []string{"openssl", "direct", "kernel"}, cssl.RecordsOpenSSL, cssl.RecordsDirect, cssl.RecordsKernel)},
		{name: "ocsp-file", repeat: true, usage: "response (DER) to staple, one for each --cert", kind: files(&t.OCSPFiles),
			more: "They come in the order of --cert; an empty one staples nothing."},
		{name: "keylog", restart: true, usage: "append secrets, for debugging: breaks encryption", kind: file(&t.KeyLogFile),
			more: "The format is that of SSLKEYLOGFILE. That variable alone does nothing."},
	})
	group("OpenSSL", []*setting{
		{name: "providers", arg: argList, restart: true, usage: "to load, in order, such as fips,base",
			more: "They are OpenSSL's own (default, base, fips, legacy) or modules such as pkcs11. With any of the settings of this group but " +
				"properties, the system's openssl.cnf counts no more, and the default provider is there only if it is named or if nothing else is.",
			kind: many(&t.Library.Providers, parseProvider)},
		{name: "provider-path", arg: "DIR", restart: true, usage: "where their modules are (default: OpenSSL's)",
			kind: file(&t.Library.ProviderPath)},
		{name: "openssl-config", restart: true, usage: "an openssl.cnf that activates providers", kind: file(&t.Library.ConfigFile)},
		{name: "properties", arg: "QUERY", usage: "what algorithms must have, such as fips=yes", kind: text(&t.Properties)},
	})
	group("Clients' certificates", []*setting{
		{name: "client-auth", arg: "MODE", def: "none", usage: "none, optional or require",
			kind: choice(&t.Verify, []string{"none", "optional", "require"}, cssl.VerifyNone, cssl.VerifyOptional, cssl.VerifyRequire)},
		{name: "client-ca", usage: "CAs that sign clients' certificates (PEM)", kind: file(&t.CAFile)},
		{name: "client-crl", usage: "revocation lists of these CAs (PEM)", kind: file(&t.CRLFile)},
		{name: "client-verify-depth", usage: "most intermediates in a chain (0: 100)",
			kind: number(&t.VerifyDepth, 0, 100, "OpenSSL's default")},
	})
	group("Sessions", []*setting{
		{name: "tickets", def: "1", usage: "TLS 1.3 tickets for a full handshake", kind: number(&t.Tickets, 1, 16, "")},
		{name: "no-tickets", usage: "no session tickets at all, whatever --tickets is", kind: toggle(&t.NoTickets)},
		{name: "ticket-keys", secret: true, usage: "ticket keys that hosts share, newest first", kind: file(&t.TicketKeysFile),
			more: "The first key encrypts, all decrypt. To rotate, append a new key on all hosts and reload them, then move it to the front " +
				"on all hosts and reload them; remove an old one when its tickets have expired, after two hours."},
		{name: "session-lifetime", def: "24h", usage: "for which a client may resume",
			more: "It counts from the full handshake; tickets that renew others do not prolong it. It is from 1s to 168h. A session also ends with the certificates of the client that it " +
				"knows, or when one is revoked.",
			kind: within(&t.SessionLifetime, time.Second, longest)},
		{name: "session-cache", usage: "sessions kept for TLS 1.2 without tickets", kind: count(&t.SessionCache, "no cache")},
	})
	group("Limits", []*setting{
		{name: "max-conns", usage: "connections in all (0: no limit)", kind: count(&l.MaxConns, "no limit")},
		{name: "max-conns-per-addr", usage: "connections from one address (0: no limit)", kind: count(&l.MaxConnsPerAddr, "no limit")},
		{name: "max-handshakes", usage: "handshakes at once (0: 1024 for each loop)",
			kind: count(&l.MaxHandshakes, "1024 for each loop")},
		{name: "new-conns-rate", usage: "new ones from an address a second (0: no limit)", kind: rate(&l.NewConnsRate, 1e6)},
		{name: "new-conns-burst", usage: "how many at once (0: those of one second)",
			kind: count(&l.NewConnsBurst, "those of one second")},
		{name: "max-queue", def: "16MiB", usage: "bytes queued for a connection", kind: size(&l.MaxQueue, minQueue, false),
			more: "A connection whose service has more to say than that is reset."},
		{name: "max-queued", usage: "bytes queued in all, such as 1GiB (0: no limit)", kind: size(&l.MaxQueued, minQueue, true)},
	})
	group("Timeouts", []*setting{
		{name: "handshake-timeout", def: "10s", usage: "for a whole handshake", kind: within(&o.Handshake, time.Millisecond, longest)},
		{name: "idle-timeout", usage: "without any data (0: none)", kind: within(&o.Idle, 0, longest)},
		{name: "write-timeout", usage: "that a peer may take no data (0: none)", kind: within(&o.Write, 0, longest)},
		{name: "close-timeout", def: "5s", usage: "for the peer to close too", kind: within(&o.Close, time.Millisecond, longest)},
		{name: "keep-alive", def: "15s", restart: true, usage: "silence before TCP probes (0: none)",
			more: "A peer that answers none of nine probes, 15 s apart, is gone. It is rounded up to seconds.",
			kind: within(&o.KeepAlive, 0, longestKeepAlive)},
		{name: "drain-delay", usage: "after SIGTERM, to serve on but not be ready", kind: within(&o.DrainDelay, 0, longest),
			more: "Meanwhile /readyz says 503 and new connections still get in, so that a balancer takes the host out of its rotation " +
				"before anybody is turned away."},
		{name: "drain-wait", usage: "then, for connections to end by themselves", kind: within(&o.DrainWait, 0, longest),
			more: "Nobody gets in any more. What is left is closed in good order, for which drain-timeout counts."},
		{name: "drain-timeout", def: "10s", usage: "to end connections after SIGTERM", kind: within(&o.Drain, 0, longest)},
		{name: "reload-timeout", def: "30s", usage: "for a reload to read its files",
			more: "A reload that waits for a file or a token for longer than that fails, and the log says for which one. All stays as it was, and the " +
				"next reload starts afresh.",
			kind: within(&o.Reload, time.Millisecond, longest)},
	})
	group("PROXY protocol", []*setting{
		{name: "proxy-protocol", restart: true, usage: "read a PROXY header (v1 or v2) before TLS", kind: toggle(&c.ProxyProtocol)},
		{name: "proxy-trusted", arg: argList, restart: true, usage: "networks that send it, such as 10.0.0.0/8",
			more: "Networks or single addresses, joined by commas.",
			kind: many(&c.ProxyTrusted, parseNetwork)},
	})
	group("Watching", []*setting{
		{name: "admin", arg: argAddr, restart: true, usage: "serve /metrics, /healthz and /readyz there",
			kind: one(&c.Admin, parseAdmin)},
		{name: "pprof", restart: true, usage: "serve Go's profiles there too", kind: toggle(&c.Pprof)},
	})
	group("Logs", []*setting{
		{name: "log-level", arg: "LEVEL", def: "info", usage: "debug, info, warn or error",
			more: "Faults that the peer caused are logged at debug.",
			kind: choice(&c.LogLevel, []string{"debug", "info", "warn", "error"}, slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError)},
		{name: "log-format", arg: "FORMAT", def: LogText, restart: true, usage: "text or json",
			kind: choice(&c.LogFormat, []string{LogText, LogJSON}, LogText, LogJSON)},
		{name: "trace", restart: true, usage: "print each TLS operation and what it waits for", kind: toggle(&c.Trace)},
	})
	group("Process", []*setting{
		{name: "user", arg: "NAME[:GROUP]", restart: true, usage: "become this user after binding and reading keys",
			kind: one(&c.User, parseUser)},
		{name: "pid-file", restart: true, usage: "write the process id there", kind: file(&c.PIDFile),
			more: "It is written as the user of --user when the daemon serves, names the new process after an upgrade, and is removed at the end."},
		{name: "watch", restart: true, usage: "reload when a file changes, without a signal", kind: toggle(&c.Watch),
			more: "All files that a reload reads are looked at once a second, also through symbolic links that are swapped, as in Kubernetes. " +
				"Changes count when the next look finds no further ones, so that a chain and its key are taken together. A single file that is mounted " +
				"from elsewhere stays the old one when it is replaced there."},
		{name: "check", act: true, usage: "check all settings and files, then exit", kind: toggle(&c.Check),
			more: "Standard error warns of what has expired, or expires within 30 days (in its last third, if it lives for less than 90): certificates, intermediates, " +
				"CAs and revocation lists of clients, OCSP responses. The status is 1 when clients would be refused already, for a certificate, an " +
				"intermediate, all CAs or all revocation lists have expired."},
		{name: "print-config", act: true, usage: "print the settings that result, then exit", kind: toggle(&c.PrintConfig),
			more: "What it prints is a configuration file with the source of each value behind it."},
		{name: "config", act: true, usage: "YAML file whose keys are the names of flags", kind: file(&c.File)},
	})
	return all
}
