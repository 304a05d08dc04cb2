// Redis is a key-value store that speaks Redis's protocol (RESP2) over TLS, for Redis's own clients. From the root of the module:
//
//	go run ./examples/redis
//	redis-cli -p 7445 --tls --cacert testdata/certs/root.pem
//	redis-benchmark -p 7445 --tls --cacert testdata/certs/root.pem -t ping,set,get
//
// It knows the commands in arities, with the replies of Redis 7.0 except in rare errors. SET has no options, and inline commands have no quotes. With
// -ca, each client needs a certificate, and its common name is the user.
//
// Memory is bounded: the rest of a pipeline waits until its client has read the replies so far, a long value is queued as fast as
// the client reads it, and a subscriber that is too far behind is closed (Redis calls this its output buffer limit).
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/reactor"
	"github.com/spacemonad/go-openssl/session"
)

const (
	maxBulk      = 64 << 20    // bytes of an argument, and so of a value
	maxCommand   = 2 * maxBulk // bytes
	maxArgs      = 1024
	maxLine      = 64 << 10    // bytes of an inline command
	piece        = 64 << 10    // bytes of replies that are queued at once
	highWater    = 128 << 10   // bytes in the queue, above which the client must read
	maxQueue     = 96 << 20    // bytes in the queue: a message of maxBulk, and others
	maxQueued    = 1 << 30     // bytes in all queues
	spare        = 4 << 10     // bytes of a buffer that an idle client keeps
	stuckTimeout = time.Minute // for a client that takes nothing of its queue
	drainTimeout = 10 * time.Second
)

// client is the Data of a connection. Only the connection's loop uses it, but any loop writes to conn.
type client struct {
	conn     *reactor.Conn
	user     string
	channels map[string]bool // that it has subscribed to
	in       []byte          // commands that wait for their end, or until the client has read
	need     int             // the length of in at which there may be a command
	args     [][]byte        // of a command
	out      []byte          // replies that are not queued
	value    []byte          // what follows out: the rest of a long value, without CR LF
	held     bool            // commands wait for OnDrain
	closed   bool            // no more commands are done
}

// take does the commands in p, and keeps what it does not do.
func (c *client) take(s *store, p []byte) {
	flushed := c.value == nil || c.flush()
	for c.need = 1; len(p) >= c.need && flushed && !c.closed; {
		args, n, err := c.parse(p)
		if err != nil {
			c.error("ERR Protocol error: %v", err)
			c.closed = true
		}
		if n > 0 {
			p, c.need = p[n:], 1
			s.do(c, args)
		}
		if clear(args); c.value != nil || len(c.out) >= piece {
			flushed = c.flush()
		}
	}
	c.in = reuse(append(c.in[:0], p...))
	flushed = flushed && c.flush()
	if c.closed {
		c.conn.Close() // the queue goes out first
	} else if !flushed {
		c.held = true
		c.conn.Pause()
	}
}

// reuse returns p, or nil if p is empty and its buffer is large.
func reuse(p []byte) []byte {
	if len(p) == 0 && cap(p) > spare {
		return nil
	}
	return p
}

// parse returns the words of the command that p begins with, and its length. If its end has not come, the length is 0, and parse
// sets need.
func (c *client) parse(p []byte) (args [][]byte, n int, err error) {
	c.need = len(p) + 1
	if p[0] != '*' { // inline
		if n = bytes.IndexByte(p, '\n') + 1; n == 0 && len(p) > maxLine {
			return nil, 0, errors.New("too big inline request")
		}
		return bytes.Fields(p[:n]), n, nil
	}
	count, n, err := number(p, '*', "multibulk", math.MinInt, maxArgs)
	if n == 0 {
		return nil, 0, err
	}
	c.args = c.args[:0]
	for range count {
		length, line, err := number(p[n:], '$', "bulk", 0, maxBulk)
		if line == 0 {
			return nil, 0, err
		}
		end := n + line + length
		if end > maxCommand {
			return nil, 0, errors.New("too big command")
		} else if end+2 > len(p) {
			c.need = end + 2
			return nil, 0, nil
		}
		c.args = append(c.args, p[n+line:end])
		n = end + 2
	}
	return c.args, n, nil
}

