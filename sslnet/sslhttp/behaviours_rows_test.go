package sslhttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// addPages makes the handlers that the rows ask for.
func (b *bench) addPages() {
	page := func(path string, h http.HandlerFunc) { b.pages.HandleFunc(path, h) }
	page("/", echoPath)
	page("/echo", func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			b.events <- ending(err)
		}
		w.Write(text)
	})
	page("/early", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "late")
	})
	page("/refuse", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) })
	page("/status", func(w http.ResponseWriter, r *http.Request) {
		var code int
		fmt.Sscan(r.URL.RawQuery, &code)
		w.WriteHeader(code)
	})
	page("/trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Declared")
		io.Copy(w, r.Body)
		fmt.Fprint(w, r.Trailer)
		w.Header().Set("Declared", "one")
		w.Header().Set(http.TrailerPrefix+"Undeclared", "two")
	})
	page("/stream", func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprint(w, "part ", i)
			w.(http.Flusher).Flush()
		}
	})
	page("/large", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 1<<20)) })
	page("/short", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "short")
	})
	page("/long", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, err := io.WriteString(w, "longer")
		b.events <- err.Error()
	})
	page("/panic", func(w http.ResponseWriter, r *http.Request) { panic("no") })
	page("/abort", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	page("/twice", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusOK)
	})
	page("/limited", func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 5))
		http.Error(w, fmt.Sprint(err), http.StatusRequestEntityTooLarge)
	})
	page("/file", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.txt", time.Unix(1e9, 0), strings.NewReader("the content of a file"))
	})
	page("/wait", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // net/http watches the connection after that
		b.events <- "entered"
		<-r.Context().Done()
		b.events <- r.Context().Err().Error()
	})
	page("/finish", func(w http.ResponseWriter, r *http.Request) {
		b.events <- "entered"
		<-b.step
		io.WriteString(w, "finished")
	})
	page("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; ; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-b.step:
			case <-r.Context().Done():
				b.events <- r.Context().Err().Error()
				return
			}
		}
	})
	page("/duplex", func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
			b.Error(err)
		}
		lines := bufio.NewReader(r.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(w, "again: "+line)
			w.(http.Flusher).Flush()
		}
	})
	page("/read-deadline", func(w http.ResponseWriter, r *http.Request) {
		tlstest.Must(b, http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)))
		_, err := io.ReadAll(r.Body)
		b.events <- ending(err)
	})
	page("/write-deadline", func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		tlstest.Must(b, c.SetWriteDeadline(time.Unix(1, 0)))
		io.WriteString(w, "too late")
		b.events <- fmt.Sprint(c.Flush() != nil)
	})
	page("/endless", func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				b.events <- ending(err)
				return
			}
		}
	})
	page("/hijack", func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			b.events <- err.Error()
			return
		}
		defer c.Close()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				b.events <- ending(err)
				return
			}
			if line == "close\n" {
				return
			}
			rw.WriteString("again: " + line)
			rw.Flush()
		}
	})
	page("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			b.events <- err.Error()
			return
		}
		defer c.Close()
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				b.events <- ending(err)
				return
			}
			io.WriteString(c, "again: "+line)
		}
	})
}

// raw is a script of a client that sends text in place of TLS, and notes whether
// it is told that this is the port of HTTPS.
func raw(text string) func(*bench) {
	return func(b *bench) {
		c := b.dialTCP()
		io.WriteString(c, text)
		c.CloseWrite() // unless the server was faster
		got := rest(b, c)
		if strings.HasPrefix(got, "\x15\x03") {
			got = "alert"
		}
		b.note("%q", got)
	}
}

