// Redis is a key-value store that speaks Redis's protocol (RESP2 and RESP3) over TLS, for Redis's own clients. From the root of the module:
//
//	go run ./examples/redis
//	redis-cli -p 7445 --tls --cacert testdata/certs/root.pem
//	redis-benchmark -p 7445 --tls --cacert testdata/certs/root.pem -t ping,set,get
//
// Its replies are those of Redis 7.0, byte by byte (TestLikeRedis). It has the commands in arities; SET and HELLO have no options, inline
// commands have no quotes, and a value has at most 64 MiB. With -ca, each client needs a certificate, and its common name is the user.
//
// Memory is bounded: by -maxmemory for all keys, values and subscriptions, and for each connection by a command, the replies in its queue,
// and the value that it reads, which another one may have replaced meanwhile. The rest of a pipeline waits until its client has read the
// replies so far, a long value is queued as fast as the client reads it, and a subscriber that is too far behind is closed (Redis calls
// this its output buffer limit).
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/signal"
	"slices"
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
	maxBulk    = 64 << 20  // bytes of an argument, and so of a value
	maxCommand = 80 << 20  // bytes of a command's arguments
	overhead   = 96        // bytes that count for an argument, a key with its value, or a subscription besides what is in it
	maxLine    = 64 << 10  // bytes of an inline command, or of a count
	piece      = 64 << 10  // bytes of replies that are queued at once
	highWater  = 128 << 10 // bytes in the queue, above which the client must read
	maxQueue   = 96 << 20  // bytes in the queue: the replies to a command, or a message of maxBulk and others
	maxQueued  = 1 << 30   // bytes in all queues
	spare      = 1 << 10   // elements of a buffer that an idle client keeps
)

// client is the Data of a connection. Only the connection's loop uses it, but with store.mu any loop reads proto and writes to conn.
type client struct {
	conn     *reactor.Conn
	user     string
	proto    int             // RESP2 or RESP3
	channels map[string]bool // that it has subscribed to
	in       []byte          // what is not done yet
	args     []string        // of a command
	left     int             // how many more of them come
	size     int             // of args, in bytes
	out      []byte          // replies that are not queued
	value    string          // what follows out: the rest of a long value, without CR LF
	closed   bool            // no more commands are done
}

// take does the commands in c.in that are whole, until the client must read.
func (c *client) take(s *store) {
	ready, done := c.value == "" || c.flush(), 0
	for n := 1; n > 0 && ready && !c.closed && done < len(c.in); done += n {
		var err error
		if n, err = c.parse(c.in[done:]); err != nil {
			c.fail("ERR Protocol error: %v", err)
			c.closed = true
		} else if c.left == 0 && len(c.args) > 0 {
			ready = s.do(c, c.args)
			c.args, c.size = reuse(c.args), 0
		}
	}
	if c.in = slices.Delete(c.in, 0, done); len(c.in) == 0 {
		c.in = reuse(c.in)
	}
	ready = ready && c.flush()
	c.out = reuse(c.out)
	if c.closed {
		c.conn.Close() // the queue goes out first
	} else if !ready {
		c.conn.Pause() // until OnDrain
	}
}

// reuse empties a buffer, and frees a large one.
func reuse[T any](buf []T) []T {
	if clear(buf); cap(buf) > spare {
		return nil
	}
	return buf[:0]
}