// number parses a line that begins with kind. line is its length, or 0 if its end has not come.
func number(p []byte, kind byte, of string, least, most int) (n, line int, err error) {
	end := bytes.IndexByte(p, '\r')
	if end < 0 && len(p) <= 32 || end+1 == len(p) {
		return 0, 0, nil
	} else if p[0] != kind {
		return 0, 0, fmt.Errorf("expected '%c', got '%c'", kind, p[0])
	}
	n, err = strconv.Atoi(string(p[1:max(1, end)]))
	if err != nil || n < least || n > most {
		return 0, 0, fmt.Errorf("invalid %s length", of)
	}
	return n, end + 2, nil
}

// flush queues replies. It returns false if the client must read before it gets more; then OnDrain follows.
func (c *client) flush() bool {
	c.write(c.out)
	c.out = reuse(c.out[:0])
	for c.value != nil {
		if c.conn.Queued() >= highWater {
			return false
		}
		p := c.value[:min(len(c.value), piece)]
		c.write(p)
		if c.value = c.value[len(p):]; len(c.value) == 0 {
			c.write([]byte("\r\n"))
			c.value = nil
		}
	}
	return c.conn.Queued() < highWater
}

// write queues p, or ends the connection if the queue is full.
func (c *client) write(p []byte) {
	if _, err := c.conn.Write(p); errors.Is(err, session.ErrQueueFull) {
		c.conn.Abort(err)
	}
}

func (c *client) simple(text string) { c.out = append(append(append(c.out, '+'), text...), "\r\n"...) }

func (c *client) number(kind byte, n int) {
	c.out = append(strconv.AppendInt(append(c.out, kind), int64(n), 10), "\r\n"...)
}

// array replies with texts, and says that more elements follow.
func (c *client) array(more int, texts ...string) {
	c.number('*', len(texts)+more)
	for _, text := range texts {
		c.bulk([]byte(text))
	}
}

func (c *client) bulk(p []byte) {
	c.number('$', len(p))
	c.out = append(append(c.out, p...), "\r\n"...)
}

// error replies with a code and a text, on one line.
func (c *client) error(format string, args ...any) {
	c.out = append(append(append(c.out, '-'), oneLine.Replace(fmt.Sprintf(format, args...))...), "\r\n"...)
}

var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// store is the Handler, for all loops.
type store struct {
	reactor.BaseHandler
	mu        sync.Mutex
	values    map[string]*[]byte // nobody changes the bytes of a value
	size, max int                // bytes of all keys and values

	hub      sync.Mutex
	channels map[string]map[*client]bool // who has subscribed to what
}

func (s *store) OnOpen(conn *reactor.Conn) {
	c := &client{conn: conn, user: "default", channels: map[string]bool{}}
	if chain, _ := conn.State().PeerCertificates(); len(chain) > 0 {
		c.user = chain[0].Subject.CommonName
	}
	conn.Data = c
}

func (s *store) OnData(conn *reactor.Conn, p []byte) {
	c := conn.Data.(*client)
	if len(c.in) > 0 {
		if c.in = append(c.in, p...); len(c.in) < c.need {
			return
		}
		p = c.in
	}
	c.take(s, p)
}

func (s *store) OnDrain(conn *reactor.Conn) {
	if c := conn.Data.(*client); c.held {
		c.held = false
		conn.Resume()
		c.take(s, c.in)
	}
}

func (s *store) OnClose(conn *reactor.Conn, err error) {
	if c, ok := conn.Data.(*client); ok { // otherwise the handshake failed
		for channel := range c.channels {
			s.unsubscribe(c, channel)
		}
	}
}

