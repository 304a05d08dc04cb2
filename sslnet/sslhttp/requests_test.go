package sslhttp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// TestShutdownRequest: Shutdown lets a request that is under way end well. Serve returns before that.
func TestShutdownRequest(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		entered, finish := make(chan struct{}), make(chan struct{})
		s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-finish
			io.WriteString(w, "finished")
		})}, serverContext(t))
		asked := ask(goClient(t, alpn), tlstest.Value(http.NewRequest("GET", s.url, nil))(t))
		tlstest.Receive(t, entered, "the request")
		ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
		defer cancel()
		shut := tlstest.Later(func() error { return s.Shutdown(ctx) })
		s.expectClosed(t)
		select {
		case err := <-shut:
			t.Errorf("Shutdown did not wait: %v", err)
		default:
		}
		close(finish)
		tlstest.Equal(t, "the answer", tlstest.Receive(t, asked, "the answer"), answer{"finished", nil})
		done(t, shut, "Shutdown")
	})
}

// TestShutdownIdle: connections that are kept alive do not keep Shutdown waiting, and are closed by it.
func TestShutdownIdle(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		s := serve(t, &http.Server{Handler: http.NotFoundHandler()}, serverContext(t))
		c := goClient(t, alpn)
		body(t, c, s.url)
		s.shutdown(t)
		if _, err := c.Get(s.url); err == nil {
			t.Error("a Server that was shut down has answered")
		}
	})
}

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

// TestClose: Close ends requests that are under way.
func TestClose(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		entered, left := make(chan struct{}), make(chan struct{})
		s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) // only then net/http watches the connection
			close(entered)
			<-r.Context().Done()
			close(left)
		})}, serverContext(t))
		req := tlstest.Value(http.NewRequest("POST", s.url, strings.NewReader("x")))(t) // is not sent again
		asked := ask(goClient(t, alpn), req)
		tlstest.Receive(t, entered, "the request")
		tlstest.Must(t, s.Close())
		s.expectClosed(t)
		if tlstest.Receive(t, asked, "the answer").err == nil {
			t.Error("the request was answered")
		}
		tlstest.Receive(t, left, "the end of the request's context")
	})
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

// TestExpectContinue: the body comes when the handler asks for it, and not at all if it does not. That is so for a client of ours too.
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
		for _, c := range []*http.Client{goClient(t, alpn), {Transport: tr, Timeout: tlstest.Hang}} {
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
		}
	})
}

// TestClientGone: the end of the client's connection ends Request.Context, whether it said goodbye or not.
func TestClientGone(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		entered, left := make(chan struct{}, 1), make(chan struct{}, 1)
		s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			<-r.Context().Done()
			left <- struct{}{}
		})}, serverContext(t))
		for _, c := range []*http.Client{goClient(t, alpn), first(ourClient(t, clientContext(t, only(alpn))))} {
			ctx, cancel := context.WithCancel(context.Background())
			req := tlstest.Value(http.NewRequestWithContext(ctx, "GET", s.url, nil))(t)
			asked := ask(c, req)
			tlstest.Receive(t, entered, "the request")
			cancel()
			// crypto/tls may still take in what the handler answers when it has heard close_notify.
			if err := tlstest.Receive(t, asked, "the answer").err; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("the answer is %v", err)
			}
			tlstest.Receive(t, left, "the end of the request's context")
		}
		if alpn == protoHTTP1 {
			c := rawTLS(t, s.addr, alpn)
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			tlstest.Receive(t, entered, "the request")
			tlstest.Must(t, c.NetConn().(*net.TCPConn).SetLinger(0))
			c.NetConn().Close()
			tlstest.Receive(t, left, "the end of the request's context")
		}
	})
}

// TestHijack: a handler gets a connection with the methods of *sslnet.Conn, and what the client has sent already.
func TestHijack(t *testing.T) {
	s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		line, err := rw.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		io.WriteString(nc, nc.(interface{ State() cssl.State }).State().ALPN+": you said "+line)
	})}, serverContext(t))
	c := rawTLS(t, s.addr, protoHTTP1)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nsomething else\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "http/1.1: you said something else\n" {
		t.Errorf("%q %v", line, err)
	}
}
