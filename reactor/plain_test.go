package reactor

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// lines is a PlainHandler that is called with each line, without its end.
type lines struct {
	connect func(*Conn)
	line    func(c *Conn, line string)
}

func (h *lines) OnConnect(c *Conn) { call(h.connect, c) }

func (h *lines) OnPlain(c *Conn, p []byte) int {
	line, _, whole := bytes.Cut(p, []byte("\n"))
	if !whole {
		return 0
	}
	h.line(c, string(line))
	return len(line) + 1
}

// startTLS is a PlainHandler that greets, echoes each line, and answers STARTTLS.
func startTLS(t testing.TB, cfg StartTLSConfig) *lines {
	return &lines{
		connect: func(c *Conn) { c.Write([]byte("hello\n")) },
		line: func(c *Conn, line string) {
			if line != "STARTTLS" {
				c.Write([]byte(line + "\n"))
				return
			}
			c.Write([]byte("go ahead\n"))
			if err := c.StartTLS(cfg); err != nil {
				t.Error(err)
			}
			c.Write([]byte("encrypted\n"))
		},
	}
}

// says reads line from c, in the clear or not.
func says(t testing.TB, c io.Reader, line string) {
	t.Helper()
	p := make([]byte, len(line)+1)
	n, err := io.ReadFull(c, p)
	if tlstest.Equal(t, "the peer says", string(p[:n]), line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// TestStartTLS: a server, over each kind of records and for each setting of what is left in the clear.
func TestStartTLS(t *testing.T) {
	for _, records := range []cssl.Records{cssl.RecordsOpenSSL, cssl.RecordsDirect} {
		for _, tc := range []struct {
			name     string
			behind   string // what comes in the clear behind STARTTLS
			leftover Leftover
			fails    bool
		}{
			{name: "none"},
			{name: "refuse", behind: "MAIL FROM:<a>\n", fails: true},
			{name: "discard", behind: "MAIL FROM:<a>\n", leftover: LeftoverDiscard},
			{name: "not TLS", behind: "MAIL FROM:<a>\n", leftover: LeftoverTLS, fails: true},
		} {
			t.Run(strings.Join([]string{records.String(), tc.name}, "/"), func(t *testing.T) {
				h, ended := ends(echo())
				s := &Server{Handler: h, Plain: startTLS(t, StartTLSConfig{Leftover: tc.leftover}),
					Context: serverContext(t, "ecdsa", func(c *cssl.Config) { c.Records = records })}
				raw := rawDial(t, start(t, s))
				says(t, raw, "hello")
				io.WriteString(raw, "NOOP\nSTARTTLS\n"+tc.behind)
				says(t, raw, "NOOP")
				if tc.fails {
					err := tlstest.Receive(t, ended, "OnClose")
					if tc.leftover == LeftoverRefuse {
						tlstest.IsError(t, "OnClose", err, ErrPlaintextAfterStartTLS)
					} else {
						wantText(t, "OnClose", err, "tls")
					}
					return
				}
				says(t, raw, "go ahead")
				c := goOver(t, raw)
				says(t, c, "encrypted")
				roundTrip(t, c, "secret")
				tlstest.Must(t, c.Close())
				tlstest.Must(t, tlstest.Receive(t, ended, "OnClose"))
				tlstest.Until(t, "the counts", func() bool { st := s.Stats(); return st.Conns == 0 && st.Plain == 0 && st.Handshaking == 0 })
			})
		}
	}
}

// TestStartTLSClient
func TestStartTLSClient(t *testing.T) {
	s := &Server{Handler: echo(), Plain: startTLS(t, StartTLSConfig{})}
	addr := start(t, s)
	l := startLoop(t, LoopConfig{})
	got := make(chan string, 10)
	p := &lines{line: func(c *Conn, line string) {
		got <- line
		switch line {
		case "hello":
			c.Write([]byte("STARTTLS\n"))
		case "go ahead":
			if err := c.StartTLS(StartTLSConfig{}); err != nil {
				t.Error(err)
			}
			c.Write([]byte("secret"))
		}
	}}
	data := make(chan string, 10)
	h, opened := opens(&hooks{data: func(_ *Conn, p []byte) { data <- string(p) }})
	tlstest.Must(t, l.ConnectPlain(addr.(*net.TCPAddr).AddrPort(), p, clientContext(t, nil), csslLocalhost, h, nil))
	tlstest.Receive(t, opened, "OnOpen")
	tlstest.Equal(t, "data", tlstest.Receive(t, data, "data")+tlstest.Receive(t, data, "data"), "encrypted\nsecret")
}