func (s *store) get(key []byte) (value []byte, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.values[string(key)]; v != nil {
		return *v, true
	}
	return nil, false
}

// set stores a value, which nobody may change any more, or returns false if there is no room. s.mu is held.
func (s *store) set(key, value []byte) bool {
	v := s.values[string(key)]
	more := len(key) + len(value)
	if v != nil {
		more = len(value) - len(*v)
	}
	if more > 0 && s.size+more > s.max {
		return false
	}
	if v == nil {
		v = new([]byte)
		s.values[string(key)] = v
	}
	s.size += more
	*v = value
	return true
}

func (s *store) delete(keys [][]byte) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		if v, known := s.values[string(key)]; known {
			delete(s.values, string(key))
			s.size -= len(key) + len(*v)
			n++
		}
	}
	return n
}

func (s *store) subscribe(c *client, channel string) {
	s.hub.Lock()
	defer s.hub.Unlock()
	if s.channels[channel] == nil {
		s.channels[channel] = map[*client]bool{}
	}
	s.channels[channel][c] = true
}

func (s *store) unsubscribe(c *client, channel string) {
	s.hub.Lock()
	defer s.hub.Unlock()
	if delete(s.channels[channel], c); len(s.channels[channel]) == 0 {
		delete(s.channels, channel)
	}
}

// publish sends a message to the subscribers of a channel, who all get all messages in the same order.
func (s *store) publish(channel, message []byte) int {
	s.hub.Lock()
	defer s.hub.Unlock()
	subscribers := s.channels[string(channel)]
	if len(subscribers) > 0 {
		var text client
		text.array(1, "message", string(channel))
		text.bulk(message)
		for c := range subscribers {
			c.write(text.out)
		}
	}
	return len(subscribers)
}

// arities are how many words a command has; if negative, at least.
var arities = map[string]int{
	"get": 2, "set": 3, "del": -2, "incr": 2, "ping": -1, "echo": 2, "quit": -1, "hello": -1, "command": -1,
	"subscribe": -2, "unsubscribe": -1, "publish": 3,
	"acl": -2, "client": -2, "config": -3, // of their subcommands WHOAMI, ID and SETNAME, GET
}

// do replies to a command.
func (s *store) do(c *client, args [][]byte) {
	if len(args) == 0 {
		return
	}
	var lower [16]byte
	n := copy(lower[:], args[0])
	for i, b := range lower[:n] {
		if 'A' <= b && b <= 'Z' {
			lower[i] += 'a' - 'A'
		}
	}
	name := string(lower[:n])
	arity, known := arities[name]
	switch {
	case !known:
		c.error("ERR unknown command '%.128s', with args beginning with: %s", args[0], shown(args[1:]))
	case arity > 0 && len(args) != arity || len(args) < -arity || name == "ping" && len(args) > 2:
		c.error("ERR wrong number of arguments for '%s' command", name)
	case len(c.channels) > 0 && name != "subscribe" && name != "unsubscribe" && name != "ping" && name != "quit":
		c.error("ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context", name)
	default:
		s.command(c, name, args[1:])
	}
}

// shown is what an error shows of words.
func shown(words [][]byte) string {
	var b strings.Builder
	for _, w := range words {
		if b.Len() < 128 {
			fmt.Fprintf(&b, "'%.*s' ", 128-b.Len(), w)
		}
	}
	return b.String()
}

