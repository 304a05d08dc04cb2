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
	"strings"
	"time"
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
	hello   []byte // the ClientHello, without the header of its record
	out     []byte // sealed, not yet sent
	sent    int    // bytes of application data sealed
	got     int    // and read
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
	if err := f.takeKeys(log.String()); err != nil {
		raw.Close()
		return nil, err
	}
	n := int(f.raw.written[3])<<8 | int(f.raw.written[4])
	f.hello = f.raw.written[5 : 5+n]
	return f, nil
}

// takeKeys finds the keys of the client's direction.
func (f *flooder) takeKeys(log string) error {
	for line := range strings.Lines(log) {
		w := strings.Fields(line)
		if len(w) != 3 {
			continue
		}
		secret, err := hex.DecodeString(w[2])
		if err != nil {
			return err
		}
		switch w[0] {
		case "CLIENT_TRAFFIC_SECRET_0":
			return f.useSecret(secret)
		case "CLIENT_RANDOM":
			client, err := hex.DecodeString(w[1])
			if err != nil {
				return err
			}
			// Behind the headers of record and message, and the version.
			server := f.raw.read[11:43]
			keys := prf(secret, "key expansion", append(bytes.Clone(server), client...), 2*16+2*4)
			f.iv, f.seq = keys[32:36], 1 // Finished was record 0
			return f.useKey(keys[:16])
		}
	}
	return errors.New("there is no secret in the key log")
}

func (f *flooder) useKey(key []byte) error {
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	f.aead, err = cipher.NewGCM(block)
	return err
}

// useSecret begins with a traffic secret of TLS 1.3.
func (f *flooder) useSecret(secret []byte) error {
	f.secret, f.seq = secret, 0
	var err error
	if f.iv, err = f.expand("iv", 12); err != nil {
		return err
	}
	key, err := f.expand("key", 16)
	if err != nil {
		return err
	}
	return f.useKey(key)
}

// expand is HKDF-Expand-Label of RFC 8446 without a context.
func (f *flooder) expand(label string, n int) ([]byte, error) {
	label = "tls13 " + label
	return hkdf.Expand(sha256.New, f.secret, string([]byte{0, byte(n), byte(len(label))})+label+"\x00", n)
}

// prf is that of TLS 1.2 (RFC 5246, section 5), with SHA-256.
func prf(secret []byte, label string, seed []byte, n int) []byte {
	seed = append([]byte(label), seed...)
	sum := func(p ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		for _, b := range p {
			h.Write(b)
		}
		return h.Sum(nil)
	}
	var out []byte
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
	next, err := f.expand("traffic upd", 32)
	if err == nil {
		err = f.useSecret(next)
	}
	if err != nil {
		panic(err) // the lengths are fixed
	}
}

// data is a record with the next byte of application data.
func (f *flooder) data() { f.record(typeData, byteAt(f.sent)); f.sent++ }

// byteAt is the byte at a place of what a flooder sends.
func byteAt(i int) byte { return byte(i ^ i>>8 ^ i>>16) }

// flush sends what was sealed.
func (f *flooder) flush() error {
	_, err := f.raw.Conn.Write(f.out)
	f.out = f.out[:0]
	return err
}

// echoes reads and compares until all data has come back.
func (f *flooder) echoes(until int) error {
	buf := make([]byte, 16<<10)
	for f.got < until {
		n, err := f.in.Read(buf)
		for _, b := range buf[:n] {
			if b != byteAt(f.got) {
				return fmt.Errorf("byte %d is %#x, want %#x", f.got, b, byteAt(f.got))
			}
			f.got++
		}
		if err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", f.got, until, err)
		}
	}
	return nil
}

// cut waits until the server has ended the connection.
func (f *flooder) cut() error {
	_, err := io.Copy(io.Discard, f.raw.Conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("the server does not end the connection")
	}
	return nil // a FIN, or a reset because it did not read all
}

func (f *flooder) close() { f.raw.Close() }
