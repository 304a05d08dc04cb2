package compare

import (
	"context"
	"fmt"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
)

// spareFiles is what the load has open beside its connections.
const spareFiles = 256

// idleLimits are of our own making, for servers to which a connection is dear.
var idleLimits = map[string]int{server.Stunnel: 5000} // a thread each

// runIdle opens ever more connections to each server and looks at its memory on the way. A
// server that holds a second connection for each (a proxy) gets half as many.
func runIdle(ctx context.Context, r *runner, e *experiment, out *report.Experiment) error {
	for _, k := range r.entrants(e, e.cells[0]) {
		if err := r.idle(ctx, k, e, out); err != nil {
			return err
		}
		r.stopAll()
	}
	return nil
}

func (r *runner) idle(ctx context.Context, k server.Kind, e *experiment, out *report.Experiment) error {
	p, err := r.start(ctx, k, e.cells[0])
	if err != nil {
		r.fail(out, k, e.cells[0], err)
		return nil
	}
	l, err := load.New(load.Config{Kind: load.Idle, Target: p.Addr().String(), ServerName: "localhost", TLS: r.clientTLS()})
	if err != nil {
		r.fail(out, k, e.cells[0], err)
		return nil
	}
	defer l.Close()
	open := 0
	for _, c := range e.cells {
		r.step("%s: %s, %.0f", e.title, k.Name, c.x)
		most, err := k.MaxConns()
		if err != nil {
			return err
		}
		most = min(most, r.files-spareFiles)
		n := int(c.x)
		if limit := idleLimits[k.Name]; limit > 0 && n > limit {
			r.fail(out, k, c, finding{fmt.Errorf("not asked for more than %d connections: each takes a thread", limit)})
			continue
		}
		if n > most {
			r.fail(out, k, c, r.tooFewFiles(most))
			n = most / 1000 * 1000
		}
		if n <= open && c.x > 0 {
			continue
		}
		m, err := idleRound(ctx, p, l, open, n)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.fail(out, k, c, err)
			return nil
		}
		open = n
		out.Points = append(out.Points, report.Point{Server: k.Name, X: float64(n), Rounds: []report.Round{m}})
	}
	return nil
}

// idleRound goes from before to n connections and looks at the server's memory.
func idleRound(ctx context.Context, p *server.Process, l *load.Load, before, n int) (m report.Round, err error) {
	if n > 0 {
		if err := l.Open(ctx, n-before); err != nil {
			return m, err
		}
		res, err := l.Run(ctx, 300*time.Millisecond)
		if err != nil {
			return m, err
		}
		if err := failures(res); err != nil {
			return m, err
		}
	}
	if err := settle(ctx, p); err != nil {
		return m, err
	}
	m.Memory, m.Peak, err = p.Memory()
	return m, err
}

// settle waits, for at most two seconds, until the server has nothing left to do.
func settle(ctx context.Context, p *server.Process) error {
	last, err := p.CPU()
	for range 20 {
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		var now time.Duration
		if now, err = p.CPU(); err == nil && now-last < time.Millisecond {
			return nil
		}
		last = now
	}
	return err
}
