// Package goserver has the servers in Go that sslbench compare measures, each as
// a Go programmer writes it without a thought of how it performs: a goroutine and
// a buffer for each connection over crypto/tls, and net/http over crypto/tls or
// over sslnet.
package goserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/sslnet/sslhttp"
)

// Server has the settings of a server.
type Server struct {
	Addr       string
	Cert       string // a PEM file: the chain and its key
	Service    string // echo, reverse, discard or http
	Stack      string // of http: crypto/tls or sslhttp
	MaxVersion string // "1.2", or "" for TLS 1.3
}

// Run serves until the process is killed.
func (s *Server) Run() error {
	l, err := net.Listen("tcp", s.Addr)
	if err != nil {
		return err
	}
	defer l.Close()
	serve := map[string]func(net.Conn) error{"echo": echo, "reverse": reverse, "discard": discard}[s.Service]
	switch {
	case s.Service == "http" && s.Stack == "sslhttp":
		return s.serveSslhttp(l)
	case s.Service != "http" && serve == nil || s.Stack != "crypto/tls":
		return fmt.Errorf("service %q over %q is not known", s.Service, s.Stack)
	}
	cert, err := tls.LoadX509KeyPair(s.Cert, s.Cert)
	if err != nil {
		return err
	}
	// With TLS 1.3, crypto/tls takes AES-128 where a client offers it, and cannot
	// be told otherwise.
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if s.MaxVersion == "1.2" {
		config.MaxVersion = tls.VersionTLS12
	}
	if serve == nil {
		return (&http.Server{Handler: Handler(), TLSConfig: config}).ServeTLS(l, "", "")
	}
	for l = tls.NewListener(l, config); ; {
		c, err := l.Accept()
		if err != nil {
			time.Sleep(5 * time.Millisecond) // as net/http does: out of files, perhaps
			continue
		}
		go func() {
			defer c.Close()
			_ = serve(c)
		}()
	}
}

// serveSslhttp has the cipher suite that crypto/tls takes, and direct records.
func (s *Server) serveSslhttp(l net.Listener) error {
	x, err := cssl.NewServerContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: s.Cert, KeyFile: s.Cert}},
		CipherSuites: "TLS_AES_128_GCM_SHA256",
		ALPN:         sslhttp.ALPN, Records: cssl.RecordsDirect, ReleaseBuffers: true,
	})
	if err != nil {
		return err
	}
	defer x.Close()
	return sslhttp.Serve(&http.Server{Handler: Handler()}, sslnet.NewListener(l, x))
}

// readSize is the size of a connection's buffer: a TLS record carries no more.
const readSize = 16 << 10

func echo(c net.Conn) error    { return pump(c, c) }
func discard(c net.Conn) error { return pump(io.Discard, c) }

// pump hides the types, which have ways of their own to copy.
func pump(to io.Writer, from io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, readSize))
	return err
}

// reverse sends back each line reversed, as openssl s_server -rev does; of one
// that is longer than the buffer, each piece.
func reverse(c net.Conn) error {
	r := bufio.NewReaderSize(c, readSize)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		slices.Reverse(line)
		if _, err := c.Write(append(line, '\n')); err != nil {
			return err
		}
	}
}

// Handler serves /N, N bytes of Body, and /free, which gives the memory back that
// nobody needs.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 0 || n > len(Body) {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", strconv.Itoa(n))
		_, _ = w.Write(Body[:n])
	})
	mux.HandleFunc("GET /free", func(w http.ResponseWriter, _ *http.Request) {
		debug.FreeOSMemory()
		debug.FreeOSMemory() // what a finalizer has let go of, and what pools still held
		cssl.TrimMemory()
		_, _ = io.WriteString(w, "ok")
	})
	return mux
}

// Body is the largest page. Its bytes differ from place to place.
var Body = func() []byte {
	p := make([]byte, 1<<20)
	for i := range p {
		p[i] = byte(i*131 + i>>8*17 + i>>16)
	}
	return p
}()
