package metrics

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/reactor"
)

// echo sends back what it gets, and tells of each connection that has ended.
type echo struct {
	reactor.BaseHandler
	closed chan error
}

func (echo) OnData(c *reactor.Conn, p []byte)     { c.Write(p) }
func (e echo) OnClose(_ *reactor.Conn, err error) { e.closed <- err }

// TestServer: what a real server did is what a scrape over loopback tells.
func TestServer(t *testing.T) {
	x, err := cssl.NewServerContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := echo{closed: make(chan error, 3)}
	srv := &reactor.Server{Handler: h, Context: x, Loops: 2, Logger: quiet}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	defer func() {
		srv.Close()
		receive(t, served)
	}()

	a := newAdmin(func(a *Admin) {
		a.Metrics = New(Source{Stats: srv.Stats, Loops: srv.Loops})
		a.Alive = srv.Ping
	})
	admin := serve(t, a)
	get := func() samples {
		t.Helper()
		_, body, err := fetch(admin, "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, body)
	}

	message := make([]byte, 10_000)
	var clients []*tls.Conn
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(hang))
		if _, err := c.Write(message); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, message); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for get()[`sslecho_connections{state="established"}`] != "2" { // a turn is shown when it has ended
		if err := srv.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
	if status, body, err := fetch(admin, "/healthz"); err != nil || status != 200 {
		t.Errorf("/healthz: %d %q %v", status, body, err)
	}

	for _, c := range clients {
		c.Close()
		if err := receive(t, h.closed); err != nil {
			t.Errorf("a connection ended with %v", err)
		}
	}
	plain, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	fmt.Fprint(plain, "GET / HTTP/1.0\r\n\r\n")
	if err := receive(t, h.closed); err == nil {
		t.Error("a connection without TLS ended well")
	}
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if status, _, err := fetch(admin, "/healthz"); err != nil || status != 503 {
		t.Errorf("/healthz after the end: %d %v", status, err)
	}

	got, s := get(), srv.Stats() // nothing changes any more
	want := samples{
		"sslecho_loops":                                             "2",
		`sslecho_connections{state="handshake"}`:                    "0",
		`sslecho_connections{state="established"}`:                  "0",
		"sslecho_connections_accepted_total":                        "3",
		`sslecho_connections_closed_total{outcome="clean"}`:         "2",
		`sslecho_connections_closed_total{outcome="tls error"}`:     "1",
		`sslecho_handshakes_total{result="ok"}`:                     "2",
		`sslecho_handshakes_total{result="failed"}`:                 "1",
		`sslecho_handshake_versions_total{version="TLSv1.2"}`:       "1",
		`sslecho_handshake_versions_total{version="TLSv1.3"}`:       "1",
		"sslecho_plaintext_received_bytes_total":                    "20000",
		"sslecho_plaintext_sent_bytes_total":                        "20000",
		"sslecho_queued_bytes":                                      "0",
		"sslecho_handler_panics_total":                              "0",
		`sslecho_tls_operation_errors_total{operation="handshake"}`: "1",
	}
	number := func(name string, v uint64) { want[name] = strconv.FormatFloat(float64(v), 'g', -1, 64) }
	number("sslecho_loop_turns_total", s.Turns)
	number("sslecho_loop_epoll_ctl_calls_total", s.EpollCtls)
	number("sslecho_loop_turn_events_sum", s.TurnEvents.Sum)
	number("sslecho_ciphertext_sends_total", s.Sessions.Sends)
	for reason, n := range s.HandshakeFailures {
		number(`sslecho_handshake_failures_total{reason="`+reason+`"}`, n)
	}
	for cipher, n := range s.Ciphers {
		number(`sslecho_handshake_ciphers_total{cipher="`+cipher+`"}`, n)
	}
	got.expect(t, want)
	if s.Turns == 0 || s.TurnEvents.Sum == 0 || len(s.HandshakeFailures) != 1 || len(s.Ciphers) != 2 {
		t.Errorf("the server has counted %+v", s)
	}
}
