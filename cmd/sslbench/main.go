// Sslbench puts load on TLS servers and measures them side by side.
//
//	sslbench load      one kind of load on any TLS server: rates, latency, what failed
//	sslbench compare   what a unit of work costs sslecho, openssl s_server, crypto/tls, plain C and others
//	sslbench report    the table and the picture again, from the rounds of an earlier compare
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/goserver"
	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// newRoot is the command with all others.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sslbench",
		Short: "Load and measurements for TLS servers",
		// An unknown command is an argument to the root.
		Args: arguments(0), RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped 80 "))
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(loadCommand(), compareCommand(), reportCommand(), serveCommand())
	return root
}

// run returns the exit status: 0, 1 after a failure, 2 after bad usage.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var bad usageError
	if errors.As(err, &bad) {
		fmt.Fprintf(stderr, "%s: %v (see %[1]s --help)\n", cmd.CommandPath(), err)
		return 2
	}
	fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), err)
	return 1
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func badUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// arguments wants n arguments that are no flags.
func arguments(n int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return badUsage("want %d arguments that are no flags, not %q", n, args)
		}
		return nil
	}
}

// serveCommand is what compare starts as its servers in Go.
func serveCommand() *cobra.Command {
	var s goserver.Server
	cmd := &cobra.Command{Use: "serve", Short: "Run a server in Go, for compare", Hidden: true, Args: arguments(0)}
	f := cmd.Flags()
	f.StringVar(&s.Addr, "addr", "127.0.0.1:0", "listening `address`")
	f.StringVar(&s.Cert, "cert", "", "PEM `file` with the certificate chain and its key")
	f.StringVar(&s.Service, "service", "echo", "`service`: echo, reverse, discard or http")
	f.StringVar(&s.Stack, "stack", "crypto/tls", "what TLS is made with: `crypto/tls`, or sslhttp (http only)")
	f.StringVar(&s.MaxVersion, "max-version", "", "highest TLS `version`: 1.2 or 1.3")
	cmd.RunE = func(*cobra.Command, []string) error {
		signal.Reset() // SIGTERM is its end, with nothing to save
		return s.Run()
	}
	return cmd
}
