package stress

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
)

// slowly is what a slow child is told: so many peers of each kind, that let a byte go in each pause.
type slowly struct {
	Target                 string
	Silent, Hello, Request int
	Pause                  time.Duration
}

// slowResult is what it answers: how many were cut off, after which time, and what the requests came to.
type slowResult struct {
	Cut           int64
	Longest       time.Duration
	Requests, Bad int64
	Err           string
}

// slowMain is the process of a slow child. Its peers come back at once when they are cut off.
func slowMain() error {
	var o slowly
	if err := readSettings(&o); err != nil {
		return err
	}
	hello, err := clientHello()
	if err != nil {
		return err
	}
	var r struct {
		cut, longest, requests, bad, open atomic.Int64
		err                               atomic.Pointer[string]
	}
	bad := func(err error) { s := err.Error(); r.err.CompareAndSwap(nil, &s); r.bad.Add(1) }
	handshake := func(say []byte) {
		for {
			c, err := net.Dial("tcp", o.Target)
			if err != nil {
				return // the server has ended
			}
			r.open.Add(1)
			gone := make(chan struct{})
			began := time.Now()
			go func() {
				for _, b := range say {
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
					select {
					case <-gone:
						return
					case <-time.After(o.Pause):
					}
				}
			}()
			_, _ = c.Read(make([]byte, 1))
			close(gone)
			c.Close()
			r.open.Add(-1)
			r.cut.Add(1)
			d := int64(time.Since(began))
			for old := r.longest.Load(); d > old && !r.longest.CompareAndSwap(old, d); old = r.longest.Load() {
			}
		}
	}
	request := func() {
		raw, err := net.Dial("tcp", o.Target)
		if err != nil {
			bad(err)
			return
		}
		d := &dribble{Conn: raw, pause: o.Pause}
		c := tls.Client(d, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			bad(err)
			return
		}
		r.open.Add(1)
		d.slow = true
		msg, got := []byte("slow"), make([]byte, 4)
		for {
			if _, err := c.Write(msg); err != nil {
				bad(err)
				return
			}
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, msg) {
				bad(fmt.Errorf("%q: %w", got, err))
				return
			}
			r.requests.Add(1)
		}
	}
	var once sync.Once
	return commands(func(command, _ string) any {
		once.Do(func() {
			wait := func(n int) {
				for end := time.Now().Add(hang); r.open.Load()+r.bad.Load() < int64(n) && time.Now().Before(end); {
					time.Sleep(5 * time.Millisecond)
				}
			}
			// These first: their handshakes are in good order.
			for range o.Request {
				go request()
			}
			wait(o.Request)
			for range o.Silent {
				go handshake(nil)
			}
			for range o.Hello {
				go handshake(hello)
			}
			wait(o.Silent + o.Hello + o.Request)
		})
		v := slowResult{r.cut.Load(), time.Duration(r.longest.Load()), r.requests.Load(), r.bad.Load(), ""}
		if s := r.err.Load(); s != nil {
			v.Err = *s
		}
		return v
	})
}

// dribble writes a byte at a time once it is slow.
type dribble struct {
	net.Conn
	pause time.Duration
	slow  bool
}

func (d *dribble) Write(p []byte) (int, error) {
	if !d.slow {
		return d.Conn.Write(p)
	}
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(d.pause)
	}
	return len(p), nil
}

// clientHello is the first record of Go's client.
func clientHello() ([]byte, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	go tls.Client(theirs, &tls.Config{ServerName: "localhost"}).Handshake()
	header := make([]byte, 5)
	if _, err := io.ReadFull(ours, header); err != nil {
		return nil, err
	}
	body := make([]byte, int(header[3])<<8|int(header[4]))
	_, err := io.ReadFull(ours, body)
	return append(header, body...), err
}

// attempts is how often a newcomer tries. On a machine that is too busy to let it answer within its fifth of HandshakeTimeout it
// is taken for one of the slow ones.
const attempts = 10

// newcomers opens one honest connection after another, each at its time whether or not those before are done, and
// answers how long each took from its first connect to its echo, and how often one had to come again.
func newcomers(t *testing.T, target string, d, every time.Duration) (took []time.Duration, again int) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	cfg := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	var mu sync.Mutex
	var errs []error
	one := func(began time.Time) error {
		c, err := tls.DialWithDialer(&net.Dialer{Deadline: began.Add(hang)}, "tcp", target, cfg)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(began.Add(hang))
		got := make([]byte, 5)
		if _, err := io.WriteString(c, "hello"); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			return fmt.Errorf("%q: %w", got, err)
		}
		mu.Lock()
		defer mu.Unlock()
		took = append(took, time.Since(began))
		return nil
	}
	var all sync.WaitGroup
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
		all.Go(func() {
			began := time.Now()
			for i := 1; ; i++ {
				err := one(began)
				if err == nil {
					return
				}
				mu.Lock()
				if again++; i == attempts {
					errs = append(errs, err)
				}
				mu.Unlock()
				if i == attempts {
					return
				}
			}
		})
	}
	all.Wait()
	if len(errs) > 0 {
		t.Errorf("%d honest newcomers failed: %v", len(errs), errors.Join(errs[:min(3, len(errs))]...))
	}
	if len(took) == 0 {
		t.Fatal("there was no newcomer, so this proves nothing")
	}
	slices.Sort(took)
	return took, again
}

