package cssl

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TLSVersion is a TLS protocol version as it stands on the wire.
type TLSVersion uint16

// The versions that this library speaks. TLS 1.0 and 1.1 are for tests of old
// peers, and off unless Config.MinVersion asks for them: RFC 8996 forbids them.
const (
	TLS10 TLSVersion = 0x0301
	TLS11 TLSVersion = 0x0302
	TLS12 TLSVersion = 0x0303
	TLS13 TLSVersion = 0x0304
)

// String is "TLSv1", "TLSv1.1", "TLSv1.2" or "TLSv1.3", as OpenSSL writes them.
func (v TLSVersion) String() string {
	switch v {
	case TLS10:
		return "TLSv1"
	case TLS11:
		return "TLSv1.1"
	case TLS12:
		return "TLSv1.2"
	case TLS13:
		return "TLSv1.3"
	}
	return fmt.Sprintf("TLSVersion(0x%04x)", uint16(v))
}

// ParseTLSVersion reads "1.0", "1.1", "1.2", "1.3", or what String returns.
// Empty is 0: the default.
func ParseTLSVersion(s string) (TLSVersion, error) {
	switch s {
	case "":
		return 0, nil
	case "1.0", TLS10.String():
		return TLS10, nil
	case "1.1", TLS11.String():
		return TLS11, nil
	case "1.2", TLS12.String():
		return TLS12, nil
	case "1.3", TLS13.String():
		return TLS13, nil
	}
	return 0, fmt.Errorf("unknown TLS version %s: use 1.0, 1.1, 1.2 or 1.3", strconv.Quote(s))
}

// VerifyMode says what is asked of the peer's certificate.
type VerifyMode uint8

const (
	// VerifyDefault is VerifyRequire for a client and VerifyNone for a server.
	VerifyDefault VerifyMode = iota
	// VerifyNone: a server asks for no certificate, a client takes any.
	VerifyNone
	// VerifyOptional: a server asks, and a certificate that is sent must be valid.
	// For a client it is VerifyRequire.
	VerifyOptional
	// VerifyRequire: there must be a valid certificate.
	VerifyRequire
	// VerifyApplication: there must be a certificate, and Config.VerifyPeer alone
	// decides about it, knowing OpenSSL's verdict.
	VerifyApplication
)

// Certificate is a chain and its key. Each is a file or PEM bytes; the key may
// also stay in a token.
type Certificate struct {
	// ChainFile or ChainPEM holds the leaf and then the intermediates.
	ChainFile string
	ChainPEM  []byte
	// KeyFile or KeyPEM holds the private key. When both are empty it is looked
	// for in the chain's PEM.
	KeyFile string
	KeyPEM  []byte
	// Passphrase is called once if the key is encrypted. The bytes are overwritten
	// after use.
	Passphrase func() ([]byte, error)
	// KeyURI names one private key for OSSL_STORE, in place of KeyFile and KeyPEM:
	// "pkcs11:token=…;object=…" (RFC 7512) with the pkcs11 provider, "file:/…", or
	// what another provider of the Library reads. The token must answer while the
	// Context is built. A scheme other than "file" implies Config.Offload, since
	// each handshake waits for the token's signature.
	KeyURI string
	// PIN is called, with KeyURI, if the token or an encrypted file asks, at most
	// once for each Context that is built. The bytes are overwritten after use. A
	// pin-value in KeyURI is refused.
	PIN func(uri string) ([]byte, error)
	// OCSPFile or OCSP is a server's OCSP response in DER, stapled for clients
	// that ask (RFC 6066, section 8). To renew it, build another Context. OpenSSL
	// from 3.6 on sends none with a self-signed certificate.
	OCSPFile string
	OCSP     []byte
}