func (s *store) command(c *client, name string, args [][]byte) {
	switch name {
	case "get":
		switch v, ok := s.get(args[0]); {
		case !ok:
			c.number('$', -1)
		case len(v) < piece:
			c.bulk(v)
		default:
			c.number('$', len(v))
			c.value = v
		}
	case "set":
		value := append(make([]byte, 0, len(args[1])), args[1]...) // args[1] is the loop's
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.set(args[0], value) {
			c.error("OOM command not allowed when used memory > 'maxmemory'.")
			return
		}
		c.simple("OK")
	case "incr":
		s.mu.Lock()
		defer s.mu.Unlock()
		n := 0
		if v, known := s.values[string(args[0])]; known {
			var err error
			if n, err = strconv.Atoi(string(*v)); err != nil || n == math.MaxInt {
				c.error("ERR value is not an integer or out of range")
				return
			}
		}
		if !s.set(args[0], strconv.AppendInt(nil, int64(n+1), 10)) {
			c.error("OOM command not allowed when used memory > 'maxmemory'.")
			return
		}
		c.number(':', n+1)
	case "del":
		c.number(':', s.delete(args))
	case "ping":
		if len(c.channels) > 0 {
			c.array(0, "pong", string(bytes.Join(args, nil)))
		} else if len(args) == 0 {
			c.simple("PONG")
		} else {
			c.bulk(args[0])
		}
	case "echo":
		c.bulk(args[0])
	case "quit":
		c.simple("OK")
		c.closed = true
	case "subscribe":
		for _, channel := range args {
			c.channels[string(channel)] = true
			c.array(1, name, string(channel))
			c.number(':', len(c.channels))
			c.flush() // in front of the first message
			s.subscribe(c, string(channel))
		}
	case "unsubscribe":
		if len(args) == 0 {
			for channel := range c.channels {
				args = append(args, []byte(channel))
			}
		}
		for _, channel := range args {
			s.unsubscribe(c, string(channel))
			delete(c.channels, string(channel))
			c.array(1, name, string(channel))
			c.number(':', len(c.channels))
		}
		if len(args) == 0 {
			c.array(2, name)
			c.number('$', -1)
			c.number(':', 0)
		}
	case "publish":
		c.number(':', s.publish(args[0], args[1]))
	case "hello":
		if len(args) > 0 && string(args[0]) != "2" {
			c.error("NOPROTO unsupported protocol version")
			return
		}
		c.array(1, "server", "redis", "proto")
		c.number(':', 2)
	case "command":
		c.number('*', 0)
	default:
		switch name + " " + strings.ToLower(string(args[0])) {
		case "acl whoami":
			c.bulk([]byte(c.user))
		case "client id":
			c.number(':', int(c.conn.ID()))
		case "client setname":
			c.simple("OK")
		case "config get":
			c.array(0, string(args[1]), map[string]string{"appendonly": "no"}[string(args[1])])
		default:
			c.error("ERR unknown subcommand '%.128s'. Try %s HELP.", args[0], strings.ToUpper(name))
		}
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("redis", flag.ExitOnError)
	listen := flags.String("listen", "localhost:7445", "address to listen on")
	cert := flags.String("cert", "testdata/certs/ecdsa.pem", "certificate chain, PEM; the default's key is public")
	key := flags.String("key", "testdata/certs/ecdsa.key", "private key, PEM")
	ca := flags.String("ca", "", "CA of the clients' certificates, PEM; empty: clients need none")
	loops := flags.Int("loops", 0, "number of loops; 0 is the number of CPUs")
	maxMemory := flags.Int("maxmemory", 1<<30, "bytes of keys and values above which nothing more is stored")
	flags.Parse(args)

	config := cssl.Config{Certificates: []cssl.Certificate{{ChainFile: *cert, KeyFile: *key}}, Records: cssl.RecordsDirect, CAFile: *ca}
	if *ca != "" {
		config.Verify = cssl.VerifyRequire
	}
	tls, err := cssl.NewServerContext(config)
	if err != nil {
		return err
	}
	defer tls.Close()
	store := &store{max: *maxMemory, values: map[string]*[]byte{}, channels: map[string]map[*client]bool{}}
	server := &reactor.Server{Addr: *listen, Handler: store, Context: tls, Loops: *loops,
		Session: session.Config{HighWater: highWater, MaxQueue: maxQueue},
		Limits:  reactor.Limits{MaxQueued: maxQueued, WriteTimeout: stuckTimeout}}
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