// scanners are clients that do not get as far as a request.
var scanners = []behaviour{
	{name: "connect", protocol: protoHTTP1, script: raw("")},
	{name: "text", protocol: protoHTTP1, script: raw("EHLO example.test\r\n")},
	{name: "zeros", protocol: protoHTTP1, script: raw(strings.Repeat("\x00", 4096))},
	{name: "record", protocol: protoHTTP1, script: raw("\x16\x03\x01\x00\x64" + strings.Repeat("\x07", 100))},
	{name: "half record", protocol: protoHTTP1, script: raw("\x16\x03\x01\x00\x64\x01")},
	{name: "SSH", protocol: protoHTTP1, script: raw("SSH-2.0-example\r\n")},
	{name: "plain GET", protocol: protoHTTP1, script: raw(getText("/"))},
	{name: "plain HEAD", protocol: protoHTTP1, script: raw(request("HEAD /", "\r\n"))},
	{name: "plain POST", protocol: protoHTTP1, script: raw(request("POST /", "Content-Length: 1\r\n\r\nx"))},
	{name: "plain PUT", protocol: protoHTTP1, script: raw(request("PUT /", "Content-Length: 1\r\n\r\nx"))},
	{name: "plain OPTIONS", protocol: protoHTTP1, script: raw(request("OPTIONS *", "\r\n")),
		differs: "OpenSSL does not know this method", gives: `""`},
	{name: "plain CONNECT", protocol: protoHTTP1, script: raw(request("CONNECT example.test:443", "\r\n"))},
	{name: "plain preface", protocol: protoHTTP1, script: raw(clientPreface)},
	{name: "reset", protocol: protoHTTP1, script: func(b *bench) {
		c := b.dialTCP()
		tlstest.Must(b, c.SetLinger(0))
		tlstest.Must(b, c.Close())
	}},
	{name: "handshake", script: func(b *bench) { b.dial().hangUpQuietly() }},
	{name: "handshake FIN", script: func(b *bench) {
		p := b.dial()
		tlstest.Must(b, p.tcp.CloseWrite())
		rest(b, p.Conn)
	}},
	{name: "handshake silence", protocol: protoHTTP1, cutOff: time.Second,
		set:    func(b *bench, srv *http.Server) { srv.ReadHeaderTimeout = b.limit },
		script: func(b *bench) { b.dial().end() }},
	{name: "silence", protocol: protoHTTP1, cutOff: time.Second, set: func(b *bench, srv *http.Server) { srv.ReadHeaderTimeout = b.limit },
		script: func(b *bench) { b.note("%q", rest(b, b.dialTCP())) }},
	{name: "no preface", protocol: protoHTTP2, script: wrongPreface(getText("/"))},
	{name: "short preface", protocol: protoHTTP2, script: wrongPreface("GET /")},
	{name: "POST preface", protocol: protoHTTP2, script: wrongPreface(request("POST /", "Content-Length: 1\r\n\r\nx"))},
	{name: "almost a preface", protocol: protoHTTP2, script: wrongPreface("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")},
	{name: "half a preface", protocol: protoHTTP2, script: wrongPreface(clientPreface[:10])},
}

// hangUpQuietly is hangUp without a note of what was read.
func (p *peer) hangUpQuietly() {
	p.CloseWrite()
	_, err := io.Copy(io.Discard, p.r)
	p.b.note("end: %s", ending(err))
}

// wrongPreface is a script of a client that sends text in place of the preface
// of HTTP/2: the server may say something in frames, but not in HTTP/1.1.
func wrongPreface(text string) func(*bench) {
	return func(b *bench) {
		p := b.dial()
		p.send(text)
		p.CloseWrite()
		b.note("HTTP/1.1: %v", strings.Contains(rest(b, p.Conn), "HTTP/1"))
	}
}

