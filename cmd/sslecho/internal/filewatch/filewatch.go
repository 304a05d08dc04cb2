// Package filewatch reports when files have changed: written in place, renamed
// over, or reached through symbolic links that are swapped, as Kubernetes and
// certbot do. It looks at them (stat(2)) once a second, so it also sees what
// other hosts change on a network file system.
package filewatch

import (
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A change is reported when two looks have found the same, so that files that
// belong together are all there, or longest after it was seen first.
const (
	interval = time.Second
	longest  = 10 * time.Second
)

// State is how files looked, by name. A nil State has no files that are
// watched. What says nothing about the content is zero, and all of a file that
// is not there.
type State map[string]unix.Stat_t

// Add looks at further files, which need not exist. Those that are in s stay as
// they are. It may block for as long as a file system does. What is read after
// it is not older than the State.
func (s State) Add(files []string) { s.add(files, nil) }

// add takes the stamp of a file from before if the file system does not say
// whether there is one: it may be out of reach for a moment.
func (s State) add(files []string, before State) {
	for _, f := range files {
		if _, ok := s[f]; ok {
			continue
		}
		var st unix.Stat_t
		switch unix.Stat(f, &st) {
		case nil:
			s[f] = unix.Stat_t{Dev: st.Dev, Ino: st.Ino, Mode: st.Mode, Size: st.Size, Mtim: st.Mtim, Ctim: st.Ctim}
		case unix.ENOENT, unix.ENOTDIR, unix.ELOOP:
			s[f] = unix.Stat_t{}
		default:
			s[f] = before[f]
		}
	}
}

// Changed returns a channel through which the State comes that the files have
// when they have changed, each time, until stop is closed. Changed does not wait
// for a file system.
func (s State) Changed(stop <-chan struct{}) <-chan State {
	if s == nil {
		return nil
	}
	changed := make(chan State, 1)
	go func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		files := slices.Collect(maps.Keys(s))
		var since time.Time
		for last := s; ; {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			now := State{}
			now.add(files, last)
			if maps.Equal(now, s) {
				since = time.Time{}
			} else if since.IsZero() {
				since = time.Now()
			}
			if !since.IsZero() && (maps.Equal(now, last) || time.Since(since) >= longest) {
				select {
				case <-stop:
					return
				case changed <- now:
				}
				s, since = now, time.Time{}
			}
			last = now
		}
	}()
	return changed
}
