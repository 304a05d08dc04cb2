package config

import (
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
)

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

// minQueue leaves every service the room that it counts on.
const minQueue = 2 * services.HighWater

// mostThings is what a count may be.
const mostThings = 1 << 30

// settings is the table.
var settings = []*setting{
	{name: "listen", group: listening, arg: argAddr, def: "127.0.0.1:8443", repeat: true,
		usage: "host:port or unix:/path",
		value: many[string]{at: func(c *Config) *[]string { return &c.Listen }, parse: parseAddress, show: each(strings.Clone)}},
	{name: "loops", group: listening, arg: argCount, def: "0",
		usage: "event loops (0: one for each core)",
		value: number(func(c *Config) *int { return &c.Loops }, 0, 1024, "one for each core")},

	{name: "service", group: serving, arg: "NAME", def: services.All[0].Name,
		usage: "echo, discard, chargen or reverse",
		more: "Discard reads and says nothing. Chargen sends the pattern of RFC 864 as fast as the client reads. Reverse answers " +
			"each line of up to 16384 bytes backwards, as openssl s_server -rev does.",
		value: service(func(c *Config) *string { return &c.ServiceName })},

	{name: "cert", group: tlsGroup, arg: argFile, repeat: true, reload: true,
		usage: "chain in PEM (default: one made in memory)",
		more: "The leaf comes first, then the intermediates. Repeat it for further types of key (RSA, ECDSA, Ed25519): the client's " +
			"abilities decide.",
		value: fileNames(func(c *Config) *[]string { return &c.TLS.Certs })},
	{name: "key", group: tlsGroup, arg: argFile, repeat: true, secret: true, reload: true,
		usage: "its key in PEM, or its URI (default: in --cert)",
		more: "With several certificates give either no key or one for each, in the same order; an empty one is in the chain's file. A URI " +
			"such as `pkcs11:token=a;object=b` names a key that stays in its token; see --pin-file and --openssl-config. A " +
			"file whose name looks like a URI is written with ./ in front.",
		value: many[string]{at: func(c *Config) *[]string { return &c.TLS.Keys }, parse: parseKey, show: each(strings.Clone)}},
	{name: "sni", group: tlsGroup, arg: argNames, repeat: true, sep: ";", reload: true,
		usage: "for a server name: a.example=chain.pem,key.pem",
		more: "The name is exact, or a wildcard for one label such as `*.example`. Further pairs of files are for other types of key; " +
			"one file alone has both chain and key. The file may have a map from names to lists of files; the variable joins " +
			"several names by semicolons. Other names get the certificates of --cert.",
		value: many[ServerName]{at: func(c *Config) *[]ServerName { return &c.TLS.SNI }, parse: parseServerName, show: showServerNames}},
	{name: "key-passphrase-file", group: tlsGroup, arg: argFile, secret: true, reload: true,
		usage: "passphrase of keys that are encrypted",
		value: fileName(func(c *Config) *string { return &c.TLS.PassphraseFile })},
	{name: "pin-file", group: tlsGroup, arg: argFile, secret: true, reload: true,
		usage: "PIN of tokens whose keys are URIs",
		more:  "It is read when a token asks for it. A file that everybody can read is refused.",
		value: fileName(func(c *Config) *string { return &c.TLS.PINFile })},
	{name: "min-version", group: tlsGroup, arg: "VERSION", def: "1.2", reload: true,
		usage: "lowest TLS version, 1.0 to 1.3",
		more:  "1.0 and 1.1 are for tests of old clients, and need --ciphers with @SECLEVEL=0 too, such as DEFAULT:@SECLEVEL=0.",
		value: version(func(c *Config) *cssl.TLSVersion { return &c.TLS.MinVersion })},
	{name: "max-version", group: tlsGroup, arg: "VERSION", reload: true,
		usage: "highest TLS version (default: the newest)",
		value: version(func(c *Config) *cssl.TLSVersion { return &c.TLS.MaxVersion })},
	{name: "ciphers", group: tlsGroup, arg: argList, reload: true,
		usage: "up to TLS 1.2, such as ECDHE+AESGCM:@SECLEVEL=2",
		more:  "The syntax is that of openssl-ciphers(1). The default is what has forward secrecy and is AEAD.",
		value: text(func(c *Config) *string { return &c.TLS.Ciphers })},
	{name: "ciphersuites", group: tlsGroup, arg: argList, reload: true,
		usage: "of TLS 1.3, joined by colons",
		value: text(func(c *Config) *string { return &c.TLS.CipherSuites })},
	{name: "groups", group: tlsGroup, arg: argList, reload: true,
		usage: "key exchange groups, such as X25519:P-256",
		more:  "X25519MLKEM768 and its like need OpenSSL 3.5, where they come first by default.",
		value: text(func(c *Config) *string { return &c.TLS.Groups })},
	{name: "sigalgs", group: tlsGroup, arg: argList, reload: true,
		usage: "signature algorithms, joined by colons",
		value: text(func(c *Config) *string { return &c.TLS.SigAlgs })},
	{name: "alpn", group: tlsGroup, arg: argList, reload: true,
		usage: "protocols to accept, joined by commas, best first",
		value: texts(func(c *Config) *[]string { return &c.TLS.ALPN })},
	{name: "renegotiation", group: tlsGroup, def: "false", reload: true,
		usage: "let TLS 1.2 clients renegotiate",
		value: toggle(func(c *Config) *bool { return &c.TLS.Renegotiation })},
	{name: "records", group: tlsGroup, arg: "KIND", def: "openssl", reload: true,
		usage: "openssl, direct or kernel",
		more: "With direct records, OpenSSL's SSL object is freed after the handshake: an idle connection takes a fifth of the memory, and each " +
			"record less CPU. Connections that cannot do without the object keep it. The kernel gets the same keys, if it has TLS; what it does not take is direct. The metric " +
			"sslecho_handshake_records_total says why.",
		value: choice(func(c *Config) *cssl.Records { return &c.TLS.Records },
			named[cssl.Records]{cssl.RecordsOpenSSL.String(), cssl.RecordsOpenSSL},
			named[cssl.Records]{cssl.RecordsDirect.String(), cssl.RecordsDirect},
			named[cssl.Records]{cssl.RecordsKernel.String(), cssl.RecordsKernel})},
	{name: "ocsp-file", group: tlsGroup, arg: argFile, repeat: true, reload: true,
		usage: "response (DER) to staple, one for each --cert",
		more:  "They come in the order of --cert; an empty one staples nothing.",
		value: fileNames(func(c *Config) *[]string { return &c.TLS.OCSPFiles })},
	{name: "keylog", group: tlsGroup, arg: argFile,
		usage: "append secrets, for debugging: breaks encryption",
		more:  "The format is that of SSLKEYLOGFILE. That variable alone does nothing.",
		value: fileName(func(c *Config) *string { return &c.TLS.KeyLogFile })},

	{name: "providers", group: library, arg: argList,
		usage: "to load, in order, such as fips,base",
		more: "They are OpenSSL's own (default, base, fips, legacy) or modules such as pkcs11. With any of the settings of this group but " +
			"properties, the system's openssl.cnf counts no more, and the default provider is there only if it is named or if nothing else is.",
		value: many[string]{at: func(c *Config) *[]string { return &c.TLS.Providers }, parse: parseProvider, show: each(strings.Clone)}},
	{name: "provider-path", group: library, arg: "DIR",
		usage: "where their modules are (default: OpenSSL's)",
		value: fileName(func(c *Config) *string { return &c.TLS.ProviderPath })},
	{name: "openssl-config", group: library, arg: argFile,
		usage: "an openssl.cnf that activates providers",
		value: fileName(func(c *Config) *string { return &c.TLS.OpenSSLConfig })},
	{name: "properties", group: library, arg: "QUERY", reload: true,
		usage: "what algorithms must have, such as fips=yes",
		value: text(func(c *Config) *string { return &c.TLS.Properties })},

	{name: "client-auth", group: clients, arg: "MODE", def: "none", reload: true,
		usage: "none, optional or require",
		value: choice(func(c *Config) *cssl.VerifyMode { return &c.TLS.ClientAuth },
			named[cssl.VerifyMode]{"none", cssl.VerifyNone},
			named[cssl.VerifyMode]{"optional", cssl.VerifyOptional},
			named[cssl.VerifyMode]{"require", cssl.VerifyRequire})},
	{name: "client-ca", group: clients, arg: argFile, reload: true,
		usage: "CAs that sign clients' certificates (PEM)",
		value: fileName(func(c *Config) *string { return &c.TLS.ClientCA })},
	{name: "client-crl", group: clients, arg: argFile, reload: true,
		usage: "revocation lists of these CAs (PEM)",
		value: fileName(func(c *Config) *string { return &c.TLS.ClientCRL })},
	{name: "client-verify-depth", group: clients, arg: argCount, def: "0", reload: true,
		usage: "most intermediates in a chain (0: 100)",
		value: number(func(c *Config) *int { return &c.TLS.ClientVerifyDepth }, 0, 100, "OpenSSL's default")},

	{name: "tickets", group: sessions, arg: argCount, def: "1", reload: true,
		usage: "TLS 1.3 tickets for a full handshake",
		value: number(func(c *Config) *int { return &c.TLS.Tickets }, 1, 16, "")},
	{name: "no-tickets", group: sessions, def: "false", reload: true,
		usage: "no session tickets at all, whatever --tickets is",
		value: toggle(func(c *Config) *bool { return &c.TLS.NoTickets })},
	{name: "ticket-keys", group: sessions, arg: argFile, secret: true, reload: true,
		usage: "ticket keys that hosts share, newest first",
		more: "The first key encrypts, all decrypt. To rotate, append a new key on all hosts and reload them, then move it to the front " +
			"on all hosts and reload them; remove an old one when its tickets have expired, after two hours.",
		value: fileName(func(c *Config) *string { return &c.TLS.TicketKeysFile })},
	{name: "session-lifetime", group: sessions, arg: argTime, def: "24h", reload: true,
		usage: "for which a client may resume",
		more: "It counts from the full handshake; tickets that renew others do not prolong it. It is from 1s to 168h. A session also ends with the certificates of the client that it " +
			"knows, or when one is revoked.",
		value: duration(func(c *Config) *time.Duration { return &c.TLS.SessionLifetime }, time.Second)},
	{name: "session-cache", group: sessions, arg: argCount, def: "0", reload: true,
		usage: "sessions kept for TLS 1.2 without tickets",
		value: number(func(c *Config) *int { return &c.TLS.SessionCache }, 0, mostThings, "no cache")},

	{name: "max-conns", group: limits, arg: argCount, def: "0", reload: true,
		usage: "connections in all (0: no limit)",
		value: number(func(c *Config) *int { return &c.Limits.MaxConns }, 0, mostThings, "no limit")},
	{name: "max-conns-per-addr", group: limits, arg: argCount, def: "0", reload: true,
		usage: "connections from one address (0: no limit)",
		value: number(func(c *Config) *int { return &c.Limits.MaxConnsPerAddr }, 0, mostThings, "no limit")},
	{name: "max-handshakes", group: limits, arg: argCount, def: "0", reload: true,
		usage: "handshakes at once (0: 1024 for each loop)",
		value: number(func(c *Config) *int { return &c.Limits.MaxHandshakes }, 0, mostThings, "1024 for each loop")},
	{name: "new-conns-rate", group: limits, arg: "RATE", def: "0", reload: true,
		usage: "new ones from an address a second (0: no limit)",
		value: rate(func(c *Config) *float64 { return &c.Limits.NewConnsRate }, 1e6)},
	{name: "new-conns-burst", group: limits, arg: argCount, def: "0", reload: true,
		usage: "how many at once (0: those of one second)",
		value: number(func(c *Config) *int { return &c.Limits.NewConnsBurst }, 0, mostThings, "those of one second")},
	{name: "max-queue", group: limits, arg: argSize, def: "16MiB", reload: true,
		usage: "bytes queued for a connection",
		more:  "A connection whose service has more to say than that is reset.",
		value: size(func(c *Config) *int64 { return &c.Limits.MaxQueue }, minQueue, false)},
	{name: "max-queued", group: limits, arg: argSize, def: "0", reload: true,
		usage: "bytes queued in all, such as 1GiB (0: no limit)",
		value: size(func(c *Config) *int64 { return &c.Limits.MaxQueued }, minQueue, true)},

	{name: "handshake-timeout", group: timeouts, arg: argTime, def: "10s", reload: true,
		usage: "for a whole handshake",
		value: duration(func(c *Config) *time.Duration { return &c.Timeouts.Handshake }, time.Millisecond)},
	{name: "idle-timeout", group: timeouts, arg: argTime, def: "0s", reload: true,
		usage: "without any data (0: none)",
		value: duration(func(c *Config) *time.Duration { return &c.Timeouts.Idle }, 0)},
	{name: "write-timeout", group: timeouts, arg: argTime, def: "0s", reload: true,
		usage: "that a peer may take no data (0: none)",
		value: duration(func(c *Config) *time.Duration { return &c.Timeouts.Write }, 0)},
	{name: "close-timeout", group: timeouts, arg: argTime, def: "5s", reload: true,
		usage: "for the peer to close too",
		value: duration(func(c *Config) *time.Duration { return &c.Timeouts.Close }, time.Millisecond)},
	{name: "keep-alive", group: timeouts, arg: argTime, def: "15s",
		usage: "silence before TCP probes (0: none)",
		more:  "A peer that answers none of nine probes, 15 s apart, is gone. It is rounded up to seconds.",
		value: within(func(c *Config) *time.Duration { return &c.Timeouts.KeepAlive }, 0, longestKeepAlive)},
	{name: "drain-delay", group: timeouts, arg: argTime, def: "0s", reload: true,
		usage: "after SIGTERM, to serve on but not be ready",
		more: "Meanwhile /readyz says 503 and new connections still get in, so that a balancer takes the host out of its rotation " +
			"before anybody is turned away.",
		value: duration(func(c *Config) *time.Duration { return &c.Timeouts.DrainDelay }, 0)},
	{name: "drain-wait", group: timeouts, arg: argTime, def: "0s", reload: true,
		usage: "then, for connections to end by themselves",
		more:  "Nobody gets in any more. What is left is closed in good order, for which drain-timeout counts.",
		value: duration(func(c *Config) *time.Duration { return &c.Timeouts.DrainWait }, 0)},
	{name: "drain-timeout", group: timeouts, arg: argTime, def: "10s", reload: true,
		usage: "to end connections after SIGTERM",
		value: duration(func(c *Config) *time.Duration { return &c.Timeouts.Drain }, 0)},
	{name: "reload-timeout", group: timeouts, arg: argTime, def: "30s", reload: true,
		usage: "for a reload to read its files",
		more: "A reload that waits for a file or a token for longer than that fails, and the log says for which one. All stays as it was, and the " +
			"next reload starts afresh.",
		value: duration(func(c *Config) *time.Duration { return &c.Timeouts.Reload }, time.Millisecond)},

	{name: "proxy-protocol", group: proxy, def: "false",
		usage: "read a PROXY header (v1 or v2) before TLS",
		value: toggle(func(c *Config) *bool { return &c.ProxyProtocol })},
	{name: "proxy-trusted", group: proxy, arg: argList,
		usage: "networks that send it, such as 10.0.0.0/8",
		more:  "Networks or single addresses, joined by commas.",
		value: many[netip.Prefix]{at: func(c *Config) *[]netip.Prefix { return &c.ProxyTrusted }, parse: parseNetwork,
			show: each(netip.Prefix.String)}},

	{name: "admin", group: watching, arg: argAddr,
		usage: "serve /metrics, /healthz and /readyz there",
		value: one[string]{at: func(c *Config) *string { return &c.Admin }, parse: parseAdmin, show: asIs[string]}},
	{name: "pprof", group: watching, def: "false",
		usage: "serve Go's profiles there too",
		value: toggle(func(c *Config) *bool { return &c.Pprof })},

	{name: "log-level", group: logs, arg: "LEVEL", def: "info", reload: true,
		usage: "debug, info, warn or error",
		more:  "Faults that the peer caused are logged at debug.",
		value: choice(func(c *Config) *slog.Level { return &c.LogLevel },
			named[slog.Level]{"debug", slog.LevelDebug}, named[slog.Level]{"info", slog.LevelInfo},
			named[slog.Level]{"warn", slog.LevelWarn}, named[slog.Level]{"error", slog.LevelError})},
	{name: "log-format", group: logs, arg: "FORMAT", def: LogText,
		usage: "text or json",
		value: choice(func(c *Config) *string { return &c.LogFormat }, named[string]{LogText, LogText}, named[string]{LogJSON, LogJSON})},
	{name: "trace", group: logs, def: "false",
		usage: "print each TLS operation and what it waits for",
		value: toggle(func(c *Config) *bool { return &c.Trace })},

	{name: "user", group: process, arg: "NAME[:GROUP]",
		usage: "become this user after binding and reading keys",
		value: one[User]{at: func(c *Config) *User { return &c.User }, parse: parseUser, show: func(u User) any { return u.String() }}},
	{name: "pid-file", group: process, arg: argFile,
		usage: "write the process id there",
		more:  "It is written as the user of --user when the daemon serves, names the new process after an upgrade, and is removed at the end.",
		value: fileName(func(c *Config) *string { return &c.PIDFile })},
	{name: "watch", group: process, def: "false",
		usage: "reload when a file changes, without a signal",
		more: "All files that a reload reads are watched, also through symbolic links that are swapped, as in Kubernetes. Changes count a " +
			"second after the last one, so that a chain and its key are taken together. What other hosts change on a network file system " +
			"is not noticed, nor is a single file that is mounted from elsewhere.",
		value: toggle(func(c *Config) *bool { return &c.Watch })},
	{name: "check", group: process, def: "false", act: true,
		usage: "check all settings and files, then exit",
		more: "Standard error warns of what has expired, or has fewer than 30 days or a third of its life left: certificates, intermediates, " +
			"CAs and revocation lists of clients, OCSP responses. The status is 1 when clients would be refused already, for a certificate, an " +
			"intermediate, all CAs or all revocation lists have expired.",
		value: toggle(func(c *Config) *bool { return &c.Check })},
	{name: "print-config", group: process, def: "false", act: true,
		usage: "print the settings that result, then exit",
		more:  "What it prints is a configuration file with the source of each value behind it.",
		value: toggle(func(c *Config) *bool { return &c.PrintConfig })},
	{name: "config", group: process, arg: argFile, act: true,
		usage: "YAML file whose keys are the names of flags",
		value: fileName(func(c *Config) *string { return &c.File })},
}
