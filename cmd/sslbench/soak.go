package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spf13/pflag"
)

// soaker puts mixed load on an echo server. The clients are Go's crypto/tls, so
// that nothing on this side shares a mistake with the server.
type soaker struct {
	target string
	config *tls.Config
	pause  time.Duration // between the messages of an echo client

	messages, streamed, handshakes, halfOpen, slowBytes atomic.Uint64

	mu     sync.Mutex
	errors []error
}

// soak is the command.
func soak(args []string, out io.Writer) error {
	f := pflag.NewFlagSet("soak", pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	s := &soaker{}
	f.StringVar(&s.target, "target", "127.0.0.1:8443", "`address` of the echo server, on this machine")
	duration := f.Duration("duration", 30*time.Minute, "how long")
	pid := f.Int("pid", 0, "process id of the server, to watch its memory and descriptors")
	f.DurationVar(&s.pause, "pause", 5*time.Millisecond, "between two messages of an echo client")
	if err := f.Parse(args); err != nil {
		if err == pflag.ErrHelp {
			return err
		}
		return usageError{err}
	}
	host, _, err := net.SplitHostPort(s.target)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return badUsage("--target %q: want a loopback address with a port", s.target)
	}
	// The certificate is nobody's concern here; every byte is compared instead.
	s.config = &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(16)}
	return s.run(*duration, *pid, out)
}

// clients are the kinds of load and how many of each there are.
var clients = []struct {
	n   int
	run func(*soaker, context.Context, *rand.Rand) error
}{
	{32, (*soaker).echo},
	{4, (*soaker).stream},
	{4, (*soaker).connectAndClose},
	{8, (*soaker).stayHalfOpen},
	{8, (*soaker).readSlowly},
}

func (s *soaker) run(d time.Duration, pid int, out io.Writer) error {
	// No deadline in ctx: a dial would fail with a time-out of its own just before ctx ends.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	time.AfterFunc(d, cancel)
	var clientsDone sync.WaitGroup
	seed := uint64(time.Now().UnixNano())
	fmt.Fprintf(out, "soak of %s for %v, seed %d\n", s.target, d, seed)
	for kind, c := range clients {
		for i := range c.n {
			clientsDone.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(kind*1000+i)))
				for ctx.Err() == nil {
					if err := c.run(s, ctx, r); err != nil && ctx.Err() == nil {
						s.fail(err)
						time.Sleep(100 * time.Millisecond)
					}
				}
			})
		}
	}
	samples := s.watch(ctx, d, pid, out)
	clientsDone.Wait()
	fmt.Fprintf(out, "echoes %d, streamed %.1f GB each way, handshakes %d, half-open %d, read slowly %.1f MB, errors %d\n",
		s.messages.Load(), float64(s.streamed.Load())/1e9, s.handshakes.Load(), s.halfOpen.Load(),
		float64(s.slowBytes.Load())/1e6, len(s.errors))
	for _, err := range s.errors[:min(10, len(s.errors))] {
		fmt.Fprintln(out, "error:", err)
	}
	if err := s.growth(samples, pid, out); err != nil {
		s.errors = append(s.errors, err)
	}
	return errors.Join(s.errors[:min(10, len(s.errors))]...)
}

func (s *soaker) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors = append(s.errors, err)
}

// sample is the server's size at a time.
type sample struct {
	at  time.Duration
	rss int64
	fds int
}

// watch takes samples, and shows progress on a terminal.
func (s *soaker) watch(ctx context.Context, d time.Duration, pid int, out io.Writer) []sample {
	var samples []sample
	start := time.Now()
	every := max(time.Second, d/60)
	terminal := isTerminal(out)
	for {
		select {
		case <-ctx.Done():
			if terminal {
				fmt.Fprintln(out)
			}
			return samples
		case <-time.After(every):
		}
		at := time.Since(start)
		if pid != 0 {
			rss, fds, err := memory(pid)
			if err != nil {
				s.fail(fmt.Errorf("the server is gone: %w", err))
				continue
			}
			samples = append(samples, sample{at, rss, fds})
			if terminal {
				fmt.Fprintf(out, "\r%3.0f %%  %s  RSS %d MB, %d descriptors, %d echoes ", 100*at.Seconds()/d.Seconds(),
					at.Round(time.Second), rss>>20, fds, s.messages.Load())
			}
		}
	}
}

// growth compares the second quarter of the run with the last one.
func (s *soaker) growth(samples []sample, pid int, out io.Writer) error {
	n := len(samples) / 4
	if n == 0 {
		return nil
	}
	mean := func(part []sample) (rss, fds float64) {
		for _, p := range part {
			rss += float64(p.rss) / float64(len(part))
			fds += float64(p.fds) / float64(len(part))
		}
		return
	}
	rss0, fds0 := mean(samples[n : 2*n])
	rss1, fds1 := mean(samples[len(samples)-n:])
	peak := slices.MaxFunc(samples, func(a, b sample) int { return int(a.rss - b.rss) })
	fmt.Fprintf(out, "server's RSS: second quarter %.1f MB, last quarter %.1f MB, peak %.1f MB; descriptors: %.0f, %.0f\n",
		rss0/1e6, rss1/1e6, float64(peak.rss)/1e6, fds0, fds1)
	if rss1 > rss0*1.1+4e6 || fds1 > fds0*1.1+16 {
		return errors.New("the server grew by more than a tenth between the second quarter and the last")
	}
	// With all clients gone only the listeners and the loops may be left.
	time.Sleep(6 * time.Second)
	rss, fds, err := memory(pid)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "after the load: RSS %.1f MB, %d descriptors\n", float64(rss)/1e6, fds)
	if fds > 64 {
		return fmt.Errorf("%d descriptors are open after the load", fds)
	}
	return nil
}

