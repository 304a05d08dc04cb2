package server

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/spf13/pflag"
)

// CryptoTLSCommand is the hidden subcommand of sslbench that runs a GoServer.
const CryptoTLSCommand = "serve-crypto-tls"

// GoServer is the server that a Go programmer writes without a thought of how it performs: crypto/tls, a
// goroutine for each connection, one buffer for each.
type GoServer struct {
	Addr       string
	Cert, Key  string // PEM files: chain and key
	Service    string // echo, reverse or discard
	MaxVersion string // "1.2", "1.3" or "" for what crypto/tls has
}

// Flags adds a flag for each setting.
func (s *GoServer) Flags(f *pflag.FlagSet) {
	f.StringVar(&s.Addr, "addr", "127.0.0.1:0", "listening `address`")
	f.StringVar(&s.Cert, "cert", "", "PEM `file` with the certificate chain")
	f.StringVar(&s.Key, "key", "", "PEM `file` with its key")
	f.StringVar(&s.Service, "service", "echo", "echo, reverse or discard")
	f.StringVar(&s.MaxVersion, "max-version", "", "highest TLS `version`: 1.2 or 1.3")
}

// goServices has what is done with a connection.
var goServices = map[string]func(net.Conn) error{
	"echo":    goEcho,
	"reverse": goReverse,
	"discard": goDiscard,
}

// Run prints "listening on ADDRESS" and serves until the process is killed.
func (s *GoServer) Run(out io.Writer) error {
	serve := goServices[s.Service]
	if serve == nil {
		return fmt.Errorf("--service %q: want echo, reverse or discard", s.Service)
	}
	versions := map[string]uint16{"": 0, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}
	version, ok := versions[s.MaxVersion]
	if !ok {
		return fmt.Errorf("--max-version %q: want 1.2 or 1.3", s.MaxVersion)
	}
	cert, err := tls.LoadX509KeyPair(s.Cert, s.Key)
	if err != nil {
		return fmt.Errorf("--cert %s, --key %s: %w", s.Cert, s.Key, err)
	}
	l, err := tls.Listen("tcp", s.Addr, &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		MaxVersion:   version,
	})
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintf(out, "listening on %v\n", l.Addr())
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
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

// goRead is the size of a connection's buffer: a TLS record carries no more.
const goRead = 16 << 10

func goEcho(c net.Conn) error {
	buf := make([]byte, goRead)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return err
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
	}
}

func goDiscard(c net.Conn) error {
	buf := make([]byte, goRead)
	for {
		if _, err := c.Read(buf); err != nil {
			return err
		}
	}
}

// goReverse answers each line with the same line backwards, as openssl s_server -rev does; of one that is
// longer than the buffer, each piece.
func goReverse(c net.Conn) error {
	r := bufio.NewReaderSize(c, goRead)
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
