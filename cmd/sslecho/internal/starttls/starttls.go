// Package starttls is what a server says in the clear before TLS, in seven
// protocols: just enough that a client can ask for TLS.
//
// A client that begins with TLS is turned away, also with PostgreSQL's
// sslnegotiation=direct, which is not STARTTLS: a server without it serves that.
package starttls

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/tlsio"
)

// No protocol needs as much as this before TLS.
const (
	maxMessage  = 4 << 10 // bytes of a client's line, packet or tag
	maxMessages = 20
)

// errTLS is what OnClose gets.
var errTLS = errors.New("starttls: the client began with TLS, where plain text comes first")

// next is what comes after a message.
type next uint8

const (
	more    next = iota // another message
	upgrade             // TLS, when what is written has left
	follow              // TLS, which the client begins without a reply
	closing             // the end
)

// dialogue is the server's side of one connection in the clear.
type dialogue interface {
	// greeting is what the server says first.
	greeting() []byte
	// step handles the first message of p, which is not empty. It returns the
	// message's size, or 0 while it is incomplete, what the server says, and
	// what comes next.
	step(p []byte) (n int, out []byte, next next)
	// tooMuch is what the server says before it closes, to a message of more
	// than maxMessage bytes or after maxMessages.
	tooMuch() []byte
}

// Protocol is a reactor.PlainHandler for all connections of a server, whose
// Handler must be in a [Handler].
type Protocol struct {
	Name string
	new  func() dialogue
}

var protocols = []*Protocol{
	{"smtp", func() dialogue { return smtp }},
	{"imap", func() dialogue { return imap }},
	{"pop3", func() dialogue { return pop3 }},
	{"ldap", func() dialogue { return ldap{} }},
	{"postgres", func() dialogue { return postgres{} }},
	{"mysql", func() dialogue { return mysql{} }},
	{"xmpp", func() dialogue { return new(xmpp) }},
}

// Names are those of the protocols, as openssl s_client -starttls has them.
func Names() (names []string) {
	for _, p := range protocols {
		names = append(names, p.Name)
	}
	return names
}

// Named returns the protocol of that name, or nil if name is empty.
func Named(name string) (*Protocol, error) {
	if name == "" {
		return nil, nil
	}
	names := Names()
	if i := slices.Index(names, name); i >= 0 {
		return protocols[i], nil
	}
	last := len(names) - 1
	return nil, fmt.Errorf("no such protocol: use %s or %s", strings.Join(names[:last], ", "), names[last])
}

// phase is the Data of a connection until TLS is there.
type phase struct {
	dialogue
	messages int
	upgraded bool
}

// message is step with bounds.
func (s *phase) message(p []byte) (n int, out []byte, next next) {
	n, out, next = s.step(p[:min(len(p), maxMessage)])
	if n > 0 {
		s.messages++
	}
	if n == 0 && len(p) >= maxMessage || s.messages > maxMessages {
		return len(p), s.tooMuch(), closing
	}
	return n, out, next
}

// OnConnect implements reactor.PlainHandler.
func (p *Protocol) OnConnect(c *reactor.Conn) {
	s := &phase{dialogue: p.new()}
	c.Data = s
	write(c, s.greeting())
}

// OnPlain implements reactor.PlainHandler.
func (p *Protocol) OnPlain(c *reactor.Conn, in []byte) int {
	s := c.Data.(*phase)
	if hello, whole := beginsTLS(in); whole {
		c.Abort(errTLS)
		return 0
	} else if hello {
		return 0
	}
	n, out, next := s.message(in)
	write(c, out)
	switch next {
	case upgrade, follow:
		s.upgraded = true
		var cfg reactor.StartTLSConfig
		if next == follow { // what is behind the message is not for the dialogue, nor for the service
			cfg.Leftover = tlsio.LeftoverTLS
		}
		if err := c.StartTLS(cfg); err != nil {
			c.Abort(err)
		}
	case closing:
		c.Close()
	}
	return n
}

// beginsTLS reports whether p may be the beginning of a ClientHello, and
// whether it is one: a handshake record of version 3.1 or 3.3 (RFC 8446,
// section 5.1). No message of the protocols begins like that: for MySQL it
// would be one of 64 KiB.
func beginsTLS(p []byte) (maybe, whole bool) {
	const record = "\x16\x03"
	if len(p) < 3 {
		return strings.HasPrefix(record, string(p)), false
	}
	whole = string(p[:2]) == record && (p[2] == 1 || p[2] == 3)
	return whole, whole
}

// write sends p. A connection whose reply is lost must not look as if it went
// on.
func write(c *reactor.Conn, p []byte) {
	if len(p) == 0 {
		return
	}
	if _, err := c.Write(p); err != nil {
		c.Abort(err)
	}
}

// Phase returns "plain" or "handshake" for a connection that began in plain
// text and is not TLS yet, and otherwise nothing.
func Phase(c *reactor.Conn) string {
	switch s, _ := c.Data.(*phase); {
	case s == nil:
		return ""
	case s.upgraded:
		return "handshake"
	}
	return "plain"
}

// Handler is a service of a server with a [Protocol]. It keeps from the service
// what happens before TLS, but for OnClose. There is no OnDrain then: all replies
// together stay below the watermark.
type Handler struct{ reactor.Handler }

// OnOpen implements reactor.Handler. What the client said in the clear is
// forgotten.
func (h Handler) OnOpen(c *reactor.Conn) {
	c.Data = nil
	h.Handler.OnOpen(c)
}

// OnEOF implements reactor.Handler.
func (h Handler) OnEOF(c *reactor.Conn) {
	if Phase(c) == "" {
		h.Handler.OnEOF(c)
		return
	}
	c.Close()
}
