package cssl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// extLog is an extension that writes down its calls, and sends what it was told to.
type extLog struct {
	calls []string
	send  map[Messages]string // the messages that it sends
}

var messageNames = map[Messages]string{InClientHello: "ClientHello", InServerHello: "ServerHello", InCertificateRequest: "CertificateRequest",
	InCertificate: "Certificate"}

func (l *extLog) extension(kind uint16, in Messages) Extension {
	note := func(what string, c ExtensionCall, more string) {
		side := map[bool]string{false: "client", true: "server"}[c.Server]
		l.calls = append(l.calls, fmt.Sprintf("%s %s %s %d%s", side, what, messageNames[c.Message], c.Certificate, more))
	}
	return Extension{Type: kind, Messages: in,
		Add: func(c ExtensionCall) ([]byte, bool, error) {
			data, send := l.send[c.Message]
			note("adds", c, "")
			return []byte(data), send, nil
		},
		Parse: func(c ExtensionCall, data []byte) error {
			note("parses", c, " "+string(data))
			seen, _ := (*c.Value).(string)
			*c.Value = seen + string(data) + ";"
			return nil
		}}
}

const everywhere = InClientHello | InServerHello | InCertificateRequest | InCertificate

// extensionPair is a client and a server that both ask for a certificate, with an extension in every message.
func extensionPair(v TLSVersion) (l *extLog, client, server Config) {
	l = &extLog{send: map[Messages]string{InClientHello: "ch", InServerHello: "sh", InCertificateRequest: "cr", InCertificate: "cert"}}
	server, client = mutual(v)
	e := []Extension{l.extension(65280, everywhere)}
	client.Extensions, server.Extensions = e, e
	return l, client, server
}

// TestExtensions: which callbacks are called for which message, and that both sides get what the other one sent, in both versions, with
// each kind of records, with a second ClientHello, and in a resumption.
func TestExtensions(t *testing.T) {
	full := map[TLSVersion][]string{
		TLS12: {"client adds ClientHello 0", "server parses ClientHello 0 ch", "server adds ServerHello 0", "client parses ServerHello 0 sh"},
		TLS13: {"client adds ClientHello 0", "server parses ClientHello 0 ch", "server adds ServerHello 0",
			"server adds CertificateRequest 0", "server adds Certificate 0", "server adds Certificate 1", "client parses ServerHello 0 sh",
			"client parses CertificateRequest 0 cr", "client parses Certificate 0 cert", "client parses Certificate 1 cert",
			"client adds Certificate 0", "client adds Certificate 1", "server parses Certificate 0 cert", "server parses Certificate 1 cert"},
	}
	for _, v := range versions {
		for _, kind := range []Records{RecordsOpenSSL, RecordsDirect} {
			for _, offload := range []bool{false, true} {
				l, c, s := extensionPair(v)
				s.Records, s.Offload = kind, offload
				cx, sx := mustClient(t, c), mustServer(t, s)
				p := newPair(t, cx, sx).opened()
				check(t, slices.Equal(l.calls, full[v]), "%v, %v: calls\n%s", v, kind, strings.Join(l.calls, "\n"))
				want := map[TLSVersion]string{TLS12: "ch;", TLS13: "ch;cert;cert;"}[v]
				equal(t, fmt.Sprint(p.server.State().Extensions), want, "%v, %v: the server's value", v, kind)
				p.talk()
				l.calls = nil
				p = p.again(cx, sx, "localhost")
				check(t, p.client.State().Resumed && slices.Equal(l.calls, slices.DeleteFunc(slices.Clone(full[v]), func(s string) bool {
					return strings.Contains(s, "Certificate")
				})), "%v, %v: calls of a resumption\n%s", v, kind, strings.Join(l.calls, "\n"))
				p.talk()
			}
		}
	}
	l, c, s := extensionPair(TLS13)
	c.Groups, s.Groups = "X25519:P-384", "P-384"
	pairOf(t, c, s).opened().talk()
	n := 0
	for _, call := range l.calls {
		if strings.Contains(call, "ClientHello") {
			n++
		}
	}
	equal(t, n, 4, "calls for two ClientHellos: %q", l.calls)
}

// TestExtensionsAfterHandshake: a renegotiation and a later request for a certificate call them again.
func TestExtensionsAfterHandshake(t *testing.T) {
	l, c, s := extensionPair(TLS12)
	c.Renegotiation, s.Renegotiation = true, true
	p := pairOf(t, c, s).opened()
	first := l.calls
	l.calls = nil
	tlstest.Must(t, p.server.Renegotiate().Err)
	p.finish()
	p.finish()
	check(t, slices.Equal(l.calls, first), "calls of a renegotiation\n%s", strings.Join(l.calls, "\n"))

	l, _, _ = extensionPair(TLS13)
	c, s = authConfigs("client", VerifyRequire)
	c.Extensions = []Extension{l.extension(65280, everywhere)}
	s.Extensions = c.Extensions
	p = pairOf(t, c, s).opened()
	l.calls = nil
	answered, cerr, serr := p.request()
	want := []string{"server adds CertificateRequest 0", "client parses CertificateRequest 0 cr", "client adds Certificate 0",
		"client adds Certificate 1", "server parses Certificate 0 cert", "server parses Certificate 1 cert"}
	check(t, answered && cerr == nil && serr == nil && slices.Equal(l.calls, want), "calls of a request (%v, %v)\n%s", cerr, serr,
		strings.Join(l.calls, "\n"))
}

