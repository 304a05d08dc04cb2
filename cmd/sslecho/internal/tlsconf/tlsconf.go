// Package tlsconf builds what sslecho's TLS settings say: contexts, and what an
// operator wants to know of certificates.
package tlsconf

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/filetype"
	"github.com/spacemonad/go-openssl/internal/logqueue"
)

// Builder builds the first context and those of each reload. It keeps what
// stays the same: a certificate made in memory, the key log, and OpenSSL's
// library. A Build that waits for a file for ever can be left behind with a
// copy.
type Builder struct {
	// At, if set, is told what Build may have to wait for from now on, such as
	// "--cert /etc/chain.pem".
	At func(what string)
	// Lost, if set, is told how many lines the key log has lost.
	Lost func(n uint64)

	made        *cssl.Certificate
	fingerprint string
	keyFile     *os.File
	keyLog      *logqueue.Writer // to keyFile
	lib         *cssl.Library    // nil: OpenSSL's default
	last        *Built
}

const (
	maxKeyLog    = 1 << 20     // bytes that wait for the file of the key log
	closeTimeout = time.Second // for which Close waits for that file
	maxNamed     = 5           // files that a build may wait for, in one message
)

// Built is a context and what is known of it. Its owner closes the Context.
type Built struct {
	Context      *cssl.Context
	Certificates []Certificate
	// Fingerprint is the SHA-256 of the certificate that was made in memory;
	// empty where there are files.
	Fingerprint string
	// OutOfDate is what clients are refused for by now: a certificate or an
	// intermediate, all CAs of clients, or all revocation lists.
	OutOfDate []string
	// Warnings are what an operator should look at, though it works.
	Warnings []string
}

// Close writes what the key log still holds, for a second at most, and closes
// it.
func (b *Builder) Close() {
	if b.keyLog == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if b.keyLog.Flush(ctx) == nil {
		b.keyFile.Close()
	}
}

// KeyLogDropped returns a function that counts the lines of the key log that
// were dropped. Any goroutine may call it.
func (b *Builder) KeyLogDropped() func() uint64 {
	if b.keyLog == nil {
		return func() uint64 { return 0 }
	}
	return b.keyLog.Dropped
}

// Build reads all files of t and makes one context of it. Certificates that
// have not changed since the last Build are taken over from its context, unless
// that is closed. An error names the flag.
func (b *Builder) Build(t *config.TLS) (built *Built, err error) {
	b.look(t)
	if l := t.Library; b.lib == nil && (len(l.Providers) > 0 || l.ProviderPath != "" || l.ConfigFile != "") {
		if b.lib, err = cssl.NewLibrary(l); err != nil {
			return nil, byFlag(err, t)
		}
	}
	c := t.Config
	c.Library, c.Names, c.Certificates = b.lib, map[string][]cssl.Certificate{}, certificates(t, t.Certificates())
	if b.last != nil {
		c.Previous = b.last.Context
	}
	if c.KeyLog, err = b.openKeyLog(t.KeyLogFile); err != nil {
		return nil, err
	}
	if t.TicketKeysFile != "" {
		if c.TicketKeys, err = ticketKeys(t.TicketKeysFile); err != nil {
			return nil, err
		}
	}
	if t.PSKFile != "" {
		if c.PSKs, err = sharedKeys(t.PSKFile); err != nil {
			return nil, err
		}
		defer func() { // the context has copies
			for _, k := range c.PSKs {
				clear(k.Key)
			}
		}()
	}
	for _, file := range t.ECHKeyFiles {
		c.ECHKeys = append(c.ECHKeys, cssl.ECHKey{File: file})
	}
	for _, s := range t.SNI {
		c.Names[s.Name] = certificates(t, s.Certificates)
	}
	if len(t.Certs) == 0 {
		if b.made == nil {
			if b.made, b.fingerprint, err = selfSigned(); err != nil {
				return nil, fmt.Errorf("no certificate could be made: %w", err)
			}
		}
		c.Certificates = []cssl.Certificate{*b.made}
	}
	built = &Built{}
	if built.Context, err = cssl.NewServerContext(c); err != nil {
		return nil, byFlag(err, t)
	}
	built.inspect(t, b)
	b.last = built
	return built, nil
}

// inspect adds what an operator wants to know of what was built.
func (b *Built) inspect(t *config.TLS, from *Builder) {
	b.readableByAll("--ticket-keys", t.TicketKeysFile)
	b.readableByAll("--psk-file", t.PSKFile)
	for _, file := range t.ECHKeyFiles {
		b.readableByAll("--ech-key", file)
	}
	for _, s := range t.SNI {
		for _, f := range s.Certificates {
			b.describe("--sni "+s.Name, t, f, from.lib)
		}
	}
	for _, f := range t.Certificates() {
		b.describe("--cert", t, f, from.lib)
	}
	if len(t.Certs) == 0 {
		b.Fingerprint = from.fingerprint
		made := parseChain(blocks(from.made.ChainPEM, "CERTIFICATE"))
		made.File = "made in memory"
		b.Certificates = append(b.Certificates, made)
	}
	b.clientDates(t)
	if err := from.lib.Warning(); err != nil {
		b.warn(err.Error())
	}
}

// openKeyLog opens the key log, once.
func (b *Builder) openKeyLog(file string) (io.Writer, error) {
	if file == "" {
		return nil, nil
	}
	if b.keyLog == nil {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("--keylog: %w", err)
		}
		b.keyFile, b.keyLog = f, logqueue.NewWriter(f, maxKeyLog, b.Lost)
	}
	return b.keyLog, nil
}

