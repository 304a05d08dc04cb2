package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spacemonad/go-openssl/cssl"
)

// versions is what sslecho version tells.
type versions struct {
	Version string    `json:"version"`
	Commit  string    `json:"commit"`
	Date    string    `json:"date"` // of the commit
	Go      string    `json:"go"`
	OS      string    `json:"os"`
	Arch    string    `json:"arch"`
	OpenSSL libraries `json:"openssl"`
}

// libraries are the OpenSSL that runs, and the one whose headers the program was built with.
type libraries struct {
	Run   string `json:"run"`
	Build string `json:"build"`
}

// build is what the program was made of and runs with.
func build() versions {
	info, _ := debug.ReadBuildInfo()
	openssl := cssl.Version()
	v := versions{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		OpenSSL: libraries{Run: openssl.Run.Text, Build: openssl.Build.Text}}
	v.Version, v.Commit, v.Date = tree(info)
	return v
}

// tree is what the go command has noted of the sources. It is "unknown" where
// they were in no repository, or the go command was told not to look.
func tree(info *debug.BuildInfo) (version, commit, date string) {
	version, commit, date = "unknown", "unknown", "unknown"
	if info == nil {
		return
	}
	if v, ok := strings.CutPrefix(info.Main.Version, "v"); ok {
		version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.time":
			date = s.Value
		}
	}
	return
}

// String is a line for each of them.
func (v versions) String() string {
	return fmt.Sprintf("sslecho %s\ncommit %s\ndate %s\n%s %s/%s\n%s\nbuilt with %s", v.Version, v.Commit, v.Date, v.Go, v.OS, v.Arch,
		v.OpenSSL.Run, v.OpenSSL.Build)
}

// printVersion is what sslecho version prints.
func printVersion(asJSON bool) string {
	v := build()
	if !asJSON {
		return v.String()
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // strings alone
	}
	return string(b)
}