// parse takes an inline command, the number of a command's arguments, or one of them, and returns its length in p, or 0 if its end has
// not come. A command is whole when left is 0.
func (c *client) parse(p []byte) (n int, err error) {
	if c.left == 0 && p[0] != '*' {
		return c.inline(p)
	}
	end := bytes.IndexByte(p, '\r')
	if end < 0 && len(p) > maxLine {
		return 0, fmt.Errorf("too big %s count string", []string{"mbulk", "bulk"}[min(c.left, 1)])
	} else if end < 0 || end+1 == len(p) {
		return 0, nil
	}
	number, ok := integer(string(p[min(1, end):end]))
	switch n = end + 2; {
	case c.left == 0 && (!ok || number > math.MaxInt32):
		return 0, errors.New("invalid multibulk length")
	case c.left == 0:
		c.left = max(number, 0)
		return n, nil
	case p[0] != '$':
		return 0, fmt.Errorf("expected '$', got '%s'", p[:1])
	case !ok || number < 0 || number > maxBulk:
		return 0, errors.New("invalid bulk length")
	case c.size+overhead+number > maxCommand:
		return 0, errors.New("too big command")
	case n+number+2 > len(p):
		return 0, nil
	}
	c.args = append(c.args, string(p[n:n+number]))
	c.left--
	c.size += overhead + number
	return n + number + 2, nil
}

// inline is parse for a line of words.
func (c *client) inline(p []byte) (n int, err error) {
	n = bytes.IndexByte(p, '\n') + 1
	if n == 0 && len(p) > maxLine {
		return 0, errors.New("too big inline request")
	} else if bytes.ContainsAny(p[:n], `"'`) {
		return 0, errors.New("unbalanced quotes in request")
	}
	for _, word := range bytes.FieldsFunc(p[:n], func(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }) {
		c.args = append(c.args, string(word))
	}
	return n, nil
}

// integer parses a number as Redis does: it has no spaces, plus sign or leading zeros.
func integer(s string) (n int, ok bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && strconv.Itoa(n) == s
}

// flush queues replies. It returns false if the client must read before it gets more; then OnDrain follows.
func (c *client) flush() bool {
	for {
		n := min(len(c.value), piece)
		c.out = append(c.out, c.value[:n]...)
		if c.value = c.value[n:]; n > 0 && c.value == "" {
			c.line("")
		}
		c.write(c.out)
		c.out = c.out[:0]
		if ready := c.conn.Queued() < highWater; !ready || c.value == "" {
			return ready
		}
	}
}

// write queues p, or ends the connection if the queue is full.
func (c *client) write(p []byte) {
	if _, err := c.conn.Write(p); errors.Is(err, session.ErrQueueFull) {
		c.conn.Abort(err)
	}
}

// line replies with a status (+), null or an error (-).
func (c *client) line(text string) { c.out = append(append(c.out, text...), "\r\n"...) }

func (c *client) fail(format string, args ...any) {
	c.line("-" + strings.NewReplacer("\r", " ", "\n", " ").Replace(fmt.Sprintf(format, args...)))
}

func (c *client) bulk(texts ...string) {
	for _, text := range texts {
		c.head('$', len(text))
		c.line(text)
	}
}

// head replies with a number (:), or begins a string ($), an array (*), a push (>) or a map (%); RESP2 has arrays for the latter two.
func (c *client) head(kind byte, n int) {
	if c.proto == 2 && kind == '%' {
		kind, n = '*', 2*n
	} else if c.proto == 2 && kind == '>' {
		kind = '*'
	}
	c.out = strconv.AppendInt(append(c.out, kind), int64(n), 10)
	c.line("")
}

func (c *client) null() { c.line([]string{"$-1", "_"}[c.proto-2]) }

// subscribed replies to a change of one subscription.
func (c *client) subscribed(how, channel string) {
	c.head('>', 3)
	c.bulk(how, channel)
	c.head(':', len(c.channels))
}

// store is the Handler, for all loops.
type store struct {
	reactor.BaseHandler
	mu        sync.Mutex // one command is done at a time
	values    map[string]string
	size, max int                         // bytes of all keys, values and subscriptions
	channels  map[string]map[*client]bool // who has subscribed to what
}

func (s *store) OnOpen(conn *reactor.Conn) {
	c := &client{conn: conn, user: "default", proto: 2, channels: map[string]bool{}}
	if chain, _ := conn.State().PeerCertificates(); len(chain) > 0 {
		c.user = chain[0].Subject.CommonName
	}
	conn.Data = c
}

