// Package tlsconf builds what sslecho's TLS settings say: contexts, and the facts about certificates that an operator wants.
package tlsconf

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/filetype"
	"github.com/spacemonad/go-openssl/internal/logqueue"
)

// Builder builds contexts, the first one and those of each reload. It keeps what must stay the same: a certificate that was
// made in memory, and the key log. A copy builds on its own from where it was made, so that a Build that waits for a file
// for ever can be left behind with its copy.
type Builder struct {
	// At, if set, is told what Build may have to wait for from now on, such as "--cert /etc/chain.pem". Build calls it on its
	// own goroutine.
	At func(what string)
	// Lost, if set, is told how many lines the key log has lost.
	Lost func(n uint64)

	made    *cssl.Certificate
	print   string
	keyFile *os.File
	keyLog  *logqueue.Writer // to keyFile
	lib     *cssl.Library    // nil: OpenSSL's default
	last    *Built
}

const (
	// maxKeyLog is how many bytes wait for the file of the key log.
	maxKeyLog = 1 << 20
	// closeTimeout is how long Close waits for that file.
	closeTimeout = time.Second
)

// Built is a context and what is known of it. Its owner closes the Context.
type Built struct {
	Context      *cssl.Context
	Certificates []Certificate
	// Fingerprint is the SHA-256 of the certificate that was made in memory; empty where there are files.
	Fingerprint string
	// OutOfDate is what clients are refused for by now: a certificate or an
	// intermediate, all CAs of clients, or all revocation lists.
	OutOfDate []string
	// Warnings are what an operator should look at, though it works.
	Warnings []string

	told          map[string]bool      // what look has said
	files, before map[string]chainFile // what is known of chains, by file; before: from the last Build
	issuers       map[string]*x509.Certificate
	keys          map[string]bool // those that were looked at
}

// Close writes what the key log still holds, for a second at the most, and closes it.
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

// KeyLogDropped returns a function that tells how many lines of the key log were dropped so far; nil without a key log. Any goroutine may
// call it.
func (b *Builder) KeyLogDropped() func() uint64 {
	if b.keyLog == nil {
		return nil
	}
	return b.keyLog.Dropped
}

// Build reads all files of t and makes one context of it, for the names of SNI too. Certificates that have not changed since the last Build
// are taken over from its context, unless that is closed. An error names the flag.
func (b *Builder) Build(t *config.TLS) (*Built, error) {
	b.look(t)
	if err := b.library(t); err != nil {
		return nil, err
	}
	base, err := b.settings(t)
	if err != nil {
		return nil, err
	}
	out := &Built{files: map[string]chainFile{}, issuers: map[string]*x509.Certificate{}, keys: map[string]bool{}}
	if b.last != nil {
		base.Previous, out.before = b.last.Context, b.last.files
	}
	base.Names = map[string][]cssl.Certificate{}
	for _, s := range t.SNI {
		if base.Names[s.Name] != nil {
			return nil, fmt.Errorf("--sni %s: given twice", s.Name)
		}
		base.Names[s.Name] = certificates(t, s.Certificates)
		if err := out.add("--sni "+s.Name, s.Certificates); err != nil {
			return nil, err
		}
	}
	files := t.Certificates()
	base.Certificates = certificates(t, files)
	if err := out.add("--cert", files); err != nil {
		return nil, err
	}
	if len(files) == 0 {
		if b.made == nil {
			c, print, err := selfSigned()
			if err != nil {
				return nil, fmt.Errorf("no certificate could be made: %w", err)
			}
			b.made, b.print = &c, print
		}
		base.Certificates, out.Fingerprint = []cssl.Certificate{*b.made}, b.print
		facts, err := factsOf("made in memory", b.made.ChainPEM, out.issuers)
		if err != nil {
			return nil, err
		}
		out.Certificates = append(out.Certificates, facts)
	}
	if t.TicketKeysFile != "" {
		if w := readableByAll("--ticket-keys", t.TicketKeysFile); w != "" {
			out.Warnings = append(out.Warnings, w)
		}
	}
	out.Context, err = cssl.NewServerContext(base)
	if err != nil {
		return nil, byFlag(err, t)
	}
	out.clientDates(t, time.Now())
	if err := b.lib.Warning(); err != nil {
		out.Warnings = append(out.Warnings, err.Error())
	}
	b.last, out.before, out.issuers = out, nil, nil
	return out, nil
}

// settings are those that all contexts share.
func (b *Builder) settings(t *config.TLS) (cssl.Config, error) {
	c := cssl.Config{
		Library: b.lib, Properties: t.Properties,
		MinVersion: t.MinVersion, MaxVersion: t.MaxVersion,
		CipherList: t.Ciphers, CipherSuites: t.CipherSuites, Groups: t.Groups, SignatureAlgorithms: t.SigAlgs,
		ALPN: t.ALPN, Renegotiation: t.Renegotiation,
		Verify: t.ClientAuth, CAFile: t.ClientCA, CRLFile: t.ClientCRL, VerifyDepth: t.ClientVerifyDepth,
		Tickets: t.Tickets, NoTickets: t.NoTickets, SessionCache: t.SessionCache,
		SessionLifetime: t.SessionLifetime, Records: t.Records,
	}
	if t.KeyLogFile != "" {
		if b.keyLog == nil {
			f, err := os.OpenFile(t.KeyLogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				return c, fmt.Errorf("--keylog: %w", err)
			}
			b.keyFile, b.keyLog = f, logqueue.NewWriter(f, maxKeyLog, b.Lost)
		}
		c.KeyLog = b.keyLog
	}
	if t.TicketKeysFile != "" {
		keys, err := ticketKeys(t.TicketKeysFile)
		if err != nil {
			return c, err
		}
		c.TicketKeys = keys
	}
	return c, nil
}

