package starttls

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
)

// postgres is the first message of PostgreSQL's protocol: "Message Flow", "SSL
// Session Encryption" and "Message Formats" in its manual.
type postgres struct{}

// Codes of requests in place of a protocol's version.
const (
	postgresCancel = 1234<<16 | 5678
	postgresSSL    = 1234<<16 | 5679
	postgresGSS    = 1234<<16 | 5680
)

func (postgres) greeting() []byte { return nil }

func (postgres) tooMuch() []byte { return postgresError("08P01", "too much before TLS") }

func (s postgres) step(p []byte) (n int, out []byte, next next) {
	if len(p) < 4 {
		return 0, nil, more
	}
	size := binary.BigEndian.Uint32(p)
	switch {
	case size < 8:
		return len(p), postgresError("08P01", "not a startup message"), closing
	case size > maxMessage:
		return len(p), s.tooMuch(), closing
	case uint32(len(p)) < size:
		return 0, nil, more
	}
	n = int(size)
	switch code := binary.BigEndian.Uint32(p[4:]); {
	case code == postgresSSL && n == 8:
		return n, []byte("S"), upgrade
	case code == postgresGSS && n == 8:
		return n, []byte("N"), more
	case code == postgresCancel:
		return n, nil, closing // the protocol has no reply to it
	case code>>16 == 3:
		return n, postgresError("28000", "this server wants TLS: use sslmode=require"), closing
	}
	return n, postgresError("08P01", "not a startup message"), closing
}

// postgresError is an ErrorResponse.
func postgresError(code, text string) []byte {
	body := fmt.Sprintf("SFATAL\x00VFATAL\x00C%s\x00M%s\x00\x00", code, text)
	return append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(4+len(body))), body...)
}

// mysql is the connection phase of MySQL's protocol, version 10: "Connection
// Phase Packets" in MySQL's source documentation, "Connecting" in MariaDB's. A client sends its
// ClientHello behind the SSLRequest at once.
type mysql struct{}

// Capabilities.
const (
	mysqlSSL          = 0x0800
	mysqlCapabilities = 0x1 | 0x4 | 0x8 | // long password, long flag, connect with a database
		0x0200 | mysqlSSL | 0x2000 | 0x8000 | // protocol 4.1, transactions, secure connection
		0x80000 // names of authentication plugins
)

// mysqlSSLRequest is the size of an SSLRequest's payload. A HandshakeResponse
// is longer: its name of the user has an end.
const mysqlSSLRequest = 32

func (mysql) greeting() []byte {
	const utf8, autocommit = 33, 2
	challenge := rand.Text()[:20]
	b := append([]byte{10}, "8.0.0-sslecho\x00"...)
	b = append(b, 1, 0, 0, 0) // the connection's number
	b = append(b, challenge[:8]...)
	b = append(b, 0)
	b = binary.LittleEndian.AppendUint16(b, mysqlCapabilities&0xffff)
	b = append(b, utf8, autocommit, 0)
	b = binary.LittleEndian.AppendUint16(b, mysqlCapabilities>>16)
	b = append(b, byte(len(challenge)+1))
	b = append(b, make([]byte, 10)...)
	b = append(b, challenge[8:]...)
	b = append(b, 0)
	return mysqlPacket(0, append(b, "caching_sha2_password\x00"...))
}

func (mysql) tooMuch() []byte { return mysqlError(1043, "08S01", "too much before TLS") }

func (s mysql) step(p []byte) (n int, out []byte, next next) {
	const head = 4
	if len(p) < head {
		return 0, nil, more
	}
	size := int(p[0]) | int(p[1])<<8 | int(p[2])<<16
	switch {
	case head+size > maxMessage:
		return len(p), s.tooMuch(), closing
	case size < mysqlSSLRequest || p[3] != 1: // the number of the packet
		return len(p), mysqlError(1043, "08S01", "Bad handshake"), closing
	case len(p) < head+size:
		return 0, nil, more
	case size == mysqlSSLRequest && binary.LittleEndian.Uint32(p[head:])&mysqlSSL != 0:
		return head + size, nil, follow
	}
	return head + size, mysqlError(3159, "HY000", "this server wants TLS"), closing
}

// mysqlError is an ERR_Packet.
func mysqlError(code uint16, state, text string) []byte {
	return mysqlPacket(2, append(binary.LittleEndian.AppendUint16([]byte{0xff}, code), "#"+state+text...))
}

// mysqlPacket is a packet of less than 64 KiB.
func mysqlPacket(number byte, payload []byte) []byte {
	head := binary.LittleEndian.AppendUint16(nil, uint16(len(payload)))
	return append(append(head, 0, number), payload...)
}