func (s *store) OnData(conn *reactor.Conn, p []byte) {
	c := conn.Data.(*client)
	c.in = append(c.in, p...)
	c.take(s)
}

func (s *store) OnDrain(conn *reactor.Conn) {
	conn.Resume()
	conn.Data.(*client).take(s)
}

func (s *store) OnClose(conn *reactor.Conn, err error) {
	if c, ok := conn.Data.(*client); ok { // otherwise the handshake failed
		s.mu.Lock()
		defer s.mu.Unlock()
		for channel := range c.channels {
			s.unsubscribe(c, channel)
		}
	}
}

// grow takes n bytes of max, or replies with an error and returns false.
func (s *store) grow(c *client, n int) bool {
	if n > 0 && s.size+n > s.max {
		c.fail("OOM command not allowed when used memory > 'maxmemory'.")
		return false
	}
	s.size += n
	return true
}

func (s *store) unsubscribe(c *client, channel string) {
	if c.channels[channel] {
		s.size -= overhead + len(channel)
		delete(c.channels, channel)
	}
	if delete(s.channels[channel], c); len(s.channels[channel]) == 0 {
		delete(s.channels, channel)
	}
}

// arities are how many words a command has; if negative, at least.
var arities = map[string]int{
	"ping": -1, "get": 2, "set": -3, "del": -2, "subscribe": -2, "unsubscribe": -1, "publish": 3, "hello": -1, "quit": -1,
	"acl": -2, "acl|whoami": 2, "client": -2, "client|setinfo": 4, "command": -2, "command|docs": -2, "config": -2, "config|get": -3,
}

// do replies to a command. It returns false if the client must read before the next one.
func (s *store) do(c *client, args []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.ToLower(args[0])
	family := slices.Contains([]string{"acl", "client", "command", "config"}, name)
	if family && len(args) > 1 {
		name += "|" + strings.ToLower(args[1])
	}
	arity, known := arities[name]
	switch {
	case !known && family:
		c.fail("ERR unknown subcommand '%s'. Try %s HELP.", cut(args[1], 128), strings.ToUpper(args[0]))
	case !known || strings.Contains(args[0], "|"):
		rest := ""
		for i := 1; i < len(args) && len(rest) < 128; i++ {
			rest += "'" + cut(args[i], 128-len(rest)) + "' "
		}
		c.fail("ERR unknown command '%s', with args beginning with: %s", cut(args[0], 128), rest)
	case arity > 0 && len(args) != arity || len(args) < -arity || name == "ping" && len(args) > 2:
		c.fail("ERR wrong number of arguments for '%s' command", name)
	case c.proto == 2 && len(c.channels) > 0 && !slices.Contains([]string{"subscribe", "unsubscribe", "ping", "quit"}, name):
		c.fail("ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context", name)
	default:
		s.command(c, name, args[1:])
	}
	// What a subscriber gets is queued in front of the next message.
	return len(c.channels) == 0 && c.value == "" && len(c.out) < piece || c.flush()
}

// cut returns what an error shows of a word.
func cut(word string, n int) string {
	word, _, _ = strings.Cut(word, "\x00")
	return word[:min(n, len(word))]
}

