package main

import (
	"archive/tar"
	"bytes"
	"os"
	"path"
	"time"
)

// entry is a file of the tarball.
type entry struct {
	name, from string
	mode       int64
}

// tarball makes the archive for systems that have no package: to be unpacked anywhere.
func (d *dist) tarball() string {
	return d.result(d.name()+".tar.gz", archive(d.name(), d.epoch, []entry{
		{"LICENSE", "LICENSE", 0o644},
		{"LICENSES", d.staged("LICENSES"), 0o644},
		{"VERSION", d.staged("VERSION"), 0o644},
		{"completions/_sslecho", d.staged("sslecho.zsh"), 0o644},
		{"completions/sslecho.bash", d.staged("sslecho.bash"), 0o644},
		{"completions/sslecho.fish", d.staged("sslecho.fish"), 0o644},
		{"docs/grafana/sslecho.json", "docs/grafana/sslecho.json", 0o644},
		{"docs/operate/fleet.md", "docs/operate/fleet.md", 0o644},
		{"docs/operate/sslecho.md", "docs/operate/sslecho.md", 0o644},
		{"man/sslecho.8", d.staged("sslecho.8"), 0o644},
		{"sslecho", d.staged("sslecho"), 0o755},
		{"systemd/sslecho.service", "packaging/systemd/sslecho.service", 0o644},
		{"systemd/sslecho.socket", "packaging/systemd/sslecho.socket", 0o644},
		{"systemd/sslecho.yaml", "packaging/systemd/sslecho.yaml", 0o644},
	}))
}

// archive is a compressed tar of entries in the folder top, all from the same time and root's.
func archive(top string, from time.Time, entries []entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	done := map[string]bool{".": true}
	var folder func(name string)
	folder = func(name string) {
		if !done[name] {
			folder(path.Dir(name))
			done[name] = true
			check(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: from}))
		}
	}
	for _, e := range entries {
		text, name := value(os.ReadFile(e.from)), path.Join(top, e.name)
		folder(path.Dir(name))
		check(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: e.mode, Size: int64(len(text)), ModTime: from}))
		value(w.Write(text))
	}
	check(w.Close())
	return pack(b.Bytes())
}