// look tells At what the build may have to wait for. A file system that does
// not answer holds up look itself, which has just named the file. A FIFO, a
// socket, a device or a token may hold up the build.
func (b *Builder) look(t *config.TLS) {
	if b.At == nil {
		return
	}
	files := t.Files()
	if b.keyLog == nil && t.KeyLogFile != "" {
		files = append(files, config.File{Flag: "--keylog ", Name: t.KeyLogFile})
	}
	if b.lib == nil && t.Library.ConfigFile != "" {
		files = append(files, config.File{Flag: "--openssl-config ", Name: t.Library.ConfigFile})
	}
	var slow []string
	for _, f := range files {
		if !config.IsURI(f.Name) {
			b.At(f.Flag + f.Name)
			if fi, err := os.Stat(f.Name); err != nil || fi.Mode().IsRegular() || fi.IsDir() {
				continue
			}
		}
		if len(slow) < maxNamed {
			slow = append(slow, f.Flag+f.Name)
		}
	}
	b.At(cmp.Or(strings.Join(slow, ", "), "the files of the TLS settings"))
}

var errEncrypted = errors.New("the key is encrypted: name the file of its passphrase with --key-passphrase-file")

// certificates are files as package cssl wants them.
func certificates(t *config.TLS, files []config.Certificate) (out []cssl.Certificate) {
	for _, f := range files {
		c := cssl.Certificate{OCSPFile: f.OCSP, Passphrase: func() ([]byte, error) {
			if t.PassphraseFile == "" {
				return nil, errEncrypted
			}
			return secret(t.PassphraseFile, "a passphrase on one line", 0)
		}}
		if config.IsURI(f.Chain) {
			c.ChainURI = f.Chain
		} else {
			c.ChainFile = f.Chain
		}
		if config.IsURI(f.Key) {
			c.KeyURI = f.Key
		} else {
			c.KeyFile = f.Key
		}
		if t.PINFile != "" {
			c.PIN = func(string) ([]byte, error) { return secret(t.PINFile, "a PIN on one line", 0o007) }
		}
		out = append(out, c)
	}
	return out
}

// secret reads the line of a file, which must have none of the permissions.
// What is there instead is described, but not shown.
func secret(file, want string, permissions os.FileMode) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w; want %s", err, want)
	}
	defer f.Close()
	// Of the open file: another one may take its place.
	if fi, err := f.Stat(); err != nil {
		return nil, err
	} else if fi.Mode().Perm()&permissions != 0 {
		return nil, fmt.Errorf("%s: everybody can read or change it: chmod o= %s", file, filepath.Base(file))
	}
	p, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("%w; want %s", err, want)
	}
	line := bytes.TrimRight(p, "\r\n")
	if len(line) == 0 || bytes.IndexByte(line, '\n') >= 0 {
		return nil, fmt.Errorf("%s: want %s; found %s", file, want, filetype.Describe(p))
	}
	return line, nil
}

// ticketKeys reads one key of 48 or 80 bytes as it is, or a line of base64 for
// each, the first one first. Lines that begin with # are comments.
func ticketKeys(file string) (keys [][]byte, err error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--ticket-keys: %w; want keys of 48 or 80 bytes, in base64 where there are several", err)
	}
	if len(p) == 48 || len(p) == 80 {
		return [][]byte{p}, nil
	}
	for i, line := range strings.Split(string(p), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(k) != 48 && len(k) != 80 {
			return nil, fmt.Errorf("--ticket-keys %s: line %d is no key: want 48 or 80 bytes in base64, such as openssl rand -base64 48 gives; "+
				"found %s", file, i+1, filetype.Describe(p))
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("--ticket-keys %s: there is no key in it; found %s", file, filetype.Describe(p))
	}
	return keys, nil
}

// sharedKeys reads external pre-shared keys: on each line an identity, a colon
// and a key in hexadecimal. Lines that begin with # are comments. Errors hold
// nothing of what may be a key.
func sharedKeys(file string) (keys []cssl.PSK, err error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--psk-file: %w; want lines of identity:hexkey", err)
	}
	defer clear(p)
	lines := map[string]int{} // of each identity
	for i, line := range bytes.Split(p, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		colon := bytes.LastIndexByte(line, ':') // an identity may contain some
		identity, text := line[:max(0, colon)], line[colon+1:]
		k := make([]byte, hex.DecodedLen(len(text)))
		if n, err := hex.Decode(k, text); err != nil || n < 16 || n > 256 || len(identity) == 0 || len(identity) > 1024 {
			return nil, fmt.Errorf("--psk-file %s: line %d is no identity:hexkey: want an identity of 1 to 1024 bytes and a key of 16 to 256 bytes "+
				"in hexadecimal, such as openssl rand -hex 32 gives; found %s", file, i+1, filetype.Describe(p))
		}
		if before := lines[string(identity)]; before > 0 {
			return nil, fmt.Errorf("--psk-file %s: line %d has the identity of line %d", file, i+1, before)
		}
		lines[string(identity)] = i + 1
		keys = append(keys, cssl.PSK{Identity: bytes.Clone(identity), Key: k})
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("--psk-file %s: there is no key in it; found %s", file, filetype.Describe(p))
	}
	return keys, nil
}

// selfSigned makes a certificate for this host's loopback names that exists in
// memory alone, and its SHA-256 fingerprint as openssl x509 -fingerprint prints
// it.
func selfSigned() (*cssl.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	now := time.Now()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "sslecho"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	keyDER, keyErr := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err, keyErr); err != nil {
		return nil, "", err
	}
	return &cssl.Certificate{
		ChainPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(der)), " ", ":"), nil
}
