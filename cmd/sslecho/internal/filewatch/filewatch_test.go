package filewatch

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// limit is how long a step may take. It is far more than it needs.
const limit = 30 * time.Second

// disk changes files, and fails the test if it cannot.
type disk struct {
	t    *testing.T
	root string
}

func (d disk) path(name string) string { return filepath.Join(d.root, name) }

func (d disk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d disk) dir(name string) { d.t.Helper(); d.must(os.MkdirAll(d.path(name), 0o700)) }
func (d disk) write(name, content string) {
	d.t.Helper()
	d.must(os.WriteFile(d.path(name), []byte(content), 0o600))
}
func (d disk) rename(from, to string) { d.t.Helper(); d.must(os.Rename(d.path(from), d.path(to))) }
func (d disk) remove(name string)     { d.t.Helper(); d.must(os.RemoveAll(d.path(name))) }

// link makes a symbolic link, or swaps it for the one that is there.
func (d disk) link(target, name string) {
	d.t.Helper()
	d.must(os.Symlink(target, d.path(name+"_tmp")))
	d.rename(name+"_tmp", name)
}

func newDisk(t *testing.T) disk {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return disk{t, root}
}

// at starts a Watcher of files that reports a change at once.
func at(t *testing.T, files ...string) *Watcher {
	t.Helper()
	w, err := newWatcher(func(time.Duration) <-chan time.Time { return time.After(0) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if unwatched := w.Add(files); len(unwatched) > 0 {
		t.Fatal(unwatched)
	}
	return w
}

func receive[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(limit):
		t.Fatal("nothing happens")
	}
	return v
}

// TestChanges: each way to replace a file is noticed, and again by the next Watcher.
func TestChanges(t *testing.T) {
	volume := func(d disk, rev string) { // as the kubelet writes it
		d.dir("vol/" + rev)
		d.write("vol/"+rev+"/file", rev)
		d.link(rev, "vol/..data")
	}
	for name, tt := range map[string]struct {
		file   string
		before func(d disk)
		change func(d disk, n string) // n is another one each time
	}{
		"written":   {"file", func(d disk) { d.write("file", "") }, func(d disk, n string) { d.write("file", n) }},
		"renamed":   {"file", func(d disk) { d.write("file", "") }, func(d disk, n string) { d.write("new", n); d.rename("new", "file") }},
		"made":      {"file", nil, func(d disk, n string) { d.remove("file"); d.write("file", n) }},
		"removed":   {"file", func(d disk) { d.write("file", "") }, func(d disk, n string) { d.remove("file"); d.write("file", n); d.remove("file") }},
		"permitted": {"file", func(d disk) { d.write("file", "") }, func(d disk, n string) { d.must(os.Chmod(d.path("file"), 0o400)) }},
		"directories made": {"a/b/file", nil, func(d disk, n string) {
			d.remove("a")
			d.dir("a/b")
			d.write("a/b/file", n)
		}},
		"directory swapped": {"a/b/file", func(d disk) { d.dir("a/b"); d.write("a/b/file", "") }, func(d disk, n string) {
			d.dir("new/b")
			d.write("new/b/file", n)
			d.rename("a", "old"+n)
			d.rename("new", "a")
		}},
		"link swapped": {"file", func(d disk) { d.write("0", ""); d.link("0", "file") }, func(d disk, n string) { d.write(n, n); d.link(n, "file") }},
		"target written": {"live/file", func(d disk) {
			d.dir("live")
			d.dir("archive")
			d.write("archive/1", "")
			d.link("../archive/1", "live/file")
		},
			func(d disk, n string) { d.write("archive/1", n) }},
		"certbot": {"live/file", func(d disk) {
			d.dir("live")
			d.dir("archive")
			d.write("archive/0", "")
			d.link("../archive/0", "live/file")
		},
			func(d disk, n string) { d.write("archive/new"+n, n); d.link("../archive/new"+n, "live/file") }},
		"absolute link": {"live/file", func(d disk) { d.dir("live"); d.dir("a"); d.write("a/0", ""); d.link(d.path("a/0"), "live/file") },
			func(d disk, n string) { d.write("a/0", n) }},
		"directory behind links": {"one/file", func(d disk) {
			d.dir("three")
			d.link("three", "two")
			d.link("two/.", "one")
			d.write("three/file", "")
		},
			func(d disk, n string) { d.dir("three" + n); d.write("three"+n+"/file", n); d.link("three"+n, "two") }},
		"kubernetes": {"vol/file", func(d disk) { volume(d, "..rev"); d.link("..data/file", "vol/file") },
			func(d disk, n string) { volume(d, "..rev"+n) }},
		"kubernetes, old one removed": {"vol/file", func(d disk) { volume(d, "..rev"); d.link("..data/file", "vol/file") },
			func(d disk, n string) {
				old, err := os.Readlink(d.path("vol/..data"))
				d.must(err)
				volume(d, "..rev"+n)
				d.remove("vol/" + old)
			}},
		"link to nothing": {"file", func(d disk) { d.link("gone/file", "file") }, func(d disk, n string) { d.remove("gone"); d.dir("gone"); d.write("gone/file", n) }},
		"link to itself":  {"file", func(d disk) { d.link("file", "file") }, func(d disk, n string) { d.remove("file"); d.write("file", n) }},
		"through a file":  {"a/file", func(d disk) { d.write("a", "") }, func(d disk, n string) { d.remove("a"); d.dir("a"); d.write("a/file", n) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDisk(t)
			if tt.before != nil {
				tt.before(d)
			}
			for n := range 4 {
				w := at(t, d.path("other/"+tt.file), d.path(tt.file))
				tt.change(d, strconv.Itoa(n))
				receive(t, w.Changed())
				w.Close()
			}
		})
	}
}

// TestTogether: a chain and its key that change one after the other are reported as one change, when all is quiet. Other files of the
// directory do not count.
func TestTogether(t *testing.T) {
	d := newDisk(t)
	d.write("chain", "1")
	d.write("key", "1")
	armed, settled := make(chan time.Duration, 1000), make(chan time.Time)
	w, err := newWatcher(func(d time.Duration) <-chan time.Time { armed <- d; return settled })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Add([]string{d.path("chain"), d.path("key")})
	d.write("other", "")
	d.rename("other", "key.new")
	for n := range 10 {
		name := []string{"chain", "key"}[n%2]
		d.write("new", strconv.Itoa(n))
		d.rename("new", name) // makes one event
		receive(t, armed)
	}
	select {
	case <-w.Changed():
		t.Fatal("reported before it has settled")
	case <-armed:
		t.Fatal("another file counts")
	default:
	}
	settled <- time.Now()
	receive(t, w.Changed())
	select {
	case <-w.Changed():
		t.Error("reported twice")
	default:
	}
}

// TestPause: a change waits for quiet, and not for ever.
func TestPause(t *testing.T) {
	first := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for after, want := range map[time.Duration]time.Duration{
		0: settle, settle: settle, longest - settle: settle, longest - settle/4: settle / 4, longest: 0, longest + 1: 0,
	} {
		if got := pause(first, first.Add(after)); got != want {
			t.Errorf("%v after the first change: %v, want %v", after, got, want)
		}
	}
}

// TestAdd: files that are added later are watched too, and names are those of the working directory.
func TestAdd(t *testing.T) {
	d := newDisk(t)
	d.dir("a")
	d.dir("b")
	t.Chdir(d.path("a"))
	w := at(t, d.path("a/file"))
	w.Add([]string{"../b/./file"})
	for _, name := range []string{"a/file", "b/file"} {
		d.write(name, "")
		receive(t, w.Changed())
	}
}

// TestLost: when the kernel has dropped events, everything counts as changed.
func TestLost(t *testing.T) {
	w := at(t)
	w.notify.Errors <- fsnotify.ErrEventOverflow
	receive(t, w.Changed())
}

// TestMoved: a link that is swapped while its directories are being added counts as changed.
func TestMoved(t *testing.T) {
	d := newDisk(t)
	d.dir("0")
	d.dir("1")
	d.link("0", "link")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				d.link(strconv.Itoa(n%2), "link")
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for range 20 {
		w := at(t, d.path("link/file"))
		receive(t, w.Changed())
		w.Close()
	}
}

// TestUnwatched: a directory that cannot be watched is named, and the others are watched.
func TestUnwatched(t *testing.T) {
	d := newDisk(t)
	d.dir("good")
	w := at(t)
	long := strings.Repeat("x", 300) // of a component, which is refused whoever asks
	unwatched := w.Add([]string{d.path(long + "/file"), d.path("good/file")})
	if err := unwatched[d.path(long)]; len(unwatched) > 1 || err != nil && err != syscall.ENAMETOOLONG {
		t.Error(unwatched)
	}
	d.write("good/file", "")
	receive(t, w.Changed())
}

// TestNil: without a Watcher nothing is watched.
func TestNil(t *testing.T) {
	var w *Watcher
	if w.Add([]string{"file"}) != nil || w.Changed() != nil {
		t.Error("a nil Watcher watches")
	}
	w.Close()
}

// TestLookups: every name on the way, with the directories that it is really in.
func TestLookups(t *testing.T) {
	d := newDisk(t)
	d.dir("a/b")
	d.write("a/b/c", "")
	d.link("a/b", "ab")
	d.link("..", "a/up")
	d.link(d.path("ab/c"), "abs")
	d.link(".", "here")
	for path, want := range map[string][]string{
		"a/b/c":        {"a", "a/b", "a/b/c"},
		"/a//./b/c":    {"a", "a/b", "a/b/c"},
		"ab/c":         {"ab", "a", "a/b", "a/b/c"},
		"ab/../b/c":    {"ab", "a", "a/b", "a/b/c"},
		"a/up/ab/c":    {"a", "a/up", "ab", "a/b", "a/b/c"},
		"abs":          {"abs", "ab", "a", "a/b", "a/b/c"},
		"here/here/ab": {"here", "ab", "a", "a/b"},
		"a/b/c/d":      {"a", "a/b", "a/b/c", "a/b/c/d"},
		"a/none/c":     {"a", "a/none"},
		"none/../a":    {"none"},
	} {
		var got []string
		for p := range lookups([]string{d.root + "/" + path}) {
			if rel, ok := strings.CutPrefix(p, d.root+"/"); ok {
				got = append(got, rel)
			} else if !strings.HasPrefix(d.root+"/", p+"/") {
				t.Errorf("%s: %s", path, p)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if all := lookups([]string{d.path("a"), d.path("here")}); !slices.Contains(slices.Collect(maps.Values(all)), ".") {
		t.Errorf("the target of a link is not there: %q", all)
	}
}