// TestSlowloris: peers that connect and say nothing, that say their hello a byte at a time, and that are through with
// it and send their requests so. The first two are cut off; the third are within their rights. Honest clients beside them, and those
// that come while they are there, notice as little as may be.
func TestSlowloris(t *testing.T) {
	alone(t)
	o := slowly{Silent: scaled(2000, 80), Hello: scaled(1500, 60), Request: scaled(1500, 20), Pause: scaled(500*time.Millisecond, 50*time.Millisecond)}
	var s *process
	if full {
		s = sslecho(t)
	} else {
		// Fewer places than slow ones, and more than honest ones.
		s = server(t, settings{Loops: 2, MaxHandshakes: 80, HandshakeTimeout: 5 * time.Second})
	}
	o.Target = s.addr
	d := scaled(25*time.Second, 500*time.Millisecond)
	every := scaled(20*time.Millisecond, 10*time.Millisecond)
	conns := scaled(500, 50)
	c := clients(t, messages(s.addr, conns, scaled(2000.0, 200)))
	c.tell("open", conns)
	c.good()
	base := s.resident()
	type round struct {
		p99          time.Duration
		new50, new99 time.Duration
		newest       time.Duration
		cpu          time.Duration
		resident     int64
		came, again  int // newcomers
	}
	run := func() (v round) {
		before := s.cpu()
		c.tell("run", d)
		took, again := newcomers(t, s.addr, d, every)
		v.came, v.again = len(took), again
		r := c.good()
		if r.Open != conns || r.Opened != 0 {
			t.Errorf("of %d honest clients %d are left, %d were replaced", conns, r.Open, r.Opened)
		}
		v.p99, v.cpu, v.resident = r.P99, s.cpu()-before, s.resident()
		v.new50, v.new99, v.newest = took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
		return v
	}
	var with, without []round
	var cut, requests int64
	var longest time.Duration
	for range scaled(3, 1) {
		without = append(without, run())
		peers := child(t, "slow", o)
		peers.tell("start", "")
		answer[slowResult](peers)
		with = append(with, run())
		waitFor(t, "the slow ones to be cut off, and a slow request to be answered", func() bool {
			r := ask[slowResult](peers, "report", "")
			return r.Cut > int64(o.Silent+o.Hello) && r.Requests+r.Bad > 0
		})
		r := ask[slowResult](peers, "report", "")
		if r.Bad != 0 {
			t.Errorf("of those that only send slowly %d failed after %d requests: %s", r.Bad, r.Requests, r.Err)
		}
		cut, requests, longest = cut+r.Cut, requests+r.Requests, max(longest, r.Longest)
		peers.kill()
		waitFor(t, "the slow ones to go", func() bool { return s.files() < conns+60 })
	}
	c.finish()
	if !full {
		s.allGone()
		r := s.report()
		if n := r.Stats.HandshakeFailures["handshake evicted"]; n == 0 {
			t.Errorf("no handshake was evicted: %v", r.Stats.HandshakeFailures)
		}
		if r.Stats.Accepted != r.Stats.Handshakes+sum(r.Stats.HandshakeFailures) {
			t.Errorf("%d accepted, %d handshakes, failures %v", r.Stats.Accepted, r.Stats.Handshakes, r.Stats.HandshakeFailures)
		}
	}
	// Thousands that come and go each second leave malloc's arenas in pieces, which takes a while to come to its end.
	after := s.resident()
	if after > 2*with[0].resident+growth(0) {
		t.Errorf("resident %s with the slow ones, %s after them", mb(with[0].resident), mb(after))
	}
	s.stop()
	of := func(rounds []round, f func(round) time.Duration) string {
		var v []time.Duration
		for _, r := range rounds {
			v = append(v, f(r))
		}
		slices.Sort(v)
		return show(v[len(v)/2])
	}
	p99 := func(r round) time.Duration { return r.p99 }
	new50, new99 := func(r round) time.Duration { return r.new50 }, func(r round) time.Duration { return r.new99 }
	came, again := 0, 0
	for _, r := range with {
		came, again = came+r.came, again+r.again
	}
	newest, cpu := func(r round) time.Duration { return r.newest }, func(r round) time.Duration { return r.cpu }
	record(t, "stress-slowloris", fmt.Sprintf("%d silent, %d with a byte of their hello in %v, %d with a byte of their requests; medians of %d interleaved rounds of %v. "+
		"p99 of %d honest clients %s without them and %s with them; a newcomer's first echo after %s (p99 %s, longest %s) without and %s (p99 %s, longest %s) with them, "+
		"when %d of %d had to come again; CPU time %s and %s a round. %d were cut off, at the latest %s after connect; %d slow requests were answered; resident %s, with them %s, after them %s",
		o.Silent, o.Hello, o.Pause, o.Request, len(with), d, conns, of(without, p99), of(with, p99),
		of(without, new50), of(without, new99), of(without, newest), of(with, new50), of(with, new99), of(with, newest), again, came,
		of(without, cpu), of(with, cpu), cut, show(longest), requests, mb(base), mb(with[0].resident), mb(after)))
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}
