package sslhttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// TestShutdownHandshake: handshakes that are under way, or where HTTP/2 has not begun, are cut off, and without a word in
// the log. Where net/http itself speaks HTTP/2, it waits for the begin.
func TestShutdownHandshake(t *testing.T) {
	for _, stop := range []string{"Shutdown", "Close"} {
		t.Run(stop, func(t *testing.T) {
			l := listen(t, serverContext(t))
			a := announcing{l, make(chan struct{}, 10)}
			s := serveOn(t, &http.Server{Handler: never(t)}, a)
			clients := []net.Conn{rawTCP(t, s.addr)}
			if !nativeHTTP2 {
				clients = append(clients, rawTLS(t, s.addr, protoHTTP2))
			}
			for range clients {
				tlstest.Receive(t, a.accepted, "a connection")
			}
			if stop == "Close" {
				tlstest.Must(t, s.Close())
				s.expectClosed(t)
			} else {
				s.shutdown(t)
			}
			for _, c := range clients {
				tlstest.Equal(t, "what the client was told", rest(t, c), "")
			}
			tlstest.Equal(t, "the log", s.log.String(), "")
		})
	}
}

// unread is a body that says whether it was read.
type unread struct {
	io.Reader
	read chan struct{}
}

func (u *unread) Read(p []byte) (int, error) {
	select {
	case u.read <- struct{}{}:
	default:
	}
	return u.Reader.Read(p)
}

// TestExpectContinue: a client of ours sends the body when the handler asks for it, and not at all if it does not.
func TestExpectContinue(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/no" {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			io.Copy(w, r.Body)
		})}, serverContext(t))
		tr := NewTransport(&sslnet.Dialer{Context: clientContext(t, only(alpn))}, &http.Transport{ExpectContinueTimeout: tlstest.Hang})
		defer tr.CloseIdleConnections()
		c := &http.Client{Transport: tr, Timeout: tlstest.Hang}
		for path, status := range map[string]int{"/no": 413, "/yes": 200} {
			u := &unread{strings.NewReader("content"), make(chan struct{}, 1)}
			req := tlstest.Value(http.NewRequest("POST", s.url+path, u))(t)
			req.ContentLength = 7
			req.Header.Set("Expect", "100-continue")
			resp := tlstest.Value(c.Do(req))(t)
			got := readBody(t, resp)
			if resp.StatusCode != status || status == 200 && got != "content" {
				t.Errorf("%s: %v %q", path, resp.Status, got)
			}
			tlstest.Equal(t, path+": the body was read", len(u.read) > 0, status == 200)
		}
	})
}

// TestClientGone: the end of a request's context in a client of ours ends that of the handler.
func TestClientGone(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		entered, left := make(chan struct{}, 1), make(chan struct{}, 1)
		s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			<-r.Context().Done()
			left <- struct{}{}
		})}, serverContext(t))
		ctx, cancel := context.WithCancel(context.Background())
		asked := ask(first(ourClient(t, clientContext(t, only(alpn)))), tlstest.Value(http.NewRequestWithContext(ctx, "GET", s.url, nil))(t))
		tlstest.Receive(t, entered, "the request")
		cancel()
		// The client may still take what the handler answers when it has heard close_notify.
		if err := tlstest.Receive(t, asked, "the answer").err; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the answer is %v", err)
		}
		tlstest.Receive(t, left, "the end of the request's context")
	})
}
