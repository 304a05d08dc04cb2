package filewatch

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/fsnotify/fsnotify"
)

// build is a set of watches with an inotify instance of its own.
type build struct {
	files []string
	done  chan error // how it has ended: one value

	// Of its goroutine until it is complete, and of run from then on.
	notify  *fsnotify.Watcher
	err     error             // there is no instance
	names   map[string]bool   // whose events count
	refused map[string]string // directories that cannot be watched, and why
	stayed  bool              // while it was made, all stayed as it was

	at    atomic.Pointer[string] // what it is busy with
	freed chan *fsnotify.Watcher // what makeRoom returns

	// Of the goroutine of run.
	number  uint64 // of the call of Watch that files come from
	givenUp bool
	alone   bool // nothing else was watched for some time
}

func newBuild(files []string) *build {
	return &build{files: slices.Clone(files), done: make(chan error, 1), freed: make(chan *fsnotify.Watcher, 1),
		names: map[string]bool{}, refused: map[string]string{}, stayed: true}
}

// where is what the build is busy with.
func (b *build) where() string {
	if at := b.at.Load(); at != nil {
		return *at
	}
	return "its turn"
}

// close gives the watches back. It waits for nothing: the last one who knows a
// directory of a dead file system may have to wait for it.
func (b *build) close() {
	if b != nil && b.notify != nil {
		go b.notify.Close()
	}
}

// build makes the watches of b. It may wait for a file system for ever.
func (w *Watcher) build(b *build) {
	if b.notify, b.err = newInstance(); b.err == nil {
		w.fill(b)
	}
	select {
	case w.built <- b:
	case <-w.stopped:
		b.close()
	}
}

// fill adds the directories of all names to the watches of b.
func (w *Watcher) fill(b *build) {
	lookup := func(path string) string {
		b.at.Store(&path)
		return w.sys.lookup(path)
	}
	paths := lookups(b.files, lookup)
	dirs := map[string]bool{}
	for p := range paths {
		dirs[filepath.Dir(p)] = true
		b.names[filepath.Base(p)] = true
	}
	asked := false
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		b.at.Store(&dir)
		err := w.sys.add(b.notify, dir)
		if errors.Is(err, syscall.ENOSPC) && !asked {
			asked = true
			if w.freeOld(b) {
				err = w.sys.add(b.notify, dir)
			}
		}
		switch {
		case err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
			continue // where it is gone, the directory above tells of a new one
		case errors.Is(err, syscall.ENOSPC):
			err = fmt.Errorf("there are too many watches: raise fs.inotify.max_user_watches (%w)", err)
		}
		b.refused[dir] = err.Error()
	}
	b.stayed = maps.Equal(paths, lookups(b.files, lookup))
}

// freeOld closes the watches in use, if they are b's to replace.
func (w *Watcher) freeOld(b *build) bool {
	select {
	case w.room <- b:
	case <-w.stopped:
		return false
	}
	old := <-b.freed
	if old != nil {
		old.Close()
	}
	return old != nil
}

func newInstance() (*fsnotify.Watcher, error) {
	n, err := fsnotify.NewWatcher()
	if errors.Is(err, syscall.EMFILE) {
		err = fmt.Errorf("there are too many inotify instances or open files: raise fs.inotify.max_user_instances, or the limit of open files (%w)", err)
	}
	return n, err
}
