package sslhttp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// A behaviour is a row of the table: what a client does to a server, over each
// stack. The transcripts must be equal.
type behaviour struct {
	name string
	// protocol is the one that the client negotiates. Empty is both.
	protocol string
	// set changes the server, whose handler is that of b.pages. It may be nil.
	set func(b *bench, srv *http.Server)
	// script is the client. It notes what it sees.
	script func(b *bench)
	// differs says why the transcripts of this package, or only those with
	// parking, are not that of net/http over crypto/tls. gives is in those that
	// differ.
	differs, gives string
	parked         bool // only with parking
	// cutOff is a limit of time that the script runs into, in b.limit. A busy
	// machine may need more to come there: then the row runs again with more.
	cutOff time.Duration
	// loose makes two transcripts equal of which net/http may give either, as
	// timing has it.
	loose *strings.Replacer
}

// Loose parts of transcripts.
var (
	// net/http reports StateActive before a request that it refuses only if it
	// has to read for it, and not if it has read all while the connection was
	// idle. With parking, it always has to read.
	refused = strings.NewReplacer("idle active closed", "idle closed")
	// The response to a client that has gone may fail or not.
	vanished = strings.NewReplacer("active idle closed", "active closed")
)

// A stack is a way to serve HTTP over TLS.
type stack struct {
	name  string
	ours  bool
	parks bool
	set   func(*cssl.Config)
}

// stacks are those that the table compares. The first one is the model.
var stacks = []stack{
	{name: "crypto/tls"},
	{name: "sslhttp", ours: true},
	{name: "parking", ours: true, parks: true},
	{name: "direct", ours: true, parks: true, set: func(c *cssl.Config) { c.Records = cssl.RecordsDirect }},
}

// A bench is a server over one stack and what was seen there.
type bench struct {
	*testing.T
	stack    stack
	protocol string
	srv      *http.Server
	addr     string
	log      tlstest.Buffer
	l        *listener // nil over crypto/tls
	pages    *http.ServeMux
	limit    time.Duration // of the row's cutOff
	ended    func() error  // waits for Serve, and returns its error
	events   chan string   // from handlers
	step     chan struct{} // lets handlers go on

	mu      sync.Mutex
	lines   []string
	conns   []net.Conn // in the order of StateNew
	states  map[net.Conn][]http.ConnState
	dialed  int
	served  map[net.Conn]struct{} // those that net/http has, unless they are new
	clients []*http.Client
}

// TestBehaviours: net/http behaves over this package, parked or not, as it does
// over crypto/tls.
//
// The rows run at the same time, more of them than -parallel has it: they wait
// for timeouts, and net/http pauses for half a second when it has refused a
// request.
func TestBehaviours(t *testing.T) {
	var work sync.WaitGroup
	turns := make(chan struct{}, 16)
	for _, row := range slices.Concat(settings, scanners, requests, exchanges, ends) {
		for _, alpn := range []string{protoHTTP1, protoHTTP2} {
			if row.protocol != "" && row.protocol != alpn {
				continue
			}
			work.Go(func() {
				turns <- struct{}{}
				defer func() { <-turns }()
				t.Run(row.name+", "+strings.ReplaceAll(alpn, "/", ""), func(t *testing.T) { row.run(t, alpn) })
			})
		}
	}
	work.Wait()
}

// run compares the stacks.
func (row behaviour) run(t *testing.T, alpn string) {
	var wrong []string
	for limit := row.cutOff; ; limit *= 4 {
		transcripts := make([]string, len(stacks))
		var work sync.WaitGroup
		for i, s := range stacks {
			work.Go(func() {
				t.Run(strings.ReplaceAll(s.name, "/", ""), func(t *testing.T) { transcripts[i] = row.over(t, s, alpn, limit) })
			})
		}
		work.Wait()
		if t.Failed() {
			return
		}
		if wrong = row.compare(transcripts); len(wrong) == 0 || limit == 0 || limit > tlstest.Hang/4 {
			break
		}
	}
	for _, what := range wrong {
		t.Error(what)
	}
}

// compare returns what is wrong with the transcripts.
func (row behaviour) compare(transcripts []string) (wrong []string) {
	if row.loose != nil {
		for i, text := range transcripts {
			transcripts[i] = row.loose.Replace(text)
		}
	}
	want := transcripts[0]
	for i, got := range transcripts[1:] {
		s := stacks[i+1]
		if row.differs == "" || row.parked && !s.parks {
			if got != want {
				wrong = append(wrong, fmt.Sprintf("%s:\n%s\nwant, as over %s:\n%s", s.name, got, stacks[0].name, want))
			}
		} else if got == want || !strings.Contains(got, row.gives) {
			wrong = append(wrong, fmt.Sprintf("%s: the listed difference (%s) is not there:\n%s", s.name, row.differs, got))
		}
	}
	return wrong
}

