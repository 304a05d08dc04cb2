// Chat is a chat room over TLS: what one client says, all hear. From the root of the module:
//
//	go run ./examples/chat
//	openssl s_client -quiet -connect localhost:7443
//
// A client's first line is its name.
//
// The clients are spread over several loops, so a line goes to most of them from another goroutine than their own. That is
// what Conn.Write allows: it queues a copy, wakes the other loop, and never waits for the peer. A client
// that does not read therefore holds up nobody. What waits for it grows instead; when that
// would be more than maxBehind, the client is told why and closed, and has closeTimeout to read what is left. Nothing
// here limits how fast one client may talk.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
)

const (
	maxLine      = 1024             // bytes, without the line's end
	maxName      = 20               // bytes
	maxBehind    = 256 << 10        // bytes that may wait for a client
	closeTimeout = 30 * time.Second // for a client to read what is left
)

// client is the Data of a connection.
type client struct {
	conn  *reactor.Conn
	name  string // empty until it has said one; guarded by room.mu
	begun []byte // a line whose end has not come
}

// room is the Handler. Several loops call it at once, so one lock orders what is said: all hear it in the same order.
type room struct {
	reactor.BaseHandler
	mu      sync.Mutex
	members map[string]*client // by name
}

func (r *room) OnOpen(c *reactor.Conn) {
	c.Data = &client{conn: c}
	c.Write([]byte("* Your name?\n"))
}

func (r *room) OnData(c *reactor.Conn, p []byte) {
	m := c.Data.(*client)
	p = append(m.begun, p...)
	for {
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		if len(line) > maxLine {
			c.Write(fmt.Appendf(nil, "* Good bye: a line has at most %d bytes.\n", maxLine))
			c.Close()
			return
		}
		if !ended {
			m.begun = bytes.Clone(line) // p is the loop's
			return
		}
		r.hear(m, printable(line))
		p = rest
	}
}

func (r *room) OnClose(c *reactor.Conn, err error) {
	if m, ok := c.Data.(*client); ok { // otherwise the handshake failed
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.members[m.name] == m {
			delete(r.members, m.name)
			r.tellAll("* " + m.name + " leaves.")
		}
	}
}

// hear takes a line: the client's name, if it has none yet, or what it says to all.
func (r *room) hear(m *client, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.members[m.name] == m:
		r.tellAll(m.name + ": " + text)
	case m.name != "": // it is being closed
	case text == "" || len(text) > maxName || strings.ContainsFunc(text, notInName):
		m.conn.Write(fmt.Appendf(nil, "* A name has 1 to %d bytes, letters and digits only. Your name?\n", maxName))
	case r.members[text] != nil:
		m.conn.Write([]byte("* " + text + " is here already. Your name?\n"))
	default:
		m.name, r.members[text] = text, m
		r.tellAll("* " + text + " joins.")
	}
}

// tellAll sends a line to all members, and parts with those that are too far behind. r.mu is held.
func (r *room) tellAll(text string) {
	line := []byte(text + "\n")
	var slow []*client
	for name, m := range r.members {
		queued := m.conn.Queued()
		if queued+len(line) <= maxBehind {
			m.conn.Write(line) // the only error is that it is closed already, and then OnClose comes
			continue
		}
		slow = append(slow, m)
		delete(r.members, name)
		// The queue itself takes more (session.Config.MaxQueue), so there is room for the explanation.
		m.conn.Write(fmt.Appendf(nil, "* Good bye: you read too slowly, %d bytes wait for you.\n", queued))
		m.conn.Close()
	}
	for _, m := range slow {
		r.tellAll("* " + m.name + " leaves. It reads too slowly.")
	}
}

// printable is a line without what could do something to another's terminal.
func printable(line []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, string(line))
}

func notInName(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("chat", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7443", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	loops := flags.Int("loops", 0, "number of loops; 0 is the number of CPUs")
	flags.Parse(args)

	tls, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{{ChainFile: *cert, KeyFile: *key}}})
	if err != nil {
		return err
	}
	defer tls.Close()
	room := &room{members: map[string]*client{}}
	server := &reactor.Server{Addr: *listen, Handler: room, Context: tls, Loops: *loops, Limits: reactor.Limits{CloseTimeout: closeTimeout}}
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
	room.mu.Lock()
	room.tellAll("* The room closes.")
	room.mu.Unlock()
	drain, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if server.Shutdown(drain) != nil {
		server.Close()
	}
	return failed
}
