package filewatch

import (
	"bytes"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// limit is how long a step may take. It is far more than it needs.
const limit = 30 * time.Second

// clock is the time of a Watcher: nothing settles before settleNow.
type clock struct {
	mu    sync.Mutex
	armed int
	last  chan time.Time
	hold  sync.Mutex     // while it is locked, the watcher waits in after
	late  chan time.Time // what renews may take no longer; nil: it may for ever
}

func (c *clock) after(d time.Duration) <-chan time.Time {
	if d == patience {
		return c.late
	}
	c.hold.Lock()
	defer c.hold.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed++
	c.last = make(chan time.Time, 1)
	return c.last
}

func (c *clock) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.armed
}

// wait waits until a change has been noticed for the nth time.
func (c *clock) wait(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(limit); c.count() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d changes were noticed, want %d", c.count(), n)
		}
	}
}

// fire lets what has been noticed so far settle.
func (c *clock) fire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != nil {
		select {
		case c.last <- time.Time{}:
		default:
		}
	}
}

// settleNow lets changes be told, and waits until one is. There may be events
// that come later and start the wait anew.
func (c *clock) settleNow(t *testing.T, w *Watcher) {
	t.Helper()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		c.fire()
		select {
		case <-w.Changed():
			return
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatal("the change is not told")
}

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

func begin(t *testing.T, log *bytes.Buffer) (*Watcher, *clock) {
	t.Helper()
	return beginWith(t, log, system{lookup: lookup, add: (*fsnotify.Watcher).Add})
}

// beginWith is begin with what sys has in place of the file system.
func beginWith(t *testing.T, log *bytes.Buffer, sys system) (*Watcher, *clock) {
	t.Helper()
	c := &clock{late: make(chan time.Time)}
	sys.after = c.after
	w, err := start(slog.New(slog.NewTextHandler(log, nil)), sys)
	if err != nil {
		t.Fatal(err)
	}
	return w, c
}

func watchAll(t *testing.T, w *Watcher, files []string) {
	t.Helper()
	if err := w.Watch(t.Context(), files); err != nil {
		t.Fatal(err)
	}
}

// TestChanges: each way to replace a file is noticed, again and again.
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
			var log bytes.Buffer
			w, c := begin(t, &log)
			files := []string{d.path("other/" + tt.file), d.path(tt.file)}
			watchAll(t, w, files)
			for n := range 4 {
				noticed := c.count()
				tt.change(d, strconv.Itoa(n))
				c.wait(t, noticed+1)
				c.settleNow(t, w)
				if n%2 == 1 {
					watchAll(t, w, files) // as a reload does
				}
			}
			w.Close()
			if log.Len() > 0 {
				t.Error(log.String())
			}
		})
	}
}

// TestTogether: a chain and its key that change one after the other are told as
// one, when all is quiet.
func TestTogether(t *testing.T) {
	d := newDisk(t)
	d.write("chain", "1")
	d.write("key", "1")
	var log bytes.Buffer
	w, c := begin(t, &log)
	defer w.Close()
	watchAll(t, w, []string{d.path("chain"), d.path("key")})
	for n := 2; n < 10; n++ {
		for _, name := range []string{"chain", "key"} {
			before := c.count()
			d.write("new", strconv.Itoa(n))
			d.rename("new", name)
			c.wait(t, before+1)
		}
	}
	select {
	case <-w.Changed():
		t.Fatal("told before it has settled")
	default:
	}
	c.settleNow(t, w)
	select {
	case <-w.Changed():
		t.Error("told twice")
	default:
	}
}

// TestSettles: a change waits for quiet, and not for ever.
func TestSettles(t *testing.T) {
	first := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for after, want := range map[time.Duration]time.Duration{
		0: settle, settle: settle, longest - settle: settle, longest - settle/4: settle / 4, longest: 0, longest + 1: 0,
	} {
		if got := pause(first, first.Add(after)); got != want {
			t.Errorf("%v after the first change: %v, want %v", after, got, want)
		}
	}
}

// TestOthers: other files of the same directories are nobody's business.
func TestOthers(t *testing.T) {
	d := newDisk(t)
	d.write("file", "")
	var log bytes.Buffer
	w, c := begin(t, &log)
	defer w.Close()
	watchAll(t, w, []string{d.path("file")})
	d.write("other", "")
	d.rename("other", "file.new")
	d.link("file", "link")
	d.must(os.Chmod(d.path("file"), 0o400)) // makes one event
	c.wait(t, 1)
	if n := c.count(); n != 1 {
		t.Errorf("%d events counted", n)
	}
}

