package stress

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// crowd is a number of slow peers, which let a byte go in each pause, and what became of them.
type crowd struct {
	target string
	pause  time.Duration

	mu                  sync.Mutex
	open, cut, requests int
	bad                 error
}

// count changes the numbers, or only looks at them.
func (w *crowd) count(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// handshake says no more than that of a handshake, again and again. It comes back at once when it is cut off.
func (w *crowd) handshake(ctx context.Context, say []byte) {
	for ctx.Err() == nil {
		c, err := net.Dial("tcp", w.target)
		if err != nil {
			return // the server has ended
		}
		w.count(func() { w.open++ })
		stop := context.AfterFunc(ctx, func() { c.Close() })
		go (&dribble{Conn: c, pause: w.pause, slow: true}).Write(say)
		_, _ = c.Read(make([]byte, 1))
		c.Close()
		stop()
		w.count(func() {
			w.open--
			w.cut++
		})
	}
}

// request is within its rights: its handshake is quick, and only what it asks for then is slow.
func (w *crowd) request(ctx context.Context) error {
	raw, err := net.Dial("tcp", w.target)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	defer raw.Close()
	d := &dribble{Conn: raw, pause: w.pause}
	c := tls.Client(d, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return err
	}
	d.slow = true
	w.count(func() { w.open++ })
	for {
		if err := echoes(c, "slow"); err != nil {
			return err
		}
		w.count(func() { w.requests++ })
	}
}

// echoes wants what is said to come back.
func echoes(c net.Conn, say string) error {
	got := make([]byte, len(say))
	if _, err := io.WriteString(c, say); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, got); err != nil || string(got) != say {
		return fmt.Errorf("%q, want %q: %w", got, say, err)
	}
	return nil
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

// attempts is how often a newcomer tries. On a machine that is too busy to let it answer within its fifth of
// HandshakeTimeout it is taken for one of the slow ones.
const attempts = 10

// side is what honest clients notice, without the slow ones or with them.
type side struct {
	came, again int           // newcomers, and how often one had to come again
	longest     time.Duration // from the first connect of a newcomer to its echo
	p99         time.Duration // of those that stay
	resident    size
}

// newcomers come one after another, each at its time whether or not those before are done.
func (v *side) newcomers(t *testing.T, target string, d, every time.Duration) {
	t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}
	cfg.RootCAs.AppendCertsFromPEM(testcerts.Read(t, "root.pem"))
	one := func(limit time.Time) error {
		c, err := tls.DialWithDialer(&net.Dialer{Deadline: limit}, "tcp", target, cfg)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(limit)
		return echoes(c, "hello")
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
		all.Go(func() {
			began, tries := time.Now(), 1
			err := one(began.Add(hang))
			for ; err != nil && tries < attempts; tries++ {
				err = one(began.Add(hang))
			}
			if err != nil {
				t.Errorf("an honest newcomer failed: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			v.came++
			v.again += tries - 1
			v.longest = max(v.longest, time.Since(began))
		})
	}
	all.Wait()
	if v.came == 0 {
		t.Fatal("there was no newcomer, so this proves nothing")
	}
}

// TestSlowloris: peers that connect and say nothing, that say their hello a byte at a time, and that are through with
// it and send their requests so. The first two are cut off; the third are within their rights. Honest clients beside them,
// and those that come while they are there, notice as little as may be.
func TestSlowloris(t *testing.T) {
	alone(t)
	silent, hellos, requests := scaled(2000, 80), scaled(1500, 60), scaled(1500, 20)
	pause := scaled(500*time.Millisecond, 50*time.Millisecond)
	d, conns := scaled(25*time.Second, 500*time.Millisecond), scaled(500, 50)
	var s *process
	if full {
		s = sslecho(t)
	} else {
		// Fewer places than slow ones, and more than honest ones.
		s = server(t, settings{Limits: reactor.Limits{MaxHandshakes: 80, HandshakeTimeout: 5 * time.Second}})
	}
	honest := clients(t, messages(s.addr, conns, scaled(2000.0, 200)))
	base := s.resident()
	var without, with side
	run := func(v *side) {
		done := tlstest.Later(func() error {
			r, err := good(honest.Run(context.Background(), d))
			v.p99 = max(v.p99, time.Duration(r.Latency.ValueAtQuantile(99)))
			if err == nil && (r.Open != conns || r.Opened != 0) {
				err = fmt.Errorf("of %d honest clients %d are left, %d were replaced", conns, r.Open, r.Opened)
			}
			return err
		})
		v.newcomers(t, s.addr, d, scaled(20*time.Millisecond, 10*time.Millisecond))
		if err := <-done; err != nil {
			t.Error(err)
		}
		v.resident = cmp.Or(v.resident, s.resident()) // of the first round
	}
	var cut, answered int
	f := tlstest.Value(dialFlooder(s.addr, tls.VersionTLS13))(t)
	f.raw.Close()
	hello := f.raw.written[:5+len(f.hello)]
	for range scaled(3, 1) {
		run(&without)
		w := &crowd{target: s.addr, pause: pause}
		ctx, disperse := context.WithCancel(t.Context())
		var all sync.WaitGroup
		// join lets n more come, and waits until all are there.
		there := 0
		join := func(n int, f func()) {
			there += n
			for range n {
				all.Go(f)
			}
			waitFor(t, "the slow ones to come", func() (yes bool) {
				w.count(func() { yes = w.open+w.cut >= there || w.bad != nil })
				return yes
			})
		}
		join(requests, func() { // these first: their handshakes are in good order
			if err := w.request(ctx); ctx.Err() == nil {
				w.count(func() { w.bad = cmp.Or(w.bad, err) })
			}
		})
		for range silent {
			all.Go(func() { w.handshake(ctx, nil) })
		}
		there += silent
		join(hellos, func() { w.handshake(ctx, hello) })
		run(&with)
		waitFor(t, "the slow ones to be cut off, and a slow request to be answered", func() (yes bool) {
			w.count(func() { yes = w.cut > silent+hellos && (w.requests > 0 || w.bad != nil) })
			return yes
		})
		w.count(func() {
			cut, answered = cut+w.cut, answered+w.requests
			if w.bad != nil {
				t.Errorf("of those that only send slowly, after %d requests: %v", w.requests, w.bad)
			}
		})
		disperse()
		all.Wait()
		s.without(conns)
	}
	honest.Close()
	if !full {
		s.allGone()
		r := s.report().Stats
		if r.HandshakeFailures["handshake evicted"] == 0 {
			t.Errorf("no handshake was evicted: %v", r.HandshakeFailures)
		}
		sum := r.Handshakes
		for _, n := range r.HandshakeFailures {
			sum += n
		}
		tlstest.Equal(t, "handshakes, good and failed", sum, r.Accepted)
	}
	// Thousands that come and go each second leave malloc's arenas in pieces, which takes a while to come to its end.
	after := s.resident()
	if after > 2*with.resident+growth(0) {
		t.Errorf("resident %v with the slow ones, %v after them", with.resident, after)
	}
	s.stop()
	record(t, "stress-slowloris", "%d silent, %d with a byte of their hello in %v, %d with a byte of their requests; %d interleaved rounds "+
		"of %v. p99 of %d honest clients at most %v without them and %v with them; a newcomer's first echo after at most %v and %v, "+
		"when %d of %d had to come again. %d were cut off; %d slow requests "+
		"were answered; resident %v, with them %v, after them %v", silent, hellos, pause, requests, scaled(3, 1), d, conns,
		show(without.p99), show(with.p99), show(without.longest), show(with.longest), with.again, with.came,
		cut, answered, base, with.resident, after)
}