// Config is what a [Context] is built from. The zero value of each field means
// a sensible default. A Config is read while the Context is built and not
// after.
type Config struct {
	// Certificates are ours; for each type of key (RSA, ECDSA, Ed25519, ML-DSA)
	// the first one is the default. A server needs at least one, unless every name
	// that it serves is in Names or SNI.
	//
	// Where the DNS names in them differ, a server chooses by the name that the
	// client asks for (SNI), an exact one before a wildcard, unless the client can
	// use no key of the exact one. A client that asks for another name, or for
	// none, gets the defaults. A certificate that would never be chosen is refused.
	Certificates []Certificate
	// Names are a server's certificates for server names: one for each type of
	// key, whatever names are in them. A name is exact ("a.example") or a wildcard
	// for one label ("*.example"); letter case and a dot at the end do not matter.
	// A client that can use no certificate of a name, such as one that knows RSA
	// alone, gets one for the name's wildcard, or one of Certificates that has the
	// name in it, and never one for another name. A name in SNI, also by a
	// wildcard there, goes before it. Sessions are good for the name that they
	// were made with alone.
	Names map[string][]Certificate
	// Previous is the Context that this one will replace, if any. Certificates
	// whose content has not changed are taken over from it instead of being parsed
	// again, if it has the same Library and Properties and is not closed yet.
	// Files are read all the same, and keys that need a token or a passphrase are
	// asked for again.
	Previous *Context

	// Library has the providers that do the cryptography; nil is the process's
	// default ones. The Contexts in SNI have the same Library. Properties select
	// among their algorithms (property(7)): "fips=yes" refuses what is not
	// approved.
	Library    *Library
	Properties string

	// CAFile and CAPEM hold the CAs that the peer's certificate is checked
	// against, and for a server the names that it asks for. SystemCAs adds those
	// that OpenSSL was installed with; for a client it is the default when no CA
	// is given. An intermediate, or a leaf, is trusted by itself: its root need
	// not be here.
	CAFile    string
	CAPEM     []byte
	SystemCAs bool
	// AllowCommonName makes a client accept ConnConfig.ServerName in the common
	// name of a certificate without DNS names, which RFC 9525 forbids.
	AllowCommonName bool
	// CRLFile and CRLPEM hold revocation lists; with one, the peer's leaf
	// certificate is checked against it.
	CRLFile string
	CRLPEM  []byte
	// Verify says what is asked of the peer's certificate.
	Verify VerifyMode
	// VerifyDepth is the greatest number of intermediates; 0 is OpenSSL's default
	// (100).
	VerifyDepth int
	// VerifyPeer, if set, decides about each certificate that OpenSSL has found
	// valid, and with VerifyApplication about all others too. It may decide at
	// once or later, see [PeerVerification]. A client calls it on the goroutine
	// that drives the handshake, which must not be held up. OpenSSL cannot suspend
	// a server there, so a server implies Offload and calls it on that goroutine;
	// each decision that is waited for occupies a thread, of at most 4096. Outside
	// of the first handshake (renegotiation, RequestCertificate) a server's must
	// decide at once.
	//
	// It is not asked about a session that is resumed. Only a Context that has
	// VerifyPeer too can resume one, and a server with SNI or ClientHello only for
	// the same server name.
	VerifyPeer func(*PeerVerification)
	// ClientHello, if set, decides for each client that a server accepts which
	// Context it gets, or refuses it, at once or later: see [ClientHello]. It is
	// called on the goroutine that drives the handshake, which must not be held
	// up.
	ClientHello func(*ClientHello)
	// DecisionTimeout is how long VerifyPeer and ClientHello may take until they
	// decide; 0 is [DefaultDecisionTimeout]. Then the handshake fails with
	// [ErrDecisionTimeout]. A panic in them is [ErrCallbackPanic] for that
	// connection.
	DecisionTimeout time.Duration
	// Offload makes the steps of the first handshake run on a goroutine of their
	// own, 256 at once in the process, so that a slow key does not hold up the
	// goroutine that drives the connection: operations return [WantAsync]
	// meanwhile. It costs two switches of goroutines for a step. Renegotiations
	// are not offloaded, and early data is not taken. A Context that SNI or
	// ClientHello chooses can switch it on for the rest of the handshake.
	Offload bool

	// MinVersion and MaxVersion; 0 is TLS 1.2 and the newest. TLS 1.0 and 1.1,
	// which RFC 8996 forbids, are for tests of old peers: they also need a
	// CipherList with suites of theirs and @SECLEVEL=0, such as
	// "DEFAULT:@SECLEVEL=0", which holds for all that the Context does
	// (SSL_CTX_set_security_level(3)).
	MinVersion, MaxVersion TLSVersion
	// CipherList is for TLS 1.2 and before, in the syntax of openssl-ciphers(1),
	// with @SECLEVEL=. Empty: those of OpenSSL's default, or of the system's
	// policy, that have forward secrecy and are AEAD (GCM, ChaCha20-Poly1305), no
	// CBC and no static RSA. "DEFAULT" brings these back.
	//
	// With a list, a server also takes the suites with DHE that it holds, in a
	// group as strong as its key (SSL_CTX_set_dh_auto(3)), which costs far more
	// than X25519. From OpenSSL 4.0 on, such a server without Groups also has
	// ffdhe2048 and ffdhe3072 as its last groups, in TLS 1.3 too: a client that
	// names groups of this kind gets DHE in one of the server's alone (RFC 7919).
	CipherList string
	// CipherSuites is for TLS 1.3, names joined by colons.
	CipherSuites string
	// Groups are the key exchange groups, in order, joined by colons. Empty:
	// X25519, P-256, X448, P-384, P-521, and before them X25519MLKEM768 where
	// OpenSSL has it (3.5; key shares are sent for it and for X25519). Those over
	// finite fields are left out: the peer chooses, and ffdhe8192 costs 77 times
	// as much CPU as X25519.
	Groups string
	// SignatureAlgorithms, joined by colons.
	SignatureAlgorithms string
	// ALPN are the protocols, in order. A server takes its own first that the
	// client offers too, and refuses a client that offers ALPN with none in
	// common.
	ALPN []string
	// SNI maps server names to other Contexts. Names are written as in Names; one
	// outside of ASCII is in its xn-- form. A client that sends another name, or
	// none, gets this Context. For names that differ in their certificates alone,
	// Names costs less: a Context takes 30 kB and a millisecond to build. Ticket
	// keys, the session cache, ReleaseBuffers, Tail and the limits are always
	// those of the Context that the client was accepted on, and so are Groups if
	// the chosen one sets none; all else, KeyLog too, is the chosen one's.
	SNI map[string]*Context

	// Tickets is the number of TLS 1.3 tickets for a full handshake. 0 is one, as
	// in crypto/tls; OpenSSL's own default is two. NoTickets switches tickets off,
	// in TLS 1.2 too, which saves 8 % of a handshake.
	Tickets   int
	NoTickets bool
	// SessionLifetime is how long a session can be resumed, counted from its full
	// handshake on, however many tickets have renewed it since: from a second to 7
	// days (RFC 8446, section 4.6.1); 0 is [DefaultSessionLifetime]. It ends
	// earlier when a certificate of the chain that vouched for the peer runs out
	// or is revoked. Both sides keep to it. A single ticket, or place in
	// SessionCache, is good for two hours at the most.
	SessionLifetime time.Duration
	// TicketKeys are a server's keys for tickets, with which several hosts, or a
	// Context and the one that replaces it, can resume each other's sessions.
	// Empty: OpenSSL makes them for each Context. The first one encrypts, all of
	// them decrypt. To rotate, give the new key to all hosts as the last one, then
	// move it to the front, then take the oldest away. Each has 48 bytes (name,
	// AES-128 key, HMAC key, 16 each), or each has 80 (name of 16, HMAC key and
	// AES-256 key of 32), like nginx's. A key reads what was recorded of TLS 1.2,
	// so it should not live long.
	TicketKeys [][]byte
	// SessionCache is the number of entries of a server's session cache, for
	// clients of TLS 1.2 without tickets. 0: no cache.
	SessionCache int
	// Renegotiation allows the peer to renegotiate in TLS 1.2, and Renegotiate to
	// be called. It implies NoReadAhead, since OpenSSL 3.0 fails if data is
	// buffered behind a HelloRequest.
	Renegotiation bool

	// MaxMessages is how many KeyUpdates and tickets a peer may send in a
	// connection's life (default 4096), MaxRenegotiations how many times it may
	// start a renegotiation (default 16). OpenSSL has no limit of its own. The
	// connection that goes over gets a close_notify alert and [ErrLimit].
	MaxMessages, MaxRenegotiations int

	// PSKs are external pre-shared keys (RFC 8446, section 4.2.11), for TLS 1.3
	// alone. A peer with the key shows no certificate, whatever Verify says, and a
	// key exchange is made too. A server with PSKs needs no certificate; without
	// one it speaks TLS 1.3 only. A client has one PSK, and trusts no CA then
	// unless CAFile, CAPEM or SystemCAs is set, so that its server must have the
	// key; it needs no ServerName.
	//
	// OpenSSL ignores a key if the suite has another hash. So where CipherSuites
	// is empty, those with the hash of the keys come first, and alone where there
	// is nothing but keys.
	PSKs []PSK

	// MaxEarlyData is how many bytes of early data (0-RTT; RFC 8446, section 2.3)
	// a server accepts with a ticket; 0 is none. The application must ask for the
	// data, with [Conn.ReadEarlyData]. It can be replayed by anyone who recorded
	// it, see docs/tls13.md. By default a ticket is good for one connection, which
	// holds replays off within this Context: OpenSSL keeps the sessions in
	// SessionCache (of 20480 entries if that is 0), a ticket that is not there
	// leads to a full handshake, and no other Context or host can resume. So
	// TicketKeys are refused without AllowReplay.
	MaxEarlyData uint32
	// AllowReplay accepts early data as often as it comes, for ten seconds, on
	// each host that has the ticket keys (SSL_OP_NO_ANTI_REPLAY). Only for an
	// application to which a request that comes twice does no harm.
	AllowReplay bool

	// PostHandshakeAuth lets a server ask for the client's certificate after the
	// handshake (RFC 8446, section 4.6.2; TLS 1.3). A client that sets it offers
	// to answer. A server that sets it asks for none in the handshake (in TLS 1.2
	// it does), but when [Conn.RequestCertificate] is called; then Verify, which
	// must be VerifyOptional or VerifyRequire, says what is demanded.
	PostHandshakeAuth bool

	// NoMiddleboxCompat leaves out what makes TLS 1.3 look like TLS 1.2 to boxes
	// on the way: change_cipher_spec records, and a client's session id (RFC 8446,
	// appendix D.4). Each side decides for itself.
	NoMiddleboxCompat bool

	// MaxFragment makes a client ask the server for records of no more than 512,
	// 1024, 2048 or 4096 bytes (RFC 6066, section 4), both ways.
	MaxFragment int
	// RecordSizeLimit announces the most that this side wants in one record (RFC
	// 8449), from 513 to 16385 bytes; in TLS 1.3 the content type counts, so data
	// is one byte less. It also makes this side keep the peer's limit. OpenSSL up
	// to 3.5 does not know this extension, so two things are missing: a larger
	// record of the peer's is taken all the same; and a peer's limit below 513
	// cannot be kept (a server then does not answer the extension, a client
	// refuses the server).
	RecordSizeLimit int
	// MaxSendFragment is the most plaintext that we put into one record: 512 to
	// 16384 bytes, 0 is the latter. Smaller ones reach the peer's application
	// sooner over a slow network, and cost more. Behind a server name it is the
	// smaller one of both Contexts'.
	MaxSendFragment int

	// KeyLog receives a line for each secret in the format of SSLKEYLOGFILE. It
	// defeats encryption; use it for debugging only. Lines come from any goroutine
	// that drives a handshake, one at a time. A Write that blocks holds up all
	// handshakes, and with package reactor all connections of the loop: give a
	// slow writer a queue of its own.
	KeyLog io.Writer

	// ReleaseBuffers gives OpenSSL's record buffers back when they are empty: 33
	// kB less for an idle connection, a little CPU more for a busy one.
	ReleaseBuffers bool
	// NoReadAhead makes OpenSSL read a record's header and body with a recv each,
	// instead of as much as the buffer takes.
	NoReadAhead bool
	// Tail is how many bytes of ciphertext a connection may keep for a transport
	// that does not take them; see the package comment. 0 is [DefaultTail]. A
	// value below the size of one record is raised to it, since half a record kept
	// would leave its SSL_write unfinished. A negative value keeps none, as a
	// plain socket BIO does; in engine mode, where there is nothing else, it is
	// one record.
	Tail int
}

