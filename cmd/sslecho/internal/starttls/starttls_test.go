package starttls

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// named is the protocol of that name.
func named(t testing.TB, name string) *Protocol {
	t.Helper()
	return tlstest.Value(Named(name))(t)
}

// random matches what XMPP's header has anew in each stream.
var random = regexp.MustCompile(`id='[A-Z2-7]{26}'`)

// play gives a new dialogue of p what a client sends, in pieces, as a reactor does. It returns what the server says after its
// greeting, how that ends, and what was left of the client's bytes then.
func play(t testing.TB, p *Protocol, pieces [][]byte) (out string, end next, left []byte) {
	t.Helper()
	var said bytes.Buffer
	defer func() { out = random.ReplaceAllString(said.String(), "id=''") }()
	s := &phase{dialogue: p.new()}
	for i, piece := range pieces {
		left = append(left, piece...)
		for len(left) > 0 {
			n, reply, next := s.message(left)
			if n < 0 || n > len(left) || n == 0 && (next != more || reply != nil) {
				t.Fatalf("%d of %d bytes, then %d, with %q", n, len(left), next, reply)
			}
			if n == 0 {
				break
			}
			said.Write(reply)
			left = left[n:]
			if next != more {
				return "", next, append(left, bytes.Join(pieces[i+1:], nil)...)
			}
		}
	}
	return "", more, left
}

// apart are the bytes of text, each for itself.
func apart(text string) (pieces [][]byte) {
	for _, b := range []byte(text) {
		pieces = append(pieces, []byte{b})
	}
	return pieces
}

// sslRequest is MySQL's SSLRequest of openssl s_client.
var sslRequest = "\x20\x00\x00\x01\x85\xae\x7f\x00\x00\x00\x00\x01\x21" + strings.Repeat("\x00", 23)

// response is a packet of a HandshakeResponse without TLS, with a secret.
var response = "\x2a\x00\x00\x01\x85\xa6\x7f\x00\x00\x00\x00\x01\x21" + strings.Repeat("\x00", 23) + "me\x00\x06secret"

const (
	smtpRefusal = "530 5.7.0 Must issue a STARTTLS command first\r\n"

	extended    = "0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037"
	extendedOK  = "0$\x02\x01\x01x\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20037"
	extendedBER = "0\x84\x00\x00\x00\x22\x02\x01\x01w\x81\x1c\x80\x84\x00\x00\x00\x161.3.6.1.4.1.1466.20037"
	onlyThat    = "0-\x02\x01\x01x(\x0a\x01\x02\x04\x00\x04!only StartTLS is there before TLS"
	ldapBye     = "06\x02\x01\x00x1\x0a\x01\x02\x04\x00\x04\x12not an LDAPMessage\x8a\x161.3.6.1.4.1.1466.20036"

	postgresNoStart = "E\x00\x00\x001SFATAL\x00VFATAL\x00C08P01\x00Mnot a startup message\x00\x00"
	postgresMuch    = "E\x00\x00\x00/SFATAL\x00VFATAL\x00C08P01\x00Mtoo much before TLS\x00\x00"
	postgresNoTLS   = "E\x00\x00\x00FSFATAL\x00VFATAL\x00C28000\x00Mthis server wants TLS: use sslmode=require\x00\x00"

	xmppOpen   = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client' to='a.example' version='1.0'>"
	xmppHeader = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='' from='a.example' version='1.0'>"
	xmppOffer  = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
	xmppAsk    = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	xmppGo     = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
)

// prefixed is xmppOpen with a prefix for STARTTLS.
var prefixed = strings.Replace(xmppOpen, "<stream:stream", "<stream:stream xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'", 1)

// xmppError is what is said for a condition once the header has been sent.
func xmppError(condition string) string {
	return "<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
}

// refusal is what is said for a condition in place of a stream.
func refusal(condition string) string {
	return strings.Replace(xmppHeader, "a.example", "sslecho", 1) + xmppError(condition)
}

// other is XMPP between servers.
func other(text string) string { return strings.ReplaceAll(text, "jabber:client", "jabber:server") }

var long = strings.Repeat("x", maxMessage)

