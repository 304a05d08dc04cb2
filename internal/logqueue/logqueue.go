// Package logqueue keeps whoever logs from waiting for the log: a disk that is
// slow, or a pipe that nobody reads. Lines are written by a goroutine of their
// own; when too much waits, further lines are dropped and counted.
//
//	event loop ─► Handler or Writer ─► Queue ─► goroutine ─► slog.Handler or io.Writer
package logqueue

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
)

// Queue calls functions one after another, on a goroutine that lives only while
// there are some. All methods may be called from any goroutine. Add never
// waits.
type Queue struct {
	limit int
	lost  func(n uint64)

	mu            sync.Mutex
	waiting       []task
	cost          int           // of what waits and of what runs
	idle          chan struct{} // closed when nothing is left; nil while nothing runs
	dropped, told uint64
}

type task struct {
	cost int
	run  func()
}

// New returns a Queue that holds as much as limit allows: the sum of the costs
// that Add is given, in a unit of the caller's. When everything has run and
// something was dropped since the last time, the queue calls lost, which may be
// nil, with how much that was. It may call Add.
func New(limit int, lost func(n uint64)) *Queue { return &Queue{limit: limit, lost: lost} }

// Add makes the queue call f soon. If there is no room, f is dropped and
// counted. An empty queue takes any cost. A panic in f counts as a drop.
func (q *Queue) Add(cost int, f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cost > 0 && q.cost+cost > q.limit {
		q.dropped++
		return
	}
	q.waiting = append(q.waiting, task{cost, f})
	q.cost += cost
	if q.idle == nil {
		q.idle = make(chan struct{})
		go q.drain()
	}
}

// Dropped returns how much was dropped so far.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Flush waits until nothing is left, and returns nil, or until ctx ends, and
// returns its error.
func (q *Queue) Flush(ctx context.Context) error {
	q.mu.Lock()
	idle := q.idle
	q.mu.Unlock()
	if idle == nil {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drain calls what waits until nothing does.
func (q *Queue) drain() {
	for {
		q.mu.Lock()
		tasks, lost := q.waiting, q.dropped-q.told
		q.waiting = nil
		switch {
		case len(tasks) > 0:
		case lost > 0 && q.lost != nil:
			q.told = q.dropped
			tasks = []task{{0, func() { q.lost(lost) }}}
		default:
			close(q.idle)
			q.idle = nil
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		for i, t := range tasks {
			tasks[i] = task{}
			q.call(t)
		}
	}
}

// call runs t and makes room.
func (q *Queue) call(t task) {
	defer func() {
		v := recover()
		q.mu.Lock()
		defer q.mu.Unlock()
		q.cost -= t.cost
		if v != nil {
			q.dropped++
		}
	}()
	t.run()
}

// Writer is an io.Writer whose Write never waits: the queue writes a copy. The
// cost of a Write is its length.
type Writer struct {
	*Queue
	w io.Writer
}

// NewWriter returns a Writer to w that holds as many bytes as limit says. lost
// is as in New, and counts the calls of Write.
func NewWriter(w io.Writer, limit int, lost func(n uint64)) *Writer {
	return &Writer{New(limit, lost), w}
}

// Write returns len(p) and nil, also if p is dropped. A later error of the
// writer behind it is not told.
func (w *Writer) Write(p []byte) (int, error) {
	line := bytes.Clone(p)
	w.Add(len(line), func() { _, _ = w.w.Write(line) })
	return len(p), nil
}

// Handler is a slog.Handler whose Handle never waits: the queue calls that of
// the Handler inside. The cost of a record is 1.
type Handler struct {
	slog.Handler
	queue *Queue
}

// NewHandler returns a Handler that hands records to h through q.
func NewHandler(h slog.Handler, q *Queue) Handler { return Handler{h, q} }

// Handle implements slog.Handler. Values of attributes are formatted later, so
// they must not change.
func (h Handler) Handle(ctx context.Context, r slog.Record) error {
	r, ctx = r.Clone(), context.WithoutCancel(ctx)
	h.queue.Add(1, func() { _ = h.Handler.Handle(ctx, r) })
	return nil
}

// WithAttrs implements slog.Handler.
func (h Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return Handler{h.Handler.WithAttrs(attrs), h.queue}
}

// WithGroup implements slog.Handler.
func (h Handler) WithGroup(name string) slog.Handler {
	return Handler{h.Handler.WithGroup(name), h.queue}
}
