package httpbench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/sslnet"
)

// contender is a running server.
type contender struct {
	name  string
	proc  *server.Process
	url   string
	ask   *http.Transport // for /stats, over a connection that stays
	point report.Point    // of the case under way
}

// launch starts a server and makes the connection for /stats.
func (r *runner) launch(ctx context.Context, k server.Kind) (*contender, error) {
	p, err := r.start(ctx, k)
	if err != nil {
		return nil, err
	}
	return &contender{name: k.Name, proc: p, url: "https://" + p.Addr().String(), ask: r.client.transport(Job{})}, nil
}

// stop ends the server. The error says that it had ended before.
func (c *contender) stop() error {
	c.ask.CloseIdleConnections()
	return c.proc.Stop()
}

// stats asks the server.
func (c *contender) stats(ctx context.Context, query string) (s Stats, err error) {
	var b bytes.Buffer
	if err := get(ctx, c.ask, c.url+"/stats"+query, &b); err != nil {
		if _, dead := c.proc.CPU(); dead != nil {
			err = dead // and how
		}
		return s, fmt.Errorf("%s: %w", c.name, err)
	}
	return s, json.Unmarshal(b.Bytes(), &s)
}

// sample is what a server has done so far.
type sample struct {
	requests, resumed int64
	conns             int64
	cpu               time.Duration
	at                time.Time
}

func (c *contender) sample(ctx context.Context) (sample, error) {
	s, err := c.stats(ctx, "")
	if err != nil {
		return sample{}, err
	}
	cpu, err := c.proc.CPU()
	return sample{s.Requests, s.Resumed, s.Conns, cpu, time.Now()}, err
}

// requests measures the CPU time of all works. An error is of what all of them need.
func (r *runner) requests(ctx context.Context) error {
	var all []*contender
	defer func() {
		for _, c := range all {
			_ = c.stop() // that it had crashed, its own measurement has said
		}
	}()
	for _, k := range slices.Concat(r.kinds, r.noTickets) {
		c, err := r.launch(ctx, k)
		if err != nil {
			return err
		}
		all = append(all, c)
		r.data.Servers = append(r.data.Servers, c.proc.Command())
		if err := r.checkSetup(ctx, c); err != nil {
			return err
		}
	}
	usual, noTickets := all[:len(r.kinds)], all[len(r.kinds):]
	for _, w := range works(r.Conns) {
		one := Case{ID: w.id, Title: w.title, Metric: report.CPU}
		those := usual
		if w.job.Close && !w.job.Resume {
			those = noTickets
		}
		err := r.measure(ctx, w, &one, those)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			r.fail(&r.data.Cases, one, err)
			continue
		}
		r.data.Cases = append(r.data.Cases, one)
	}
	return nil
}

// checkSetup makes a handshake as a client over OpenSSL does, in both protocols, and wants what both servers are to
// do.
func (r *runner) checkSetup(ctx context.Context, c *contender) error {
	for _, alpn := range []string{"h2", "http/1.1"} {
		x, err := cssl.NewClientContext(cssl.Config{CAFile: r.dir + "/root.pem", ALPN: []string{alpn}})
		if err != nil {
			return err
		}
		nc, err := (&sslnet.Dialer{Context: x, Net: &net.Dialer{Timeout: 30 * time.Second}}).DialContext(ctx, "tcp", c.proc.Addr().String())
		x.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		s := nc.(*sslnet.Conn).State()
		nc.Close()
		got := fmt.Sprintf("%v, %s, %s", s.Version, s.Cipher, strings.ToLower(s.Group))
		if want := "TLSv1.3, " + cipherSuite + ", x25519"; got != want || s.ALPN != alpn {
			return fmt.Errorf("%s: it agreed on %s and %q with a client over OpenSSL, not on %s and %q, so the two would not do the same work",
				c.name, got, s.ALPN, want, alpn)
		}
		r.data.Setup = got
	}
	return nil
}