// requests are requests that net/http refuses or answers by itself, and such
// that end too early.
var requests = []behaviour{
	{name: "pipelined", protocol: protoHTTP1, script: func(b *bench) {
		p := b.dial()
		p.send(getText("/1") + getText("/2") + getText("/3")[:5])
		p.response("GET")
		p.response("GET")
		p.send(getText("/3")[5:])
		p.response("GET")
		p.hangUp()
	}},
	{name: "kept alive", protocol: protoHTTP1, script: says(getText("/1"), getText("/2"), getText("/3"))},
	{name: "HTTP 1.0", protocol: protoHTTP1, script: says("GET / HTTP/1.0\r\n\r\n")},
	{name: "HTTP 1.0 keep-alive", protocol: protoHTTP1, script: says("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", getText("/2"))},
	{name: "HTTP 0.9", protocol: protoHTTP1, script: says("GET /\r\n")},
	{name: "HTTP 3.0", protocol: protoHTTP1, loose: refused, script: says(getText("/1"), "GET / HTTP/3.0\r\nHost: a\r\n\r\n")},
	{name: "close", protocol: protoHTTP1, script: says(getText("/1"), request("GET /2", "Connection: close\r\n\r\n"))},
	{name: "HEAD", protocol: protoHTTP1, script: says(request("HEAD /1", "\r\n"), request("HEAD /file", "\r\n"))},
	{name: "asterisk", protocol: protoHTTP1, script: says(getText("/1"), request("OPTIONS *", "\r\n"))},
	{name: "no host", protocol: protoHTTP1, loose: refused, script: says(getText("/1"), "GET /2 HTTP/1.1\r\n\r\n")},
	{name: "two hosts", protocol: protoHTTP1, script: says(request("GET /", "Host: other.test\r\n\r\n"))},
	{name: "not HTTP", protocol: protoHTTP1, loose: refused, script: says(getText("/1"), "EHLO example.test\r\n")},
	{name: "bad method", protocol: protoHTTP1, script: says("G@T / HTTP/1.1\r\nHost: a\r\n\r\n")},
	{name: "bad header", protocol: protoHTTP1, script: says(request("GET /", "a b: c\r\n\r\n"))},
	{name: "NUL", protocol: protoHTTP1, script: says(request("GET /", "A: \x00\r\n\r\n"))},
	{name: "bad length", protocol: protoHTTP1, script: says(request("POST /echo", "Content-Length: -1\r\n\r\n"))},
	{name: "two lengths", protocol: protoHTTP1, script: says(request("POST /echo", "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"))},
	{name: "length and chunks", protocol: protoHTTP1,
		script: says(request("POST /echo", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"), getText("/2"))},
	{name: "unknown encoding", protocol: protoHTTP1, script: says(request("POST /echo", "Transfer-Encoding: other\r\n\r\n"))},
	{name: "bad chunk", protocol: protoHTTP1, script: says(request("POST /echo", "Transfer-Encoding: chunked\r\n\r\nx\r\n"))},
	{name: "unknown expectation", protocol: protoHTTP1, script: says(request("POST /echo", "Expect: more\r\nContent-Length: 0\r\n\r\n"))},
	{name: "empty line first", protocol: protoHTTP1, script: says("\r\n" + getText("/"))},
	{name: "empty line after POST", protocol: protoHTTP1, parked: true,
		differs: "net/http's new connection does not know of the POST", gives: "400 Bad Request",
		script: says(request("POST /echo", "Content-Length: 1\r\n\r\nx"), "\r\n"+getText("/2"))},
	{name: "PRI", protocol: protoHTTP1,
		differs: "a handler that switches to HTTP/2 is not called, since that was not negotiated", gives: "505",
		script: says(clientPreface)},
	{name: "large header", protocol: protoHTTP1, loose: refused, set: smallHeaders,
		script: says(getText("/1"), request("GET /2", "A: ", strings.Repeat("a", 15000), "\r\n\r\n"))},
	{name: "large header", protocol: protoHTTP2, set: smallHeaders, script: func(b *bench) {
		c := b.client()
		b.do(c, "GET", "/", nil) // after that, the client knows the limit
		b.do(c, "GET", "/", nil, func(r *http.Request) { r.Header.Set("A", strings.Repeat("a", 6000)) })
	}},
	{name: "half a line", protocol: protoHTTP1, loose: refused, script: half("GET / HT", (*peer).hangUp, (*peer).fin, (*peer).reset)},
	{name: "half a header", protocol: protoHTTP1, loose: refused,
		script: half(request("GET /", "A: "), (*peer).hangUp, (*peer).fin, (*peer).reset)},
	{name: "half a body", protocol: protoHTTP1,
		script: half(request("POST /echo", "Content-Length: 10\r\n\r\nhalf"), (*peer).hangUp, (*peer).reset)},
	{name: "half a chunk", protocol: protoHTTP1,
		script: half(request("POST /echo", "Transfer-Encoding: chunked\r\n\r\n5\r\nhalf"), (*peer).hangUp, (*peer).reset)},
	{name: "half a body and FIN", protocol: protoHTTP1, script: half(request("POST /echo", "Content-Length: 10\r\n\r\nhalf"), (*peer).fin),
		differs: "an end without close_notify is io.ErrUnexpectedEOF, and not io.EOF between two records", gives: "Connection: close"},
	{name: "large body unread", protocol: protoHTTP1, script: says(request("POST /refuse", "Content-Length: 1000000\r\n\r\n"))},
	{name: "small body unread", protocol: protoHTTP1,
		script: says(request("POST /refuse", "Content-Length: 3\r\n\r\nabc"), getText("/2"))},
}

// smallHeaders limits the header of a request to a little more than a kilobyte:
// net/http adds 4096 bytes.
func smallHeaders(b *bench, srv *http.Server) { srv.MaxHeaderBytes = 1000 }

// half is a script of a client that ends its connection in the middle of a
// request, in each way, with the first request and with a later one.
func half(text string, ends ...func(*peer)) func(*bench) {
	return func(b *bench) {
		for _, first := range []bool{true, false} {
			for _, end := range ends {
				p := b.dial()
				if !first {
					p.send(getText("/"))
					p.response("GET")
					b.pause(1)
				}
				p.send(text)
				end(p)
				b.gone()
				b.drain()
			}
		}
	}
}

// gone waits until no connection is left.
func (b *bench) gone() {
	b.Helper()
	tlstest.Until(b, "the connections' end", func() bool {
		for _, c := range b.clients {
			c.CloseIdleConnections()
		}
		return b.left() <= 0
	})
}

// drain notes what handlers have told so far.
func (b *bench) drain() {
	for len(b.events) > 0 {
		b.event()
	}
}

// exchanges are requests that a handler answers.
var exchanges = []behaviour{
	{name: "echo", script: func(b *bench) {
		c := b.client()
		for _, n := range []int{0, 1, 100, 100000} {
			b.do(c, "POST", "/echo", strings.NewReader(strings.Repeat("x", n)))
			b.pause(1)
		}
		b.do(c, "GET", "/large", nil)
		b.do(c, "GET", "/stream", nil)
	}},
	{name: "statuses", script: func(b *bench) {
		c := b.client()
		for _, status := range []string{"204", "304", "404", "500"} {
			b.do(c, "GET", "/status?"+status, nil)
			b.do(c, "HEAD", "/status?"+status, nil)
			b.pause(1)
		}
	}},
	{name: "file", script: func(b *bench) {
		c := b.client()
		for _, header := range []string{"Range: bytes=4-10", "Range: bytes=0-1,4-5", "Range: bytes=100-",
			"If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"} {
			name, value, _ := strings.Cut(header, ": ")
			resp := tlstest.Value(c.Do(withHeader(b, "GET", "/file", name, value)))(b)
			resp.Header.Del("Content-Type") // of a multipart body it has a random boundary
			io.Copy(io.Discard, resp.Body)
			resp.Body = http.NoBody
			b.noteResponse(resp)
			b.pause(1)
		}
	}},
	{name: "trailers", script: func(b *bench) {
		c := b.client()
		for range 2 {
			b.do(c, "POST", "/trailers", io.MultiReader(strings.NewReader("body ")), func(r *http.Request) {
				r.Trailer = http.Header{"Asked": {"three"}}
			})
			b.pause(1)
		}
	}},
	{name: "trailers raw", protocol: protoHTTP1,
		script: says(request("POST /trailers", "Trailer: Asked\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAsked: three\r\n\r\n"),
			getText("/stream"))},
	{name: "early hints", script: func(b *bench) {
		c := b.client()
		b.do(c, "GET", "/early", nil)
	}},
	{name: "early hints raw", protocol: protoHTTP1, script: func(b *bench) {
		p := b.dial()
		p.send(getText("/early"))
		p.response("GET")
		p.response("GET")
		p.hangUp()
	}},
	{name: "100-continue", script: func(b *bench) {
		for _, path := range []string{"/refuse", "/echo"} {
			c := b.client()
			u := &unread{strings.NewReader("content"), make(chan struct{}, 1)}
			b.do(c, "POST", path, u, func(r *http.Request) { r.Header.Set("Expect", "100-continue"); r.ContentLength = 7 })
			b.note("the body was read: %v", len(u.read) > 0)
			b.gone()
		}
	}},
	{name: "100-continue raw", protocol: protoHTTP1, script: func(b *bench) {
		p := b.dial()
		for range 2 {
			p.send(request("POST /echo", "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"))
			p.response("POST") // 100
			p.send("body")
			p.response("POST")
			b.pause(1)
		}
		p.send(request("POST /refuse", "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"))
		p.response("POST")
		p.hangUp()
	}},
	{name: "handler's mistakes", protocol: protoHTTP1, script: func(b *bench) {
		for _, path := range []string{"/short", "/long", "/twice", "/panic", "/abort"} {
			says(getText("/"), getText(path))(b)
			b.drain()
		}
	}},
	{name: "handler's mistakes", protocol: protoHTTP2, script: func(b *bench) {
		c := b.client()
		for _, path := range []string{"/short", "/long", "/twice", "/panic", "/abort"} {
			b.do(c, "GET", path, nil)
			b.drain()
		}
	}},
	{name: "limited body", script: func(b *bench) {
		c := b.client()
		b.do(c, "POST", "/limited", strings.NewReader("a long body"))
	}},
	{name: "hijack", protocol: protoHTTP1, script: func(b *bench) {
		for _, later := range []bool{false, true} {
			p := b.dial()
			if later {
				p.send(getText("/"))
				p.response("GET")
				b.pause(1)
			}
			p.send(getText("/hijack") + "with the request\n")
			p.line()
			p.send("later\n")
			p.line()
			if later {
				p.send("close\n")
				p.end()
			} else {
				p.hangUp()
				b.event()
			}
		}
	}},
	{name: "hijack", protocol: protoHTTP2, script: func(b *bench) {
		c := b.client()
		b.do(c, "GET", "/hijack", nil)
		b.event()
	}},
	{name: "WebSocket", protocol: protoHTTP1, script: func(b *bench) { upgrade(b) }},
	{name: "SSE", script: events},
	{name: "full duplex", script: func(b *bench) { duplex(b, "POST", "/duplex") }},
	{name: "CONNECT", protocol: protoHTTP1, set: func(b *bench, srv *http.Server) { srv.Handler = tunnel(b) }, script: func(b *bench) {
		for _, later := range []bool{false, true} {
			p := b.dial()
			if later {
				p.send(request("OPTIONS *", "\r\n"))
				p.response("OPTIONS")
				b.pause(1)
			}
			p.send("CONNECT example.test:1 HTTP/1.1\r\nHost: example.test:1\r\n\r\n")
			p.response("CONNECT")
			for range 2 {
				p.send("a line\n")
				p.line()
			}
			p.hangUp()
		}
	}},
	{name: "CONNECT", protocol: protoHTTP2, set: func(b *bench, srv *http.Server) { srv.Handler = tunnel(b) },
		script: func(b *bench) { duplex(b, "CONNECT", "") }},
	{name: "ReverseProxy", set: proxy, script: func(b *bench) {
		c := b.client()
		for range 2 {
			b.do(c, "POST", "/echo", strings.NewReader("content"))
			b.do(c, "POST", "/trailers", io.MultiReader(strings.NewReader("body ")), func(r *http.Request) {
				r.Trailer = http.Header{"Asked": {"three"}}
			})
			b.do(c, "GET", "/large", nil)
			b.pause(1)
		}
	}},
	{name: "ReverseProxy SSE", set: proxy, script: events},
	{name: "ReverseProxy WebSocket", protocol: protoHTTP1, set: proxy, script: func(b *bench) { upgrade(b) }},
	{name: "ReverseProxy without a server", script: func(b *bench) {
		c := b.client()
		b.do(c, "GET", "/", nil)
	}, set: func(b *bench, srv *http.Server) {
		proxy(b, srv)
		srv.Handler.(*httputil.ReverseProxy).Transport = http.NewFileTransport(http.Dir("/nonexistent"))
	}},
}

// withHeader is a request with a header.
func withHeader(b *bench, method, path, name, value string) *http.Request {
	b.Helper()
	req := tlstest.Value(http.NewRequest(method, "https://"+b.addr+path, nil))(b)
	req.Header.Set(name, value)
	return req
}

// upgrade is a script of a client that switches to another protocol, at once
// and after a request.
func upgrade(b *bench) {
	for _, later := range []bool{false, true} {
		p := b.dial()
		if later {
			p.send(getText("/"))
			p.response("GET")
			b.pause(1)
		}
		p.send(request("GET /upgrade", "Connection: Upgrade\r\nUpgrade: example\r\n\r\n"))
		p.response("GET")
		for range 2 {
			p.send("a line\n")
			p.line()
		}
		p.hangUp()
		b.event()
	}
}

// events is a script of a client that gets events as they come, and goes.
func events(b *bench) {
	c := b.client()
	resp := tlstest.Value(c.Get("https://" + b.addr + "/events"))(b)
	lines := bufio.NewReader(resp.Body)
	for range 3 {
		line := tlstest.Value(lines.ReadString('\n'))(b)
		tlstest.Value(lines.ReadString('\n'))(b)
		b.note("%s %q", resp.Header.Get("Content-Type"), line)
		b.step <- struct{}{}
	}
	resp.Body.Close()
	b.event()
}

// duplex is a script of a client that writes when it has read.
func duplex(b *bench, method, path string) {
	c := b.client()
	r, w := io.Pipe()
	req := tlstest.Value(http.NewRequest(method, "https://"+b.addr+path, r))(b)
	go io.WriteString(w, "first\n") // until the server reads it
	resp := tlstest.Value(c.Do(req))(b)
	lines := bufio.NewReader(resp.Body)
	for i := range 3 {
		b.note("%q", tlstest.Value(lines.ReadString('\n'))(b))
		if i < 2 {
			tlstest.Value(io.WriteString(w, "next\n"))(b)
		}
	}
	w.Close()
	b.noteResponse(resp)
}

// tunnel is a handler for CONNECT, which sends each line back.
func tunnel(b *bench) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			b.pages.ServeHTTP(w, r)
			return
		}
		if r.ProtoMajor == 2 {
			r.URL.Path = "/duplex"
			b.pages.ServeHTTP(w, r)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			io.WriteString(c, "again: "+line)
		}
	})
}

