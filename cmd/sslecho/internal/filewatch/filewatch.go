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
// A dead file system stops whoever looks up a name there, for ever. So each set
// of watches is built by a goroutine of its own and takes the place of the one
// before it when it is complete. Nothing else touches the file system.
//
// What inotify(7) does not see is not seen here: changes by other hosts on a
// network file system, a mount over a directory, and changes of one file that
// is mounted (bind) from elsewhere.
package filewatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A change is told when nothing more has happened for the time of settle, so
// that files which belong together are all there, or after the time of longest
// when it goes on and on. The new watches that come first may take the time of
// patience.
const (
	settle   = time.Second
	longest  = 10 * time.Second
	patience = 10 * time.Second
)

// maxBuilds is how many builds may be under way at once. There are only many
// when directories do not answer: each of these builds holds a thread.
const maxBuilds = 16

var (
	errClosed     = errors.New("files are watched no more, for the process ends")
	errSuperseded = errors.New("other files are watched since")
)

// Watcher watches files. Its methods may be called from any goroutine; a nil
// Watcher watches nothing.
type Watcher struct {
	log     *slog.Logger
	sys     system
	changed chan struct{}
	watch   chan *build // calls of Watch
	giveUp  chan *build // those that do not wait any longer
	room    chan *build // builds that have no room beside the watches in use
	built   chan *build // builds that are complete
	stop    chan struct{}
	stopped chan struct{}

	// Of the goroutine of run.
	files    []string
	number   uint64 // of the call of Watch that files come from
	calls    uint64
	now      *build // nil: it made room for another
	building int
	renewing *build           // the last one that was begun without a call
	late     <-chan time.Time // nil: what is told does not wait for renewing
	settled  <-chan time.Time // nil: nothing has happened since
	first    time.Time        // change of those that have not been told; zero: none
	refused  map[string]string
}

// system is what a Watcher needs from outside, for tests to replace.
type system struct {
	after  func(time.Duration) <-chan time.Time
	lookup func(path string) string
	add    func(n *fsnotify.Watcher, dir string) error
}

// New starts a Watcher without files. It fails when the system has no inotify
// instance to give.
func New(log *slog.Logger) (*Watcher, error) {
	return start(log, system{time.After, lookup, (*fsnotify.Watcher).Add})
}

func start(log *slog.Logger, sys system) (*Watcher, error) {
	notify, err := newInstance()
	if err != nil {
		return nil, err
	}
	w := &Watcher{log: log, sys: sys, now: &build{notify: notify}, changed: make(chan struct{}, 1),
		watch: make(chan *build), giveUp: make(chan *build), room: make(chan *build), built: make(chan *build),
		stop: make(chan struct{}), stopped: make(chan struct{})}
	go w.run()
	return w, nil
}