func (s *store) command(c *client, name string, args []string) {
	switch name {
	case "ping":
		if c.proto == 2 && len(c.channels) > 0 {
			c.head('*', 2)
			c.bulk("pong", strings.Join(args, ""))
		} else if len(args) == 1 {
			c.bulk(args[0])
		} else {
			c.line("+PONG")
		}
	case "get":
		if value, known := s.values[args[0]]; !known {
			c.null()
		} else if len(value) < piece || len(c.channels) > 0 { // a message may not come into the midst
			c.bulk(value)
		} else {
			c.head('$', len(value))
			c.value = value
		}
	case "set":
		more := overhead + len(args[0]) + len(args[1])
		if old, known := s.values[args[0]]; known {
			more = len(args[1]) - len(old)
		}
		if len(args) > 2 {
			c.fail("ERR syntax error")
		} else if s.grow(c, more) {
			s.values[args[0]] = args[1]
			c.line("+OK")
		}
	case "del":
		before := len(s.values)
		for _, key := range args {
			if value, known := s.values[key]; known {
				s.size -= overhead + len(key) + len(value)
				delete(s.values, key)
			}
		}
		c.head(':', before-len(s.values))
	case "subscribe":
		for _, channel := range args {
			if !c.channels[channel] && !s.grow(c, overhead+len(channel)) {
				return
			} else if s.channels[channel] == nil {
				s.channels[channel] = map[*client]bool{}
			}
			s.channels[channel][c], c.channels[channel] = true, true
			c.subscribed(name, channel)
		}
	case "unsubscribe":
		if len(args) == 0 && len(c.channels) == 0 {
			c.head('>', 3)
			c.bulk(name)
			c.null()
			c.head(':', 0)
		} else if len(args) == 0 {
			args = slices.Collect(maps.Keys(c.channels))
		}
		for _, channel := range args {
			s.unsubscribe(c, channel)
			c.subscribed(name, channel)
		}
	case "publish":
		message := client{proto: 3}
		message.head('>', 3)
		message.bulk("message", args[0], args[1])
		for subscriber := range s.channels[args[0]] {
			message.out[0] = "*>"[subscriber.proto-2]
			subscriber.write(message.out)
		}
		c.head(':', len(s.channels[args[0]]))
	case "hello":
		proto, ok := integer(append(args, strconv.Itoa(c.proto))[0])
		if !ok {
			c.fail("ERR Protocol version is not an integer or out of range")
		} else if proto < 2 || proto > 3 {
			c.fail("NOPROTO unsupported protocol version")
		} else if len(args) > 1 {
			c.fail("ERR Syntax error in HELLO option '%s'", cut(args[1], len(args[1])))
		} else {
			c.proto = proto
			c.head('%', 7)
			c.bulk("server", "redis", "version", "7.0.0", "proto")
			c.head(':', proto)
			c.bulk("id")
			c.head(':', int(c.conn.ID()))
			c.bulk("mode", "standalone", "role", "master", "modules")
			c.head('*', 0)
		}
	case "acl|whoami":
		c.bulk(c.user)
	case "command|docs":
		c.head('%', 0)
	case "config|get": // redis-benchmark asks for these
		settings := map[string]string{"save": "", "appendonly": "no"}
		maps.DeleteFunc(settings, func(name, _ string) bool { return !slices.Contains(args[1:], name) })
		c.head('%', len(settings))
		for name, value := range settings {
			c.bulk(name, value)
		}
	case "client|setinfo":
		c.line("+OK")
	case "quit":
		c.line("+OK")
		c.closed = true
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
	maxMemory := flags.Int("maxmemory", 1<<30, "bytes of keys, values and subscriptions above which nothing more is stored")
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
	store := &store{max: *maxMemory, values: map[string]string{}, channels: map[string]map[*client]bool{}}
	server := &reactor.Server{Addr: *listen, Handler: store, Context: tls, Loops: *loops,
		Session: session.Config{HighWater: highWater, MaxQueue: maxQueue},
		Limits:  reactor.Limits{MaxConns: 10_000, MaxQueued: maxQueued, WriteTimeout: time.Minute}}
	listeners, err := server.Listen()
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", listeners[0].Addr())
	context.AfterFunc(ctx, server.StopAccepting)
	err = server.Serve(listeners...)
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if server.Shutdown(drain) != nil {
		server.Close()
	}
	if errors.Is(err, reactor.ErrServerClosed) {
		return nil
	}
	return err
}
