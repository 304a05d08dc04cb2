package load

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
)

// plainLoop is the loop for TCP without TLS. A lock takes the place of the loop's goroutine, and each
// connection has a goroutine that reads and one that writes.
type plainLoop struct {
	w       *worker
	timeout time.Duration
	ctx     context.Context // ends with Stop
	cancel  context.CancelFunc
	running sync.WaitGroup
	tasks   chan struct{} // there is something in queue

	mu sync.Mutex // taken for each call of the worker

	queueMu sync.Mutex
	queue   []func()
	stopped bool
}

func newPlainLoop(w *worker, timeout time.Duration) *plainLoop {
	p := &plainLoop{w: w, timeout: timeout, tasks: make(chan struct{}, 1)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Run runs what Do was given until Stop.
func (p *plainLoop) Run() error {
	for {
		select {
		case <-p.tasks:
		case <-p.ctx.Done():
			p.queueMu.Lock()
			p.stopped = true
			p.queueMu.Unlock()
			p.runTasks()
			p.running.Wait()
			return nil
		}
		p.runTasks()
	}
}

func (p *plainLoop) runTasks() {
	p.queueMu.Lock()
	tasks := p.queue
	p.queue = nil
	p.queueMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range tasks {
		f()
	}
}

func (p *plainLoop) Do(f func()) bool {
	p.queueMu.Lock()
	defer p.queueMu.Unlock()
	if p.stopped {
		return false
	}
	p.queue = append(p.queue, f)
	select {
	case p.tasks <- struct{}{}:
	default:
	}
	return true
}

func (p *plainLoop) Stop() { p.cancel() }

// dial connects on a goroutine of its own, which is then the one that reads.
func (p *plainLoop) dial(addr netip.AddrPort, s *slot) error {
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout)
	s.abandon = cancel
	p.running.Go(func() {
		defer cancel()
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr.String())
		if err != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				err = os.ErrDeadlineExceeded
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.w.closed(s, nil, err)
			return
		}
		l := &plainLink{c: c.(*net.TCPConn), filled: make(chan struct{}, 1)}
		stop := context.AfterFunc(p.ctx, func() { l.Abort(net.ErrClosed) })
		defer stop()
		p.running.Go(l.write)
		p.mu.Lock()
		p.w.wasOpened(s, l)
		p.mu.Unlock()
		err = p.read(s, l)
		l.Abort(err)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.w.closed(s, l, l.cause)
	})
	return nil
}

// read hands over what comes until the connection ends.
func (p *plainLoop) read(s *slot, l *plainLink) error {
	buf := make([]byte, 16<<10)
	for {
		n, err := l.c.Read(buf)
		if n > 0 && !l.over() {
			p.mu.Lock()
			p.w.job.data(s, buf[:n])
			p.mu.Unlock()
		}
		if err == io.EOF {
			return failed(Closed, errors.New("the server ended the connection"))
		}
		if err != nil {
			return err
		}
	}
}

// plainLink is one connection.
type plainLink struct {
	c      *net.TCPConn
	filled chan struct{} // there is something in out, or it is all over

	mu    sync.Mutex
	out   []byte
	cause error // what ended the connection
}

// Write queues a copy of b.
func (l *plainLink) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		return 0, l.cause
	}
	l.out = append(l.out, b...)
	l.tell()
	return len(b), nil
}

func (l *plainLink) tell() {
	select {
	case l.filled <- struct{}{}:
	default:
	}
}

// write sends what is queued. A failure is left to read to find.
func (l *plainLink) write() {
	var spare []byte
	for range l.filled {
		l.mu.Lock()
		out, over := l.out, l.cause != nil
		l.out = spare[:0]
		l.mu.Unlock()
		if over {
			return
		}
		_, _ = l.c.Write(out)
		spare = out
	}
}

// Abort ends the connection by a reset. The first cause is what counts.
func (l *plainLink) Abort(cause error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause == nil {
		l.cause = cause
		_ = l.c.SetLinger(0)
		l.c.Close()
		l.tell()
	}
}

func (l *plainLink) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause != nil
}

func (l *plainLink) Close() error {
	l.Abort(net.ErrClosed)
	return nil
}

func (l *plainLink) Queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.out)
}

// State is empty: there is no TLS.
func (l *plainLink) State() cssl.State { return cssl.State{} }

// Session is nil, likewise.
func (l *plainLink) Session() *cssl.Session { return nil }
