package cssl

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// FuzzServerName: whatever stands in the extension, a name lies within it.
func FuzzServerName(f *testing.F) {
	f.Add([]byte{0, 12, 0, 0, 9, 'l', 'o', 'c', 'a', 'l', 'h', 'o', 's', 't'})
	f.Add([]byte{0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, ext []byte) {
		name, ok := serverNameOf(ext)
		check(t, !ok || (len(name) != 0 && len(name) <= len(ext)-5), "%q from %x", name, ext)
	})
}

// FuzzRecords builds records as the input says, feeds them to OpenSSL's record layer and to the direct one, and
// compares. Direct records may be stricter (see TestDirectDifferential), but give out nothing else.
func FuzzRecords(f *testing.F) {
	openSSLToo(f)
	type side struct {
		peers   *recordPeers
		servers [2]*Context
	}
	var sides []side
	for _, suite := range []gcmSuite{gcmSuites[0], gcmSuites[2]} {
		sides = append(sides, side{newRecordPeers(f, suite), bothServers(f)})
	}
	for version := range byte(2) {
		f.Add([]byte{version, 0, 0, 23, 4, 'd', 'a', 't', 'a', 0, 1, 1, 0})
		f.Add([]byte{version, 1, 0, 22, 2, 24, 0, 0, 0, 22, 3, 0, 1, 0, 3})
		f.Add([]byte{version, 2, 0, 22, 6, 1, 0, 0, 2, 3, 3, 0, 2, 3, 0, 23, 1, 'x', 0})
		f.Add([]byte{version, 0, 3, 5, 1, 0, 23, 1, 'x', 0})
		f.Add([]byte{version, 0, 4, 64, 23, 4, 64, 1, 4, 0, 2, 23, 3, 3, 0, 20, 1, 2, 3})
		f.Add([]byte{version, 1, 5, 1, 90, 5, 1, 0, 0, 23, 1, 'x', 0})
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) < 2 {
			return
		}
		x, d := sides[input[0]%2], deliveries[int(input[1])%len(deliveries)]
		got := x.peers.outcomes(t, x.servers, d, func(p *recordPeer) []byte { return p.program(input[2:]) })
		openssl, direct := got[0], got[1]
		ended := func(o outcome) bool { return errors.Is(o.read, io.EOF) || errors.Is(o.read, io.ErrUnexpectedEOF) }
		switch {
		case direct.read == nil || openssl.read == nil:
			t.Error("reading does not end")
		case ended(direct) && ending(openssl.read) == "too many warn alerts": // in differences
		case ended(direct) && (!ended(openssl) || !bytes.Equal(direct.data, openssl.data)), !bytes.HasPrefix(openssl.data, direct.data):
			t.Errorf("OpenSSL: %s\ndirect: %s", openssl, direct)
		}
	})
}

// program builds records as its input says.
func (p *recordPeer) program(in []byte) (out []byte) {
	next := func() (b byte) {
		if len(in) > 0 {
			b, in = in[0], in[1:]
		}
		return b
	}
	some := func() []byte {
		n := min(int(next()), len(in))
		b := in[:n]
		in = in[n:]
		return b
	}
	for len(in) > 0 && len(out) < 1<<16 {
		switch next() % 6 {
		case 0:
			kind := next()
			out = append(out, p.record(kind, some(), int(next()))...)
		case 1:
			if p.suite.version == TLS13 {
				out = append(out, p.keyUpdate(next()%3)...)
			}
		case 2:
			out = append(out, some()...)
		case 3: // a byte that is changed
			at, with := next(), next()
			r := p.record(next(), some(), 0)
			r[int(at)%len(r)] ^= with
			out = append(out, r...)
		case 4: // about the largest
			n := int(next())<<8 + int(next())
			out = append(out, p.record(next(), make([]byte, min(n, 16400)), 0)...)
		case 5:
			out = append(out, p.alert(next(), next())...)
		}
	}
	return out
}

// FuzzParseHello: what a client sends makes no parser panic.
func FuzzParseHello(f *testing.F) {
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		h := parseHello(raw)
		check(t, len(h.Versions) != 0, "no version")
	})
}
