package httpbench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// spareFiles is what this process has open beside the connections, and more.
const spareFiles = 256

// openers is how many connections are opened at once.
const openers = 8

// memory is what a server has, in bytes.
type memory struct {
	resident  int64 // as it stands
	collected int64 // resident, after all that nobody needs was given back
	heap      int64 // live Go objects
	stacks    int64 // of goroutines
}

// idleFigures are what a report has of a memory, in its order.
var idleFigures = []struct {
	id, title string
	part      bool
	get       func(memory) int64
}{
	{"resident", "resident, as it stands", false, func(m memory) int64 { return m.resident }},
	{"collected", "resident, after a garbage collection", false, func(m memory) int64 { return m.collected }},
	{"heap", "of that, live Go objects", true, func(m memory) int64 { return m.heap }},
	{"stacks", "of that, stacks of goroutines", true, func(m memory) int64 { return m.stacks }},
}

// idle measures the memory of idle connections, in a new process each time.
func (r *runner) idle(ctx context.Context) {
	n := r.IdleConns
	most := r.files - spareFiles
	for _, k := range r.kinds {
		if m, err := k.MaxConns(); err == nil {
			most = min(most, m)
		}
	}
	if n > most {
		r.data.IdleNote = fmt.Sprintf("%d connections were asked for; the limit for open files (%d, ulimit -Hn) leaves room for %d.",
			n, r.files, most)
		n, r.data.IdleConns = most, most
	}
	var cases []Case
	for _, f := range idleFigures {
		one := Case{ID: "idle-" + f.id, Title: f.title, Metric: report.Memory, Part: f.part}
		for _, k := range r.kinds {
			one.Points = append(one.Points, report.Point{Server: k.Name})
		}
		cases = append(cases, one)
	}
	for round := range r.IdleRounds {
		for i := range r.kinds {
			k := (i + round) % len(r.kinds)
			r.step("%d idle connections: %s", n, r.kinds[k].Name)
			m, err := r.idleMemory(ctx, r.kinds[k], n)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				r.fail(&r.data.Idle, Case{ID: "idle", Title: fmt.Sprintf("%d idle connections", n), Metric: report.Memory},
					fmt.Errorf("%s: %w", r.kinds[k].Name, err))
				return
			}
			for c := range cases {
				p := &cases[c].Points[k]
				p.Rounds = append(p.Rounds, report.Round{Memory: idleFigures[c].get(m) / int64(n)})
			}
		}
	}
	r.data.Idle = cases
}

// idleMemory answers by how much a server's memory grows with n connections.
func (r *runner) idleMemory(ctx context.Context, k server.Kind, n int) (grown memory, err error) {
	c, err := r.launch(ctx, k)
	if err != nil {
		return grown, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	before, err := c.memory(ctx)
	if err != nil {
		return grown, err
	}
	before.resident = before.collected // it has just been collected
	conns, err := r.open(ctx, c.proc.Addr().String(), n)
	defer func() {
		for _, c := range conns {
			_ = c.tls.NetConn().Close() // a reset or not, the server ends now
		}
	}()
	if err != nil {
		return grown, err
	}
	after, err := c.memory(ctx)
	if err != nil {
		return grown, err
	}
	for i := 0; i < n; i += max(1, n/100) {
		if err := conns[i].ask(); err != nil {
			return grown, fmt.Errorf("connection %d of %d was lost: %w", i, n, err)
		}
	}
	return memory{
		after.resident - before.resident, after.collected - before.collected,
		after.heap - before.heap, after.stacks - before.stacks,
	}, nil
}

// memory reads the server's.
func (c *contender) memory(ctx context.Context) (m memory, err error) {
	if m.resident, _, err = c.proc.Memory(); err != nil {
		return m, err
	}
	s, err := c.stats(ctx, "?collect")
	if err != nil {
		return m, err
	}
	m.heap, m.stacks = int64(s.Heap), int64(s.Stacks)
	m.collected, _, err = c.proc.Memory()
	return m, err
}

// idleConn is a client's connection.
type idleConn struct {
	tls *tls.Conn
	in  *bufio.Reader
}

// askLimit bounds a handshake and a request.
const askLimit = 60 * time.Second

// ask makes a request.
func (c *idleConn) ask() error {
	_ = c.tls.SetDeadline(time.Now().Add(askLimit))
	if _, err := io.WriteString(c.tls, "GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && (n != smallSize || resp.StatusCode != http.StatusOK) {
		err = fmt.Errorf("the answer is %s with %d bytes", resp.Status, n)
	}
	return err
}

// open makes n connections with a request each. Also after an error it answers those that there are.
func (r *runner) open(ctx context.Context, addr string, n int) ([]*idleConn, error) {
	var mu sync.Mutex
	var conns []*idleConn
	var failed error
	var work sync.WaitGroup
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	close(left)
	for range openers {
		work.Go(func() {
			for range left {
				c, err := r.openOne(ctx, addr)
				mu.Lock()
				if err == nil {
					conns = append(conns, c)
				} else if failed == nil {
					failed = fmt.Errorf("connection %d of %d: %w", len(conns)+1, n, err)
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	work.Wait()
	return conns, failed
}

func (r *runner) openOne(ctx context.Context, addr string) (*idleConn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	tc := tls.Client(raw, r.client.tls)
	c := &idleConn{tc, bufio.NewReaderSize(tc, 512)}
	if err := c.ask(); err != nil {
		raw.Close()
		return nil, err
	}
	return c, nil
}
