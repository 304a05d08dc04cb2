// Lines is a small key-value store over TLS that speaks in lines. From the root of the module:
//
//	go run ./examples/lines
//	openssl s_client -quiet -connect localhost:7444
//
//	SET key value   OK
//	GET key         VALUE value, or NONE
//	DEL key         OK, or NONE
//	QUIT            BYE, and the connection closes
//	anything else   ERROR and why
//
// A line ends with LF or CR LF. What OnData brings knows nothing of lines: there may be many in one call, or a part of one.
// Many commands may be sent without waiting for answers, which come in the same order. A client that
// does so and does not read them is read no further once session.Config.HighWater bytes wait for it: all that is written
// in OnData counts as an answer to what was read.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
)

const (
	maxLine      = 1024  // bytes, without the LF
	maxKeys      = 10000 // in the store
	idleTimeout  = 5 * time.Minute
	drainTimeout = 10 * time.Second
)

// splitter is the Data of a connection: it makes lines of what comes.
type splitter struct {
	begun   []byte // a line whose end has not come
	tooLong bool   // that line has been too long already; the rest of it is skipped
}

// lines goes through the lines that end in p. It says of each whether it was too long, and then it is empty.
func (s *splitter) lines(p []byte) iter.Seq2[string, bool] {
	return func(yield func(line string, tooLong bool) bool) {
		for len(p) > 0 {
			part, rest, ended := bytes.Cut(p, []byte("\n"))
			if s.begun = append(s.begun, part...); s.tooLong || len(s.begun) > maxLine {
				s.begun, s.tooLong = nil, true
			}
			if !ended {
				return
			}
			line, tooLong := strings.TrimSuffix(string(s.begun), "\r"), s.tooLong
			s.begun, s.tooLong = s.begun[:0], false
			if !yield(line, tooLong) {
				return
			}
			p = rest
		}
	}
}

// store is the Handler, for all loops.
type store struct {
	reactor.BaseHandler
	mu     sync.Mutex
	values map[string]string
}

func (s *store) OnOpen(c *reactor.Conn) { c.Data = new(splitter) }
func (s *store) OnData(c *reactor.Conn, p []byte) {
	for line, tooLong := range c.Data.(*splitter).lines(p) {
		answer := fmt.Sprintf("ERROR the line is longer than %d bytes", maxLine)
		if !tooLong {
			answer = s.do(line)
		}
		if _, err := c.Write([]byte(answer + "\n")); err != nil {
			c.Abort(err) // an answer that is left out would make the next look like it
			return
		}
		if answer == bye {
			c.Close() // what is written goes out first; lines behind QUIT are not looked at
			return
		}
	}
}

const bye = "BYE"

// do answers a command.
func (s *store) do(line string) string {
	command, rest, _ := strings.Cut(line, " ")
	key, value, hasValue := strings.Cut(rest, " ")
	command = strings.ToUpper(command)
	if command == "QUIT" && rest == "" {
		return bye
	}
	if key == "" || hasValue != (command == "SET") {
		command = "" // it has not the right number of words
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.values[key]
	switch {
	case command == "SET" && !known && len(s.values) >= maxKeys:
		return fmt.Sprintf("ERROR there are %d keys already: DEL one first", maxKeys)
	case command == "SET":
		s.values[key] = value
		return "OK"
	case command != "GET" && command != "DEL":
		return "ERROR say SET key value, GET key, DEL key, or QUIT"
	case !known:
		return "NONE"
	case command == "DEL":
		delete(s.values, key)
		return "OK"
	}
	return "VALUE " + old
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lines:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("lines", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7444", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	flags.Parse(args)

	tls, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{ChainFile: *cert, KeyFile: *key}}})
	if err != nil {
		return err
	}
	defer tls.Close()
	handler := &store{values: map[string]string{}}
	server := &reactor.Server{Addr: *listen, Handler: handler, Context: tls, Limits: reactor.Limits{IdleTimeout: idleTimeout}}
	listeners, err := server.Listen()
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", listeners[0].Addr())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listeners...) }()
	var failed error
	select {
	case failed = <-served:
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if server.Shutdown(drain) != nil {
		server.Close()
	}
	return failed
}
