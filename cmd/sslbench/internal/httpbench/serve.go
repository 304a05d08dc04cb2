package httpbench

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
	"github.com/spacemonad/go-openssl/sslnet/sslhttp"
	"github.com/spf13/pflag"
)

// ServeCommand is the hidden subcommand of sslbench that runs a Server.
const ServeCommand = "serve-http"

// The stacks, which are also the names of the servers in a report.
const (
	CryptoTLS = "crypto/tls"
	Sslnet    = "sslnet"
)

// The sizes of the two bodies, in bytes.
const (
	smallSize = 1 << 10
	largeSize = 1 << 20
)

// Server is an http.Server over one of the two stacks.
type Server struct {
	Addr      string
	Cert, Key string // PEM files: chain and key
	Stack     string // CryptoTLS or Sslnet
	NoTickets bool   // no session is resumed
	Procs     int    // GOMAXPROCS

	requests, resumed, conns atomic.Int64
}

// Flags adds a flag for each setting.
func (s *Server) Flags(f *pflag.FlagSet) {
	f.StringVar(&s.Addr, "addr", "127.0.0.1:0", "listening `address`")
	f.StringVar(&s.Cert, "cert", "", "PEM `file` with the certificate chain")
	f.StringVar(&s.Key, "key", "", "PEM `file` with its key")
	f.StringVar(&s.Stack, "stack", CryptoTLS, "`name` of what TLS is made with: crypto/tls or sslnet")
	f.BoolVar(&s.NoTickets, "no-tickets", false, "let no session be resumed")
	f.IntVar(&s.Procs, "procs", 1, "`number` of processors that run Go code at once (GOMAXPROCS)")
}

// Run prints "listening on ADDRESS" and serves until the process is killed.
func (s *Server) Run(out io.Writer) error {
	serve := map[string]func(*http.Server, net.Listener) error{CryptoTLS: s.serveCryptoTLS, Sslnet: s.serveSslnet}[s.Stack]
	if serve == nil {
		return fmt.Errorf("--stack %q: want %s or %s", s.Stack, CryptoTLS, Sslnet)
	}
	if s.Procs < 1 {
		return fmt.Errorf("--procs %d: at least 1 is needed", s.Procs)
	}
	runtime.GOMAXPROCS(s.Procs)
	l, err := net.Listen("tcp", s.Addr)
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintf(out, "listening on %v\n", l.Addr())
	return serve(&http.Server{Handler: s.handler(), ConnState: s.count}, l)
}

// count keeps the number of connections.
func (s *Server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.conns.Add(1)
	case http.StateClosed:
		s.conns.Add(-1)
	}
}

func (s *Server) serveCryptoTLS(srv *http.Server, l net.Listener) error {
	cert, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		return fmt.Errorf("--cert %s, --key %s: %w", s.Cert, s.Key, err)
	}
	// It takes AES-128 with TLS 1.3 wherever the processor has instructions for AES, and cannot be told.
	srv.TLSConfig = &tls.Config{
		Certificates:           []tls.Certificate{cert},
		MinVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519},
		SessionTicketsDisabled: s.NoTickets,
	}
	return srv.ServeTLS(l, "", "")
}

func (s *Server) serveSslnet(srv *http.Server, l net.Listener) error {
	x, err := cssl.NewServerContext(cssl.Config{
		Certificates: []cssl.Certificate{{ChainFile: s.Cert, KeyFile: s.Key}},
		MinVersion:   cssl.TLS13,
		CipherSuites: "TLS_AES_128_GCM_SHA256",
		Groups:       "X25519",
		ALPN:         sslhttp.ALPN,
		NoTickets:    s.NoTickets,
	})
	if err != nil {
		return err
	}
	defer x.Close()
	return sslhttp.Serve(srv, sslnet.NewListener(l, x))
}

// Stats is what /stats answers. Sizes are in bytes.
type Stats struct {
	Requests int64  `json:"requests"` // answered, of the bodies
	Resumed  int64  `json:"resumed"`  // of these, on connections that resumed a session
	Conns    int64  `json:"connections"`
	Heap     uint64 `json:"heap"`   // Go objects, those that are garbage included
	Stacks   uint64 `json:"stacks"` // of goroutines
}

// handler answers /small, /large and /stats. With ?collect, /stats gives the memory back first that nobody needs.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /small", s.body(smallSize))
	mux.Handle("GET /large", s.body(largeSize))
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("collect") {
			debug.FreeOSMemory()
			debug.FreeOSMemory() // what a finalizer has let go of, and what pools still held
			cssl.TrimMemory()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = json.NewEncoder(w).Encode(Stats{s.requests.Load(), s.resumed.Load(), s.conns.Load(), m.HeapAlloc, m.StackInuse})
	})
	return mux
}

// body answers n bytes.
func (s *Server) body(n int) http.Handler {
	b, length := bytes.Repeat([]byte("0123456789abcdef"), n/16), strconv.Itoa(n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(b)
		s.requests.Add(1)
		if r.TLS != nil && r.TLS.DidResume {
			s.resumed.Add(1)
		}
	})
}