// proxy makes the server a proxy for another one, which has the pages.
func proxy(b *bench, srv *http.Server) {
	to := httptest.NewServer(b.pages)
	b.Cleanup(to.Close)
	u := tlstest.Value(url.Parse(to.URL))(b)
	tr := &http.Transport{}
	b.Cleanup(tr.CloseIdleConnections)
	srv.Handler = &httputil.ReverseProxy{ErrorLog: srv.ErrorLog, Transport: tr, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.SetXForwarded()
	}}
}

// ends are the ways in which a connection or a server ends.
var ends = []behaviour{
	{name: "cancelled", loose: vanished, script: func(b *bench) {
		ctx, cancel := context.WithCancel(b.Context())
		c := b.client()
		asked := ask(c, tlstest.Value(http.NewRequestWithContext(ctx, "GET", "https://"+b.addr+"/wait", nil))(b))
		b.event()
		cancel()
		b.event()
		tlstest.Receive(b, asked, "the response")
	}},
	{name: "client gone", protocol: protoHTTP1, script: func(b *bench) {
		for _, later := range []bool{false, true} {
			for _, end := range []func(*peer){
				func(p *peer) { p.CloseWrite() },
				func(p *peer) { tlstest.Must(b, p.tcp.CloseWrite()) },
				(*peer).reset,
				func(p *peer) { tlstest.Value(io.WriteString(p.tcp, getText("/")))(b) },
			} {
				p := b.dial()
				if later {
					p.send(getText("/"))
					p.response("GET")
					b.pause(1)
				}
				p.send(getText("/wait"))
				b.event()
				end(p)
				b.event()
				b.gone()
			}
		}
	}},
	{name: "idle client gone", protocol: protoHTTP1, script: func(b *bench) {
		for _, end := range []func(*peer){
			(*peer).hangUp,
			(*peer).fin,
			(*peer).reset,
			func(p *peer) { tlstest.Value(io.WriteString(p.tcp, getText("/")))(b); p.end() },
		} {
			p := b.dial()
			p.send(getText("/"))
			p.response("GET")
			b.pause(1)
			end(p)
			b.gone()
		}
	}},
	{name: "many", protocol: protoHTTP1, script: many},
	{name: "Shutdown", protocol: protoHTTP1, script: func(b *bench) {
		idle, busy := b.dial(), b.dial()
		idle.send(getText("/"))
		idle.response("GET")
		b.pause(1)
		busy.send(getText("/finish"))
		b.event()
		shut := b.shutdown()
		idle.end()
		b.note("Serve: %v", b.ended())
		tlstest.Nothing(b, shut, "the end of Shutdown")
		b.step <- struct{}{}
		busy.response("GET")
		busy.end()
		tlstest.Must(b, tlstest.Receive(b, shut, "Shutdown"))
	}},
	{name: "Shutdown", protocol: protoHTTP2, script: func(b *bench) {
		idle, busy := b.client(), b.client()
		b.do(idle, "GET", "/", nil)
		asked := ask(busy, tlstest.Value(http.NewRequest("GET", "https://"+b.addr+"/finish", nil))(b))
		b.event()
		shut := b.shutdown()
		b.note("Serve: %v", b.ended())
		tlstest.Nothing(b, shut, "the end of Shutdown")
		b.step <- struct{}{}
		b.note("%+v", tlstest.Receive(b, asked, "the response"))
		tlstest.Must(b, tlstest.Receive(b, shut, "Shutdown"))
	}},
	{name: "Close", protocol: protoHTTP1, script: func(b *bench) {
		idle, busy := b.dial(), b.dial()
		idle.send(getText("/"))
		idle.response("GET")
		b.pause(1)
		busy.send(getText("/wait"))
		b.event()
		tlstest.Must(b, b.srv.Close())
		idle.end()
		busy.end()
		b.event()
	}},
	{name: "Close", protocol: protoHTTP2, script: func(b *bench) {
		asked := ask(b.client(), tlstest.Value(http.NewRequest("POST", "https://"+b.addr+"/wait", strings.NewReader("x")))(b))
		b.event()
		tlstest.Must(b, b.srv.Close())
		b.note("failed: %v", tlstest.Receive(b, asked, "the response").err != nil)
		b.event()
	}},
	{name: "Shutdown that gives up", protocol: protoHTTP1, script: func(b *bench) {
		busy := b.dial()
		busy.send(getText("/finish"))
		b.event()
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		b.note("Shutdown: %v", b.srv.Shutdown(ctx))
		b.step <- struct{}{}
		busy.response("GET")
		busy.end()
	}},
}

