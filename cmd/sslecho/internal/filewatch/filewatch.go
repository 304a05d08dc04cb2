// Package filewatch says when files may have changed, however they are replaced:
// written in place, renamed over, or reached through symbolic links that are
// swapped, as Kubernetes and certbot do.
//
//	files ─► lookups: every name that is looked up on the way to a file
//	              │
//	              ▼ their directories
//	          inotify ─► an event of one of the names ─► settle ─► Changed
//
// No file is watched, for a watch stays with the old file when a new one takes
// its name: the directories of all the names are, up to the root. The watches
// are made anew before each Changed, so that none stays with a directory that
// was moved away.
//
// What inotify(7) does not see is not seen here: changes by other hosts on a
// network file system, a mount over a directory, and changes of one file that
// is mounted (bind) from elsewhere.
package filewatch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A change is told when nothing more has happened for the time of settle, so
// that files which belong together are all there, or after the time of longest
// when it goes on and on.
const (
	settle  = time.Second
	longest = 10 * time.Second
)

// Watcher watches files. Its methods may be called from any goroutine; a nil
// Watcher watches nothing.
type Watcher struct {
	log     *slog.Logger
	changed chan struct{}
	watch   chan request
	stop    chan struct{}
	stopped chan struct{} // closed when run is over
	after   func(time.Duration) <-chan time.Time

	// Of the goroutine of run.
	files   []string
	now     *watches
	settled <-chan time.Time // nil: nothing has happened
	first   time.Time        // change of those that have not been told
	refused map[string]string
}

// request is a call of Watch.
type request struct {
	ctx   context.Context
	files []string
	done  chan struct{}
}

// New starts a Watcher without files. It fails when the system has no inotify
// instance to give.
func New(log *slog.Logger) (*Watcher, error) { return start(log, time.After) }

func start(log *slog.Logger, after func(time.Duration) <-chan time.Time) (*Watcher, error) {
	now, err := newWatches()
	if err != nil {
		return nil, err
	}
	w := &Watcher{log: log, after: after, now: now, refused: map[string]string{}, changed: make(chan struct{}, 1),
		watch: make(chan request), stop: make(chan struct{}), stopped: make(chan struct{})}
	go w.run()
	return w, nil
}

// Watch makes these the files that are watched; they need not be there. When it
// returns, no later change is missed, so it is called before they are read.
// What cannot be watched is logged. When ctx ends it returns, and from then on
// does not take the place of another Watch.
func (w *Watcher) Watch(ctx context.Context, files []string) {
	if w == nil {
		return
	}
	r := request{ctx, slices.Clone(files), make(chan struct{})}
	select {
	case w.watch <- r:
	case <-ctx.Done():
		return
	case <-w.stop:
		return
	}
	select {
	case <-r.done:
	case <-ctx.Done():
	case <-w.stop:
	}
}

// Changed receives a value when files may have changed, one for all changes
// that have not been received yet.
func (w *Watcher) Changed() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.changed
}

// Close ends the Watcher, and each Watch. It is called once. It does not wait
// for a file system that holds the Watcher up, which ends when that returns.
func (w *Watcher) Close() {
	if w == nil {
		return
	}
	close(w.stop)
}

func (w *Watcher) run() {
	defer close(w.stopped)
	defer func() { w.now.notify.Close() }()
	for {
		select {
		case <-w.stop:
			return
		case r := <-w.watch:
			if r.ctx.Err() == nil {
				w.files = r.files
				if !w.add() {
					w.arm()
				}
			}
			close(r.done)
		case e := <-w.now.notify.Events:
			// Two paths may lead to one directory, whose events name one of
			// them: only the last element is certain.
			if w.now.names[filepath.Base(e.Name)] {
				w.arm()
			}
		case err := <-w.now.notify.Errors: // events were lost
			if w.settled == nil {
				w.log.Warn("changes of files may have been missed, so they are taken for changed", "error", err)
			}
			w.arm()
		case <-w.settled:
			if !w.renew() && time.Since(w.first) < longest {
				w.arm() // it goes on
				continue
			}
			w.settled = nil
			select {
			case w.changed <- struct{}{}:
			default:
			}
		}
	}
}

// arm notes a change.
func (w *Watcher) arm() {
	now := time.Now()
	if w.settled == nil {
		w.first = now
	}
	w.settled = w.after(pause(w.first, now))
}

// pause is how long nothing must happen from now on.
func pause(first, now time.Time) time.Duration {
	return max(0, min(settle, first.Add(longest).Sub(now)))
}

// renew makes all watches anew, which leaves none with what was moved away. It
// reports whether all stayed as it was meanwhile.
func (w *Watcher) renew() bool {
	if anew, err := newWatches(); err != nil {
		w.log.Warn("files are watched with what was set up before", "error", err)
	} else {
		defer w.now.notify.Close()
		w.now = anew
	}
	return w.add()
}

// add watches the files, beside what is watched. It reports whether all
// stayed as it was meanwhile.
func (w *Watcher) add() bool {
	paths := lookups(w.files)
	dirs := map[string]bool{}
	for p := range paths {
		dirs[filepath.Dir(p)] = true
		w.now.names[filepath.Base(p)] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		err := w.now.notify.Add(dir)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			delete(w.refused, dir) // where it is gone, the directory above tells of a new one
			continue
		case errors.Is(err, syscall.ENOSPC):
			err = fmt.Errorf("there are too many watches: raise fs.inotify.max_user_watches (%w)", err)
		}
		if w.refused[dir] != err.Error() {
			w.refused[dir] = err.Error()
			w.log.Warn("a directory cannot be watched: a change of its files needs SIGHUP", "directory", dir, "error", err)
		}
	}
	return maps.Equal(paths, lookups(w.files))
}

// watches are those of one inotify instance.
type watches struct {
	notify *fsnotify.Watcher
	names  map[string]bool // whose events count
}

func newWatches() (*watches, error) {
	n, err := fsnotify.NewWatcher()
	if errors.Is(err, syscall.EMFILE) {
		err = fmt.Errorf("there are too many inotify instances or open files: raise fs.inotify.max_user_instances, or the limit of open files (%w)", err)
	}
	if err != nil {
		return nil, err
	}
	return &watches{notify: n, names: map[string]bool{}}, nil
}
