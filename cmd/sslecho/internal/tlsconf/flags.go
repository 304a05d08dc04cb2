package tlsconf

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/pkcs11uri"
)

// flagOf names the flags of fields that errors of cssl name.
var flagOf = map[string]string{
	"Providers": "--providers", "ProviderPath": "--provider-path", "ConfigFile": "--openssl-config", "Properties": "--properties",
	"CipherList": "--ciphers", "CipherSuites": "--ciphersuites", "Groups": "--groups", "SignatureAlgorithms": "--sigalgs",
	"ALPN": "--alpn", "Names": "--sni", "CAFile": "--client-ca", "CRLFile": "--client-crl", "VerifyDepth": "--client-verify-depth",
	"Tickets": "--tickets", "NoTickets": "--no-tickets", "TicketKeys": "--ticket-keys", "SessionCache": "--session-cache",
	"ECHKeys": "--ech-key", "SessionLifetime": "--session-lifetime", "MinVersion": "--min-version", "MaxVersion": "--max-version", "Records": "--records",
	"CertificateCompression": "--cert-compression", "RawPublicKey": "--raw-public-key", "PeerKeys": "--client-keys", "PeerKeysFile": "--client-keys",
	"PSKs":           "--psk-file",
	"PIN is not set": "--pin-file is not set",
}

var (
	// fields matches what flagOf may know, and what is quoted, which is the
	// operator's.
	fields        = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|PIN is not set|\b[A-Z][A-Za-z]+\b`)
	ofCertificate = regexp.MustCompile(`^(?:Certificates|Names\[(".*")\])\[(\d+)\](?:\.(\w+))?$`)
	ofECHKey      = regexp.MustCompile(`^ECHKeys\[(\d+)\]`)
	// toPEM is advice for files that should be in PEM.
	toPEM = regexp.MustCompile(` \(openssl [^)]* converts it to PEM\)`)
)

// byFlag says a refused setting in the words of the command line.
func byFlag(err error, t *config.TLS) error {
	var e *cssl.ConfigError
	if !errors.As(err, &e) {
		return err
	}
	renamed := *e
	if m := ofCertificate.FindStringSubmatch(e.Setting); m != nil {
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
	if m := ofECHKey.FindStringSubmatch(e.Setting); m != nil {
		i, _ := strconv.Atoi(m[1])
		renamed.Setting, renamed.Value = "--ech-key", t.ECHKeyFiles[i]
	}
	if strings.HasPrefix(e.Setting, "PSKs[") {
		renamed.Setting, renamed.Value = "--psk-file", t.PSKFile
	}
	text := fields.ReplaceAllStringFunc(strings.TrimPrefix(renamed.Error(), "tls config: "), func(word string) string {
		if flag := flagOf[word]; flag != "" {
			return flag
		}
		return word
	})
	if strings.HasPrefix(text, "--ocsp-file") {
		text = toPEM.ReplaceAllString(text, "") + " (openssl ocsp -respout writes one)"
	}
	return errors.New(text)
}

// certificateFlag is the flag, and its value, that a fault of a certificate
// comes from. shown is what package cssl shows of it.
func certificateFlag(flag, part string, f config.Certificate, shown string) (name, value string) {
	own := func(name string) string { // a name of --sni has one flag
		if flag != "--cert" {
			return flag
		}
		return name
	}
	switch {
	case part == "PIN":
		return "--pin-file", shown
	case part == "KeyURI":
		return own("--key"), shown
	case part == "ChainURI":
		return flag, shown
	case part == "Passphrase":
		return "--key-passphrase-file", ""
	case strings.HasPrefix(part, "Key") && f.Key != "":
		return own("--key"), f.Key
	case strings.HasPrefix(part, "OCSP"):
		return own("--ocsp-file"), f.OCSP
	case part == "" && f.Key != "" && !config.IsURI(f.Key): // which of the two it is, the reasons tell
		return fmt.Sprintf("%s %q with %s", flag, pkcs11uri.Redact(f.Chain), strings.TrimPrefix(own("--key"), flag+" ")), f.Key
	}
	return flag, pkcs11uri.Redact(f.Chain)
}