// shutdown begins Shutdown, and returns when no connection is accepted any
// more.
func (b *bench) shutdown() <-chan error {
	begun := make(chan struct{})
	b.srv.RegisterOnShutdown(func() { close(begun) })
	shut := tlstest.Later(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
		defer cancel()
		return b.srv.Shutdown(ctx)
	})
	tlstest.Receive(b, begun, "the begin of Shutdown")
	return shut
}

// many is a script of clients whose requests come at once, after a pause and
// without one. Half of them then go, and the server shuts down.
func many(b *bench) {
	n := 1000
	if testing.Short() || tlstest.Sanitized {
		n = 60
	}
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = b.dial()
		get(b, peers[i], "/")
	}
	for round := range 4 {
		if round < 2 {
			b.pause(n)
		}
		var work sync.WaitGroup
		for i, p := range peers {
			work.Go(func() { get(b, p, fmt.Sprintf("/%d/%d", round, i)) })
		}
		work.Wait()
	}
	b.pause(n)
	for _, p := range peers[:n/2] {
		p.CloseWrite()
		p.end()
	}
	b.pause(n - n/2)
	shut := b.shutdown()
	for _, p := range peers[n/2:] {
		p.end()
	}
	tlstest.Must(b, tlstest.Receive(b, shut, "Shutdown"))
}

