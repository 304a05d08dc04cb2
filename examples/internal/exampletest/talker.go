package exampletest

import (
	"bufio"
	"crypto/tls"
	"io"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// Talker is a client of a program that speaks in lines.
type Talker struct {
	*tls.Conn
	t *testing.T
	r *bufio.Reader
}

// Talk connects to a program until the end of the test.
func Talk(t *testing.T, addr string) *Talker {
	t.Helper()
	c := Dial(t, addr)
	return &Talker{c, t, bufio.NewReader(c)}
}

// Say writes text.
func (p *Talker) Say(text string) {
	p.t.Helper()
	tlstest.Value(io.WriteString(p, text))(p.t)
}

// Hear returns the next line, or how the connection ended.
func (p *Talker) Hear() (string, error) {
	line, err := p.r.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// Expect hears these lines.
func (p *Talker) Expect(lines ...string) {
	p.t.Helper()
	for _, want := range lines {
		if got, err := p.Hear(); err != nil || got != want {
			p.t.Fatalf("got %.100q, %v, want %.100q", got, err, want)
		}
	}
}

// ExpectEnd wants close_notify.
func (p *Talker) ExpectEnd() {
	p.t.Helper()
	if line, err := p.Hear(); err != io.EOF || line != "" {
		p.t.Fatalf("got %.100q, %v, want the end", line, err)
	}
}
