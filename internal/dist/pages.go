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
func (d *dist) pages() error {
	for name, args := range map[string][]string{
		"sslecho.8": {"man"}, "sslecho.bash": {"completion", "bash"}, "sslecho.zsh": {"completion", "zsh"}, "sslecho.fish": {"completion", "fish"},
	} {
		text, err := output(d.staged("sslecho"), args...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(d.staged(name), []byte(text+"\n"), 0o644); err != nil {
			return err
		}
	}
	licences, err := licences(d.staged("sslecho"))
	if err != nil {
		return err
	}
	changes := fmt.Sprintf("sslecho (%s) unstable; urgency=medium\n\n  * Built from commit %s.\n\n -- %s  %s\n",
		debianVersion(d.told.Version), d.told.Commit, d.maintainer(), d.epoch.Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	version := fmt.Sprintf("%s\n%s\n%s\n", d.told.Version, d.told.Commit, d.told.Date)
	for name, text := range map[string]string{"LICENSES": licences, "changelog": changes, "VERSION": version} {
		if err := os.WriteFile(d.staged(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"sslecho.8", "LICENSES", "changelog"} {
		text, err := os.ReadFile(d.staged(name))
		if err != nil {
			return err
		}
		packed, err := pack(text)
		if err != nil {
			return err
		}
		if err := os.WriteFile(d.staged(name+".gz"), packed, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// pack is gzip without a name and a time.
func pack(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// licences are the texts that the modules in the program, and Go's own library, want to be given on with it.
func licences(program string) (string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	goroot, err := output("go", "env", "GOROOT")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	add := func(name, dir string) error {
		found := false
		for _, pattern := range []string{"LICEN[CS]E*", "COPYING*", "NOTICE*"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return err
			}
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					return err
				}
				found = true
				fmt.Fprintf(&b, "==== %s: %s ====\n\n%s\n\n", name, filepath.Base(f), strings.TrimSpace(string(text)))
			}
		}
		if !found {
			return fmt.Errorf("%s has no licence in %s", name, dir)
		}
		return nil
	}
	if err := add("Go "+runtime.Version(), goroot); err != nil {
		return "", err
	}
	for _, m := range info.Deps {
		text, err := output("go", "list", "-m", "-json", m.Path)
		if err != nil {
			return "", err
		}
		var module struct{ Dir string }
		if err := json.Unmarshal([]byte(text), &module); err != nil {
			return "", err
		}
		if err := add(m.Path+" "+m.Version, module.Dir); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}