// settings are the server's limits of time, and others.
var settings = []behaviour{
	{name: "IdleTimeout", protocol: protoHTTP1, set: func(b *bench, srv *http.Server) { srv.IdleTimeout = 50 * time.Millisecond },
		script: func(b *bench) {
			p := b.dial()
			p.send(getText("/"))
			p.response("GET")
			p.end()
		}},
	{name: "ReadHeaderTimeout", protocol: protoHTTP1, cutOff: time.Second, loose: refused,
		set:    func(b *bench, srv *http.Server) { srv.ReadHeaderTimeout, srv.IdleTimeout = b.limit, tlstest.Hang },
		script: func(b *bench) { late(b, request("GET /", "A: ")) }},
	{name: "ReadTimeout", protocol: protoHTTP1, cutOff: time.Second,
		set: func(b *bench, srv *http.Server) { srv.ReadTimeout, srv.IdleTimeout = b.limit, tlstest.Hang },
		script: func(b *bench) {
			late(b, request("POST /echo", "Content-Length: 10\r\n\r\nhalf"))
			b.event()
			b.event()
		}},
	{name: "WriteTimeout", protocol: protoHTTP1, cutOff: time.Second, set: func(b *bench, srv *http.Server) { srv.WriteTimeout = b.limit },
		script: func(b *bench) {
			p := b.dial()
			p.send(getText("/"))
			p.response("GET")
			b.pause(1)
			p.send(getText("/endless"))
			b.event()
			resp, err := http.ReadResponse(p.r, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			b.note("the response is whole: %v", err == nil)
		}},
	{name: "TimeoutHandler", set: func(b *bench, srv *http.Server) {
		srv.Handler = http.TimeoutHandler(b.pages, 20*time.Millisecond, "too slow")
	},
		script: func(b *bench) {
			c := b.client()
			b.do(c, "GET", "/wait", nil)
			b.event()
			b.event()
		}},
	{name: "read deadline", script: func(b *bench) {
		c := b.client()
		never, w := io.Pipe()
		defer w.Close()
		b.do(c, "POST", "/read-deadline", never)
		b.event()
	}},
	{name: "write deadline", protocol: protoHTTP1, script: func(b *bench) {
		p := b.dial()
		p.send(getText("/"))
		p.response("GET")
		b.pause(1)
		p.send(getText("/write-deadline"))
		b.event()
		b.note("%q", rest(b, p.Conn)) // crypto/tls sends a record that cannot be read after one that was too late
	}},
	{name: "SetKeepAlivesEnabled", protocol: protoHTTP1, parked: true,
		differs: "net/http does not know of parked connections, which end with their next response",
		gives:   "Connection: close", script: func(b *bench) {
			p := b.dial()
			p.send(getText("/"))
			p.response("GET")
			b.pause(1)
			b.srv.SetKeepAlivesEnabled(false)
			if b.stack.parks {
				p.send(getText("/2"))
			}
			p.end()
		}},
	{name: "no HTTP 1", protocol: protoHTTP1, set: func(b *bench, srv *http.Server) { srv.Protocols = speaks(false, true) },
		script: func(b *bench) {
			p := b.dial()
			p.send(getText("/"))
			p.end()
		}},
}

// late is a script of two clients whose request never ends, one with a request
// before it.
func late(b *bench, text string) {
	first := b.dial()
	first.send(text)
	second := b.dial()
	second.send(getText("/"))
	second.response("GET")
	b.pause(1)
	second.send(text)
	for _, p := range []*peer{first, second} {
		p.end()
	}
}