// scripts have what a client sends, what it hears after the greeting, and how that ends.
var scripts = []struct {
	protocol, name string
	sends, hears   string
	end            next
}{
	{"smtp", "s_client", "EHLO mail.example.com\r\nSTARTTLS\r\n", "250-sslecho\r\n250 STARTTLS\r\n220 2.0.0 Ready to start TLS\r\n", upgrade},
	{"smtp", "quit", "noop\nquit\n", "250 2.0.0 OK\r\n221 2.0.0 bye\r\n", closing},
	{"smtp", "before TLS", "MAIL FROM:<a>\r\nAUTH PLAIN c2VjcmV0\r\nHELO x\r\n", strings.Repeat(smtpRefusal, 3), more},
	{"smtp", "parameter", "STARTTLS now\r\n", "501 5.5.4 Syntax error (no parameters allowed)\r\n", more},
	{"smtp", "garbage", "\x00\xff\r\n\r\n", strings.Repeat(smtpRefusal, 2), more},
	{"smtp", "too long", long, "421 4.7.0 too much before TLS\r\n", closing},
	{"smtp", "too many", strings.Repeat("\r\n", 30), strings.Repeat(smtpRefusal, 20) + "421 4.7.0 too much before TLS\r\n", closing},
	{"smtp", "TLS at last", strings.Repeat("NOOP\r\n", 19) + "STARTTLS\r\n", strings.Repeat("250 2.0.0 OK\r\n", 19) + "220 2.0.0 Ready to start TLS\r\n", upgrade},
	{"smtp", "not ASCII", "ſtarttls\r\nquıt\r\n", strings.Repeat(smtpRefusal, 2), more},

	{"imap", "s_client", ". CAPABILITY\r\n. STARTTLS\r\n",
		"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\n. OK done\r\n. OK Begin TLS negotiation now\r\n", upgrade},
	{"imap", "logout", "a noop\r\nb logout\r\n", "a OK done\r\n* BYE\r\nb OK done\r\n", closing},
	{"imap", "before TLS", "a LOGIN me secret\r\nb SELECT x\r\nc STARTTLS x\r\n", "a NO [PRIVACYREQUIRED] use STARTTLS first\r\n" +
		"b BAD there is no such command before TLS\r\nc BAD there is no such command before TLS\r\n", more},
	{"imap", "garbage", "\r\n{ NOOP\r\na\r\n\x00 NOOP\r\n", "* BAD the tag is missing\r\n* BAD the tag is missing\r\n" +
		"a BAD there is no such command before TLS\r\n* BAD the tag is missing\r\n", more},
	{"imap", "too long", "a " + long, "* BYE too much before TLS\r\n", closing},
	{"imap", "too many", strings.Repeat("a x\r\n", 30), strings.Repeat("a BAD there is no such command before TLS\r\n", 20) + "* BYE too much before TLS\r\n", closing},
	{"imap", "longest replies", strings.Repeat(long[1:]+"\n", 20), strings.Repeat(long[1:]+" BAD there is no such command before TLS\r\n", 20), more},
	{"imap", "not ASCII", "a ſtarttls\r\n", "a BAD there is no such command before TLS\r\n", more},

	{"pop3", "s_client", "STLS\r\n", "+OK Begin TLS negotiation\r\n", upgrade},
	{"pop3", "capabilities", "capa\r\nstls\r\n", "+OK\r\nSTLS\r\n.\r\n+OK Begin TLS negotiation\r\n", upgrade},
	{"pop3", "before TLS", "USER me\r\nSTLS x\r\nQUIT\r\n", strings.Repeat("-ERR only CAPA, QUIT and STLS are there before TLS\r\n", 2) + "+OK bye\r\n", closing},
	{"pop3", "too long", long, "-ERR too much before TLS\r\n", closing},
	{"pop3", "too many", strings.Repeat("\n", 30), strings.Repeat("-ERR only CAPA, QUIT and STLS are there before TLS\r\n", 20) + "-ERR too much before TLS\r\n", closing},
	{"pop3", "not ASCII", "ſtls\r\n", "-ERR only CAPA, QUIT and STLS are there before TLS\r\n", more},

	{"ldap", "s_client", extended, extendedOK, upgrade},
	{"ldap", "long lengths", extendedBER, extendedOK, upgrade},
	{"ldap", "bind", "0\x0c\x02\x01\x07`\x07\x02\x01\x03\x04\x00\x80\x00" + "0\x06\x02\x01\x08P\x01\x07" + "0\x05\x02\x01\x09B\x00",
		"0\x1e\x02\x01\x07a\x19\x0a\x01\x0d\x04\x00\x04\x12use StartTLS first", closing}, // then an AbandonRequest and an UnbindRequest
	{"ldap", "another name", strings.Replace(extended, "20037", "20038", 1) + extended,
		onlyThat + extendedOK, upgrade},
	{"ldap", "with a value", "0\x1f\x02\x01\x01w\x1a\x80\x161.3.6.1.4.1.1466.20037\x81\x00", onlyThat, more},
	{"ldap", "garbage", "GET / HTTP/1.1\r\n", ldapBye, closing},
	{"ldap", "indefinite length", "0\x80\x02\x01\x01", ldapBye, closing},
	{"ldap", "claims to be too long", "0\x84\x7f\xff\xff\xff", ldapBye, closing},
	{"ldap", "no operation", "0\x03\x02\x01\x01", ldapBye, closing},
	{"ldap", "too many", strings.Repeat("0\x06\x02\x01\x08P\x01\x07", 30), strings.NewReplacer("06", "07", "x1", "x2", "\x12not an LDAPMessage", "\x13too much before TLS").Replace(ldapBye), closing},
	{"ldap", "messageID 0", strings.Replace(extended, "\x01w", "\x00w", 1), ldapBye, closing},
	{"ldap", "negative messageID", strings.Replace(extended, "\x01w", "\xffw", 1), ldapBye, closing},
	{"ldap", "largest messageID", "0\x20\x02\x04\x7f\xff\xff\xff" + extended[5:], "0\x27\x02\x04\x7f\xff\xff\xff" + extendedOK[5:], upgrade},

	{"postgres", "s_client", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "S", upgrade},
	{"postgres", "GSSAPI first", "\x00\x00\x00\x08\x04\xd2\x16\x30\x00\x00\x00\x08\x04\xd2\x16\x2f", "NS", upgrade},
	{"postgres", "too many", strings.Repeat("\x00\x00\x00\x08\x04\xd2\x16\x30", 30), strings.Repeat("N", 20) + postgresMuch, closing},
	{"postgres", "cancel", "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02", "", closing},
	{"postgres", "no TLS", "\x00\x00\x00\x11\x00\x03\x00\x00user\x00me\x00\x00", postgresNoTLS, closing},
	{"postgres", "garbage", "\x00\x00\x00\x07", postgresNoStart, closing},
	{"postgres", "version", "\x00\x00\x00\x08\x00\x02\x00\x00", postgresNoStart, closing},
	{"postgres", "claims to be too long", "GET / HTTP/1.1\r\n", postgresMuch, closing},

	{"mysql", "s_client", sslRequest, "", follow},
	{"mysql", "no TLS", response, "\x1e\x00\x00\x02\xff\x57\x0c#HY000this server wants TLS", closing},
	{"mysql", "32 bytes without TLS", strings.Replace(sslRequest, "\xae", "\xa6", 1), "\x1e\x00\x00\x02\xff\x57\x0c#HY000this server wants TLS", closing},
	{"mysql", "garbage", "\x01\x00\x00\x00\x01", "\x16\x00\x00\x02\xff\x13\x04#08S01Bad handshake", closing},
	{"mysql", "claims to be too long", "GET / HTTP/1.1\r\n", "\x1c\x00\x00\x02\xff\x13\x04#08S01too much before TLS", closing},

	{"xmpp", "s_client", xmppOpen + xmppAsk, xmppHeader + xmppOffer + xmppGo, upgrade},
	{"xmpp", "s_client, xmpp-server", other(xmppOpen) + xmppAsk, other(xmppHeader) + xmppOffer + xmppGo, upgrade},
	{"xmpp", "declaration, spaces and an end tag", "<?xml version='1.0' encoding='utf-8'?>\n" + xmppOpen + " \r\n" + strings.Replace(xmppAsk, "/>", "></starttls>", 1),
		xmppHeader + xmppOffer + xmppGo, upgrade},
	{"xmpp", "prefix", xmppOpen + "<t:starttls xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'/>", xmppHeader + xmppOffer + xmppGo, upgrade},
	{"xmpp", "prefix of the header", prefixed + "<t:starttls/>", xmppHeader + xmppOffer + xmppGo, upgrade},
	{"xmpp", "prefix and an end tag", prefixed + "<t:starttls>\n</t:starttls>", xmppHeader + xmppOffer + xmppGo, upgrade},
	{"xmpp", "another end tag", xmppOpen + strings.Replace(xmppAsk, "/>", "></t:starttls>", 1), xmppHeader + xmppOffer + xmppError("not-well-formed"), closing},
	{"xmpp", "twice", xmppOpen + strings.Replace(xmppAsk, "/>", ">", 1) + xmppAsk, xmppHeader + xmppOffer + xmppError("not-authorized"), closing},
	{"xmpp", "version", strings.Replace(xmppOpen, "1.0", "02.13", 1), xmppHeader + xmppOffer, more},
	{"xmpp", "old version", strings.Replace(xmppOpen, "1.0", "0.9", 1), refusal("unsupported-version"), closing},
	{"xmpp", "no version", strings.Replace(xmppOpen, " version='1.0'", "", 1), refusal("unsupported-version"), closing},
	{"xmpp", "name", strings.Replace(xmppOpen, "a.example", "é&lt;&apos;>", 1), strings.Replace(xmppHeader, "a.example", "é&lt;&#39;&gt;", 1) + xmppOffer, more},
	{"xmpp", "no name", strings.Replace(xmppOpen, "to='a.example'", "", 1), strings.Replace(xmppHeader, "a.example", "sslecho", 1) + xmppOffer, more},
	{"xmpp", "end", xmppOpen + "</stream:stream>", xmppHeader + xmppOffer + "</stream:stream>", closing},
	{"xmpp", "before TLS", xmppOpen + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>", xmppHeader + xmppOffer + xmppError("not-authorized"), closing},
	{"xmpp", "another starttls", xmppOpen + "<starttls/>", xmppHeader + xmppOffer + xmppError("not-authorized"), closing},
	{"xmpp", "content", xmppOpen + strings.Replace(xmppAsk, "/>", "><x/>", 1), xmppHeader + xmppOffer + xmppError("not-authorized"), closing},
	{"xmpp", "comment", xmppOpen + "<!-- > -->", xmppHeader + xmppOffer + xmppError("restricted-xml"), closing},
	{"xmpp", "document type", "<!DOCTYPE x [<!ENTITY y 'z'>]>", refusal("restricted-xml"), closing},
	{"xmpp", "no stream", "<message>", refusal("bad-format"), closing},
	{"xmpp", "namespace", strings.Replace(xmppOpen, "jabber:client", "jabber:component", 1), refusal("invalid-namespace"), closing},
	{"xmpp", "namespace of streams", strings.Replace(xmppOpen, "etherx", "x", 1), refusal("invalid-namespace"), closing},
	{"xmpp", "end without a beginning", "</stream:stream>", refusal("not-well-formed"), closing},
	{"xmpp", "end at once", strings.Replace(xmppOpen, ">", "/>", 1), refusal("bad-format"), closing},
	{"xmpp", "processing instruction", "<?xslt x='y'?>", refusal("restricted-xml"), closing},
	{"xmpp", "declared encoding", "<?xml version='1.0' encoding='iso-8859-1'?>", refusal("unsupported-encoding"), closing},
	{"xmpp", "Latin-1", strings.Replace(xmppOpen, "a.example", "\xe9.example", 1), refusal("unsupported-encoding"), closing},
	{"xmpp", "UTF-16, little-endian", "<\x00?\x00x\x00", refusal("unsupported-encoding"), closing},
	{"xmpp", "UTF-16, big-endian", "\xfe\xff\x00<\x00?", refusal("unsupported-encoding"), closing},
	{"xmpp", "garbage", "GET / HTTP/1.1\r\n", refusal("not-well-formed"), closing},
	{"xmpp", "not well formed", "<stream:stream xmlns=jabber:client>", refusal("not-well-formed"), closing},
	{"xmpp", "too many", strings.Repeat("<?xml version='1.0'?>\n", 30), refusal("policy-violation"), closing},
	{"xmpp", "too long", "<" + long, refusal("policy-violation"), closing},
}

// TestScripts: what a server says does not depend on how the client's bytes arrive, and nothing behind the request for TLS is
// taken for plain text.
func TestScripts(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.protocol+" "+s.name, func(t *testing.T) {
			p, text, hears, tls := named(t, s.protocol), s.sends, s.hears, s.end == upgrade || s.end == follow
			for _, pieces := range [][][]byte{{[]byte(text)}, apart(text), {[]byte(text[:len(text)/2]), []byte(text[len(text)/2:])}} {
				out, end, left := play(t, p, pieces)
				if out != hears || end != s.end || tls && len(left) > 0 || len(out) >= services.HighWater {
					t.Errorf("in %d pieces: it says %q, then %d with %q left;\nwant %q, then %d", len(pieces), out, end, left, hears, s.end)
				}
			}
			if !tls {
				return
			}
			for _, pieces := range [][][]byte{{[]byte(text + text)}, apart(text + text)} {
				if out, end, left := play(t, p, pieces); out != hears || end != s.end || string(left) != text {
					t.Errorf("with more behind it, in %d pieces: it says %q, then %d with %q left", len(pieces), out, end, left)
				}
			}
		})
	}
}

