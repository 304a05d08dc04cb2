package filewatch

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// disk changes files, and fails the test if it cannot.
type disk struct {
	t    *testing.T
	root string
}

func (d disk) path(name string) string { return filepath.Join(d.root, name) }
func (d disk) must(err error)          { d.t.Helper(); tlstest.Must(d.t, err) }
func (d disk) dir(name string)         { d.t.Helper(); d.must(os.MkdirAll(d.path(name), 0o700)) }
func (d disk) rename(from, to string)  { d.t.Helper(); d.must(os.Rename(d.path(from), d.path(to))) }
func (d disk) remove(name string)      { d.t.Helper(); d.must(os.RemoveAll(d.path(name))) }

// write makes the directory too.
func (d disk) write(name, content string) {
	d.t.Helper()
	d.dir(filepath.Dir(name))
	d.must(os.WriteFile(d.path(name), []byte(content), 0o600))
}

// link makes a symbolic link, or swaps it for the one that is there.
func (d disk) link(target, name string) {
	d.t.Helper()
	d.dir(filepath.Dir(name))
	d.must(os.Symlink(target, d.path(name+"_tmp")))
	d.rename(name+"_tmp", name)
}

// bubble calls f where time passes when all wait for it.
func bubble(t *testing.T, f func(t *testing.T, d disk)) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) { f(t, disk{t, root}) })
}

func look(files ...string) State {
	s := State{}
	s.Add(files)
	return s
}

// TestChanges: each way to replace a file is noticed, and again by the next
// State.
func TestChanges(t *testing.T) {
	volume := func(d disk, rev string) { // as the kubelet writes it
		d.write("vol/"+rev+"/file", rev)
		d.link(rev, "vol/..data")
	}
	file := func(name string) func(disk) { return func(d disk) { d.write(name, "") } }
	links := func(file string, links ...string) func(disk) { // names and targets
		return func(d disk) {
			d.write(file, "")
			for i := 0; i < len(links); i += 2 {
				d.link(links[i+1], links[i])
			}
		}
	}
	for name, tt := range map[string]struct {
		file   string
		before func(d disk)
		change func(d disk, n string) // n is another one each time
	}{
		"written":           {"file", file("file"), func(d disk, n string) { d.write("file", n) }},
		"renamed":           {"file", file("file"), func(d disk, n string) { d.write("new", n); d.rename("new", "file") }},
		"made":              {"file", nil, func(d disk, n string) { d.remove("file"); d.write("file", n) }},
		"removed and made":  {"file", file("file"), func(d disk, n string) { d.write("file", n); d.remove("file"); d.write("file", n) }},
		"permitted":         {"file", file("file"), func(d disk, n string) { d.must(os.Chmod(d.path("file"), 0o600|os.FileMode(len(n)))) }},
		"directories made":  {"a/b/file", nil, func(d disk, n string) { d.remove("a"); d.write("a/b/file", n) }},
		"directory swapped": {"a/b/file", file("a/b/file"), func(d disk, n string) { d.write("new/b/file", n); d.rename("a", "old"+n); d.rename("new", "a") }},
		"link swapped":      {"file", links("0", "file", "0"), func(d disk, n string) { d.write(n, n); d.link(n, "file") }},
		"target written":    {"live/file", links("archive/1", "live/file", "../archive/1"), func(d disk, n string) { d.write("archive/1", n) }},
		"certbot": {"live/file", links("archive/0", "live/file", "../archive/0"),
			func(d disk, n string) { d.write("archive/new"+n, n); d.link("../archive/new"+n, "live/file") }},
		"absolute link": {"live/file", func(d disk) { d.write("a/0", ""); d.link(d.path("a/0"), "live/file") }, func(d disk, n string) { d.write("a/0", n) }},
		"directory behind links": {"one/file", links("three/file", "two", "three", "one", "two/."),
			func(d disk, n string) { d.write("three"+n+"/file", n); d.link("three"+n, "two") }},
		"kubernetes": {"vol/file", func(d disk) { volume(d, "..rev"); d.link("..data/file", "vol/file") },
			func(d disk, n string) { volume(d, "..rev"+n) }},
		"kubernetes, old one removed": {"vol/file", func(d disk) { volume(d, "..rev"); d.link("..data/file", "vol/file") },
			func(d disk, n string) {
				old := tlstest.Value(os.Readlink(d.path("vol/..data")))(d.t)
				volume(d, "..rev"+n)
				d.remove("vol/" + old)
			}},
		"link to nothing": {"file", func(d disk) { d.link("gone/file", "file") }, func(d disk, n string) { d.remove("gone"); d.write("gone/file", n) }},
		"link to itself":  {"file", func(d disk) { d.link("file", "file") }, func(d disk, n string) { d.remove("file"); d.write("file", n) }},
		"through a file":  {"a/file", file("a"), func(d disk, n string) { d.remove("a"); d.write("a/file", n) }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, d disk) {
				if tt.before != nil {
					tt.before(d)
				}
				for n := range 4 {
					s := look(d.path("other/" + tt.file))
					s.Add([]string{d.path("other/" + tt.file), d.path(tt.file)})
					changed := s.Changed(t.Context().Done())
					tt.change(d, strings.Repeat("x", n+1)) // of another size: the bubble is faster than the clock of files
					if now := tlstest.Receive(t, changed, "the change"); len(now) != 2 {
						t.Errorf("the state is now %v", now)
					}
				}
			})
		})
	}
}

