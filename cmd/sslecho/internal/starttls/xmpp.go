package starttls

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/xml"
	"errors"
	"io"
)

const (
	nsStreams = "http://etherx.jabber.org/streams"
	nsErrors  = "urn:ietf:params:xml:ns:xmpp-streams"
	nsTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	nsClient  = "jabber:client"
	nsServer  = "jabber:server"
)

// xmpp is RFC 6120, section 5.4 (STARTTLS), between client and server or two
// servers.
type xmpp struct{ begun bool } // our header has been sent

func (*xmpp) greeting() []byte { return nil }

func (x *xmpp) tooLong() []byte { return x.fail("policy-violation") }

var errIncomplete = errors.New("starttls: the XML is incomplete")

// arrived is the XML that has arrived, whose end is not that of the document.
type arrived struct{ *bytes.Reader }

// ReadByte implements io.ByteReader.
func (a arrived) ReadByte() (byte, error) {
	b, err := a.Reader.ReadByte()
	if err == io.EOF {
		err = errIncomplete
	}
	return b, err
}

func (x *xmpp) step(p []byte) (n int, out []byte, next next) {
	if spaces := len(p) - len(bytes.TrimLeft(p, " \t\r\n")); spaces > 0 {
		return spaces, nil, more
	}
	if p[0] != '<' {
		return len(p), x.fail("not-well-formed"), closing
	}
	// All that may come ends in > and not in the midst of a character.
	d := xml.NewDecoder(arrived{bytes.NewReader(p[:bytes.LastIndexByte(p, '>')+1])})
	token, err := d.RawToken()
	start, isStart := token.(xml.StartElement)
	startTLS := isStart && start.Name.Local == "starttls" && namespace(start, start.Name.Space) == nsTLS
	if startTLS {
		var end xml.Token
		end, err = d.RawToken()
		startTLS = end == xml.EndElement{Name: start.Name}
	}
	n = int(d.InputOffset())
	switch end, _ := token.(xml.EndElement); {
	case err == errIncomplete:
		return 0, nil, more
	case err != nil:
		return len(p), x.fail("not-well-formed"), closing
	case isStart && !x.begun:
		out, next = x.begin(start)
		return n, out, next
	case startTLS:
		return n, []byte("<proceed xmlns='" + nsTLS + "'/>"), upgrade
	case isStart:
		return n, x.fail("not-authorized"), closing
	case x.begun && end.Name == xml.Name{Space: "stream", Local: "stream"}:
		return n, []byte("</stream:stream>"), closing
	}
	if declaration, ok := token.(xml.ProcInst); ok && declaration.Target == "xml" && !x.begun {
		return n, nil, more
	}
	return n, x.fail("restricted-xml"), closing // section 11.1
}

// begin is what the server says to the client's header: its own with the
// features.
func (x *xmpp) begin(t xml.StartElement) ([]byte, next) {
	if t.Name != (xml.Name{Space: "stream", Local: "stream"}) {
		return x.fail("bad-format"), closing
	}
	space := namespace(t, "")
	if namespace(t, "stream") != nsStreams || space != nsClient && space != nsServer {
		return x.fail("invalid-namespace"), closing
	}
	return append(x.header(space, cmp.Or(attribute(t, "", "to"), "sslecho")),
		"<stream:features><starttls xmlns='"+nsTLS+"'><required/></starttls></stream:features>"...), more
}

// header begins our stream.
func (x *xmpp) header(space, from string) []byte {
	x.begun = true
	var b bytes.Buffer
	b.WriteString("<?xml version='1.0'?><stream:stream xmlns='" + space + "' xmlns:stream='" + nsStreams + "' id='" + rand.Text() + "' from='")
	_ = xml.EscapeText(&b, []byte(from)) // a Buffer takes all
	b.WriteString("' version='1.0'>")
	return b.Bytes()
}

// fail is a stream error and the end of our stream (section 4.9).
func (x *xmpp) fail(condition string) (out []byte) {
	if !x.begun {
		out = x.header(nsClient, "sslecho")
	}
	return append(out, "<stream:error><"+condition+" xmlns='"+nsErrors+"'/></stream:error></stream:stream>"...)
}

// namespace is what an element declares a prefix to be, or the default if
// prefix is empty.
func namespace(t xml.StartElement, prefix string) string {
	if prefix == "" {
		return attribute(t, "", "xmlns")
	}
	return attribute(t, "xmlns", prefix)
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