// over returns the transcript over one stack.
func (row behaviour) over(t *testing.T, s stack, alpn string, limit time.Duration) string {
	b := &bench{T: t, stack: s, protocol: alpn, limit: limit,
		pages: http.NewServeMux(), states: map[net.Conn][]http.ConnState{}, served: map[net.Conn]struct{}{}, events: make(chan string, 100), step: make(chan struct{})}
	b.addPages()
	b.srv = &http.Server{Handler: b.pages, ConnState: b.observe, ErrorLog: log.New(&b.log, "", 0)}
	if row.set != nil {
		row.set(b, b.srv)
	}
	served := b.serve()
	b.ended = sync.OnceValue(func() error { return tlstest.Receive(b, served, "Serve to return") })
	row.script(b)
	b.gone()
	tlstest.Must(t, b.srv.Close())
	tlstest.IsError(t, "Serve", b.ended(), http.ErrServerClosed)
	if b.l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
		defer cancel()
		tlstest.Must(t, b.l.lines.Flush(ctx))
	}
	for _, c := range b.conns {
		b.note("states: %v", b.states[c])
	}
	logged := masked(b.log.String())
	slices.Sort(logged)
	for _, line := range logged {
		b.note("log: %s", line)
	}
	return strings.Join(b.lines, "\n")
}

// serve starts the server, and returns where the error of Serve comes.
func (b *bench) serve() <-chan error {
	if !b.stack.ours {
		l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(b)
		b.addr = l.Addr().String()
		cert := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(b)
		b.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
		return tlstest.Later(func() error { return b.srv.ServeTLS(l, "", "") })
	}
	var change []func(*cssl.Config)
	if b.stack.set != nil {
		change = append(change, b.stack.set)
	}
	l := listen(b, serverContext(b, change...))
	l.AllowHTTP2()
	b.addr = l.Addr().String()
	after := time.Duration(-1)
	if b.stack.parks {
		after = soonParked
	}
	b.l = newListener(b.srv, l, prepare(b.srv), after)
	next := b.srv.ConnState
	b.srv.ConnState = func(c net.Conn, s http.ConnState) {
		next(c, s)
		b.mu.Lock()
		defer b.mu.Unlock()
		switch s {
		case http.StateActive:
			b.served[c] = struct{}{}
		case http.StateClosed, http.StateHijacked:
			delete(b.served, c)
		}
	}
	return tlstest.Later(func() error {
		err := b.srv.Serve(b.l)
		b.l.work.Wait()
		return err
	})
}

// observe is the server's ConnState.
func (b *bench) observe(c net.Conn, s http.ConnState) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.states[c] == nil {
		b.conns = append(b.conns, c)
	}
	b.states[c] = append(b.states[c], s)
}

// note adds a line to the transcript.
func (b *bench) note(format string, a ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, fmt.Sprintf(format, a...))
}

// event notes what a handler has told. If the row has a limit that came too
// early, there is no handler.
func (b *bench) event() {
	b.Helper()
	tlstest.Until(b, "the handler", func() bool {
		left := b.left()
		select {
		case e := <-b.events:
			b.note("handler: %s", e)
			return true
		default:
		}
		if b.limit > 0 && left == 0 {
			b.note("no handler")
			return true
		}
		return false
	})
}

// count returns how many connections are in a state.
func (b *bench) count(want http.ConnState) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, st := range b.states {
		if st[len(st)-1] == want {
			n++
		}
	}
	return n
}

// left returns how many connections have been made and not ended.
func (b *bench) left() int {
	ended := b.count(http.StateClosed) + b.count(http.StateHijacked)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dialed - ended
}

// pause waits until n connections are idle and, if the stack parks, parked, or
// there are too few.
func (b *bench) pause(n int) {
	b.Helper()
	tlstest.Until(b, fmt.Sprint(n, " idle connections"), func() bool {
		left := b.left()
		if left < n {
			b.note("a connection has ended")
			return true
		}
		if b.count(http.StateIdle) != n || !b.stack.parks || b.protocol != protoHTTP1 {
			return b.count(http.StateIdle) == n
		}
		b.mu.Lock()
		served := len(b.served)
		b.mu.Unlock()
		b.l.park.mu.Lock()
		defer b.l.park.mu.Unlock()
		return len(b.l.park.parked) == n && served <= left-n
	})
}

var (
	address = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
	date    = regexp.MustCompile(`Date: [^\r\n]*`)
	reason  = regexp.MustCompile(`(TLS handshake error from ADDR: |reading preface from client ADDR: ).*`)
)

