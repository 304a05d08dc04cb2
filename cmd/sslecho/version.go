package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spacemonad/go-openssl/cssl"
)

// versions is what sslecho version tells: of the program, of Go and of the
// OpenSSL that runs and the one whose headers the program was built with.
type versions struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Date    string `json:"date"` // of the commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	OpenSSL struct {
		Run   string `json:"run"`
		Build string `json:"build"`
	} `json:"openssl"`
}

// build is what the program was made of and runs with. What the go command has
// noted of the sources in info is "unknown" where they were in no repository, or
// it was told not to look.
func build(info *debug.BuildInfo) versions {
	v := versions{Version: "unknown", Commit: "unknown", Date: "unknown", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH}
	v.OpenSSL.Run, v.OpenSSL.Build = cssl.Version().Run.Text, cssl.Version().Build.Text
	if info == nil {
		return v
	}
	if tag, ok := strings.CutPrefix(info.Main.Version, "v"); ok {
		v.Version = tag
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.time":
			v.Date = s.Value
		}
	}
	return v
}

// thisBuild is build of this program.
func thisBuild() versions {
	info, _ := debug.ReadBuildInfo()
	return build(info)
}

// printVersion is what sslecho version prints.
func printVersion(asJSON bool) string {
	v := thisBuild()
	if asJSON {
		b, _ := json.MarshalIndent(v, "", "  ") // strings alone
		return string(b)
	}
	return fmt.Sprintf("sslecho %s\ncommit %s\ndate %s\n%s %s/%s\n%s\nbuilt with %s", v.Version, v.Commit, v.Date, v.Go, v.OS, v.Arch,
		v.OpenSSL.Run, v.OpenSSL.Build)
}
