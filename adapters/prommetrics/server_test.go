package prommetrics

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// receive returns what comes out of ch.
func receive[T any](t testing.TB, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(tlstest.Hang):
		t.Fatal("nothing happened")
	}
	return v
}

// echo sends back what it gets, and tells of each connection that has ended.
type echo struct {
	reactor.BaseHandler
	closed chan error
}

func (echo) OnData(c *reactor.Conn, p []byte)     { c.Write(p) }
func (e echo) OnClose(_ *reactor.Conn, err error) { e.closed <- err }

// TestServer: what a real server did is what a scrape tells.
func TestServer(t *testing.T) {
	x := tlstest.Value(cssl.NewServerContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
	}))(t)
	defer x.Close()
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	h := echo{closed: make(chan error, 3)}
	srv := &reactor.Server{Handler: h, Context: x, Loops: 2, Logger: slog.New(slog.DiscardHandler)}
	served := tlstest.Later(func() error { return srv.Serve(l) })
	defer func() { srv.Close(); receive(t, served) }()

	metrics := New("test", srv)
	message := make([]byte, 10_000)
	var clients []*tls.Conn
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(tlstest.Hang))
		tlstest.Value(c.Write(message))(t)
		tlstest.Value(io.ReadFull(c, message))(t)
		clients = append(clients, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), tlstest.Hang)
	defer cancel()
	for scrape(t, metrics)[`test_connections{state="established"}`] != "2" { // a turn is shown when it has ended
		tlstest.Must(t, srv.Ping(ctx))
		runtime.Gosched()
	}
	for _, c := range clients {
		c.Close()
		if err := receive(t, h.closed); err != nil {
			t.Errorf("a connection ended with %v", err)
		}
	}
	plain := tlstest.Value(net.Dial("tcp", l.Addr().String()))(t)
	defer plain.Close()
	fmt.Fprint(plain, "GET / HTTP/1.0\r\n\r\n")
	if err := receive(t, h.closed); err == nil {
		t.Error("a connection without TLS ended well")
	}
	tlstest.Must(t, srv.Shutdown(ctx))
	got, s := scrape(t, metrics), srv.Stats() // nothing changes any more
	want := samples{
		"test_loops":                                             "2",
		`test_connections{state="handshake"}`:                    "0",
		`test_connections{state="established"}`:                  "0",
		"test_connections_accepted_total":                        "3",
		`test_connections_closed_total{outcome="clean"}`:         "2",
		`test_connections_closed_total{outcome="tls error"}`:     "1",
		`test_handshakes_total{result="ok"}`:                     "2",
		`test_handshakes_total{result="failed"}`:                 "1",
		`test_handshake_versions_total{version="TLSv1.2"}`:       "1",
		`test_handshake_versions_total{version="TLSv1.3"}`:       "1",
		"test_plaintext_received_bytes_total":                    "20000",
		"test_plaintext_sent_bytes_total":                        "20000",
		"test_queued_bytes":                                      "0",
		"test_handler_panics_total":                              "0",
		`test_tls_operation_errors_total{operation="handshake"}`: "1",
	}
	number := func(name string, v uint64) { want[name] = strconv.FormatFloat(float64(v), 'g', -1, 64) }
	number("test_loop_turns_total", s.Turns)
	number("test_loop_epoll_ctl_calls_total", s.EpollCtls)
	number("test_loop_turn_events_sum", s.TurnEvents.Sum)
	number("test_ciphertext_sends_total", s.Sessions.Sends)
	for reason, n := range s.HandshakeFailures {
		number(`test_handshake_failures_total{reason="`+reason+`"}`, n)
	}
	for cipher, n := range s.Ciphers {
		number(`test_handshake_ciphers_total{cipher="`+cipher+`"}`, n)
	}
	got.expect(t, want)
	if s.Turns == 0 || s.TurnEvents.Sum == 0 || len(s.HandshakeFailures) != 1 || len(s.Ciphers) != 2 {
		t.Errorf("the server has counted %+v", s)
	}
}