// TestStillWatched: the same watch reports each change, also back to what was
// there. A file system that does not say what is there is no change.
func TestStillWatched(t *testing.T) {
	bubble(t, func(t *testing.T, d disk) {
		d.write("a", "1")
		d.write("b", "two")
		d.link("a", "file")
		changed := look(d.path("file")).Changed(t.Context().Done())
		for _, target := range []string{"b", "a", "b"} {
			d.link(target, "file")
			tlstest.Receive(t, changed, "the change to "+target)
		}
		d.link(strings.Repeat("x", 300), "file") // ENAMETOOLONG
		time.Sleep(interval * 7 / 2)
		d.link("b", "file")
		time.Sleep(interval * 7 / 2)
		tlstest.Nothing(t, changed, "the file was out of reach")
		d.link("a", "file")
		tlstest.Receive(t, changed, "the last change")
	})
}

// TestTogether: a chain and its key that change one after the other are
// reported as one change, when all is quiet. Other files of the directory do
// not count, nor what happens after stop is closed.
func TestTogether(t *testing.T) {
	bubble(t, func(t *testing.T, d disk) {
		d.write("chain", "1")
		d.write("key", "1")
		begin := time.Now()
		stop := make(chan struct{})
		s := look(d.path("chain"), d.path("key"))
		changed, stopped := s.Changed(t.Context().Done()), s.Changed(stop)
		d.write("other", "")
		time.Sleep(interval * 7 / 2)
		close(stop)
		for n := range 5 {
			d.write("new", strconv.Itoa(n))
			d.rename("new", []string{"chain", "key"}[n%2])
			time.Sleep(interval)
		}
		now := tlstest.Receive(t, changed, "the change")
		if took := time.Since(begin); took != 9*interval {
			t.Errorf("reported after %v", took)
		}
		select {
		case <-now.Changed(t.Context().Done()):
			t.Error("reported twice")
		case <-stopped:
			t.Error("reported after the end")
		case <-time.After(time.Hour):
		}
	})
}

// TestRestless: what changes all the time is reported too, and what is as it
// was is not.
func TestRestless(t *testing.T) {
	bubble(t, func(t *testing.T, d disk) {
		d.write("file", "")
		d.must(os.Symlink("file", d.path("link")))
		d.write("elsewhere", "")
		changed := look(d.path("link")).Changed(t.Context().Done())
		time.Sleep(interval / 2)
		d.link("elsewhere", "link")
		time.Sleep(interval)
		d.link("file", "link")
		begin := time.Now().Add(interval)
		for n := 0; ; n++ {
			time.Sleep(interval)
			select {
			case <-changed:
				if took := time.Since(begin); took < longest || took > longest+interval {
					t.Errorf("reported after %v", took)
				}
				return
			default:
			}
			if n > 100 {
				t.Fatal("never reported")
			}
			d.write("file", strings.Repeat("x", n+1))
		}
	})
}

// TestNil: without files nothing is watched.
func TestNil(t *testing.T) {
	if State(nil).Changed(nil) != nil {
		t.Error("a nil State is watched")
	}
}
