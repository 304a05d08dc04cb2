// Package filewatch reports when files may have changed: written in place,
// renamed over, or reached through symbolic links that are swapped, as
// Kubernetes and certbot do.
//
// A watch of a file stays with the old one when a new one takes its name. So
// the directories of all names that are looked up on the way to a file are
// watched, up to the root. After a change make a new Watcher, which finds the
// directories of then, and close the old one.
//
// What inotify(7) does not see is not reported: changes by other hosts on a
// network file system, a mount over a directory, and changes of one file that
// is mounted (bind) from elsewhere.
package filewatch

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A change is reported when nothing more has happened for the time of settle,
// so that files that belong together are all there, or longest after the first
// event.
const (
	settle  = time.Second
	longest = 10 * time.Second
)

// Watcher watches files. A nil Watcher watches nothing.
type Watcher struct {
	notify  *fsnotify.Watcher
	changed chan struct{}
	moved   chan struct{} // a name led elsewhere while it was added

	mu    sync.Mutex
	names map[string]bool // the last elements of the paths that are looked up
}

// New makes a Watcher without files.
func New() (*Watcher, error) { return newWatcher(time.After) }

func newWatcher(after func(time.Duration) <-chan time.Time) (*Watcher, error) {
	n, err := fsnotify.NewWatcher()
	if errors.Is(err, syscall.EMFILE) {
		err = fmt.Errorf("there are too many inotify instances or open files: raise fs.inotify.max_user_instances, or the limit of open files (%w)", err)
	}
	if err != nil {
		return nil, err
	}
	w := &Watcher{notify: n, changed: make(chan struct{}, 1), moved: make(chan struct{}, 1), names: map[string]bool{}}
	go w.run(after)
	return w, nil
}

// Add adds files, which need not exist. No later change of them is missed, so
// it is called before they are read. It returns the directories that cannot be
// watched. It may block for as long as a file system does.
func (w *Watcher) Add(files []string) (unwatched map[string]error) {
	if w == nil {
		return nil
	}
	unwatched = map[string]error{}
	paths := lookups(files)
	dirs := map[string]bool{}
	w.mu.Lock()
	for p := range paths {
		w.names[filepath.Base(p)], dirs[filepath.Dir(p)] = true, true
	}
	w.mu.Unlock()
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		err := w.notify.Add(dir)
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			continue // the directory above it is watched
		case errors.Is(err, syscall.ENOSPC):
			err = fmt.Errorf("there are too many watches: raise fs.inotify.max_user_watches (%w)", err)
		}
		unwatched[dir] = err
	}
	if !maps.Equal(paths, lookups(files)) {
		notify(w.moved)
	}
	return unwatched
}

// Changed receives a value when files may have changed.
func (w *Watcher) Changed() <-chan struct{} {
	if w == nil {
		return nil
	}
	return w.changed
}

// Close ends the Watcher. It does not wait for a file system.
func (w *Watcher) Close() {
	if w != nil {
		go w.notify.Close()
	}
}

func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (w *Watcher) run(after func(time.Duration) <-chan time.Time) {
	var first time.Time
	var settled <-chan time.Time
	for {
		select {
		case e, ok := <-w.notify.Events:
			if !ok {
				return
			}
			// Two paths may lead to one directory, whose events name one of
			// them: only the last element is certain.
			w.mu.Lock()
			ok = w.names[filepath.Base(e.Name)]
			w.mu.Unlock()
			if !ok {
				continue
			}
		case _, ok := <-w.notify.Errors: // events may have been lost
			if !ok {
				return
			}
		case <-w.moved:
		case <-settled:
			settled = nil
			notify(w.changed)
			continue
		}
		now := time.Now()
		if settled == nil {
			first = now
		}
		settled = after(pause(first, now))
	}
}

// pause is how long nothing more must happen after the first event.
func pause(first, now time.Time) time.Duration {
	return max(0, min(settle, first.Add(longest).Sub(now)))
}

// maxLinks is how many symbolic links Linux follows (path_resolution(7)).
const maxLinks = 40

// lookups returns the paths of all names that are looked up on the way to
// files, each in a directory without a link, and the target of those that are
// links.
func lookups(files []string) map[string]string {
	paths := map[string]string{}
	for _, file := range files {
		if wd, err := os.Getwd(); !filepath.IsAbs(file) && err == nil {
			file = wd + "/" + file // filepath.Abs would take ".." for the parent of a link
		}
		dir, rest := "/", strings.Split(file, "/")
		for links := 0; len(rest) > 0 && links <= maxLinks; {
			name := rest[0]
			rest = rest[1:]
			if name == "" || name == "." || name == ".." {
				dir = filepath.Join(dir, name)
				continue
			}
			at := filepath.Join(dir, name)
			paths[at] = ""
			fi, err := os.Lstat(at)
			if err != nil {
				break
			}
			if fi.Mode()&os.ModeSymlink == 0 {
				dir = at
				continue
			}
			links++
			target, _ := os.Readlink(at)
			paths[at] = target
			if filepath.IsAbs(target) {
				dir = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
		}
	}
	return paths
}
