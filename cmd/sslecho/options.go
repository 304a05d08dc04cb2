package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spf13/pflag"
)

// options is what the command line says.
type options struct {
	listen       []string
	service      services.Service
	loops        int
	trace        bool
	drainTimeout time.Duration
	tls          cssl.Config
}

var errHelp = errors.New("help was asked for")

const usage = `sslecho: a TLS echo daemon over the system's OpenSSL

Usage: sslecho [flags]

`

// parse reads the command line. Help goes to out.
func parse(args []string, out io.Writer) (*options, error) {
	o := &options{}
	var service, cert, key, minVersion, maxVersion string
	f := pflag.NewFlagSet("sslecho", pflag.ContinueOnError)
	f.SortFlags = false
	f.SetOutput(out)
	f.Usage = func() { fmt.Fprint(out, usage, f.FlagUsagesWrapped(80)) }
	f.StringArrayVar(&o.listen, "listen", []string{"127.0.0.1:8443"}, "listening `address`, host:port or unix:/path; may be repeated")
	f.StringVar(&service, "service", services.All[0].Name, "`what` to do with a connection: echo, discard, chargen (RFC 864), "+
		"reverse (lines of up to 16 KiB, as s_server -rev)")
	f.StringVar(&cert, "cert", "", "PEM `file`, the chain (default: one made in memory)")
	f.StringVar(&key, "key", "", "PEM `file`, the private key (default: in --cert)")
	f.IntVar(&o.loops, "loops", 0, "`number` of event loops (default: one a core)")
	f.StringVar(&minVersion, "min-version", "", "lowest TLS `version`: 1.2 or 1.3 (default 1.2)")
	f.StringVar(&maxVersion, "max-version", "", "highest TLS `version`: 1.2 or 1.3 (default 1.3)")
	f.StringVar(&o.tls.CipherList, "ciphers", "", "`list` of TLS 1.2 ciphers, such as ECDHE+AESGCM:@SECLEVEL=2")
	f.StringVar(&o.tls.CipherSuites, "ciphersuites", "", "`list` of TLS 1.3 cipher suites, joined by colons")
	f.StringVar(&o.tls.Groups, "groups", "", "`list` of groups, such as X25519:P-256")
	f.StringSliceVar(&o.tls.ALPN, "alpn", nil, "`protocols` to accept, joined by commas, best first")
	f.BoolVar(&o.tls.Renegotiation, "renegotiation", false, "let TLS 1.2 clients renegotiate")
	f.DurationVar(&o.drainTimeout, "drain-timeout", 10*time.Second, "`time` that connections get to end")
	f.BoolVar(&o.trace, "trace", false, "print each TLS operation and what it waits for")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, errHelp
		}
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q: everything is a flag", f.Arg(0))
	}
	if o.loops < 0 || o.loops > 1024 {
		return nil, fmt.Errorf("--loops %d: use 1 to 1024, or 0 for one for each core", o.loops)
	}
	if o.drainTimeout < 0 {
		return nil, fmt.Errorf("--drain-timeout %v: must not be negative", o.drainTimeout)
	}
	for _, a := range o.listen {
		if err := checkAddress(a); err != nil {
			return nil, fmt.Errorf("--listen %q: %w", a, err)
		}
	}
	var err error
	if o.service, err = services.Named(service); err != nil {
		return nil, fmt.Errorf("--service %q: %w", service, err)
	}
	if key != "" && cert == "" {
		return nil, errors.New("--key without --cert: give the certificate too")
	}
	if cert != "" {
		o.tls.Certificates = []cssl.Certificate{{ChainFile: cert, KeyFile: key}}
	}
	if o.tls.MinVersion, err = cssl.ParseVersion(minVersion); err != nil {
		return nil, fmt.Errorf("--min-version: %w", err)
	}
	if o.tls.MaxVersion, err = cssl.ParseVersion(maxVersion); err != nil {
		return nil, fmt.Errorf("--max-version: %w", err)
	}
	if o.tls.MaxVersion != 0 && o.tls.MinVersion > o.tls.MaxVersion {
		return nil, errors.New("--min-version is above --max-version")
	}
	return o, nil
}

func checkAddress(a string) error {
	if path, ok := strings.CutPrefix(a, "unix:"); ok {
		if path == "" {
			return errors.New("the path is missing")
		}
		return nil
	}
	_, port, err := net.SplitHostPort(a)
	if err != nil {
		return errors.New("want host:port or unix:/path")
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("bad port %q", port)
	}
	return nil
}

// flagOf names the flags of settings that cssl may refuse.
var flagOf = map[string]string{
	"Certificates[0]":           "--cert",
	"Certificates[0].ChainFile": "--cert",
	"Certificates[0].KeyFile":   "--key",
	"CipherList":                "--ciphers",
	"CipherSuites":              "--ciphersuites",
	"Groups":                    "--groups",
	"ALPN":                      "--alpn",
}

// byFlag says a refused setting in the words of the command line.
func byFlag(err error) error {
	var e *cssl.ConfigError
	if !errors.As(err, &e) || flagOf[e.Setting] == "" {
		return err
	}
	renamed := *e
	renamed.Setting = flagOf[e.Setting]
	return errors.New(strings.TrimPrefix(renamed.Error(), "tls config: "))
}