// dial connects. Most clients verify what they get by hand, so a deadline is the guard against a hang.
func (s *soaker) dial(ctx context.Context) (*tls.Conn, error) {
	d := tls.Dialer{Config: s.config}
	dialing, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	c, err := d.DialContext(dialing, "tcp", s.target)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	s.handshakes.Add(1)
	return c.(*tls.Conn), nil
}

// echo sends messages of random size, one at a time, over one connection for a while.
func (s *soaker) echo(ctx context.Context, r *rand.Rand) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 64<<10)
	for range 200 + r.IntN(2000) {
		if ctx.Err() != nil {
			return nil
		}
		n := 1 + r.IntN(1<<r.IntN(17))
		msg := load.PatternAt(r.Uint64N(1<<20), n)
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := c.Write(msg); err != nil {
			return fmt.Errorf("echo: write: %w", err)
		}
		for rest := msg; len(rest) > 0; {
			k, err := c.Read(buf)
			if err != nil {
				return fmt.Errorf("echo: read: %w", err)
			}
			if k > len(rest) || !bytes.Equal(buf[:k], rest[:k]) {
				return errors.New("echo: wrong bytes came back")
			}
			rest = rest[k:]
		}
		s.messages.Add(1)
		time.Sleep(s.pause)
	}
	return closeCleanly(c)
}

// closeCleanly closes our direction and expects the peer's close_notify, with nothing before it.
func closeCleanly(c *tls.Conn) error {
	if err := c.CloseWrite(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	var b [1]byte
	if n, err := c.Read(b[:]); n != 0 || err != io.EOF {
		return fmt.Errorf("close: %d bytes and %v instead of a clean end", n, err)
	}
	return nil
}

// stream writes and reads at once, as fast as a share of the machine allows, and then
// reads what is left behind its own close_notify.
func (s *soaker) stream(ctx context.Context, r *rand.Rand) error {
	return s.bothWays(ctx, 4<<20+r.IntN(16<<20), r.IntN(40000)+1, 10*time.Millisecond, &s.streamed)
}

// readSlowly is a stream whose reader lags behind, so that the server's queue and
// the socket buffers fill and its writes wait.
func (s *soaker) readSlowly(ctx context.Context, r *rand.Rand) error {
	return s.bothWays(ctx, 1<<20+r.IntN(1<<20), r.IntN(3000)+1, 20*time.Millisecond, &s.slowBytes)
}

// bothWays sends total bytes while it reads them back, in reads of up to size
// bytes with a rest after each 16th.
func (s *soaker) bothWays(ctx context.Context, total, size int, rest time.Duration, count *atomic.Uint64) error {
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	wrote := make(chan error, 1)
	go func() {
		for at := 0; at < total; {
			n, err := c.Write(load.PatternAt(uint64(at), min(32<<10, total-at)))
			at += n
			if err != nil {
				wrote <- fmt.Errorf("stream: write at %d: %w", at, err)
				return
			}
		}
		wrote <- c.CloseWrite()
	}()
	buf := make([]byte, size)
	var got int
	for i := 0; ; i++ {
		n, err := c.Read(buf)
		if !bytes.Equal(buf[:n], load.PatternAt(uint64(got), n)) {
			return fmt.Errorf("stream: wrong bytes between %d and %d", got, got+n)
		}
		got += n
		count.Add(uint64(n))
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("stream: read at %d of %d: %w", got, total, err)
		}
		if i%16 == 15 {
			time.Sleep(rest)
		}
	}
	if got != total {
		return fmt.Errorf("stream: %d of %d bytes came back", got, total)
	}
	return <-wrote
}

// connectAndClose makes handshakes, full and resumed, and ends them in all ways.
func (s *soaker) connectAndClose(ctx context.Context, r *rand.Rand) error {
	time.Sleep(20 * time.Millisecond)
	c, err := s.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	switch r.IntN(3) {
	case 0:
		return closeCleanly(c)
	case 1: // a FIN without close_notify
		return c.NetConn().(*net.TCPConn).CloseWrite()
	default: // a reset
		return c.NetConn().(*net.TCPConn).SetLinger(0)
	}
}

// stayHalfOpen connects and says nothing, or half of a hello, or nonsense.
func (s *soaker) stayHalfOpen(ctx context.Context, r *rand.Rand) error {
	d := net.Dialer{Timeout: 30 * time.Second}
	c, err := d.DialContext(ctx, "tcp", s.target)
	if err != nil {
		return fmt.Errorf("half-open: %w", err)
	}
	defer c.Close()
	s.halfOpen.Add(1)
	switch r.IntN(3) {
	case 0:
	case 1:
		_, err = c.Write([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
	default:
		_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(r.IntN(12000)) * time.Millisecond): // some outlast the handshake's deadline
	}
	return err
}

// memory is the resident set of a process in bytes, and how many descriptors it has open.
func memory(pid int) (rss int64, fds int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return pages * int64(os.Getpagesize()), len(list), err
}
