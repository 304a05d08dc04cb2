package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is the command line of sslecho. Without a subcommand it loads the settings and calls run with them, unless
// --print-config without --check was all that was asked for. "sslecho version" prints what version answers, with --json in that form. Its errors
// are those of run, ErrUsage, or of writing to its output.
func Command(run func(*Config) error, version func(asJSON bool) string) *cobra.Command {
	return command(os.Environ, run, version)
}

// Load is what a Command with these arguments, without the program's name, and this environment would run with. It
// is nil when the arguments ask for something else, such as help, which goes to out.
func Load(args, environ []string, out io.Writer) (*Config, error) {
	var loaded *Config
	cmd := command(func() []string { return environ }, func(c *Config) error { loaded = c; return nil }, func(bool) string { return "" })
	cmd.SetArgs(append([]string{}, args...))
	cmd.SetOut(out)
	cmd.SetErr(out)
	err := cmd.Execute()
	return loaded, err
}

func command(environ func() []string, run func(*Config) error, version func(asJSON bool) string) *cobra.Command {
	root := bare(func(s *setting) string { return s.usage })
	root.Args = noArguments
	root.ValidArgsFunction = cobra.NoFileCompletions
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		flags, err := changed(cmd.Flags())
		if err != nil {
			return err
		}
		c, err := load(flags, environ)
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
	ofCobra := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if cmd.HasParent() {
			ofCobra(cmd, args)
			return
		}
		printHelp(cmd.OutOrStdout())
	})
	complete(root)
	root.AddCommand(completion(), manual(), versionCommand(version))
	return root
}

func versionCommand(version func(asJSON bool) string) *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the versions of sslecho, Go and OpenSSL", Args: noArguments}
	asJSON := cmd.Flags().Bool("json", false, "print them as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), version(*asJSON))
		return err
	}
	return cmd
}

// bare is the root command with its flags, and what is said of each.
func bare(about func(*setting) string) *cobra.Command {
	root := &cobra.Command{
		Use:                   "sslecho [flags]",
		Short:                 summary,
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableAutoGenTag:     true,
		DisableFlagsInUseLine: true,
	}
	fs := root.Flags()
	fs.SortFlags = false
	for _, s := range settings {
		f := fs.VarPF(&flagValue{setting: s}, s.name, "", about(s))
		if s.arg == "" {
			f.NoOptDefVal = "true"
		}
	}
	fs.BoolP("help", "h", false, "print a summary of the flags")
	return root
}

// flagValue keeps what a flag was used with. It is read together with the other sources.
type flagValue struct {
	setting *setting
	uses    []string
}

// String implements pflag.Value.
func (v *flagValue) String() string {
	if v.uses == nil {
		return v.setting.def
	}
	return strings.Join(v.uses, v.setting.separator())
}

// Set implements pflag.Value.
func (v *flagValue) Set(text string) error {
	v.uses = append(v.uses, text)
	return nil
}

// Type implements pflag.Value. Completions offer a flag again if its type is an array.
func (v *flagValue) Type() string {
	switch {
	case v.setting.arg == "":
		return "bool"
	case v.setting.value.isList():
		return "stringArray"
	}
	return "string"
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var commands []string
	for _, sub := range cmd.Commands() {
		commands = append(commands, sub.Name())
	}
	return usage(fmt.Errorf("unexpected argument %q: everything is a flag%s", args[0], didYouMean(cmd.Name()+" ", args[0], commands)))
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
	return usage(err)
}
