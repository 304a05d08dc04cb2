package config

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// Command returns the command line of sslecho. Without a subcommand it loads
// the settings and calls run with them, unless --print-config without --check
// was all that was asked for. "sslecho version", or --version, prints what
// version returns, with --json in that form. An error that is not of run is bad
// usage.
func Command(run func(*Config) error, version func(asJSON bool) string) *cobra.Command {
	return command(os.Environ, run, version)
}

func command(environ func() []string, run func(*Config) error, version func(asJSON bool) string) *cobra.Command {
	root := &cobra.Command{Use: "sslecho", Short: "a TLS echo daemon over the system's OpenSSL", SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs, ValidArgsFunction: cobra.NoFileCompletions}
	root.Flags().AddFlagSet(flagSet())
	root.Flags().SortFlags = false
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("unexpected argument %q: everything is a flag%s", args[0],
				didYouMean("sslecho ", args[0], []string{"completion", "man", "version"}))
		}
		if v, _ := cmd.Flags().GetBool("version"); v {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version(false))
			return err
		}
		c, err := load(used(cmd.Flags()), environ)
		if err != nil {
			return err
		}
		if c.PrintConfig {
			if err := c.Print(cmd.OutOrStdout()); err != nil || !c.Check {
				return err
			}
		}
		return run(c)
	}
	root.SetFlagErrorFunc(flagError)
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd.HasParent() {
			help(cmd, args)
			return
		}
		io.WriteString(cmd.OutOrStdout(), Help())
	})
	_ = root.MarkFlagFilename("config", "yaml", "yml")
	for _, s := range settings {
		if s.arg != argFile && s.arg != argNames && s.arg != "DIR" { // files are what shells offer anyway
			_ = root.RegisterFlagCompletionFunc(s.name, cobra.FixedCompletions(s.choices, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	print := func(use, short string, text func() string) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), text())
			return err
		}}
	}
	var asJSON bool
	versions := print("version", "Print the versions of sslecho, Go and OpenSSL", func() string { return version(asJSON) })
	versions.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	root.AddCommand(versions, print("man", "Print the man page, for man -l -", man))
	return root
}

// flagSet has a flag for each setting. The values are read together with the
// other sources.
func flagSet() *pflag.FlagSet {
	fs := pflag.NewFlagSet("sslecho", pflag.ContinueOnError)
	fs.SortFlags = false
	for _, s := range settings {
		fs.StringArray(s.name, nil, s.usage)
		if s.arg == "" {
			fs.Lookup(s.name).NoOptDefVal = "true"
		}
	}
	fs.BoolP("help", "h", false, "print a summary of the flags")
	fs.Bool("version", false, "print what sslecho version prints")
	return fs
}

// used has the texts of the flags that were used.
func used(fs *pflag.FlagSet) raw {
	r := raw{}
	for _, s := range settings {
		if f := fs.Lookup(s.name); f.Changed {
			r[s.name] = s.fromFlag(f.Value.(pflag.SliceValue).GetSlice())
		}
	}
	return r
}

// flagError says in our words what pflag refuses.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		var flags []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { flags = append(flags, f.Name) })
		name := unknown.GetSpecifiedName()
		err = fmt.Errorf("--%s: there is no such flag%s", name, didYouMean("--", name, flags))
	}
	return err
}

// Peek returns the log format that the arguments or the environment ask for,
// and the name of the configuration file, each empty if there is none. It reads
// no file, and passes over what is wrong: it is for what has to be said before
// Command has loaded the settings.
func Peek(args []string) (format, file string) {
	fs := flagSet()
	fs.ParseErrorsAllowlist.UnknownFlags = true
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	_ = fs.Parse(args)
	flags := used(fs)
	environment, _ := fromEnvironment(os.Environ())
	return first("log-format", flags, environment), first("config", flags, environment)
}

// FormatIn returns the log format that a configuration file asks for, or empty.
func FormatIn(file string) string {
	r, _, _ := fromFile(file)
	return first("log-format", r)
}

// left is a flag and what stands for its value.
func (s *setting) left() string {
	more := ""
	if s.repeat {
		more = "..."
	}
	return strings.TrimSpace("--" + s.name + " " + s.arg + more)
}

// Help is what --help prints: a line for each flag, in groups.
func Help() string {
	width := 0
	for _, s := range settings {
		width = max(width, len(s.left()))
	}
	var b strings.Builder
	b.WriteString(`sslecho: a TLS echo daemon over the system's OpenSSL

Usage: sslecho [flags]
       sslecho completion SHELL | man | version
A flag wins over SSLECHO_NAME in the environment, that over a key of --config.
FILE... and the like: the flag may be repeated.
`)
	for i, s := range settings {
		if i == 0 || s.group != settings[i-1].group {
			fmt.Fprintf(&b, "%s:\n", s.group)
		}
		fmt.Fprintf(&b, "  %-*s  %s", width, s.left(), s.usage)
		if !slices.Contains([]string{"", "0", "0s", "false"}, s.def) {
			fmt.Fprintf(&b, " (default %s)", s.def)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "  %-*s  print this summary; --version prints versions\n", width, "-h, --help")
	return b.String()
}

var (
	//go:embed sslecho.8
	page string
	//go:embed details.yaml
	details []byte

	quoted = regexp.MustCompile("`([^`]*)`")
	dashes = regexp.MustCompile(`--[a-z-]+`)
)

// escapeFlags keeps roff from making hyphens of what is to be typed as it stands.
func escapeFlags(text string) string {
	return dashes.ReplaceAllStringFunc(text, func(flag string) string { return strings.ReplaceAll(flag, "-", `\-`) })
}

// man is the man page.
func man() string {
	var b strings.Builder
	more := map[string]string{}
	if err := yaml.Unmarshal(details, &more); err != nil {
		panic(err) // which a test would see
	}
	for _, s := range settings {
		flag, arg, _ := strings.Cut(s.left(), " ")
		fmt.Fprintf(&b, ".TP\n\\fB%s\\fP %s\n%s.", flag, arg, s.usage)
		if s.def != "" && s.arg != "" {
			fmt.Fprintf(&b, " Default: %s.", s.def)
		}
		if s.repeat {
			b.WriteString(" May be repeated.")
		}
		if m := more[s.name]; m != "" {
			b.WriteString(" " + quoted.ReplaceAllString(m, `\fB$1\fR`))
		}
		if s.restart {
			b.WriteString(" A change needs a restart.")
		}
		b.WriteString("\n")
	}
	return escapeFlags(strings.Replace(page, "@OPTIONS@\n", b.String(), 1))
}