// named reports whether there are certificates by name.
func (c *Config) named() bool { return len(c.SNI) > 0 || len(c.Names) > 0 }

// DefaultDecisionTimeout is what Config.DecisionTimeout is where it is 0.
const DefaultDecisionTimeout = 10 * time.Second

// DefaultSessionLifetime is what Config.SessionLifetime is where it is 0.
const DefaultSessionLifetime = 24 * time.Hour

// DefaultTail holds the largest record twice: one of application data, and the
// same again for what the protocol itself must say meanwhile. In engine mode it
// is the room for output between two calls of Take.
const DefaultTail = 2 * (tlsio.MaxPlaintext + 2048 + 5)

// minTail is the largest record: header, content, and what encryption may add.
const minTail = 5 + tlsio.MaxPlaintext + 320

// Limits of post-handshake messages where Config names none.
const (
	defaultMaxMessages       = 4096
	defaultMaxRenegotiations = 16
)

// ConnConfig is what a client sets for each connection. A server needs none.
type ConnConfig struct {
	// ServerName is the host to connect to: sent as SNI if it is a DNS name, and
	// checked against the certificate unless InsecureSkipNameCheck is set. One dot
	// at its end and, of an IPv6 address, brackets and a zone are left out. A name
	// outside of ASCII is refused: give its xn-- form.
	ServerName string
	// InsecureSkipNameCheck leaves the name in the certificate unchecked.
	InsecureSkipNameCheck bool
	// Session is one to resume, from an earlier connection. It is left out, and
	// the handshake is a full one, if its server is not the one that is asked for
	// or if a Context with other CAs or other demands made it.
	Session *Session
}

// PSK is an external pre-shared key. Both sides must have the same Identity,
// Key and Hash.
type PSK struct {
	// Identity names the key, in 1 to 1024 bytes. It is sent in the clear.
	Identity []byte
	// Key has at least 16 random bytes: a key that can be guessed can be tried out
	// on a recorded handshake (RFC 9257, section 4). It should serve one pair of
	// peers and nothing else. It is copied, and the copy is wiped when the Context
	// is freed.
	Key []byte
	// Hash is "SHA256", which empty means, or "SHA384". Do not use the same key
	// with both: RFC 9258 tells how to derive one for each.
	Hash string
}

// Session is a TLS session that a client can resume. It holds secrets.
// Sessions are immutable and may be used from any goroutine.
type Session struct {
	der []byte
}