// TestExtensionsLeaveOut: an extension that one side does not send, or does not know, is in no message of the other.
func TestExtensionsLeaveOut(t *testing.T) {
	for _, v := range versions {
		for name, tt := range map[string]struct {
			change func(l *extLog, c, s *Config)
			calls  []string
		}{
			"unknown to the server": {func(l *extLog, c, s *Config) { s.Extensions = nil }, []string{"client adds ClientHello 0"}},
			"unknown to the client": {func(l *extLog, c, s *Config) { c.Extensions, s.Verify, s.CAFile = nil, VerifyNone, "" }, nil},
			"not sent": {func(l *extLog, c, s *Config) { l.send, s.Verify, s.CAFile = nil, VerifyNone, "" },
				[]string{"client adds ClientHello 0"}},
			"empty": {func(l *extLog, c, s *Config) {
				c.Extensions = []Extension{{Type: 65280, Messages: InClientHello}}
				s.Extensions = []Extension{{Type: 65280, Messages: InClientHello, Parse: s.Extensions[0].Parse}}
			}, []string{"server parses ClientHello 0 "}},
		} {
			l, c, s := extensionPair(v)
			tt.change(l, &c, &s)
			pairOf(t, c, s).opened().talk()
			check(t, slices.Equal(l.calls, tt.calls), "%v, %s: calls\n%s", v, name, strings.Join(l.calls, "\n"))
		}
	}
}

// TestExtensionsFail: an error, a panic and too long an answer end that connection alone, with an alert.
func TestExtensionsFail(t *testing.T) {
	mine := errors.New("not today")
	add := func(data []byte, err error) func(ExtensionCall) ([]byte, bool, error) {
		return func(ExtensionCall) ([]byte, bool, error) { return data, true, err }
	}
	for _, v := range versions {
		for name, tt := range map[string]struct {
			client, server Extension
			byClient       bool // that refuses
			text           string
			err            error
			alert          tlsio.Alert
		}{
			"the client adds an error": {client: Extension{Add: add(nil, mine)}, byClient: true, err: mine, alert: 80},
			"the client adds too much": {client: Extension{Add: add(make([]byte, MaxExtension+1), nil)}, byClient: true, alert: 80,
				text: "extension 65280: its Add returned 8193 bytes, at most 8192"},
			"the server panics": {server: Extension{Add: func(ExtensionCall) ([]byte, bool, error) { panic("oops") }}, err: ErrCallbackPanic,
				alert: 80, text: "oops"},
			"the server adds an error": {server: Extension{Add: add(nil, mine)}, err: mine, alert: 80},
			"the server refuses": {server: Extension{Parse: func(ExtensionCall, []byte) error { return mine }}, err: mine, alert: 47,
				text: "extension 65280: not today"},
			"an error that panics": {server: Extension{Parse: func(ExtensionCall, []byte) error { return (*badError)(nil) }}, err: ErrCallbackPanic, alert: 47},
			"with an alert": {server: Extension{Parse: func(ExtensionCall, []byte) error { return fmt.Errorf("%w: %w", mine, tlsio.AlertAccessDenied) }},
				err: mine, alert: 49},
			"the client panics": {client: Extension{Parse: func(c ExtensionCall, p []byte) error { panic(p) }},
				server: Extension{Add: add([]byte("x"), nil)}, byClient: true, err: ErrCallbackPanic, alert: 47},
		} {
			c, s := clientUpTo(v), serverConfig("ecdsa")
			for config, e := range map[*Config]Extension{&c: tt.client, &s: tt.server} {
				e.Type, e.Messages = 65280, InClientHello|InServerHello
				config.Extensions = []Extension{e}
			}
			cx, sx := mustClient(t, c), mustServer(t, s)
			cerr, serr := newPair(t, cx, sx).try()
			own, other := serr, cerr
			if tt.byClient {
				own, other = cerr, serr
			}
			what := fmt.Sprintf("%v, %s", v, name)
			says(t, what, own, tt.text)
			check(t, tt.err == nil || errors.Is(own, tt.err), "%s: error %v", what, own)
			checkAlert(t, own, tlsio.AlertSent, tt.alert)
			if !tt.byClient || tt.server.Add != nil { // an alert is no first message for a server of OpenSSL
				checkAlert(t, other, tlsio.AlertReceived, tt.alert)
			}
		}
	}
	large := Extension{Type: 65280, Messages: InClientHello, Add: add(make([]byte, MaxExtension), nil)}
	c, s := clientConfig(), serverConfig("ecdsa")
	c.Extensions = []Extension{large}
	pairOf(t, c, s).opened().talk()
}

