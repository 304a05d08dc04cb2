package cssl

import "fmt"

// Records says who seals and opens the records of a connection after its
// handshake.
type Records uint8

const (
	// RecordsOpenSSL means OpenSSL's SSL object, for as long as the connection
	// lives.
	RecordsOpenSSL Records = iota
	// RecordsDirect means this package, with the ciphers of OpenSSL's libcrypto:
	// the SSL object is freed when the handshake is done. An idle connection
	// then takes a fifth of the memory, and each record less CPU.
	// docs/design/records.md says what changes.
	//
	// It is for servers: a client gets session tickets after the handshake,
	// which only the SSL object understands. A connection that cannot do
	// without the SSL object keeps it, for example if its suite has neither
	// AES-GCM nor ChaCha20-Poly1305, or if the settings allow renegotiation (in
	// TLS 1.2) or certificate requests after the handshake (in TLS 1.3).
	// State.RecordsReason has the reason.
	RecordsDirect
	// RecordsKernel means the kernel (Linux TLS), which gets the keys that
	// RecordsDirect would use. sendfile(2) then works, and
	// [github.com/spacemonad/go-openssl/sslnet.Conn.ReadFrom] uses it for files.
	//
	// Each direction that the kernel does not take stays with RecordsDirect:
	// State.RecordsReason says why. The module tls must be loaded, unless the
	// process may load it (CAP_NET_ADMIN); a Conn without a socket has direct
	// records. Before Linux 6.5 the kernel would report a socket as readable
	// while only a part of a record is there, and an event loop would spin until
	// the rest arrives. So the first Context with RecordsKernel tries it on a
	// socket of its own; on such a kernel, reading stays direct. A kernel before
	// Linux 6.14 cannot change keys: after a KeyUpdate of the peer the connection
	// fails (if reading is direct, only if the peer asks for a new key of ours),
	// and KeyUpdate returns [tlsio.ErrState].
	RecordsKernel
)

// String returns "openssl", "direct" or "kernel".
func (r Records) String() string {
	switch r {
	case RecordsOpenSSL:
		return "openssl"
	case RecordsDirect:
		return "direct"
	case RecordsKernel:
		return "kernel"
	}
	return fmt.Sprintf("Records(%d)", uint8(r))
}
