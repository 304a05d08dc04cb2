package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spacemonad/go-openssl/cssl"
)

// What scripts/version says of the tree, set by the linker: make does so. A build without it, such as by go install, has what
// the go command knows.
var treeVersion, treeCommit, treeDate string

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
	openssl := cssl.Version()
	v := versions{Version: treeVersion, Commit: treeCommit, Date: treeDate, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		OpenSSL: libraries{Run: openssl.Run.Text, Build: openssl.Build.Text}}
	if v.Version != "" {
		return v
	}
	v.Version, v.Commit, v.Date = "unknown", "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	dirty := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			v.Commit = s.Value
		case s.Key == "vcs.time":
			v.Date = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = " with changes"
		}
	}
	v.Commit += dirty
	return v
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