// badError is an error whose Unwrap panics.
type badError struct{ err error }

func (p *badError) Error() string { return "panics" }
func (p *badError) Unwrap() error { return p.err }

// TestExtensionsSwitch: the callbacks are those of the Context that was selected, which may have fewer extensions, but no more and no others.
func TestExtensionsSwitch(t *testing.T) {
	reply := func(text string, kinds ...uint16) (all []Extension) {
		for _, k := range kinds {
			all = append(all, Extension{Type: k, Messages: InClientHello | InServerHello,
				Add: func(ExtensionCall) ([]byte, bool, error) { return []byte(text), true, nil }})
		}
		return all
	}
	var got string
	c := clientConfig()
	for _, k := range []uint16{65280, 65300} {
		c.Extensions = append(c.Extensions, Extension{Type: k, Messages: InClientHello | InServerHello,
			Parse: func(c ExtensionCall, data []byte) error { got += fmt.Sprint(c.Type, string(data), " "); return nil }})
	}
	for _, v := range versions {
		c.MaxVersion = v
		for _, tt := range []struct {
			kinds []uint16
			want  string
		}{{[]uint16{65280, 65300}, "65280inner 65300inner "}, {[]uint16{65280}, "65280inner "}, {nil, ""}} {
			outer, inner := serverConfig("ecdsa"), serverConfig("rsa")
			outer.Extensions, inner.Extensions = reply("outer", 65280, 65300), reply("inner", tt.kinds...)
			ix := mustServer(t, inner)
			for name, choose := range map[string]func(c *Config){
				"SNI":         func(c *Config) { c.SNI = map[string]*Context{"localhost": ix} },
				"ClientHello": func(c *Config) { c.ClientHello = func(h *ClientHello) { h.Accept(ix) } },
			} {
				outer := outer
				choose(&outer)
				got = ""
				pairOf(t, c, outer).opened().talk()
				equal(t, got, tt.want, "%v, %s, %v", v, name, tt.kinds)
			}
		}
	}
	for _, kinds := range [][]uint16{{65280, 65300}, {65300}} {
		inner, outer := serverConfig("rsa"), serverConfig("ecdsa")
		inner.Extensions, outer.Extensions = reply("inner", kinds...), reply("outer", 65280)
		ix, text := mustServer(t, inner), "is 65300, unlike"
		checkRefusals(t, true, outer, []wrongConfig{{"SNI", func(c *Config) { c.SNI = map[string]*Context{"a.test": ix} }, "SNI", text}})
		outer.ClientHello = func(h *ClientHello) { h.Accept(ix) }
		_, err := pairOf(t, c, outer).try()
		says(t, "ClientHello", err, "accepted with a Context whose Extensions", text)
	}
}

// TestExtensionsConfig: what cannot work is refused.
func TestExtensionsConfig(t *testing.T) {
	one := func(kind uint16, m Messages) func(c *Config) {
		return func(c *Config) {
			c.Extensions = []Extension{{Type: 65000, Messages: InClientHello}, {Type: kind, Messages: m}}
		}
	}
	rows := []wrongConfig{
		{"OpenSSL's", one(0, InClientHello), "Extensions[1]", "has this extension itself"},
		{"ours", one(28, InClientHello), "Extensions[1]", "has this extension itself"},
		{"twice", one(65000, InClientHello), "Extensions[1]", "duplicate"},
		{"nowhere", one(65001, 0), "Extensions[1]", "InClientHello"},
		{"unknown", one(65001, 128|InClientHello), "Extensions[1]", "defined"},
		{"only an answer", one(65001, InServerHello), "Extensions[1]", "InClientHello"},
		{"answer to nothing", one(65001, InServerHello|InCertificateRequest), "Extensions[1]", "responds"},
		{"too many", func(c *Config) { c.Extensions = make([]Extension, MaxExtensions+1) }, "Extensions", "more than 16"},
	}
	checkRefusals(t, true, serverConfig("ecdsa"), rows)
	checkRefusals(t, false, clientConfig(), append(rows, wrongConfig{"Staples", func(c *Config) { c.Staples = true; one(18, InClientHello)(c) },
		"Extensions[1]", "Staples"}))
}

// TestExtensionsTimestamps: crypto/tls reads timestamps (RFC 6962) that a server sends as an extension of its own.
func TestExtensionsTimestamps(t *testing.T) {
	timestamps := []byte{0, 5, 0, 3, 'a', 'b', 'c'}
	s := serverConfig("ecdsa")
	s.Extensions = []Extension{
		{Type: 18, Messages: InClientHello | InServerHello | InCertificate, Add: func(c ExtensionCall) ([]byte, bool, error) {
			return timestamps, c.Certificate == 0 && c.Message != InServerHello, nil
		}},
	}
	st := readWithGo(t, mustServer(t, s), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	check(t, len(st.SignedCertificateTimestamps) == 1 && string(st.SignedCertificateTimestamps[0]) == "abc", "%q", st.SignedCertificateTimestamps)

}
