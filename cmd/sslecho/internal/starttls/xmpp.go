package starttls

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	nsStreams = "http://etherx.jabber.org/streams"
	nsErrors  = "urn:ietf:params:xml:ns:xmpp-streams"
	nsTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	nsClient  = "jabber:client"
	nsServer  = "jabber:server"

	proceed = "<proceed xmlns='" + nsTLS + "'/>"
)

// xmpp is RFC 6120, section 5.4 (STARTTLS), between client and server or two
// servers.
type xmpp struct {
	// open has the client's header, once ours has been sent, and then its
	// request if that has an end tag.
	open []xml.StartElement
}

func (*xmpp) greeting() []byte { return nil }

func (x *xmpp) tooMuch() []byte { return x.fail("policy-violation") }

// tag returns the size of the tag or declaration that p begins with, which is 0
// while it is incomplete, or the condition of an error.
func tag(p []byte) (n int, condition string) {
	var quote byte
	for i, b := range p {
		switch {
		case b == 0 || b >= 0xfe: // never in UTF-8, soon in UTF-16
			return 0, "unsupported-encoding"
		case i == 0 && b != '<':
			return 0, "not-well-formed"
		case i == 1 && b == '!':
			return 0, "restricted-xml" // section 11.1
		case b == quote:
			quote = 0
		case quote != 0:
		case b == '"' || b == '\'':
			quote = b
		case b == '>':
			return i + 1, ""
		}
	}
	return 0, ""
}

func (x *xmpp) step(p []byte) (n int, out []byte, next next) {
	text := bytes.TrimLeft(p, " \t\r\n")
	size, condition := tag(text)
	n = len(p) - len(text) + size
	switch {
	case condition != "":
		return len(p), x.fail(condition), closing
	case size == 0:
		return 0, nil, more
	}
	text = text[:size]
	d := xml.NewDecoder(bytes.NewReader(text))
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errors.ErrUnsupported }
	token, err := d.RawToken()
	switch {
	case !utf8.Valid(text) || errors.Is(err, errors.ErrUnsupported):
		return n, x.fail("unsupported-encoding"), closing
	case err != nil:
		return n, x.fail("not-well-formed"), closing
	}
	depth := len(x.open)
	switch t := token.(type) {
	case xml.StartElement:
		whole := text[size-2] == '/'
		switch {
		case depth == 0:
			out, next = x.begin(t, whole)
			return n, out, next
		case depth == 2 || t.Name.Local != "starttls" || x.namespace(t) != nsTLS:
			return n, x.fail("not-authorized"), closing
		case whole:
			return n, []byte(proceed), upgrade
		}
		x.open = append(x.open, t)
		return n, nil, more
	case xml.EndElement:
		switch {
		case depth == 0 || t.Name != x.open[depth-1].Name:
			return n, x.fail("not-well-formed"), closing
		case depth == 1:
			return n, []byte("</stream:stream>"), closing
		}
		return n, []byte(proceed), upgrade
	}
	if declaration, ok := token.(xml.ProcInst); ok && declaration.Target == "xml" && depth == 0 {
		return n, nil, more
	}
	return n, x.fail("restricted-xml"), closing
}

// begin is what the server says to the client's header: its own with the
// features. Without a version, or below 1.0, there would be none (section
// 4.7.5).
func (x *xmpp) begin(t xml.StartElement, whole bool) ([]byte, next) {
	if t.Name != (xml.Name{Space: "stream", Local: "stream"}) || whole {
		return x.fail("bad-format"), closing
	}
	space := attribute(t, "", "xmlns")
	if attribute(t, "xmlns", "stream") != nsStreams || space != nsClient && space != nsServer {
		return x.fail("invalid-namespace"), closing
	}
	major, _, _ := strings.Cut(attribute(t, "", "version"), ".")
	if n, _ := strconv.Atoi(major); n < 1 {
		return x.fail("unsupported-version"), closing
	}
	x.open = append(x.open, t)
	return append(header(space, cmp.Or(attribute(t, "", "to"), "sslecho")),
		"<stream:features><starttls xmlns='"+nsTLS+"'><required/></starttls></stream:features>"...), more
}

// header begins our stream.
func header(space, from string) []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version='1.0'?><stream:stream xmlns='" + space + "' xmlns:stream='" + nsStreams + "' id='" + rand.Text() + "' from='")
	_ = xml.EscapeText(&b, []byte(from)) // a Buffer takes all
	b.WriteString("' version='1.0'>")
	return b.Bytes()
}

// fail is a stream error and the end of our stream (section 4.9).
func (x *xmpp) fail(condition string) (out []byte) {
	if len(x.open) == 0 {
		out = header(nsClient, "sslecho")
	}
	return append(out, "<stream:error><"+condition+" xmlns='"+nsErrors+"'/></stream:error></stream:stream>"...)
}

// namespace is that of an element in the stream, whose prefix it or the header
// declares.
func (x *xmpp) namespace(t xml.StartElement) string {
	if t.Name.Space == "" {
		return attribute(t, "", "xmlns")
	}
	return cmp.Or(attribute(t, "xmlns", t.Name.Space), attribute(x.open[0], "xmlns", t.Name.Space))
}

// attribute is the value of one, or empty.
func attribute(t xml.StartElement, prefix, name string) string {
	for _, a := range t.Attr {
		if a.Name == (xml.Name{Space: prefix, Local: name}) {
			return a.Value
		}
	}
	return ""
}
