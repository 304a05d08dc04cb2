package cssl

import (
	"crypto"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TLSVersion is a TLS protocol version, with the number that TLS sends for it.
type TLSVersion uint16

// The supported versions. TLS 1.0 and 1.1 are for tests against old peers; RFC
// 8996 forbids them. They are off unless Config.MinVersion enables them.
const (
	TLS10 TLSVersion = 0x0301
	TLS11 TLSVersion = 0x0302
	TLS12 TLSVersion = 0x0303
	TLS13 TLSVersion = 0x0304
)

// String returns "TLSv1", "TLSv1.1", "TLSv1.2" or "TLSv1.3", as OpenSSL does.
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

// ParseTLSVersion parses "1.0", "1.1", "1.2", "1.3", or a result of String. For
// an empty string it returns 0, the default in a [Config].
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

// VerifyMode says whether the peer must send a certificate, and whether it must
// be valid.
type VerifyMode uint8

const (
	// VerifyDefault is VerifyRequire for a client and VerifyNone for a server.
	VerifyDefault VerifyMode = iota
	// VerifyNone means that a server requests no certificate, and that a client
	// accepts any.
	VerifyNone
	// VerifyOptional means that a server requests a certificate, and that a
	// certificate that is sent must be valid. For a client it is VerifyRequire.
	VerifyOptional
	// VerifyRequire means that the peer must send a valid certificate.
	VerifyRequire
	// VerifyApplication means that the peer must send a certificate, and that
	// Config.VerifyPeer alone decides about it. VerifyPeer sees OpenSSL's
	// result.
	VerifyApplication
	// VerifyOptionalApplication is like VerifyApplication, but a client may
	// send no certificate; VerifyPeer is then not called. For a client it is
	// VerifyApplication.
	VerifyOptionalApplication
)

// byApplication reports whether VerifyPeer alone decides.
func (m VerifyMode) byApplication() bool {
	return m == VerifyApplication || m == VerifyOptionalApplication
}

// Certificate is a certificate chain and its private key. Each is a file or
// bytes, or named by a URI; the key may also stay in a token.
type Certificate struct {
	// ChainFile or ChainPEM holds the leaf, followed by the intermediates, in
	// PEM; or a PKCS#12 file (RFC 7292), which is told by its content. PKCS#12 is
	// trusted input: decrypting takes as long as its number of rounds makes it.
	//
	// A PKCS#12 file has one leaf and its chain, in any order; they are sent in
	// order. Its first private key is used if no other key is set. Library and
	// Properties apply: files that are encrypted with RC2, as OpenSSL before 3.0
	// made them, need the provider "legacy".
	ChainFile string
	ChainPEM  []byte
	// ChainURI names the chain for OSSL_STORE, instead of ChainFile and
	// ChainPEM, as KeyURI names the key: one leaf and its chain, in any order.
	// If no key is set, ChainURI names the key too.
	ChainURI string
	// KeyFile or KeyPEM holds the private key, in PEM. If no key is set, it is
	// read from the chain's PEM, PKCS#12 or URI. A key that is set takes
	// precedence over one there.
	KeyFile string
	KeyPEM  []byte
	// Passphrase is called once if the key or the PKCS#12 file is encrypted. The
	// returned bytes are overwritten after use.
	Passphrase func() ([]byte, error)
	// KeyURI names one private key for OSSL_STORE, instead of KeyFile and
	// KeyPEM: "pkcs11:token=…;object=…" (RFC 7512) with the pkcs11 provider,
	// "file:/…", or a URI for another provider of the Library. The token must
	// be available while the Context is built. A scheme other than "file"
	// implies Config.Offload, since each handshake waits for a signature of the
	// token. A PKCS#12 file that a "file:" URI names is decrypted by OpenSSL's
	// default library context, and must have a MAC: prefer ChainFile.
	KeyURI string
	// PIN is called with KeyURI or ChainURI if the token or an encrypted file
	// needs a PIN, at most once for each of the two and each Context built. The
	// returned bytes are overwritten after use. A URI with a pin-value is
	// refused.
	PIN func(uri string) ([]byte, error)
	// Signer is a private key that is no file, instead of KeyFile, KeyPEM and
	// KeyURI: that of a KMS, of an agent, or of a TPM's library. Its public key
	// is RSA, ECDSA or Ed25519, and that of the leaf. RSA signatures are PKCS
	// #1 v1.5 or, in TLS 1.3 always, PSS. If it is a crypto.MessageSigner, its
	// SignMessage is called instead of Sign, except for RSA before TLS 1.2.
	//
	// Signer implies Config.Offload: Sign runs on the goroutine of a handshake
	// step, several at once, and may block. It needs a timeout of its own: while
	// it blocks, it takes one of the 256 steps that run at once in the process,
	// also after the connection is closed. Its signatures are checked. If it
	// fails or panics, its connection alone fails, with an error that wraps
	// [ErrSigner] and Sign's own.
	//
	// A Signer that is a crypto.Decrypter too can be used for static RSA key
	// exchange, if CipherList has it. With an RSA Signer that is none, the
	// Context has no such suite. Keys in memory (*rsa.PrivateKey,
	// *ecdsa.PrivateKey, ed25519.PrivateKey) are handed to OpenSSL, and need no
	// Offload. With Config.Properties, make these optional, as in "?fips=yes":
	// what a Signer does has none.
	Signer crypto.Signer
	// OCSPFile or OCSP is an OCSP response in DER. A server staples it for
	// clients that request one (RFC 6066, section 8). Responses about the
	// intermediates may follow in their order, one behind the other. They are
	// sent in TLS 1.3 (RFC 8446, section 4.4.2.1) and need OpenSSL 3.6. To renew
	// a response, build another Context. OpenSSL 3.6 and newer do not send one
	// with a self-signed certificate.
	OCSPFile string
	OCSP     []byte
}

// Config has the settings of a [Context]. The zero value of each field is a
// sensible default. A Config is read only while the Context is built.
type Config struct {
	// Certificates are this side's own. For each type of key (RSA, ECDSA,
	// Ed25519, ML-DSA), the first one is the default. A server needs at least
	// one, unless every name that it serves is in Names or SNI, or ClientHello
	// selects.
	//
	// If the certificates have different DNS names, a server selects by the
	// name that the client sends (SNI). An exact name takes precedence over a
	// wildcard, unless the client supports no key of the exact one. Clients
	// that send another name or none get the defaults. A certificate that could
	// never be selected is refused.
	Certificates []Certificate
	// Names maps server names to certificates, for a server: one certificate
	// for each type of key, whatever names the certificate contains. A name is
	// exact ("a.example") or a wildcard for one label ("*.example"). Letter
	// case and a dot at the end are ignored.
	//
	// If the client supports no certificate of its name (a client that supports
	// only RSA, for example), it gets one of the name's wildcard, or one of
	// Certificates that contains the name, and never one of another name. A
	// name in SNI, or a matching wildcard there, takes precedence. A session
	// can be resumed only for the name that it was made with.
	Names map[string][]Certificate
	// Previous is the Context that this one will replace, if any. Certificates
	// with unchanged content are shared with it instead of being parsed again,
	// if it has the same Library and Properties and is not closed. Files are
	// still read, and keys that need a token or a passphrase are loaded again.
	Previous *Context

	// Library has the providers for all cryptography; nil is the process's
	// default library context. Contexts in SNI must have the same Library.
	// Properties select among its algorithms (property(7)): "fips=yes" refuses
	// algorithms that are not FIPS-approved.
	Library    *Library
	Properties string

	// CAFile or CAPEM holds the CAs that the peer's certificate is verified
	// against; a server also sends their names in its certificate request.
	// SystemCAs adds the CAs of OpenSSL's default paths. For a client it is the
	// default if no CA is set. An intermediate or a leaf here is trusted
	// without its root.
	CAFile    string
	CAPEM     []byte
	SystemCAs bool
	// CANames are names of CAs, each a name in DER (RFC 5280, section 4.1.2.4),
	// that a server adds to its certificate request: clients choose their
	// certificate by them. Nothing is trusted because of it. With VerifyPeer
	// and CAs that are not in CAFile, this is where they are named.
	CANames [][]byte
	// AllowCommonName makes a client match ConnConfig.ServerName against the
	// common name of a certificate without DNS names, which RFC 9525 forbids.
	AllowCommonName bool
	// RawPublicKey sends this side's raw public key (RFC 7250) instead of its
	// certificate to a peer that accepts it. Others get the certificate, which
	// may have signed itself. It needs OpenSSL 3.2.
	RawPublicKey bool
	// PeerKeysFile or PeerKeysPEM holds the raw public keys that the peer may
	// have instead of a certificate: PUBLIC KEY blocks in PEM
	// (SubjectPublicKeyInfo, as openssl pkey -pubout writes it). A key is for no
	// name, so ServerName does not count. Certificates are accepted too if there
	// are CAs, which for a client are then not the system's by default. It needs
	// OpenSSL 3.2.
	//
	// PeerRawPublicKey accepts raw public keys also without a list, for
	// VerifyApplication: VerifyPeer decides about them.
	PeerKeysFile     string
	PeerKeysPEM      []byte
	PeerRawPublicKey bool
	// CRLFile or CRLPEM holds revocation lists. If set, the peer's leaf
	// certificate is checked against them.
	CRLFile string
	CRLPEM  []byte
	// Verify says whether the peer must send a certificate, and whether it must
	// be valid.
	Verify VerifyMode
	// VerifyDepth is the maximum number of intermediates; 0 is OpenSSL's
	// default (100).
	VerifyDepth int
	// VerifyPeer, if set, decides about each certificate that OpenSSL found
	// valid; with VerifyApplication, about all others too. It may decide at
	// once or later, see [PeerVerification].
	//
	// On a client it is called on the goroutine that runs the handshake; it
	// must not block. OpenSSL cannot suspend a server's handshake during the
	// verification. So on a server VerifyPeer implies Offload, and it is
	// called on the goroutine of the handshake step. Each decision that a
	// server waits for occupies a thread; there are at most 4096. Outside the
	// first handshake (renegotiation, RequestCertificate), a server's
	// VerifyPeer must decide at once. A renegotiation that changes the peer's
	// certificate is refused.
	//
	// VerifyPeer is not called for a resumed session. A session made with
	// VerifyPeer can be resumed only by a Context that has one. A server with
	// SNI or ClientHello resumes it only for the same server name.
	VerifyPeer func(*PeerVerification)
	// ClientHello, if set, selects the Context for each client that a server
	// accepts, or refuses the client. It may decide at once or later, see
	// [ClientHello]. It is called on the goroutine that runs the handshake; it
	// must not block.
	ClientHello func(*ClientHello)
	// VerifyConnection, if set, decides about each connection when its first
	// handshake is done, also of those that resume a session, before data can
	// be read or written; see [ConnectionVerification]. It is called on the
	// goroutine that runs the handshake; it must not block. If it refuses, the
	// connection fails and nothing more is sent: the peer, whose handshake may
	// have succeeded, sees the end of the stream without close_notify. It
	// cannot be set together with MaxEarlyData, which is read before.
	VerifyConnection func(*ConnectionVerification)
	// Extensions are TLS extensions of the application, see [Extension]. If SNI
	// or ClientHello selects another Context, that one's Add and Parse are
	// called. Its Extensions must have the same types in the same order as those
	// of the Context that accepted the connection, but may be fewer.
	Extensions []Extension
	// DecisionTimeout is how long VerifyPeer, VerifyConnection and ClientHello
	// may take to decide; 0 is [DefaultDecisionTimeout]. After that the
	// handshake fails with [ErrDecisionTimeout]. If one of them panics, its
	// connection fails with [ErrCallbackPanic].
	DecisionTimeout time.Duration
	// Offload runs each step of the first handshake on its own goroutine, at
	// most 256 at once in the process, so that a slow key does not block the
	// goroutine that owns the connection. Meanwhile operations return
	// [tlsio.WantAsync]. Each step costs two goroutine switches. Renegotiations
	// are not offloaded, and early data is rejected. A Context selected by SNI
	// or ClientHello can turn Offload on for the rest of the handshake.
	Offload bool

	// MinVersion and MaxVersion default to TLS 1.2 and the newest version. TLS
	// 1.0 and 1.1, which RFC 8996 forbids, are for tests against old peers.
	// They also need a CipherList with suites of these versions and
	// @SECLEVEL=0, such as "DEFAULT:@SECLEVEL=0". The security level applies to
	// the whole Context (SSL_CTX_set_security_level(3)).
	MinVersion, MaxVersion TLSVersion
	// CipherList has the suites of TLS 1.2 and older, in the syntax of
	// openssl-ciphers(1), with @SECLEVEL=. Empty means those of OpenSSL's
	// default, or of the system's policy, that have forward secrecy and AEAD
	// (GCM, ChaCha20-Poly1305): no CBC, no static RSA. "DEFAULT" includes
	// these. AES-128-GCM comes first, as in CipherSuites.
	//
	// With a list, a server also accepts the DHE suites in it, in a group as
	// strong as its key (SSL_CTX_set_dh_auto(3)). DHE costs far more than
	// X25519. With OpenSSL 4.0 and newer, such a server without Groups also has
	// ffdhe2048 and ffdhe3072 as its last groups, in TLS 1.3 too: a client that
	// offers finite-field groups gets DHE only in a group of the server's list
	// (RFC 7919).
	CipherList string
	// CipherSuites has the suites of TLS 1.3: names separated by colons. Empty
	// means those of OpenSSL's default, or of the system's policy, which also
	// orders them. Without a policy TLS_AES_128_GCM_SHA256 comes first, as in
	// crypto/tls: its handshake costs 7 to 8 % less than that of OpenSSL's first
	// one. A server takes the first of its suites that the client has, and
	// ChaCha20-Poly1305 if that is the client's first one.
	CipherSuites string
	// Groups are the key exchange groups in order of preference, separated by
	// colons. Empty means X25519, P-256, X448, P-384, P-521, preceded by
	// X25519MLKEM768 where OpenSSL has it (3.5; a client sends key shares for
	// it and for X25519). Finite-field groups are left out (but see
	// CipherList): the peer chooses, and ffdhe8192 costs 77 times as much CPU
	// as X25519.
	Groups string
	// SignatureAlgorithms are in order of preference, separated by colons.
	// Empty means OpenSSL's default.
	SignatureAlgorithms string
	// ALPN are the protocols in order of preference. A server selects its first
	// protocol that the client offers too. It refuses a client that offers ALPN
	// but none of these.
	ALPN []string
	// SNI maps server names to other Contexts, for a server. Names are written
	// as in Names; a name outside ASCII is in its xn-- form. A client that
	// sends another name or none gets this Context. If the names differ only in
	// their certificates, Names costs less: a Context takes 30 kB, and a
	// millisecond to build.
	//
	// The connection keeps the ticket keys, the session cache, ReleaseBuffers,
	// Tail and the limits of the Context that accepted it, and its Groups if
	// the selected Context sets none. Records are direct if both Contexts ask
	// for it. All else, including KeyLog, comes from the selected Context.
	SNI map[string]*Context

	// Tickets is the number of TLS 1.3 tickets sent after a full handshake. 0
	// means one, as in crypto/tls; OpenSSL's own default is two. NoTickets
	// turns tickets off, in TLS 1.2 too, which saves 8 % of a handshake. A
	// client with NoTickets resumes no session.
	Tickets   int
	NoTickets bool
	// SessionLifetime is how long a session can be resumed after its full
	// handshake, even if tickets renewed it since: from one second to 7 days
	// (RFC 8446, section 4.6.1). 0 is [DefaultSessionLifetime]. The session
	// ends earlier if a certificate of the peer's verified chain expires or is
	// revoked. Client and server both enforce it. A single ticket, or an entry
	// of SessionCache, is valid for at most two hours.
	SessionLifetime time.Duration
	// SessionBinding is a part of what a session belongs to: a Context with
	// another value does not resume it. Set it to what VerifyPeer and
	// VerifyConnection go by, such as a hash of their CAs, if Contexts that
	// differ in that share TicketKeys, or are selected by ClientHello; on a
	// client, if a Session may be offered by another Context.
	SessionBinding []byte
	// TicketKeys are a server's keys for session tickets. With the same keys,
	// several hosts, or a Context and its replacement, can resume each other's
	// sessions. If empty, OpenSSL generates keys for each Context. The first
	// key encrypts, all of them decrypt. To rotate, add the new key on all
	// hosts as the last one, then move it to the front, then remove the oldest.
	// All keys have 48 bytes (name, AES-128 key, HMAC key, 16 bytes each), or
	// all have 80 (name of 16 bytes, HMAC key and AES-256 key of 32 bytes),
	// like nginx's. A stolen key decrypts recorded TLS 1.2 connections, so
	// replace keys often.
	TicketKeys [][]byte
	// SessionCache is the number of entries of a server's session cache, for
	// TLS 1.2 clients without tickets. 0 means no cache.
	SessionCache int
	// Renegotiation allows renegotiation in TLS 1.2, by the peer and by
	// [Conn.Renegotiate]. A server resumes no session in a renegotiation. It
	// implies NoReadAhead, since OpenSSL 3.0 fails if data is buffered after a
	// HelloRequest.
	Renegotiation bool

	// MaxMessages limits the KeyUpdates and tickets that a peer may send over
	// one connection (0 is 4096), MaxRenegotiations the renegotiations that it
	// may start (0 is 16). OpenSSL has no such limits. A connection whose peer
	// exceeds one fails with [tlsio.ErrLimit], and the peer is sent a
	// close_notify alert.
	MaxMessages, MaxRenegotiations int

	// PSKs are external pre-shared keys (RFC 8446, section 4.2.11), for TLS 1.3
	// only. A peer with the key sends no certificate, whatever Verify says.
	// Key exchange still takes place (psk_dhe_ke). A server with PSKs needs no
	// certificate; without one it supports TLS 1.3 only. A client has at most
	// one PSK, and needs no ServerName then. Unless CAFile, CAPEM or SystemCAs
	// is set, it trusts no CA, so that only a server with the key passes.
	//
	// OpenSSL ignores a PSK whose hash is not that of the cipher suite. So if
	// CipherSuites is empty, suites with the hash of the keys come first; and
	// if there are no certificates or CAs, only these are enabled.
	PSKs []PSK

	// MaxEarlyData is how many bytes of early data (0-RTT; RFC 8446, section
	// 2.3) a server accepts with a ticket; 0 disables early data. The
	// application must read it with [Conn.ReadEarlyData]. An attacker who
	// recorded early data can replay it, see docs/guide/handshake.md.
	//
	// By default each ticket can be used once, which prevents replays within
	// this Context: OpenSSL keeps the sessions in SessionCache (20480 entries
	// if that is 0), and a ticket without an entry leads to a full handshake.
	// No other Context or host can then resume the sessions. So TicketKeys are
	// refused without AllowReplay.
	MaxEarlyData uint32
	// AllowReplay accepts the same early data more than once, for ten seconds,
	// on each host that has the ticket keys (SSL_OP_NO_ANTI_REPLAY). Set it
	// only if repeated requests do no harm.
	AllowReplay bool

	// CertificateCompression has the algorithms for certificates in TLS 1.3 (RFC
	// 8879), best first: "zlib", "brotli", "zstd". It needs OpenSSL 3.2, built
	// with them; Debian's has zlib and zstd. This side accepts compressed
	// certificates and sends its own compressed to a peer that accepts it. A
	// server compresses them once, when the Context is built, but none with an
	// OCSP response or an Extension InCertificate: the compressed form has no
	// room for these. A client compresses its own in each handshake. Empty means
	// neither.
	//
	// The peer says how long its certificates are when decompressed; longer
	// data fails the handshake. OpenSSL 3.3.6, 3.4.4, 3.5.5, 3.6.1 and newer
	// refuse more than 100 kB; older ones allocate up to 16 MB (CVE-2025-66199).
	CertificateCompression []string

	// PostHandshakeAuth lets a server request the client's certificate after
	// the handshake (RFC 8446, section 4.6.2; TLS 1.3). Both sides must set it.
	// The server then requests no certificate during a TLS 1.3 handshake, only
	// when [Conn.RequestCertificate] is called; in TLS 1.2 it still requests
	// one during the handshake. On a server, Verify must be VerifyOptional or
	// VerifyRequire.
	PostHandshakeAuth bool

	// Staples makes a client request the OCSP responses and the signed
	// certificate timestamps (RFC 6962) of the server's certificates, for
	// [State]. It does not check them.
	Staples bool

	// NoMiddleboxCompat disables middlebox compatibility mode (RFC 8446,
	// appendix D.4): change_cipher_spec records and a client's session id in
	// TLS 1.3. It affects this side only.
	NoMiddleboxCompat bool

	// MaxFragment makes a client ask for records of at most 512, 1024, 2048 or
	// 4096 bytes in both directions (RFC 6066, section 4).
	MaxFragment int
	// RecordSizeLimit is the largest record that this side announces to accept
	// (RFC 8449), from 513 to 16385 bytes. In TLS 1.3 the content type counts,
	// so data is one byte less. Setting it also makes this side respect the
	// peer's limit. Up to OpenSSL 3.5 this package implements the extension,
	// with two gaps. Larger records of the peer are accepted. A peer's
	// limit below 513 cannot be respected: a server then ignores the extension,
	// and a client refuses the server.
	RecordSizeLimit int
	// MaxSendFragment is the maximum plaintext in a record that this side
	// sends: 512 to 16384 bytes, 0 is 16384. Smaller records reach the peer's
	// application sooner over a slow network, and cost more CPU. If SNI or
	// ClientHello selects another Context, the smaller value of the two
	// applies.
	MaxSendFragment int

	// ECHKeys are a server's keys for Encrypted Client Hello (RFC 9849), in TLS
	// 1.3, with OpenSSL 4.0 or newer. Each of them decrypts. Clients whose
	// ClientHello none decrypts are sent the configurations of the first one,
	// for another try; for these, the server needs a certificate of the
	// configuration's public name. To rotate, put a new key in front, and keep
	// the old ones as long as resolvers may cache them. If SNI or ClientHello
	// selects another Context, the keys remain those of the first one.
	ECHKeys []ECHKey
	// ECHTrialDecryption makes a server try all ECHKeys on a ClientHello that
	// names none of them, as those of clients that hide which one they use. It
	// costs a key exchange for each key, also for GREASE.
	ECHTrialDecryption bool
	// ECHGrease makes a client without ConnConfig.ECHConfigList send an
	// extension that looks like an Encrypted Client Hello (RFC 9849, section
	// 6.2).
	ECHGrease bool

	// KeyLog receives a line for each secret, in the format of SSLKEYLOGFILE.
	// It defeats encryption; use it only for debugging. Each goroutine that
	// runs a handshake may call Write, one at a time. A Write that blocks
	// delays all handshakes, and with package reactor all connections of the
	// loop: put a queue in front of a slow writer.
	KeyLog io.Writer

	// ReleaseBuffers frees OpenSSL's record buffers when they are empty. An
	// idle connection takes 33 KiB less, a busy one slightly more CPU.
	ReleaseBuffers bool
	// NoReadAhead makes OpenSSL read a record's header and body with one recv
	// each, instead of reading as much as the buffer holds.
	NoReadAhead bool
	// Records says who seals and opens the records after the handshake; see
	// [Records].
	Records Records
	// Tail is the maximum number of bytes of ciphertext that a connection keeps
	// if the transport does not take them; see the package comment. 0 is
	// [DefaultTail]. A value below the size of one record is raised to it,
	// since keeping half a record would leave its SSL_write unfinished. With a
	// negative value nothing is kept, as with a plain socket BIO. Without a
	// socket (NewEngineConn) at least one record is kept.
	Tail int
}

// peerKeys reports whether the peer may have a raw public key.
func (c *Config) peerKeys() bool {
	return c.PeerRawPublicKey || c.PeerKeysFile != "" || len(c.PeerKeysPEM) > 0
}

// named reports whether certificates are selected by server name, or by
// ClientHello.
func (c *Config) named() bool { return len(c.SNI) > 0 || len(c.Names) > 0 || c.ClientHello != nil }

// DefaultDecisionTimeout is used if Config.DecisionTimeout is 0.
const DefaultDecisionTimeout = 10 * time.Second

// DefaultSessionLifetime is used if Config.SessionLifetime is 0.
const DefaultSessionLifetime = 24 * time.Hour

// DefaultTail is used if Config.Tail is 0: the bytes of four of the largest
// records, which is what one Write can seal. Without a socket it is the room for
// output between two calls of Take.
const DefaultTail = 4 * (tlsio.MaxPlaintext + 2048 + 5)

// minTail is the size of the largest record: header, content, and the maximum
// overhead of encryption.
const minTail = 5 + tlsio.MaxPlaintext + 320

// Defaults of MaxMessages and MaxRenegotiations.
const (
	defaultMaxMessages       = 4096
	defaultMaxRenegotiations = 16
)

// ConnConfig has a client's settings for one connection. A server needs none.
type ConnConfig struct {
	// ServerName is the host to connect to. It is sent as SNI if it is a DNS
	// name, and checked against the certificate unless InsecureSkipNameCheck is
	// set. A dot at the end is removed, and brackets and the zone of an IPv6
	// address. A name outside ASCII is refused: use its xn-- form.
	ServerName string
	// InsecureSkipNameCheck turns off the check of the name in the certificate.
	InsecureSkipNameCheck bool
	// Session is a session of an earlier connection to resume. It is ignored,
	// and the handshake is a full one, if it was made with another server name,
	// or by a Context with other CAs or verification settings, and with
	// Config.NoTickets.
	Session *Session
	// ECHConfigList encrypts ServerName and the ticket of Session (RFC 9849).
	// It has the server's configurations, in bytes as in the ech parameter of
	// its HTTPS record. It needs OpenSSL 4.0 or newer, and turns versions before
	// TLS 1.3 off. If the server has other keys by now, the handshake fails with
	// an [ECHRejectionError]. Everybody can still read the rest of the
	// ClientHello: its Config.Extensions, and ALPN unless ECHOuterALPN is set.
	ECHConfigList []byte
	// ECHOuterName is the name that everybody sees then; empty is the public
	// name of the configuration.
	ECHOuterName string
	// ECHOuterALPN are the protocols that everybody sees then, in place of
	// Config.ALPN, which is hidden; nil shows Config.ALPN. Name common ones,
	// such as "h2": a ClientHello without them stands out. At most 255 bytes in
	// all, one for each name included.
	ECHOuterALPN []string
}

// PSK is an external pre-shared key. Both sides need the same Identity, Key and
// Hash.
type PSK struct {
	// Identity names the key, in 1 to 1024 bytes. It is sent unencrypted.
	Identity []byte
	// Key has 16 to 256 random bytes. An attacker can try guesses of a weak key
	// against a recorded handshake (RFC 9257, section 4). Use a key for one
	// pair of peers and for nothing else. The Context copies the key, and wipes
	// the copy when it is freed.
	Key []byte
	// Hash is "SHA256" (also if empty) or "SHA384". Do not use the same key
	// with both: RFC 9258 defines how to derive one for each.
	Hash string
}

// Session is a TLS session that a client can resume. It contains secrets. It is
// immutable and may be used from any goroutine.
type Session struct {
	der []byte
}
