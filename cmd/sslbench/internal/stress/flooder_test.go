package stress

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// The types of records and messages that flooders send.
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
	keyUpdate     = 24
)

// flooder is a client that sends whichever records it likes after a proper handshake: Go's own client makes that and
// reads, while the records are sealed here with its keys.
type flooder struct {
	raw     *recorded
	in      *tls.Conn
	version uint16
	secret  []byte // TLS 1.3
	aead    cipher.AEAD
	iv      []byte // in TLS 1.2 its first four bytes
	seq     uint64
	hello   []byte         // the ClientHello, without the header of its record
	out     []byte         // sealed, not yet sent
	sent    tlstest.Stream // application data sealed
	got     tlstest.Stream // and read
}

// recorded remembers the first record of each direction.
type recorded struct {
	net.Conn
	read, written []byte
}

// firstRecord is enough of a flight to hold what is looked for.
const firstRecord = 2048

func (r *recorded) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.read = append(r.read, p[:min(n, firstRecord-len(r.read))]...)
	return n, err
}

func (r *recorded) Write(p []byte) (int, error) {
	r.written = append(r.written, p[:min(len(p), firstRecord-len(r.written))]...)
	return r.Conn.Write(p)
}

// keyLine is a line of the key log: the client's traffic secret of TLS 1.3, or its random and the secret of TLS 1.2.
var keyLine = regexp.MustCompile(`(?m)^(?:CLIENT_TRAFFIC_SECRET_0|CLIENT_RANDOM) (\w+) (\w+)$`)

func dialFlooder(addr string, version uint16) (*flooder, error) {
	raw, err := net.DialTimeout("tcp", addr, hang)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Now().Add(hang))
	var log bytes.Buffer
	f := &flooder{raw: &recorded{Conn: raw}, version: version}
	f.in = tls.Client(f.raw, &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version, KeyLogWriter: &log})
	if err := f.in.Handshake(); err != nil {
		raw.Close()
		return nil, err
	}
	line := keyLine.FindStringSubmatch(log.String())
	random, secret := must(hex.DecodeString(line[1])), must(hex.DecodeString(line[2]))
	if version == tls.VersionTLS13 {
		f.useSecret(secret)
	} else {
		// Behind the headers of record and message, and the version.
		server := f.raw.read[11:43]
		keys := prf(secret, slices.Concat([]byte("key expansion"), server, random), 2*16+2*4)
		f.useKey(keys[:16], keys[32:36])
		f.seq = 1 // Finished was record 0
	}
	f.hello = f.raw.written[5:][:binary.BigEndian.Uint16(f.raw.written[3:])]
	return f, nil
}

func (f *flooder) useKey(key, iv []byte) {
	f.aead, f.iv, f.seq = must(cipher.NewGCM(must(aes.NewCipher(key)))), iv, 0
}

// useSecret begins with a traffic secret of TLS 1.3.
func (f *flooder) useSecret(secret []byte) {
	f.secret = secret
	f.useKey(f.expand("key", 16), f.expand("iv", 12))
}

// expand is HKDF-Expand-Label of RFC 8446 without a context.
func (f *flooder) expand(label string, n int) []byte {
	label = "tls13 " + label
	return must(hkdf.Expand(sha256.New, f.secret, string([]byte{0, byte(n), byte(len(label))})+label+"\x00", n))
}

// prf is that of TLS 1.2 (RFC 5246, section 5), with SHA-256. The seed begins with the label.
func prf(secret, seed []byte, n int) (out []byte) {
	sum := func(p ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(slices.Concat(p...))
		return h.Sum(nil)
	}
	for a := sum(seed); len(out) < n; a = sum(a) {
		out = append(out, sum(a, seed)...)
	}
	return out[:n]
}

// record seals a record of a type.
func (f *flooder) record(typ byte, payload ...byte) {
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], f.seq)
	f.seq++
	if f.version == tls.VersionTLS13 {
		nonce := bytes.Clone(f.iv)
		for i, b := range seq {
			nonce[4+i] ^= b
		}
		n := len(payload) + 1 + 16
		from := len(f.out)
		f.out = append(f.out, typeData, 3, 3, byte(n>>8), byte(n))
		f.out = f.aead.Seal(f.out, nonce, append(payload, typ), f.out[from:])
		return
	}
	n := 8 + len(payload) + 16
	f.out = append(f.out, typ, 3, 3, byte(n>>8), byte(n))
	f.out = append(f.out, seq[:]...)
	aad := append(bytes.Clone(seq[:]), typ, 3, 3, byte(len(payload)>>8), byte(len(payload)))
	f.out = f.aead.Seal(f.out, append(bytes.Clone(f.iv), seq[:]...), payload, aad)
}

// rekey says KeyUpdate and goes on with the next key.
func (f *flooder) rekey(request byte) {
	f.record(typeHandshake, keyUpdate, 0, 0, 1, request)
	f.useSecret(f.expand("traffic upd", 32))
}

// data is a record with the next byte of application data.
func (f *flooder) data() { f.record(typeData, f.sent.Next(1)...) }

// flush sends what was sealed.
func (f *flooder) flush() error {
	_, err := f.raw.Conn.Write(f.out)
	f.out = f.out[:0]
	return err
}

// echoes reads and compares until all data has come back.
func (f *flooder) echoes(until int) error {
	buf := make([]byte, 16<<10)
	for f.got.N < until {
		n, err := f.in.Read(buf)
		f.got.Check(buf[:n])
		if err = errors.Join(err, f.got.Bad); err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", f.got.N, until, err)
		}
	}
	return nil
}

// cut waits until the server has ended the connection: by a FIN, or a reset because it did not read all.
func (f *flooder) cut() error {
	if _, err := io.Copy(io.Discard, f.raw.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("the server does not end the connection")
	}
	return nil
}