// measure does all rounds of a case.
func (r *runner) measure(ctx context.Context, w work, out *Case, all []*contender) error {
	l := r.loaderFor(w.job)
	for _, c := range all {
		c.point = report.Point{Server: c.name}
	}
	for round := -1; round < r.Rounds; round++ { // the first warms up: buffers grow, lazy parts load
		for i := range all {
			c := all[(i+round+1)%len(all)] // who goes first takes turns
			r.step("%s: %s", w.title, c.name)
			j, d := w.job, r.Duration
			j.URL = c.url + w.path
			if round < 0 {
				d /= 4
			}
			m, err := r.round(ctx, l, j, d, c, out)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round >= 0 {
				c.point.Rounds = append(c.point.Rounds, m)
			}
		}
	}
	for _, c := range all {
		out.Points = append(out.Points, c.point)
	}
	return nil
}

const (
	// pollEvery is how often we look whether all connections are at work.
	pollEvery = 10 * time.Millisecond
	// leadIn is about how long that takes.
	leadIn = 300 * time.Millisecond
	// leadLimit is how long it may take.
	leadLimit = 10 * time.Second
)

// errTooSoon is the error of a round in which the load ended before all
// connections were at work: a program's start takes long on a loaded machine.
var errTooSoon = errors.New("the load has ended too soon")

// round measures a server once, for d.
func (r *runner) round(ctx context.Context, l loader, j Job, d time.Duration, c *contender, out *Case) (m report.Round, err error) {
	for lead := leadIn; lead < leadLimit; lead *= 2 {
		if m, err = r.roundAfter(ctx, lead, l, j, d, c, out); err != errTooSoon {
			break
		}
	}
	return m, err
}

// roundAfter is round with a load that runs for lead and d.
func (r *runner) roundAfter(ctx context.Context, lead time.Duration, l loader, j Job, d time.Duration, c *contender, out *Case) (m report.Round, err error) {
	before, err := c.alone(ctx)
	if err != nil {
		return m, err
	}
	run, command, err := l.start(ctx, j, d+lead)
	if err != nil {
		return m, err
	}
	out.Load = command
	a, b, err := r.window(ctx, run, before.requests+int64(2*j.Conns*j.Streams), d, c)
	if e := run.stop(); e != nil {
		err = errors.Join(err, e)
	}
	if err != nil {
		return m, err
	}
	n := float64(b.requests - a.requests)
	if resumed := float64(b.resumed - a.resumed); j.Close && (j.Resume && resumed < 0.9*n || !j.Resume && resumed > 0) {
		return m, fmt.Errorf("of %.0f handshakes %.0f resumed a session", n, resumed)
	}
	m.CPU = float64((b.cpu - a.cpu).Nanoseconds()) / 1e3 / n
	m.Rate = n / b.at.Sub(a.at).Seconds()
	return m, nil
}

// alone samples when no connection is left but the one for /stats: a request
// of the load before would count for the next one.
func (c *contender) alone(ctx context.Context) (sample, error) {
	limit := time.Now().Add(leadLimit)
	for {
		s, err := c.sample(ctx)
		if err != nil || s.conns <= 1 {
			return s, err
		}
		if time.Now().After(limit) {
			return s, fmt.Errorf("%d connections of the load before are left after %v", s.conns-1, leadLimit)
		}
		time.Sleep(pollEvery)
	}
}

// window takes a sample when the server has answered from requests, by which all connections have had their turn,
// and another one d later, or when the load has ended. If there was no request between, that is too short, and it
// waits for one.
func (r *runner) window(ctx context.Context, run running, from int64, d time.Duration, c *contender) (a, b sample, err error) {
	limit := time.Now().Add(leadLimit)
	if a, err = c.reach(ctx, run, from, limit); err != nil {
		return a, b, err
	}
	select {
	case <-run.done():
	case <-ctx.Done():
		return a, b, ctx.Err()
	case <-time.After(d):
	}
	b, err = c.reach(ctx, run, a.requests+1, limit.Add(d))
	return a, b, err
}

// reach samples until the server has answered so many requests.
func (c *contender) reach(ctx context.Context, run running, requests int64, limit time.Time) (sample, error) {
	for {
		s, err := c.sample(ctx)
		if err != nil || s.requests >= requests {
			return s, err
		}
		select {
		case <-run.done():
			return s, errTooSoon
		case <-time.After(pollEvery):
		}
		if time.Now().After(limit) {
			return s, fmt.Errorf("not all connections had an answer after %v", leadLimit)
		}
	}
}
