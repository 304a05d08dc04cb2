package config

import (
	"fmt"
	"io"
	"strings"
)

// summary is what the program is.
const summary = "a TLS echo daemon over the system's OpenSSL"

const helpHead = `sslecho: ` + summary + `

Usage: sslecho [flags]
       sslecho completion SHELL | man | version
A flag wins over SSLECHO_NAME in the environment, that over a key of --config.
FILE... and the like: the flag may be repeated.
`

// printHelp writes what --help says: a line for each flag, in groups.
func printHelp(w io.Writer) {
	width := 0
	for _, s := range settings {
		width = max(width, len(s.left()))
	}
	var b strings.Builder
	b.WriteString(helpHead)
	group := ""
	for _, s := range settings {
		if s.group != group {
			group = s.group
			fmt.Fprintf(&b, "%s:\n", group)
		}
		fmt.Fprintf(&b, "  %-*s  %s%s\n", width, s.left(), s.usage, s.byDefault())
	}
	fmt.Fprintf(&b, "  %-*s  %s\n", width, "-h, --help", "print this summary")
	io.WriteString(w, b.String())
}

// left is a flag and what stands for its value.
func (s *setting) left() string {
	switch {
	case s.arg == "":
		return "--" + s.name
	case s.repeat:
		return "--" + s.name + " " + s.arg + "..."
	}
	return "--" + s.name + " " + s.arg
}

// byDefault is the default in brackets, unless it goes without saying or usage tells it.
func (s *setting) byDefault() string {
	switch s.def {
	case "", "0", "0s", "false":
		return ""
	}
	return " (default " + s.def + ")"
}
