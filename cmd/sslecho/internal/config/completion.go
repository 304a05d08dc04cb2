package config

import (
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// complete tells the completions which values there are.
func complete(root *cobra.Command) {
	for _, s := range settings {
		var err error
		switch {
		case s.name == "config":
			err = root.MarkFlagFilename(s.name, "yaml", "yml")
		case s.arg == argFile || s.arg == argNames || s.arg == "DIR": // files, which is what shells offer anyway
		default:
			err = root.RegisterFlagCompletionFunc(s.name, cobra.FixedCompletions(s.value.names(), cobra.ShellCompDirectiveNoFileComp))
		}
		if err != nil {
			panic(err) // the flag is there
		}
	}
}

// completion is the subcommand that prints a script for a shell.
func completion() *cobra.Command {
	scripts := map[string]func(*cobra.Command, io.Writer) error{
		"bash": func(root *cobra.Command, w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"fish": func(root *cobra.Command, w io.Writer) error { return root.GenFishCompletion(w, true) },
		"zsh":  func(root *cobra.Command, w io.Writer) error { return root.GenZshCompletion(w) },
	}
	shells := []string{"bash", "zsh", "fish"}
	return &cobra.Command{
		Use:       "completion " + strings.Join(shells, "|"),
		Short:     "Print a completion script for a shell",
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || scripts[args[0]] == nil {
				return usage(errors.New("completion: name one shell, " + either(shells)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return scripts[args[0]](cmd.Root(), cmd.OutOrStdout()) },
	}
}