// masked returns the lines of a log without what is never the same: addresses,
// stacks, and the words of the TLS library.
func masked(text string) (lines []string) {
	stack := false
	for line := range strings.Lines(text) {
		line = address.ReplaceAllString(strings.TrimSpace(line), "ADDR")
		if !strings.Contains(line, "HTTP request to an HTTPS server") {
			line = reason.ReplaceAllString(line, "${1}...")
		}
		if stack = stack && !strings.HasPrefix(line, "http") || strings.HasPrefix(line, "goroutine "); !stack && line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// A peer is a client's connection, of which it notes all that it reads.
type peer struct {
	b   *bench
	tcp *net.TCPConn
	*tls.Conn
	raw bytes.Buffer
	r   *bufio.Reader
}

// dialTCP connects without TLS.
func (b *bench) dialTCP() *net.TCPConn {
	b.Helper()
	b.mu.Lock()
	b.dialed++
	b.mu.Unlock()
	return rawTCP(b, b.addr).(*net.TCPConn)
}

// dial connects with the row's protocol in ALPN.
func (b *bench) dial() *peer {
	b.Helper()
	p := &peer{b: b, tcp: b.dialTCP()}
	p.Conn = tls.Client(p.tcp, &tls.Config{RootCAs: roots(b), ServerName: "localhost", NextProtos: []string{b.protocol}})
	tlstest.Must(b, p.Handshake())
	p.r = bufio.NewReader(io.TeeReader(p.Conn, &p.raw))
	return p
}

// send writes text. What has ended already cannot be written to.
func (p *peer) send(text string) { io.WriteString(p.Conn, text) }

// consumed notes what was read since the last call.
func (p *peer) consumed() {
	n := p.raw.Len() - p.r.Buffered()
	p.b.note("%q", date.ReplaceAll(p.raw.Next(n), []byte("Date: ...")))
}

// response reads one response to a request with the method, and notes each
// byte of it but the date. It returns nil if the response is not whole.
func (p *peer) response(method string) *http.Response {
	p.b.Helper()
	resp, err := http.ReadResponse(p.r, &http.Request{Method: method})
	if err == nil && method != http.MethodConnect { // which has no end
		_, err = io.Copy(io.Discard, resp.Body)
	}
	p.consumed()
	if err != nil {
		p.b.note("response: %v", ending(err))
		return nil
	}
	return resp
}

// line reads and notes a line.
func (p *peer) line() {
	p.b.Helper()
	if _, err := p.r.ReadString('\n'); err != nil {
		p.b.note("line: %v", ending(err))
	}
	p.consumed()
}

// end reads until the end, and notes it.
func (p *peer) end() {
	p.b.Helper()
	_, err := io.Copy(io.Discard, p.r)
	p.consumed()
	p.b.note("end: %s", ending(err))
}

// hangUp ends the connection as an orderly client does.
func (p *peer) hangUp() {
	p.b.Helper()
	p.CloseWrite()
	p.end()
}

// fin ends the connection without close_notify.
func (p *peer) fin() {
	p.b.Helper()
	tlstest.Must(p.b, p.tcp.CloseWrite())
	p.end()
}

// reset ends the connection with a reset.
func (p *peer) reset() {
	tlstest.Must(p.b, p.tcp.SetLinger(0))
	tlstest.Must(p.b, p.tcp.Close())
}

// ending says how a connection ended.
func ending(err error) string {
	var alert tls.AlertError
	var ne net.Error
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return "close_notify"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "FIN"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls"):
		return "alert"
	case errors.As(err, &ne) && ne.Timeout():
		return "timeout"
	}
	return err.Error()
}

// request is a request of HTTP/1.1.
func request(line string, rest ...string) string {
	return line + " HTTP/1.1\r\nHost: example.test\r\n" + strings.Join(rest, "")
}

// get is one without a body.
func getText(path string) string { return request("GET "+path, "\r\n") }

// says sends each text when the connection is idle (parked), and notes the
// response. Then the client hangs up.
func says(texts ...string) func(*bench) {
	return func(b *bench) {
		p := b.dial()
		for _, text := range texts {
			p.send(text)
			resp := p.response(strings.SplitN(strings.TrimLeft(text, "\r\n"), " ", 2)[0])
			if resp == nil || resp.Close {
				p.end()
				return
			}
			b.pause(1)
		}
		p.hangUp()
	}
}

// client is net/http's, in the row's protocol. It notes nothing by itself. Its
// connections end with the script, or when gone is called.
func (b *bench) client() *http.Client {
	c := goClient(b, b.protocol)
	b.clients = append(b.clients, c)
	c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		b.mu.Lock()
		b.dialed++
		b.mu.Unlock()
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	return c
}

// do sends req with c, and notes the response.
func (b *bench) do(c *http.Client, method, path string, body io.Reader, change ...func(*http.Request)) {
	b.Helper()
	req := tlstest.Value(http.NewRequest(method, "https://"+b.addr+path, body))(b)
	for _, f := range change {
		f(req)
	}
	resp, err := c.Do(req)
	if err != nil {
		b.note("%s %s: %s", method, path, failure(err))
		return
	}
	b.noteResponse(resp)
}

// failure masks what an error says of addresses.
func failure(err error) string { return address.ReplaceAllString(err.Error(), "ADDR") }

// noteResponse notes a response and its body.
func (b *bench) noteResponse(resp *http.Response) {
	b.Helper()
	defer resp.Body.Close()
	resp.Header.Del("Date")
	text, err := io.ReadAll(resp.Body)
	b.note("%s %s, %d bytes, close %v, %v", resp.Proto, resp.Status, resp.ContentLength, resp.Close, resp.Header)
	if len(text) > 1000 {
		text = fmt.Appendf(nil, "%d bytes", len(text))
	}
	b.note("%q, trailer %v, %v", text, resp.Trailer, err)
}
