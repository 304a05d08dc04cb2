// Package libcrypto finds the libcryptos that are in this process.
package libcrypto

import (
	"os"
	"slices"
	"strings"
)

// Loaded returns their files, each once; none where /proc/self/maps cannot be
// read.
func Loaded() []string {
	maps, _ := os.ReadFile("/proc/self/maps")
	return in(string(maps))
}

// in returns the files that are libcrypto in a text in the format of
// /proc/self/maps, see proc_pid_maps(5).
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
