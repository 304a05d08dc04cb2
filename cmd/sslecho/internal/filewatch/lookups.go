package filewatch

import (
	"os"
	"path/filepath"
	"strings"
)

// mostLinks is how many symbolic links Linux follows (path_resolution(7)).
const mostLinks = 40

// What lookups found at a path that is no symbolic link.
const (
	missing = ""
	noLink  = "\x00"
)

// lookups are the paths of all names that are looked up on the way to files,
// each with a directory in front that has no link in it; and what is there, the
// target if it is a link, as lookup says. A way ends early where a name does not
// exist.
func lookups(files []string, lookup func(path string) string) map[string]string {
	paths := map[string]string{}
	for _, f := range files {
		if !filepath.IsAbs(f) {
			dir, err := os.Getwd()
			if err != nil {
				continue
			}
			f = dir + "/" + f
		}
		follow(f, paths, lookup)
	}
	return paths
}

// follow adds the lookups of an absolute path to paths.
func follow(path string, paths map[string]string, lookup func(path string) string) {
	dir, rest, links := "/", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			dir = filepath.Dir(dir)
			continue
		}
		at := filepath.Join(dir, name)
		target, ok := paths[at]
		if !ok {
			target = lookup(at)
			paths[at] = target
		}
		switch target {
		case missing:
			return
		case noLink:
			dir = at
			continue
		}
		if links++; links > mostLinks {
			return
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
}

// lookup is what is at a path.
func lookup(path string) string {
	fi, err := os.Lstat(path)
	switch {
	case err != nil:
		return missing
	case fi.Mode()&os.ModeSymlink == 0:
		return noLink
	}
	target, err := os.Readlink(path)
	if err != nil {
		return missing
	}
	return target
}
