package filewatch

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// dead is a file system of which one path does not answer until it is mended.
type dead struct {
	path   string
	mended chan struct{}
	asked  chan struct{} // a value for each who waits

	mu    sync.Mutex
	alive bool
}

func newDead(path string) *dead {
	return &dead{path: path, mended: make(chan struct{}), asked: make(chan struct{}, 2*maxBuilds)}
}

func (f *dead) setAlive(alive bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.alive = alive
}

func (f *dead) wait(path string) {
	f.mu.Lock()
	alive := f.alive
	f.mu.Unlock()
	if path == f.path && !alive {
		f.asked <- struct{}{}
		<-f.mended
	}
}

func (f *dead) lookup(path string) string { f.wait(path); return lookup(path) }

func (f *dead) add(n *fsnotify.Watcher, dir string) error { f.wait(dir); return n.Add(dir) }

func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(limit):
		t.Fatal("there is no " + what)
	}
	panic("unreachable")
}

// giveUp calls Watch, and gives it up when a directory does not answer.
func giveUp(t *testing.T, w *Watcher, f *dead, files []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(ctx, files) }()
	receive(t, f.asked, "build that waits")
	cancel()
	if err := receive(t, ended, "end of a call that was given up"); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), f.path) {
		t.Errorf("given up: %v", err)
	}
}

// settleUntil lets changes settle until somebody asks.
func settleUntil(t *testing.T, c *clock, asked <-chan struct{}) {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		c.fire()
		select {
		case <-asked:
			return
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatal("nobody asks")
}

// notices changes a file, and demands that this is noticed and told.
func notices(t *testing.T, w *Watcher, c *clock, d disk, name string) {
	t.Helper()
	before := c.count()
	d.write("new", strconv.Itoa(before))
	d.rename("new", name)
	c.wait(t, before+1)
	c.settleNow(t, w)
}

// TestDeadDirectory: where a directory does not answer, a call of Watch can be
// given up and has changed nothing, then and later; others go on, and Close
// returns.
func TestDeadDirectory(t *testing.T) {
	for name, sys := range map[string]func(f *dead) system{
		"lookup": func(f *dead) system { return system{lookup: f.lookup, add: (*fsnotify.Watcher).Add} },
		"add":    func(f *dead) system { return system{lookup: lookup, add: f.add} },
	} {
		t.Run(name, func(t *testing.T) {
			waitInotify(t, 0, 0)
			d := newDisk(t)
			d.dir("dead")
			d.write("dead/file", "")
			d.write("one", "")
			d.write("two", "")
			f := newDead(d.path("dead"))
			var log bytes.Buffer
			w, c := beginWith(t, &log, sys(f))
			watchAll(t, w, []string{d.path("one")})
			giveUp(t, w, f, []string{d.path("dead/file")})
			notices(t, w, c, d, "one")
			giveUp(t, w, f, []string{d.path("dead/file")})
			watchAll(t, w, []string{d.path("two")})
			notices(t, w, c, d, "two")
			close(f.mended)
			waitInotify(t, 1, 1+strings.Count(d.root, "/"))
			before := c.count()
			d.write("dead/file", "changed")
			d.write("one", "changed")
			notices(t, w, c, d, "two")
			if n := c.count(); n != before+1 {
				t.Errorf("%d changes were noticed, want that of two", n-before)
			}
			w.Close()
			if log.Len() > 0 {
				t.Error(log.String())
			}
		})
	}
}

// TestCloseWhileDead: Close does not wait for a build, which gives all back if it
// ends.
func TestCloseWhileDead(t *testing.T) {
	waitInotify(t, 0, 0)
	d := newDisk(t)
	d.dir("dead")
	f := newDead(d.path("dead"))
	var log bytes.Buffer
	w, _ := beginWith(t, &log, system{lookup: lookup, add: f.add})
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(t.Context(), []string{d.path("dead/file")}) }()
	receive(t, f.asked, "build that waits")
	closed := make(chan struct{})
	go func() { w.Close(); close(closed) }()
	receive(t, closed, "end of Close")
	if err := receive(t, ended, "end of Watch"); err != errClosed {
		t.Errorf("Watch: %v", err)
	}
	close(f.mended)
	waitInotify(t, 0, 0)
}

// TestSuperseded: of two calls of Watch the later one counts, also if the earlier
// one is slower.
func TestSuperseded(t *testing.T) {
	waitInotify(t, 0, 0)
	d := newDisk(t)
	d.dir("slow")
	d.write("slow/file", "")
	d.write("file", "")
	f := newDead(d.path("slow"))
	var log bytes.Buffer
	w, c := beginWith(t, &log, system{lookup: lookup, add: f.add})
	defer w.Close()
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(t.Context(), []string{d.path("slow/file")}) }()
	receive(t, f.asked, "build that waits")
	watchAll(t, w, []string{d.path("file")})
	close(f.mended)
	if err := receive(t, ended, "end of Watch"); err != errSuperseded {
		t.Errorf("the earlier call: %v", err)
	}
	waitInotify(t, 1, 1+strings.Count(d.root, "/"))
	d.write("slow/file", "changed")
	notices(t, w, c, d, "file")
	if n := c.count(); n != 1 {
		t.Errorf("%d changes were noticed, want that of the later call's file", n)
	}
}

