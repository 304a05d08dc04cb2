package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spacemonad/go-openssl/cssl"
)

// build is what the binary was made of.
func build() (release, commit string) {
	release, commit = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return release, commit
	}
	if info.Main.Version != "" {
		release = info.Main.Version
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = " with changes"
		}
	}
	return release, commit + dirty
}

// versions is what sslecho version prints.
func versions() string {
	release, commit := build()
	openssl := cssl.Version()
	return fmt.Sprintf("sslecho %s\ncommit %s\n%s %s/%s\n%s\nbuilt with %s", release, commit, runtime.Version(), runtime.GOOS,
		runtime.GOARCH, openssl.Run.Text, openssl.Build.Text)
}