// TestGreetings: who speaks first, and what.
func TestGreetings(t *testing.T) {
	for name, want := range map[string]string{"smtp": "220 sslecho ESMTP\r\n", "pop3": "+OK sslecho\r\n",
		"imap": "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] sslecho\r\n", "ldap": "", "postgres": "", "xmpp": ""} {
		tlstest.Equal(t, name, string(named(t, name).new().greeting()), want)
	}
	p := named(t, "mysql")
	first, second := p.new().greeting(), p.new().greeting()
	tlstest.Equal(t, "MySQL's length", int(binary.LittleEndian.Uint32(first)), len(first)-4)
	if bytes.Equal(first, second) {
		t.Error("MySQL's challenge is the same twice")
	}
	at := func(text string) { // the protocol's fields, one after another
		t.Helper()
		if !bytes.HasPrefix(first, []byte(text)) {
			t.Fatalf("there is %q, want %q", first, text)
		}
		first = first[len(text):]
	}
	first = first[4:]
	at("\x0a8.0.0-sslecho\x00\x01\x00\x00\x00")
	challenge := slices.Clone(first[:8])
	first = first[8:]
	at("\x00\x0d\xaa\x21\x02\x00\x08\x00\x15" + strings.Repeat("\x00", 10))
	challenge = append(challenge, first[:12]...)
	first = first[12:]
	at("\x00caching_sha2_password\x00")
	if bytes.IndexByte(challenge, 0) >= 0 || len(first) > 0 {
		t.Errorf("the challenge is %q, and %q is left", challenge, first)
	}
}