// TestGivenUpBefore: a call whose caller has given up does nothing.
func TestGivenUpBefore(t *testing.T) {
	d := newDisk(t)
	d.write("file", "")
	var log bytes.Buffer
	w, c := begin(t, &log)
	defer w.Close()
	watchAll(t, w, []string{d.path("file")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Watch(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v", err)
	}
	notices(t, w, c, d, "file")
}

// TestManyDead: builds that were given up are limited in number, and each that
// ends makes room.
func TestManyDead(t *testing.T) {
	waitInotify(t, 0, 0)
	d := newDisk(t)
	d.dir("dead")
	f := newDead(d.path("dead"))
	var log bytes.Buffer
	w, _ := beginWith(t, &log, system{lookup: f.lookup, add: (*fsnotify.Watcher).Add})
	defer w.Close()
	for range maxBuilds {
		giveUp(t, w, f, []string{d.path("dead/file")})
	}
	if err := w.Watch(t.Context(), nil); err == nil || !strings.Contains(err.Error(), strconv.Itoa(maxBuilds)) {
		t.Errorf("one more: %v", err)
	}
	close(f.mended)
	waitInotify(t, 1, 0)
	watchAll(t, w, []string{d.path("dead/file")})
}

// TestDiesLater: when a directory that is watched does not answer any longer,
// changes are told all the same, and a call of Watch without it succeeds.
func TestDiesLater(t *testing.T) {
	d := newDisk(t)
	d.dir("dead")
	d.write("dead/file", "")
	d.write("file", "")
	f := newDead(d.path("dead"))
	f.setAlive(true)
	var log bytes.Buffer
	w, c := beginWith(t, &log, system{lookup: lookup, add: f.add})
	files := []string{d.path("dead/file"), d.path("file")}
	watchAll(t, w, files)
	notices(t, w, c, d, "file")
	f.setAlive(false)
	d.write("file", "changed")
	settleUntil(t, c, f.asked)
	c.late <- time.Time{}
	receive(t, w.Changed(), "change that is told")
	notices(t, w, c, d, "file") // at once: nobody waits for that build
	watchAll(t, w, files[1:])
	notices(t, w, c, d, "file")
	close(f.mended)
	w.Close()
	if !strings.Contains(log.String(), "waiting_for="+f.path) {
		t.Errorf("nothing says what it waits for: %s", log.String())
	}
}

// TestNoRoom: where new watches do not fit beside the old ones, those make room,
// and nothing is left unwatched.
func TestNoRoom(t *testing.T) {
	d := newDisk(t)
	d.dir("a/b")
	d.dir("0")
	d.write("a/b/file", "")
	// What those need, and a build up to the dead directory.
	most := 1 + strings.Count(d.path("a/b"), "/") + 1 + strings.Count(d.root, "/")
	var (
		mu        sync.Mutex
		instances = map[*fsnotify.Watcher]bool{} // one that is closed has no watches
		refused   int
	)
	f := newDead(d.path("0"))
	add := func(n *fsnotify.Watcher, dir string) error {
		mu.Lock()
		instances[n] = true
		in := 0
		for n := range instances {
			in += len(n.WatchList())
		}
		full := in >= most
		if full {
			refused++
		}
		mu.Unlock()
		if full {
			return syscall.ENOSPC
		}
		return f.add(n, dir)
	}
	var log bytes.Buffer
	w, c := beginWith(t, &log, system{lookup: lookup, add: add})
	files := []string{d.path("a/b/file")}
	watchAll(t, w, files)
	for n := range 4 {
		before := c.count()
		d.rename("a", "old"+strconv.Itoa(n))
		d.dir("a/b")
		c.wait(t, before+1)
		c.settleNow(t, w)
		before = c.count()
		d.write("a/b/file", strconv.Itoa(n))
		c.wait(t, before+1)
		c.settleNow(t, w)
		watchAll(t, w, files)
	}
	// Given up after the old ones have made room: they are made anew, and all
	// counts as changed.
	before := c.count()
	giveUp(t, w, f, []string{d.path("0/file")})
	c.wait(t, before+1)
	c.settleNow(t, w)
	notices(t, w, c, d, "a/b/file")
	close(f.mended)
	w.Close()
	if refused == 0 {
		t.Error("there was room all the time")
	}
	if log.Len() > 0 {
		t.Error(log.String())
	}
}
