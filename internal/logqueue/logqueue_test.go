package logqueue

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// gate is a writer that waits until it is opened.
type gate struct {
	open    chan struct{}
	entered chan struct{} // gets something at each Write

	mu    sync.Mutex
	lines []string
}

func newGate() *gate { return &gate{open: make(chan struct{}), entered: make(chan struct{}, 1000)} }

func (g *gate) Write(p []byte) (int, error) {
	g.entered <- struct{}{}
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines = append(g.lines, strings.TrimSpace(string(p)))
	return len(p), nil
}

func (g *gate) has() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.lines)
}

// flush waits until q has nothing left.
func flush(t *testing.T, q *Queue) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), tlstest.Hang)
	defer cancel()
	tlstest.Must(t, q.Flush(ctx))
}

// TestWriter: lines come in order and whole; when nobody takes them, as many are kept as there is room for and the rest is counted. What was
// lost is told once, when the queue has run empty.
func TestWriter(t *testing.T) {
	g := newGate()
	var lost []uint64
	var w *Writer
	w = NewWriter(g, 10, func(n uint64) { lost = append(lost, n); w.Write([]byte("lost")) })
	flush(t, w.Queue) // nothing to wait for
	line := []byte("0-\n")
	for i := range 6 { // 3 bytes each: there is room for three
		line[0] = '0' + byte(i)
		if n, err := w.Write(line); n != 3 || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	tlstest.Equal(t, "dropped lines", w.Dropped(), 3)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tlstest.IsError(t, "Flush while nothing gets through", w.Flush(ended), context.Canceled)
	close(g.open)
	flush(t, w.Queue)
	if got := g.has(); fmt.Sprint(got) != "[0- 1- 2- lost]" {
		t.Errorf("written: %v", got)
	}
	if fmt.Sprint(lost) != "[3]" {
		t.Errorf("told of lost lines: %v", lost)
	}
	w.Write([]byte("a line that is longer than all the room"))
	flush(t, w.Queue)
	if got := g.has(); len(got) != 5 {
		t.Errorf("an empty queue refuses a long line: %v", got)
	}
	if len(lost) != 1 || w.Dropped() != 3 {
		t.Errorf("told again: %v, %d", lost, w.Dropped())
	}
}

// TestRoomOfWhatRuns: what is being written takes room until it is done.
func TestRoomOfWhatRuns(t *testing.T) {
	g := newGate()
	w := NewWriter(g, 2, nil)
	w.Write([]byte("a"))
	<-g.entered
	w.Write([]byte("b"))
	w.Write([]byte("c"))
	tlstest.Equal(t, "dropped lines", w.Dropped(), 1)
	close(g.open)
	flush(t, w.Queue)
	tlstest.Equal(t, "written", fmt.Sprint(g.has()), "[a b]")
}

// TestPanic: a panic of what writes a line loses that line.
func TestPanic(t *testing.T) {
	var lost uint64
	q := New(1, func(n uint64) { lost += n })
	q.Add(1, func() { panic("here") })
	flush(t, q)
	ran := false
	q.Add(1, func() { ran = true })
	flush(t, q)
	if !ran || q.Dropped() != 1 || lost != 1 {
		t.Errorf("ran: %v, %d dropped, %d told", ran, q.Dropped(), lost)
	}
}

// TestHandler: records keep their time, level, attributes and groups.
func TestHandler(t *testing.T) {
	g := newGate()
	close(g.open)
	q := New(10, nil)
	inner := slog.NewTextHandler(g, &slog.HandlerOptions{Level: slog.LevelWarn, AddSource: true})
	log := slog.New(NewHandler(inner, q)).With("a", 1).WithGroup("g")
	log.Info("not enabled")
	log.Error("said", "b", 2)
	flush(t, q)
	got := g.has()
	if len(got) != 1 {
		t.Fatalf("written: %v", got)
	}
	for _, want := range []string{"level=ERROR", "logqueue_test.go:", "msg=said a=1 g.b=2"} {
		if !strings.Contains(got[0], want) {
			t.Errorf("%q is not in %s", want, got[0])
		}
	}
}

// TestManyWriters: each line of many goroutines is written or counted.
func TestManyWriters(t *testing.T) {
	g := newGate()
	g.entered = make(chan struct{}, 10000)
	close(g.open)
	w := NewWriter(g, 100, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				w.Write([]byte("line\n"))
			}
		})
	}
	wg.Wait()
	flush(t, w.Queue)
	tlstest.Equal(t, "lines written or dropped", len(g.has())+int(w.Dropped()), 8000)
}
