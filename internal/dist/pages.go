package main

import (
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// pages writes what the program prints of itself and what has to go with it: its manual page, completions, change log, licences
// and version.
func (d *dist) pages() {
	program := d.staged("sslecho")
	texts := map[string]string{
		"sslecho.8":    output(program, "man") + "\n",
		"sslecho.bash": output(program, "completion", "bash") + "\n",
		"sslecho.zsh":  output(program, "completion", "zsh") + "\n",
		"sslecho.fish": output(program, "completion", "fish") + "\n",
		"LICENSES":     licences(program),
		"changelog": fmt.Sprintf("sslecho (%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n -- %s  %s\n",
			debianVersion(d.told.Version), d.told.Commit, d.maintainer(), d.epoch.Format("Mon, 02 Jan 2006 15:04:05 -0700")),
		"VERSION": fmt.Sprintf("%s\n%s\n%s\n", d.told.Version, d.told.Commit, d.told.Date),
	}
	for _, name := range []string{"sslecho.8", "LICENSES", "changelog"} {
		texts[name+".gz"] = string(pack([]byte(texts[name])))
	}
	for name, text := range texts {
		check(os.WriteFile(d.staged(name), []byte(text), 0o644))
	}
}

// pack is gzip without a name and a time.
func pack(text []byte) []byte {
	var b bytes.Buffer
	w := value(gzip.NewWriterLevel(&b, gzip.BestCompression))
	value(w.Write(text))
	check(w.Close())
	return b.Bytes()
}

// licences are the texts that the modules in the program, and Go's own library, want to be given on with it.
func licences(program string) string {
	var b strings.Builder
	add := func(name, dir string) {
		before := b.Len()
		for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
			for _, f := range value(filepath.Glob(filepath.Join(dir, pattern))) {
				text := strings.TrimSpace(string(value(os.ReadFile(f))))
				fmt.Fprintf(&b, "==== %s: %s ====\n\n%s\n\n", name, filepath.Base(f), text)
			}
		}
		if b.Len() == before {
			check(fmt.Errorf("%s has no licence in %s", name, dir))
		}
	}
	add("Go "+runtime.Version(), output("go", "env", "GOROOT"))
	for _, m := range value(buildinfo.ReadFile(program)).Deps {
		if strings.HasPrefix(m.Path+"/", "github.com/spacemonad/go-openssl/") {
			continue // the nested modules have none of their own: LICENSE is that of all
		}
		var module struct{ Dir string }
		check(json.Unmarshal([]byte(output("go", "list", "-m", "-json", m.Path)), &module))
		add(m.Path+" "+m.Version, module.Dir)
	}
	return b.String()
}
