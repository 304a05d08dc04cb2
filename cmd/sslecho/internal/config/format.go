package config

import (
	"errors"
	"io"
	"os"
)

// Peek returns the log format that the arguments or the environment ask for, and
// the name of the configuration file, each empty if there is none. It reads no
// file, and passes over what is wrong: it is for what has to be said before
// Command has loaded the settings.
func Peek(args []string) (format, file string) {
	l, flags := peek(args)
	environment := l.environment()
	return formatOf(flags, environment), configFile(environment, flags)
}

// FormatOf returns the log format in which an error of Command with these
// arguments is to be told: the one that the settings ask for, as far as they can
// be understood, or else LogText.
func FormatOf(err error, args []string) string {
	var e *usageError
	if errors.As(err, &e) && e.format != "" {
		return e.format
	}
	// Nothing was loaded.
	l, flags := peek(args)
	environment := l.environment()
	l.config.File = configFile(environment, flags)
	if format := formatOf(flags, environment, l.file()); format != "" {
		return format
	}
	return LogText
}

// peek parses the flags that there are.
func peek(args []string) (*loader, map[string]any) {
	fs := bare((*setting).left).Flags()
	fs.ParseErrorsAllowlist.UnknownFlags = true
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	_ = fs.Parse(args)
	flags, _ := changed(fs)
	return &loader{config: &Config{environ: os.Environ}}, flags
}

// formatOf is that of the first source that has one.
func formatOf(sources ...map[string]any) string {
	for _, raw := range sources {
		switch f := raw["log-format"]; f {
		case LogText, LogJSON:
			return f.(string)
		}
	}
	return ""
}
