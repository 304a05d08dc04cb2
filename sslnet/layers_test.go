package sslnet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// TestStartTLS: after plaintext, for each setting of what the peer sends too early, as a server and as a client.
func TestStartTLS(t *testing.T) {
	const injected = "INJECTED\n"
	each(t, networks, func(t *testing.T, network network) {
		for _, tc := range []struct {
			name     string
			behind   string
			leftover tlsio.Leftover
			want     error
		}{
			{"none", "", tlsio.LeftoverRefuse, nil},
			{"refuse", injected, tlsio.LeftoverRefuse, tlsio.ErrPlaintextAfterStartTLS},
			{"discard", injected, tlsio.LeftoverDiscard, nil},
		} {
			for _, side := range []string{"server", "client"} {
				t.Run(tc.name+"/"+side, func(t *testing.T) {
					peer, own := network(t)
					sent := tlstest.Later(func() error { _, err := io.WriteString(peer, "STARTTLS\n"+tc.behind); return err })
					r := bufio.NewReader(own)
					tlstest.Equal(t, "the line", tlstest.Value(r.ReadString('\n'))(t), "STARTTLS\n")
					done(t, sent, "the peer to send")
					after, err := AfterPlaintext(own, r, tc.leftover)
					if tlstest.IsError(t, "AfterPlaintext", err, tc.want); err != nil {
						return
					}
					client, server := peer, after
					if side == "client" {
						client, server = after, peer
					}
					c, s := pairOver(t, client, server)
					shake(t, c, s)
					flows(t, c, s, 1000, 1000)
				})
			}
		}
	})
}

// TestLeftoverTLS: a server that looks at the ClientHello first, with all of it in its buffer or a part. What it
// passes on is a net.Conn for others too.
func TestLeftoverTLS(t *testing.T) {
	each(t, networks, func(t *testing.T, network network) {
		for _, size := range []int{16, 4096} {
			a, b := network(t)
			x, cx := contexts(t)
			client := tlstest.Value(Client(a, cx, cssl.ConnConfig{ServerName: "localhost"}))(t)
			defer client.Close()
			shaken := tlstest.Later(client.Handshake)
			r := bufio.NewReaderSize(b, size)
			tlstest.Equal(t, "the first byte", tlstest.Value(r.Peek(1))(t)[0], 0x16)
			after := tlstest.Value(AfterPlaintext(b, r, tlsio.LeftoverTLS))(t)
			server := tlstest.Value(Server(after, x))(t)
			defer server.Close()
			tlstest.Must(t, server.Handshake())
			done(t, shaken, "the client's handshake")
			flows(t, client, server, 1000, 1000)
		}
		a, b := network(t)
		sent := tlstest.Later(func() error { _, err := io.WriteString(a, "hello"); a.Close(); return err })
		r := bufio.NewReader(b)
		tlstest.Value(r.Peek(1))(t)
		after := tlstest.Value(AfterPlaintext(b, r, tlsio.LeftoverTLS))(t)
		tlstest.Equal(t, "what another reader gets", string(tlstest.Value(io.ReadAll(after))(t)), "hello")
		done(t, sent, "the peer")
	})
}

// TestLeftoverTooLong: over a net.Conn that is not a socket, TLS takes no more than two records that were read before.
func TestLeftoverTooLong(t *testing.T) {
	for size, want := range map[int]string{33_000: "<nil>", 36_000: "sslnet: too much was read before TLS"} {
		a, b := net.Pipe()
		defer a.Close()
		defer b.Close()
		x, _ := contexts(t)
		r := bufio.NewReaderSize(bytes.NewReader(make([]byte, size)), size)
		tlstest.Value(r.Peek(size))(t)
		server, err := Server(tlstest.Value(AfterPlaintext(b, r, tlsio.LeftoverTLS))(t), x)
		if err == nil {
			server.Close()
		}
		tlstest.Equal(t, fmt.Sprint(size, " bytes"), fmt.Sprint(err), want)
	}
}

// TestTLSInTLS: a Conn is a net.Conn like any other.
func TestTLSInTLS(t *testing.T) {
	outerClient, outerServer := connect(t, networks["tcp"])
	client, server := pairOver(t, net.Conn(outerClient), net.Conn(outerServer), func(s, c *cssl.Config) { s.MaxVersion = cssl.TLS12 })
	shake(t, client, server)
	flows(t, client, server, 100_000, 10_000)
}
