package config

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
)

// setting is a row of the table: all that is known of one setting.
type setting struct {
	group string
	name  string // of the flag and the key; see variable
	arg   string // what stands for the value in the help; empty for what is true or false
	def   string // as a variable would have it
	usage string // fits its line of the help
	more  string // sentences that the man page adds
	value value

	repeat bool   // each use of the flag is one element; otherwise its elements are joined by commas
	sep    string // between the elements of a variable, if it is no comma
	secret bool   // a wrong value may be a secret by mistake, so errors do not repeat it
	reload bool   // a running daemon can apply a new value
	act    bool   // says what to do and not how to serve: the file cannot have it
}

// What stands for a value in the help.
const (
	argFile  = "FILE"
	argNames = "NAME=FILES"
	argList  = "LIST"
	argCount = "N"
	argSize  = "SIZE"
	argTime  = "TIME"
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

func group(name string, rows []*setting) []*setting {
	for _, s := range rows {
		s.group = name
	}
	return rows
}

// settings is the table. Flags, variables, the keys of the file, the help, the
// man page, completions and --print-config are derived from it.
var settings = slices.Concat(
	group("Listening", []*setting{
		{name: "listen", arg: argAddr, def: "127.0.0.1:8443", repeat: true, usage: "host:port or unix:/path",
			value: many(func(c *Config) *[]string { return &c.Listen }, parseAddress)},
		{name: "loops", arg: argCount, def: "0", usage: "event loops (0: one for each core)",
			value: number(func(c *Config) *int { return &c.Loops }, 0, 1024, "one for each core")},
	}),
	group("Service", []*setting{
		{name: "service", arg: "NAME", def: services.All[0].Name, usage: "echo, discard, chargen or reverse",
			more: "Discard reads and says nothing. Chargen sends the pattern of RFC 864 as fast as the client reads. Reverse answers " +
				"each line of up to 16384 bytes backwards, as openssl s_server -rev does.",
			value: choice(func(c *Config) *string { return &c.ServiceName }, serviceNames(), serviceNames()...)},
	}),
	group("TLS", []*setting{
		{name: "cert", arg: argFile, repeat: true, reload: true, usage: "chain in PEM (default: one made in memory)",
			more: "The leaf comes first, then the intermediates. Repeat it for further types of key (RSA, ECDSA, Ed25519): the client's " +
				"abilities decide.",
			value: many(func(c *Config) *[]string { return &c.TLS.Certs }, parseFile)},
		{name: "key", arg: argFile, repeat: true, secret: true, reload: true, usage: "its key in PEM, or its URI (default: in --cert)",
			more: "With several certificates give either no key or one for each, in the same order; an empty one is in the chain's file. A URI " +
				"such as `pkcs11:token=a;object=b` names a key that stays in its token; see --pin-file and --openssl-config. A " +
				"file whose name looks like a URI is written with ./ in front.",
			value: many(func(c *Config) *[]string { return &c.TLS.Keys }, parseKey)},
		{name: "sni", arg: argNames, repeat: true, sep: ";", reload: true, usage: "for a server name: a.example=chain.pem,key.pem",
			more: "The name is exact, or a wildcard for one label such as `*.example`. Further pairs of files are for other types of key; " +
				"one file alone has both chain and key. The variable joins several names by semicolons. Other names get the certificates of --cert.",
			value: many(func(c *Config) *[]ServerName { return &c.TLS.SNI }, parseServerName)},
		{name: "key-passphrase-file", arg: argFile, secret: true, reload: true, usage: "passphrase of keys that are encrypted",
			value: one(func(c *Config) *string { return &c.TLS.PassphraseFile }, parseFile)},
		{name: "pin-file", arg: argFile, secret: true, reload: true, usage: "PIN of tokens whose keys are URIs",
			more:  "It is read when a token asks for it. A file that everybody can read is refused.",
			value: one(func(c *Config) *string { return &c.TLS.PINFile }, parseFile)},
		{name: "min-version", arg: "VERSION", def: "1.2", reload: true, usage: "lowest TLS version, 1.0 to 1.3",
			more:  "1.0 and 1.1 are for tests of old clients, and need --ciphers with @SECLEVEL=0 too, such as DEFAULT:@SECLEVEL=0.",
			value: version(func(c *Config) *cssl.TLSVersion { return &c.TLS.MinVersion })},
		{name: "max-version", arg: "VERSION", reload: true, usage: "highest TLS version (default: the newest)",
			value: version(func(c *Config) *cssl.TLSVersion { return &c.TLS.MaxVersion })},
		{name: "ciphers", arg: argList, reload: true, usage: "up to TLS 1.2, such as ECDHE+AESGCM:@SECLEVEL=2",
			more:  "The syntax is that of openssl-ciphers(1). The default is what has forward secrecy and is AEAD.",
			value: one(func(c *Config) *string { return &c.TLS.CipherList }, anyText)},
		{name: "ciphersuites", arg: argList, reload: true, usage: "of TLS 1.3, joined by colons",
			value: one(func(c *Config) *string { return &c.TLS.CipherSuites }, anyText)},
		{name: "groups", arg: argList, reload: true, usage: "key exchange groups, such as X25519:P-256",
			more:  "X25519MLKEM768 and its like need OpenSSL 3.5, where they come first by default.",
			value: one(func(c *Config) *string { return &c.TLS.Groups }, anyText)},
		{name: "sigalgs", arg: argList, reload: true, usage: "signature algorithms, joined by colons",
			value: one(func(c *Config) *string { return &c.TLS.SignatureAlgorithms }, anyText)},
		{name: "alpn", arg: argList, reload: true, usage: "protocols to accept, joined by commas, best first",
			value: many(func(c *Config) *[]string { return &c.TLS.ALPN }, anyText)},
		{name: "renegotiation", def: "false", reload: true, usage: "let TLS 1.2 clients renegotiate",
			value: toggle(func(c *Config) *bool { return &c.TLS.Renegotiation })},
		{name: "records", arg: "KIND", def: "openssl", reload: true, usage: "openssl, direct or kernel",
			more: "With direct records, OpenSSL's SSL object is freed after the handshake: an idle connection takes a fifth of the memory, and each " +
				"record less CPU. Connections that cannot do without the object keep it. The kernel gets the same keys, if it has TLS; what it does not take is direct. The metric " +
				"sslecho_handshake_records_total says why.",
			value: choice(func(c *Config) *cssl.Records { return &c.TLS.Records }, []string{"openssl", "direct", "kernel"},
				cssl.RecordsOpenSSL, cssl.RecordsDirect, cssl.RecordsKernel)},
		{name: "ocsp-file", arg: argFile, repeat: true, reload: true, usage: "response (DER) to staple, one for each --cert",
			more:  "They come in the order of --cert; an empty one staples nothing.",
			value: many(func(c *Config) *[]string { return &c.TLS.OCSPFiles }, parseFile)},
		{name: "keylog", arg: argFile, usage: "append secrets, for debugging: breaks encryption",
			more:  "The format is that of SSLKEYLOGFILE. That variable alone does nothing.",
			value: one(func(c *Config) *string { return &c.TLS.KeyLogFile }, parseFile)},
	}),
	group("OpenSSL", []*setting{
		{name: "providers", arg: argList, usage: "to load, in order, such as fips,base",
			more: "They are OpenSSL's own (default, base, fips, legacy) or modules such as pkcs11. With any of the settings of this group but " +
				"properties, the system's openssl.cnf counts no more, and the default provider is there only if it is named or if nothing else is.",
			value: many(func(c *Config) *[]string { return &c.TLS.Library.Providers }, parseProvider)},
		{name: "provider-path", arg: "DIR", usage: "where their modules are (default: OpenSSL's)",
			value: one(func(c *Config) *string { return &c.TLS.Library.ProviderPath }, parseFile)},
		{name: "openssl-config", arg: argFile, usage: "an openssl.cnf that activates providers",
			value: one(func(c *Config) *string { return &c.TLS.Library.ConfigFile }, parseFile)},
		{name: "properties", arg: "QUERY", reload: true, usage: "what algorithms must have, such as fips=yes",
			value: one(func(c *Config) *string { return &c.TLS.Properties }, anyText)},
	}),
	group("Clients' certificates", []*setting{
		{name: "client-auth", arg: "MODE", def: "none", reload: true, usage: "none, optional or require",
			value: choice(func(c *Config) *cssl.VerifyMode { return &c.TLS.Verify }, []string{"none", "optional", "require"},
				cssl.VerifyNone, cssl.VerifyOptional, cssl.VerifyRequire)},
		{name: "client-ca", arg: argFile, reload: true, usage: "CAs that sign clients' certificates (PEM)",
			value: one(func(c *Config) *string { return &c.TLS.CAFile }, parseFile)},
		{name: "client-crl", arg: argFile, reload: true, usage: "revocation lists of these CAs (PEM)",
			value: one(func(c *Config) *string { return &c.TLS.CRLFile }, parseFile)},
		{name: "client-verify-depth", arg: argCount, def: "0", reload: true, usage: "most intermediates in a chain (0: 100)",
			value: number(func(c *Config) *int { return &c.TLS.VerifyDepth }, 0, 100, "OpenSSL's default")},
	}),
	group("Sessions", []*setting{
		{name: "tickets", arg: argCount, def: "1", reload: true, usage: "TLS 1.3 tickets for a full handshake",
			value: number(func(c *Config) *int { return &c.TLS.Tickets }, 1, 16, "")},
		{name: "no-tickets", def: "false", reload: true, usage: "no session tickets at all, whatever --tickets is",
			value: toggle(func(c *Config) *bool { return &c.TLS.NoTickets })},
		{name: "ticket-keys", arg: argFile, secret: true, reload: true, usage: "ticket keys that hosts share, newest first",
			more: "The first key encrypts, all decrypt. To rotate, append a new key on all hosts and reload them, then move it to the front " +
				"on all hosts and reload them; remove an old one when its tickets have expired, after two hours.",
			value: one(func(c *Config) *string { return &c.TLS.TicketKeysFile }, parseFile)},
		{name: "session-lifetime", arg: argTime, def: "24h", reload: true, usage: "for which a client may resume",
			more: "It counts from the full handshake; tickets that renew others do not prolong it. It is from 1s to 168h. A session also ends with the certificates of the client that it " +
				"knows, or when one is revoked.",
			value: within(func(c *Config) *time.Duration { return &c.TLS.SessionLifetime }, time.Second, longest)},
		{name: "session-cache", arg: argCount, def: "0", reload: true, usage: "sessions kept for TLS 1.2 without tickets",
			value: number(func(c *Config) *int { return &c.TLS.SessionCache }, 0, mostCount, "no cache")},
	}),
	group("Limits", []*setting{
		{name: "max-conns", arg: argCount, def: "0", reload: true, usage: "connections in all (0: no limit)",
			value: number(func(c *Config) *int { return &c.Limits.MaxConns }, 0, mostCount, "no limit")},
		{name: "max-conns-per-addr", arg: argCount, def: "0", reload: true, usage: "connections from one address (0: no limit)",
			value: number(func(c *Config) *int { return &c.Limits.MaxConnsPerAddr }, 0, mostCount, "no limit")},
		{name: "max-handshakes", arg: argCount, def: "0", reload: true, usage: "handshakes at once (0: 1024 for each loop)",
			value: number(func(c *Config) *int { return &c.Limits.MaxHandshakes }, 0, mostCount, "1024 for each loop")},
		{name: "new-conns-rate", arg: "RATE", def: "0", reload: true, usage: "new ones from an address a second (0: no limit)",
			value: rate(func(c *Config) *float64 { return &c.Limits.NewConnsRate }, 1e6)},
		{name: "new-conns-burst", arg: argCount, def: "0", reload: true, usage: "how many at once (0: those of one second)",
			value: number(func(c *Config) *int { return &c.Limits.NewConnsBurst }, 0, mostCount, "those of one second")},
		{name: "max-queue", arg: argSize, def: "16MiB", reload: true, usage: "bytes queued for a connection",
			more:  "A connection whose service has more to say than that is reset.",
			value: size(func(c *Config) *int64 { return &c.Limits.MaxQueue }, minQueue, false)},
		{name: "max-queued", arg: argSize, def: "0", reload: true, usage: "bytes queued in all, such as 1GiB (0: no limit)",
			value: size(func(c *Config) *int64 { return &c.Limits.MaxQueued }, minQueue, true)},
	}),
	group("Timeouts", []*setting{
		{name: "handshake-timeout", arg: argTime, def: "10s", reload: true, usage: "for a whole handshake",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.Handshake }, time.Millisecond, longest)},
		{name: "idle-timeout", arg: argTime, def: "0s", reload: true, usage: "without any data (0: none)",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.Idle }, 0, longest)},
		{name: "write-timeout", arg: argTime, def: "0s", reload: true, usage: "that a peer may take no data (0: none)",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.Write }, 0, longest)},
		{name: "close-timeout", arg: argTime, def: "5s", reload: true, usage: "for the peer to close too",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.Close }, time.Millisecond, longest)},
		{name: "keep-alive", arg: argTime, def: "15s", usage: "silence before TCP probes (0: none)",
			more:  "A peer that answers none of nine probes, 15 s apart, is gone. It is rounded up to seconds.",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.KeepAlive }, 0, longestKeepAlive)},
		{name: "drain-delay", arg: argTime, def: "0s", reload: true, usage: "after SIGTERM, to serve on but not be ready",
			more: "Meanwhile /readyz says 503 and new connections still get in, so that a balancer takes the host out of its rotation " +
				"before anybody is turned away.",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.DrainDelay }, 0, longest)},
		{name: "drain-wait", arg: argTime, def: "0s", reload: true, usage: "then, for connections to end by themselves",
			more:  "Nobody gets in any more. What is left is closed in good order, for which drain-timeout counts.",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.DrainWait }, 0, longest)},
		{name: "drain-timeout", arg: argTime, def: "10s", reload: true, usage: "to end connections after SIGTERM",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.Drain }, 0, longest)},
		{name: "reload-timeout", arg: argTime, def: "30s", reload: true, usage: "for a reload to read its files",
			more: "A reload that waits for a file or a token for longer than that fails, and the log says for which one. All stays as it was, and the " +
				"next reload starts afresh.",
			value: within(func(c *Config) *time.Duration { return &c.Timeouts.Reload }, time.Millisecond, longest)},
	}),
	group("PROXY protocol", []*setting{
		{name: "proxy-protocol", def: "false", usage: "read a PROXY header (v1 or v2) before TLS",
			value: toggle(func(c *Config) *bool { return &c.ProxyProtocol })},
		{name: "proxy-trusted", arg: argList, usage: "networks that send it, such as 10.0.0.0/8",
			more:  "Networks or single addresses, joined by commas.",
			value: many(func(c *Config) *[]netip.Prefix { return &c.ProxyTrusted }, parseNetwork)},
	}),
	group("Watching", []*setting{
		{name: "admin", arg: argAddr, usage: "serve /metrics, /healthz and /readyz there",
			value: one(func(c *Config) *string { return &c.Admin }, optional(parseAddress))},
		{name: "pprof", def: "false", usage: "serve Go's profiles there too",
			value: toggle(func(c *Config) *bool { return &c.Pprof })},
	}),
	group("Logs", []*setting{
		{name: "log-level", arg: "LEVEL", def: "info", reload: true, usage: "debug, info, warn or error",
			more: "Faults that the peer caused are logged at debug.",
			value: choice(func(c *Config) *slog.Level { return &c.LogLevel }, []string{"debug", "info", "warn", "error"},
				slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError)},
		{name: "log-format", arg: "FORMAT", def: LogText, usage: "text or json",
			value: choice(func(c *Config) *string { return &c.LogFormat }, []string{LogText, LogJSON}, LogText, LogJSON)},
		{name: "trace", def: "false", usage: "print each TLS operation and what it waits for",
			value: toggle(func(c *Config) *bool { return &c.Trace })},
	}),
	group("Process", []*setting{
		{name: "user", arg: "NAME[:GROUP]", usage: "become this user after binding and reading keys",
			value: one(func(c *Config) *User { return &c.User }, parseUser)},
		{name: "pid-file", arg: argFile, usage: "write the process id there",
			more:  "It is written as the user of --user when the daemon serves, names the new process after an upgrade, and is removed at the end.",
			value: one(func(c *Config) *string { return &c.PIDFile }, parseFile)},
		{name: "watch", def: "false", usage: "reload when a file changes, without a signal",
			more: "All files that a reload reads are looked at once a second, also through symbolic links that are swapped, as in Kubernetes. " +
				"Changes count when the next look finds no further ones, so that a chain and its key are taken together. A single file that is mounted " +
				"from elsewhere stays the old one when it is replaced there.",
			value: toggle(func(c *Config) *bool { return &c.Watch })},
		{name: "check", def: "false", act: true, usage: "check all settings and files, then exit",
			more: "Standard error warns of what has expired, or has fewer than 30 days or a third of its life left: certificates, intermediates, " +
				"CAs and revocation lists of clients, OCSP responses. The status is 1 when clients would be refused already, for a certificate, an " +
				"intermediate, all CAs or all revocation lists have expired.",
			value: toggle(func(c *Config) *bool { return &c.Check })},
		{name: "print-config", def: "false", act: true, usage: "print the settings that result, then exit",
			more:  "What it prints is a configuration file with the source of each value behind it.",
			value: toggle(func(c *Config) *bool { return &c.PrintConfig })},
		{name: "config", arg: argFile, act: true, usage: "YAML file whose keys are the names of flags",
			value: one(func(c *Config) *string { return &c.File }, parseFile)},
	}),
)