// TestNewFiles: those of a later Watch are watched when it returns, also where
// only then a link leads to them, and a change of both is noticed.
func TestNewFiles(t *testing.T) {
	d := newDisk(t)
	d.dir("a")
	d.dir("b")
	d.write("a/file", "")
	d.write("b/file", "")
	var log bytes.Buffer
	w, c := begin(t, &log)
	defer w.Close()
	watchAll(t, w, nil)
	for i, name := range []string{"a/file", "b/file", "a/file"} {
		watchAll(t, w, []string{d.path(name)})
		before := c.count()
		d.write(name, strconv.Itoa(i))
		c.wait(t, before+1)
		c.settleNow(t, w)
	}
}

// TestRelative: names without a directory are those of the working directory.
func TestRelative(t *testing.T) {
	d := newDisk(t)
	d.dir("a")
	d.write("a/file", "")
	t.Chdir(d.path("a"))
	var log bytes.Buffer
	w, c := begin(t, &log)
	defer w.Close()
	watchAll(t, w, []string{"../a/./file"})
	d.write("a/file", "1")
	c.wait(t, 1)
	c.settleNow(t, w)
}

// TestOverflow: when the kernel has dropped events, everything counts as changed.
func TestOverflow(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	most, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk(t)
	d.write("file", "")
	var log bytes.Buffer
	w, c := begin(t, &log)
	watchAll(t, w, []string{d.path("file")})
	c.hold.Lock() // nobody takes events
	d.must(os.Chmod(d.path("file"), 0o400))
	const readAhead = 4096 // events in the buffer of fsnotify
	for range (most + readAhead) / 2 {
		d.write("other", "")
		d.remove("other")
	}
	d.must(os.Chmod(d.path("file"), 0o600)) // is lost
	c.hold.Unlock()
	c.wait(t, 2)
	c.settleNow(t, w)
	w.Close()
	if n := c.count(); n != 2 {
		t.Errorf("%d changes were noticed: the last one was not lost", n)
	}
}

// inotify counts the instances of the process, and their watches.
func inotify(t *testing.T) (instances, watches int) {
	t.Helper()
	infos, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		b, _ := os.ReadFile(info) // it may be closed by now
		if target, _ := os.Readlink(strings.Replace(info, "fdinfo", "fd", 1)); target == "anon_inode:inotify" {
			instances++
			watches += strings.Count(string(b), "inotify wd:")
		}
	}
	return instances, watches
}

// waitInotify waits until the process has so many instances and watches: those
// that are not needed are closed in the background.
func waitInotify(t *testing.T, instances, watches int) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		i, n := inotify(t)
		if i == instances && n == watches {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d instances with %d watches, want %d with %d", i, n, instances, watches)
		}
	}
}

// TestNothingStays: directories that were moved away are watched no more, and
// Close gives everything back.
func TestNothingStays(t *testing.T) {
	d := newDisk(t)
	d.dir("a/b")
	waitInotify(t, 0, 0) // of other tests
	var log bytes.Buffer
	w, c := begin(t, &log)
	watchAll(t, w, []string{d.path("a/b/file")})
	want := 1 + strings.Count(d.path("a/b"), "/")
	for n := range 5 {
		noticed := c.count()
		d.rename("a", "old"+strconv.Itoa(n))
		d.dir("a/b")
		c.wait(t, noticed+1)
		c.settleNow(t, w)
	}
	waitInotify(t, 1, want)
	w.Close()
	if err := w.Watch(t.Context(), []string{d.path("a/b/file")}); err != errClosed {
		t.Errorf("after Close: %v", err)
	}
	waitInotify(t, 0, 0)
}

// TestNoInstance: without a descriptor there is no Watcher, and one that is there
// goes on with what it has.
func TestNoInstance(t *testing.T) {
	d := newDisk(t)
	d.write("file", "")
	var log bytes.Buffer
	w, c := begin(t, &log)
	watchAll(t, w, []string{d.path("file")})
	var was unix.Rlimit
	d.must(unix.Getrlimit(unix.RLIMIT_NOFILE, &was))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &was)
	none := was
	none.Cur = 0
	d.must(unix.Setrlimit(unix.RLIMIT_NOFILE, &none))
	if w, err := New(slog.Default()); err == nil || !strings.Contains(err.Error(), "fs.inotify.max_user_instances") {
		if err == nil {
			w.Close()
		}
		t.Errorf("without a descriptor: %v", err)
	}
	for range 2 {
		before := c.count()
		d.must(os.Chmod(d.path("file"), 0o400))
		c.wait(t, before+1)
		c.settleNow(t, w)
	}
	w.Close()
	if !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("nothing is said: %q", log.String())
	}
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
		for p := range lookups([]string{d.root + "/" + path}, lookup) {
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
	if all := lookups([]string{d.path("a"), d.path("here")}, lookup); !slices.Contains(slices.Collect(maps.Values(all)), ".") {
		t.Errorf("the target of a link is not there: %q", all)
	}
}
