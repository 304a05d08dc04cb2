// Package libcrypto finds the libcrypto libraries that are loaded in this
// process.
package libcrypto

import (
	"os"
	"slices"
	"strings"
)

// Loaded returns the path of each libcrypto file once; none if /proc/self/maps
// cannot be read.
func Loaded() []string {
	maps, _ := os.ReadFile("/proc/self/maps")
	return in(string(maps))
}

// in returns the libcrypto files in maps, which has the format of
// /proc/self/maps (proc_pid_maps(5)).
func in(maps string) (files []string) {
	for line := range strings.Lines(maps) {
		_, file, ok := strings.Cut(line, "/")
		file = strings.TrimSuffix("/"+file, "\n")
		version, is := strings.CutPrefix(file[strings.LastIndexByte(file, '/')+1:], "libcrypto")
		if ok && is && strings.IndexAny(version, ".-") == 0 && strings.Contains(version, ".so") && !slices.Contains(files, file) {
			files = append(files, file)
		}
	}
	return files
}