// Watch makes these the files that are watched; they need not be there. When it
// returns nil, no later change is missed, so it is called before they are read.
// What cannot be watched is logged.
//
// When ctx ends first, Watch returns its error, and the files are those of
// before. It fails too if too many calls that were given up still wait for a
// directory, after Close, and if a later call was faster.
func (w *Watcher) Watch(ctx context.Context, files []string) error {
	if w == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	b := newBuild(files)
	select {
	case w.watch <- b:
	case <-w.stopped:
		return errClosed
	}
	select {
	case err := <-b.done:
		return err
	case <-w.stopped:
		return errClosed
	case <-ctx.Done():
	}
	select {
	case w.giveUp <- b:
	case <-w.stopped:
	}
	select {
	case err := <-b.done: // just before that
		return err
	default:
		return fmt.Errorf("%w while it waits for %s", ctx.Err(), b.where())
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

// Close ends the Watcher. It is called once, and waits for no file system.
func (w *Watcher) Close() {
	if w == nil {
		return
	}
	close(w.stop)
	<-w.stopped
}

// run owns all that is watched. It touches no file system and waits for none.
func (w *Watcher) run() {
	defer close(w.stopped)
	defer func() { w.now.close() }()
	for {
		var events <-chan fsnotify.Event
		var lost <-chan error
		if w.now != nil {
			events, lost = w.now.notify.Events, w.now.notify.Errors
		}
		select {
		case <-w.stop:
			return
		case b := <-w.watch:
			w.calls++
			b.number = w.calls
			if !w.begin(b) {
				b.done <- fmt.Errorf("%d earlier calls still wait for directories: see why those cannot be read", w.building)
			}
		case b := <-w.giveUp:
			b.givenUp = true
			w.needWatches()
		case b := <-w.room:
			b.freed <- w.makeRoom(b)
		case b := <-w.built:
			w.end(b)
		case e := <-events:
			// Two paths may lead to one directory, whose events name one of
			// them: only the last element is certain.
			if w.now.names[filepath.Base(e.Name)] {
				w.arm()
			}
		case err := <-lost:
			if w.first.IsZero() {
				w.log.Warn("changes of files may have been missed, so they are taken for changed", "error", err)
			}
			w.arm()
		case <-w.settled:
			w.settled = nil
			w.renew()
		case <-w.late:
			w.late = nil
			w.log.Warn("files are watched with what was set up before", "waiting_for", w.renewing.where())
			w.tell()
		}
	}
}

// arm notes a change.
func (w *Watcher) arm() {
	now := time.Now()
	if w.first.IsZero() {
		w.first = now
	}
	w.settled = w.sys.after(pause(w.first, now))
}

// pause is how long nothing must happen from now on.
func pause(first, now time.Time) time.Duration {
	return max(0, min(settle, first.Add(longest).Sub(now)))
}

// tell tells the changes that have not been told.
func (w *Watcher) tell() {
	w.settled, w.first = nil, time.Time{}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// renew makes all watches anew, which leaves none with what was moved away, and
// then tells the changes. It does not wait for directories that do not answer.
func (w *Watcher) renew() {
	r := w.renewing
	switch {
	case r == nil || r.number != w.number:
		b := newBuild(w.files)
		b.number = w.number
		if !w.begin(b) {
			w.tell()
			return
		}
		w.renewing, w.late = b, w.sys.after(patience)
	case w.late == nil:
		w.tell()
	}
}

// begin starts a build, if there are not too many.
func (w *Watcher) begin(b *build) bool {
	if w.building >= maxBuilds {
		return false
	}
	w.building++
	go w.build(b)
	return true
}

// wanted reports whether a build may take the place of what is watched: the
// latest call of Watch that has succeeded counts.
func (w *Watcher) wanted(b *build) bool { return !b.givenUp && b.number >= w.number }

// makeRoom returns the instance in use for b to close, or nil. Until b is
// complete nothing is watched.
func (w *Watcher) makeRoom(b *build) *fsnotify.Watcher {
	if w.now == nil || !w.wanted(b) {
		return nil
	}
	old := w.now.notify
	w.now, b.alone = nil, true
	return old
}

// needWatches has the watches made anew when a build was given up that the last
// ones have made room for.
func (w *Watcher) needWatches() {
	if w.now == nil {
		w.arm()
	}
}

// end takes what a build has made.
func (w *Watcher) end(b *build) {
	w.building--
	renewal := w.renewing == b
	if renewal {
		w.renewing, w.late = nil, nil
	}
	if w.wanted(b) {
		w.take(b)
		b.done <- nil
		// The caller of Watch is about to read all. Another one is told, which
		// may have been before.
		if !b.stayed || renewal && b.alone && w.first.IsZero() {
			w.arm()
		}
	} else {
		b.close()
		b.done <- errSuperseded
		w.needWatches()
	}
	if renewal && !w.first.IsZero() && (w.settled == nil || time.Since(w.first) >= longest) {
		w.tell() // unless it goes on
	}
}

// take makes b what is watched.
func (w *Watcher) take(b *build) {
	w.files, w.number = b.files, b.number
	if b.err != nil {
		w.log.Warn("files are watched with what was set up before", "error", b.err)
		return
	}
	w.now.close()
	w.now = b
	for _, dir := range slices.Sorted(maps.Keys(b.refused)) {
		if err := b.refused[dir]; w.refused[dir] != err {
			w.log.Warn("a directory cannot be watched: a change of its files needs SIGHUP", "directory", dir, "error", err)
		}
	}
	w.refused = b.refused
}