// TestBeginsTLS: a ClientHello is known by its first three bytes, and no other message is taken for one.
func TestBeginsTLS(t *testing.T) {
	for text, want := range map[string][2]bool{
		"\x16": {true, false}, "\x16\x03": {true, false}, "\x16\x03\x01\x02": {true, true}, "\x16\x03\x03": {true, true},
		"E": {}, "\x16\n": {}, "\x16\x03\x00": {}, "\x15\x03\x01": {}, "\x00\x00\x00\x08": {},
	} {
		if maybe, whole := beginsTLS([]byte(text)); [2]bool{maybe, whole} != want {
			t.Errorf("%q: %v, %v", text, maybe, whole)
		}
	}
}

// FuzzDialogues: in one piece or byte by byte, the same is said, with the same end. Only what is said for a fault, before the
// connection is closed, may depend on it. No dialogue reaches the watermark.
func FuzzDialogues(f *testing.F) {
	for _, s := range scripts {
		f.Add(uint8(slices.Index(Names(), s.protocol)), []byte(s.sends))
	}
	f.Fuzz(func(t *testing.T, i uint8, sends []byte) {
		p := protocols[int(i)%len(protocols)]
		once, end, left := play(t, p, [][]byte{sends})
		out, end2, left2 := play(t, p, apart(string(sends)))
		if len(once) >= services.HighWater || end != end2 || end != closing && (once != out || !bytes.Equal(left, left2)) {
			t.Errorf("%s %q: %q, then %d with %q left; byte by byte %q, then %d with %q left", p.Name, sends, once, end, left, out, end2, left2)
		}
	})
}

// FuzzElement: what cryptobyte reads, which is DER, is read alike.
func FuzzElement(f *testing.F) {
	f.Add([]byte(extended))
	f.Add([]byte(extendedBER))
	f.Fuzz(func(t *testing.T, p []byte) {
		tag, body, n, err := element(p)
		if n < 0 || n > len(p) || err != nil && n != 0 {
			t.Fatalf("%d bytes, %v", n, err)
		}
		s, want, wantTag := cryptobyte.String(p), cryptobyte.String{}, asn1.Tag(0)
		if !s.ReadAnyASN1(&want, &wantTag) || len(p)-len(s) > maxMessage {
			return
		}
		if err != nil || asn1.Tag(tag) != wantTag || !bytes.Equal(body, want) || n != len(p)-len(s) {
			t.Errorf("%x, %x, %d, %v; want %x, %x, %d", tag, body, n, err, wantTag, want, len(p)-len(s))
		}
	})
}
