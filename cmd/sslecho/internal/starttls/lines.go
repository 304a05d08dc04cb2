package starttls

import (
	"bytes"
	"strings"
)

// lines is the dialogue of a protocol of lines, the same for all connections.
type lines struct {
	hello, bye string
	command    func(line string) (reply string, next next) // without the end of the line
}

func (l lines) greeting() []byte { return []byte(l.hello) }

func (l lines) tooMuch() []byte { return []byte(l.bye) }

func (l lines) step(p []byte) (n int, out []byte, next next) {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return 0, nil, more
	}
	reply, next := l.command(strings.TrimSuffix(string(p[:end]), "\r"))
	return end + 1, []byte(reply), next
}

// upper is strings.ToUpper for ASCII alone: in Unicode, that of ſ is S.
func upper(word string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			r += 'A' - 'a'
		}
		return r
	}, word)
}

// smtp is RFC 3207 in RFC 5321. Section 4 of the former: STARTTLS has no
// parameter (501), and a server may refuse all but NOOP, EHLO, STARTTLS and QUIT
// before TLS (530).
var smtp = lines{
	hello: "220 sslecho ESMTP\r\n",
	bye:   "421 4.7.0 too much before TLS\r\n",
	command: func(line string) (string, next) {
		word, args, _ := strings.Cut(line, " ")
		switch word = upper(word); {
		case word == "EHLO":
			return "250-sslecho\r\n250 STARTTLS\r\n", more
		case word == "NOOP":
			return "250 2.0.0 OK\r\n", more
		case word == "QUIT":
			return "221 2.0.0 bye\r\n", closing
		case word == "STARTTLS" && args != "":
			return "501 5.5.4 Syntax error (no parameters allowed)\r\n", more
		case word == "STARTTLS":
			return "220 2.0.0 Ready to start TLS\r\n", upgrade
		}
		return "530 5.7.0 Must issue a STARTTLS command first\r\n", more
	},
}

// pop3 is RFC 2595, section 4 (STLS), in RFC 1939, with the CAPA of RFC 2449.
var pop3 = lines{
	hello: "+OK sslecho\r\n",
	bye:   "-ERR too much before TLS\r\n",
	command: func(line string) (string, next) {
		switch upper(line) {
		case "CAPA":
			return "+OK\r\nSTLS\r\n.\r\n", more
		case "QUIT":
			return "+OK bye\r\n", closing
		case "STLS":
			return "+OK Begin TLS negotiation\r\n", upgrade
		}
		return "-ERR only CAPA, QUIT and STLS are there before TLS\r\n", more
	},
}

const imapCapability = "CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED"

// imap is RFC 9051 and RFC 3501, section 6.2.1 of both (STARTTLS). The code
// PRIVACYREQUIRED is RFC 5530's.
var imap = lines{
	hello: "* OK [" + imapCapability + "] sslecho\r\n",
	bye:   "* BYE too much before TLS\r\n",
	command: func(line string) (string, next) {
		tag, command, _ := strings.Cut(line, " ")
		if tag == "" || strings.ContainsFunc(tag, notInTag) {
			return "* BAD the tag is missing\r\n", more
		}
		word, args, _ := strings.Cut(upper(command), " ")
		switch {
		case word == "LOGIN" || word == "AUTHENTICATE":
			return tag + " NO [PRIVACYREQUIRED] use STARTTLS first\r\n", more
		case args != "":
		case word == "CAPABILITY":
			return "* " + imapCapability + "\r\n" + tag + " OK done\r\n", more
		case word == "NOOP":
			return tag + " OK done\r\n", more
		case word == "LOGOUT":
			return "* BYE\r\n" + tag + " OK done\r\n", closing
		case word == "STARTTLS":
			return tag + " OK Begin TLS negotiation now\r\n", upgrade
		}
		return tag + " BAD there is no such command before TLS\r\n", more
	},
}

// notInTag reports whether a tag cannot have r (RFC 9051, section 9).
func notInTag(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\+`, r) }
