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
		c := goClient(t, alpn)
		answer := make(chan string, 1)
		asked := later(func() error {
			resp, err := c.Get(s.url)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			answer <- string(b)
			return err
		})
		receive(t, entered, "the request")
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		shut := later(func() error { return s.Shutdown(ctx) })
		s.expectClosed(t)
		select {
		case err := <-shut:
			t.Errorf("Shutdown did not wait: %v", err)
		default:
		}
		close(finish)
		must(t, receive(t, asked, "the answer"))
		if got := <-answer; got != "finished" {
			t.Errorf("the answer is %q", got)
		}
		must(t, receive(t, shut, "Shutdown"))
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

// TestShutdownHandshake: handshakes that are under way, or where HTTP/2 has not begun, are cut off, and without a word in the log.
func TestShutdownHandshake(t *testing.T) {
	for _, stop := range []string{"Shutdown", "Close"} {
		t.Run(stop, func(t *testing.T) {
			l, err := sslnet.Listen("tcp", "127.0.0.1:0", serverContext(t))
			must(t, err)
			a := announcing{l, make(chan struct{}, 10)}
			s := serveOn(t, &http.Server{Handler: never(t)}, a)
			silent, begun := rawTCP(t, s.addr), rawTLS(t, s.addr, protoHTTP2)
			for range 2 {
				receive(t, a.accepted, "a connection")
			}
			if stop == "Close" {
				must(t, s.Close())
				s.expectClosed(t)
			} else {
				s.shutdown(t)
			}
			if got := rest(t, silent) + rest(t, begun); got != "" {
				t.Errorf("the clients were told %q", got)
			}
			if got := s.log.String(); got != "" {
				t.Errorf("the log says %q", got)
			}
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
		c := goClient(t, alpn)
		asked := later(func() error {
			resp, err := c.Post(s.url, "text/plain", strings.NewReader("x")) // is not sent again
			if err == nil {
				resp.Body.Close()
			}
			return err
		})
		receive(t, entered, "the request")
		must(t, s.Close())
		s.expectClosed(t)
		if err := receive(t, asked, "the answer"); err == nil {
			t.Error("the request was answered")
		}
		receive(t, left, "the end of the request's context")
	})
}

// TestPanic: a handler's panic is logged and ends no more than the request.
func TestPanic(t *testing.T) {
	eachProtocol(t, func(t *testing.T, alpn string, _ int) {
		s := serve(t, &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/panic" {
				panic("a handler's fault")
			}
		})}, serverContext(t))
		c := goClient(t, alpn)
		if resp, err := c.Get(s.url + "/panic"); err == nil {
			resp.Body.Close()
			t.Errorf("the answer is %v", resp.Status)
		}
		s.log.expect(t, "a handler's fault")
		if resp, _ := body(t, c, s.url); resp.StatusCode != 200 {
			t.Errorf("the next answer is %v", resp.Status)
		}
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
		tr := NewTransport(&sslnet.Dialer{Context: clientContext(t, only(alpn))}, &http.Transport{ExpectContinueTimeout: hang})
		defer tr.CloseIdleConnections()
		for _, c := range []*http.Client{goClient(t, alpn), {Transport: tr, Timeout: hang}} {
			for path, status := range map[string]int{"/no": 413, "/yes": 200} {
				u := &unread{strings.NewReader("content"), make(chan struct{}, 1)}
				req, err := http.NewRequest("POST", s.url+path, u)
				must(t, err)
				req.ContentLength = 7
				req.Header.Set("Expect", "100-continue")
				resp, err := c.Do(req)
				must(t, err)
				got := readBody(t, resp)
				if resp.StatusCode != status || status == 200 && got != "content" {
					t.Errorf("%s: %v %q", path, resp.Status, got)
				}
				if read := len(u.read) > 0; read != (status == 200) {
					t.Errorf("%s: the body was read: %v", path, read)
				}
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
			req, err := http.NewRequestWithContext(ctx, "GET", s.url, nil)
			must(t, err)
			asked := later(func() error {
				resp, err := c.Do(req)
				if err == nil {
					resp.Body.Close()
				}
				return err
			})
			receive(t, entered, "the request")
			cancel()
			// crypto/tls may still take in what the handler answers when it has heard close_notify.
			if err := receive(t, asked, "the answer"); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("the answer is %v", err)
			}
			receive(t, left, "the end of the request's context")
		}
		if alpn == protoHTTP1 {
			c := rawTLS(t, s.addr, alpn)
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			receive(t, entered, "the request")
			must(t, c.NetConn().(*net.TCPConn).SetLinger(0))
			c.NetConn().Close()
			receive(t, left, "the end of the request's context")
		}
	})
}

func first[A, B any](a A, _ B) A { return a }

// TestHijack: a handler gets the *sslnet.Conn, with what the client has sent already.
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
		io.WriteString(nc.(*sslnet.Conn), "you said "+line)
	})}, serverContext(t))
	c := rawTLS(t, s.addr, protoHTTP1)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nsomething else\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "you said something else\n" {
		t.Errorf("%q %v", line, err)
	}
}