// certificates are files as package cssl wants them.
func certificates(t *config.TLS, files []config.Certificate) []cssl.Certificate {
	var out []cssl.Certificate
	for _, f := range files {
		c := cssl.Certificate{ChainFile: f.Chain, OCSPFile: f.OCSP}
		if config.IsURI(f.Key) {
			c.KeyURI, c.PIN = f.Key, pin(t.PINFile)
		} else {
			c.KeyFile, c.Passphrase = f.Key, passphrase(t.PassphraseFile)
		}
		out = append(out, c)
	}
	return out
}

// What errors say that the file of a secret should hold.
const (
	wantPassphrase = "a passphrase on one line"
	wantPIN        = "a PIN on one line"
)

var errEncrypted = errors.New("the key is encrypted: name the file of its passphrase with --key-passphrase-file")

// passphrase is asked for when a key is encrypted.
func passphrase(file string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if file == "" {
			return nil, errEncrypted
		}
		p, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%w; want %s", err, wantPassphrase)
		}
		return oneLine(file, wantPassphrase, p)
	}
}

// oneLine is the line of a file that holds a secret. What is there instead is
// told, but not shown.
func oneLine(file, want string, p []byte) ([]byte, error) {
	line := bytes.TrimRight(p, "\r\n")
	if len(line) == 0 || bytes.IndexByte(line, '\n') >= 0 {
		return nil, fmt.Errorf("%s: want %s; found %s", file, want, filetype.Describe(p))
	}
	return line, nil
}

// ticketKeys reads keys: one of 48 or 80 bytes as it is, or a line of base64 for each, the first one first. Lines that begin
// with # are comments.
func ticketKeys(file string) ([][]byte, error) {
	p, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("--ticket-keys: %w; want keys of 48 or 80 bytes, in base64 where there are several", err)
	}
	if len(p) == 48 || len(p) == 80 {
		return [][]byte{p}, nil
	}
	var keys [][]byte
	for i, line := range strings.Split(string(p), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(k) != 48 && len(k) != 80 {
			return nil, fmt.Errorf("--ticket-keys %s: line %d is no key: want 48 or 80 bytes in base64, such as openssl rand -base64 48 gives; found %s",
				file, i+1, filetype.Describe(p))
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("--ticket-keys %s: there is no key in it; found %s", file, filetype.Describe(p))
	}
	return keys, nil
}

// readableByAll says so of a secret file.
func readableByAll(flag, file string) string {
	if fi, err := os.Stat(file); err == nil && fi.Mode().Perm()&0o004 != 0 {
		return fmt.Sprintf("%s %s: everybody can read it: chmod o-r %s", flag, file, filepath.Base(file))
	}
	return ""
}

// flagOf names the flags of settings that cssl may refuse.
var flagOf = map[string]string{
	"Providers": "--providers", "ProviderPath": "--provider-path", "ConfigFile": "--openssl-config", "Properties": "--properties",
	"CipherList": "--ciphers", "CipherSuites": "--ciphersuites", "Groups": "--groups", "SignatureAlgorithms": "--sigalgs", "ALPN": "--alpn",
	"Names": "--sni", "CAFile": "--client-ca", "CRLFile": "--client-crl", "VerifyDepth": "--client-verify-depth",
	"Tickets": "--tickets", "SessionCache": "--session-cache", "SessionLifetime": "--session-lifetime", "SNI": "--sni", "MinVersion": "--min-version", "Records": "--records", "MaxVersion": "--max-version",
}

var ofCertificate = regexp.MustCompile(`^(?:Certificates|Names\[(".*")\])\[(\d+)\](?:\.(\w+))?$`)

// byFlag says a refused setting in the words of the command line.
func byFlag(err error, t *config.TLS) error {
	var e *cssl.ConfigError
	if !errors.As(err, &e) {
		return err
	}
	renamed := *e
	if name := flagOf[e.Setting]; name != "" {
		renamed.Setting = name
	} else if m := ofCertificate.FindStringSubmatch(e.Setting); m != nil {
		flag, files, part := "--cert", t.Certificates(), m[3]
		if name, err := strconv.Unquote(m[1]); err == nil {
			i := slices.IndexFunc(t.SNI, func(s config.ServerName) bool { return s.Name == name })
			flag, files = "--sni "+name, t.SNI[i].Certificates
		}
		renamed.Setting = flag
		if errors.Is(e, errEncrypted) {
			part = "Key"
		}
		if i, _ := strconv.Atoi(m[2]); i < len(files) {
			renamed.Setting, renamed.Value = certificateFlag(flag, part, files[i], e.Value)
		}
	}
	return errors.New(strings.TrimPrefix(renamed.Error(), "tls config: "))
}

// certificateFlag is the flag, and its value, that a fault of a certificate comes from. shown is what package cssl shows of it.
func certificateFlag(flag, part string, f config.Certificate, shown string) (name, value string) {
	own := flag == "--cert"
	switch {
	case part == "KeyURI" || part == "PIN":
		if part == "PIN" {
			flag = "--pin-file"
		} else if own {
			flag = "--key"
		}
		return flag, shown
	case strings.HasPrefix(part, "Key") && f.Key != "":
		if own {
			flag = "--key"
		}
		return flag, f.Key
	case strings.HasPrefix(part, "OCSP"):
		if own {
			flag = "--ocsp-file"
		}
		return flag, f.OCSP
	case part == "Passphrase":
		return "--key-passphrase-file", ""
	case part == "" && f.Key != "" && !config.IsURI(f.Key): // which of the two it is, the reasons tell
		with := "key"
		if own {
			with = "--key"
		}
		return fmt.Sprintf("%s %q with %s", flag, f.Chain, with), f.Key
	}
	return flag, f.Chain
}
