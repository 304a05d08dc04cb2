// Sslbench measures TLS echo servers side by side, and soaks one in mixed load.
//
//	sslbench compare   server CPU time per unit of work: sslecho beside plain C epoll servers
//	sslbench soak      mixed load against a running server, for as long as one likes
//
// All traffic stays on the loopback interface.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
)

const usage = `sslbench: measures TLS echo servers

Usage:
  sslbench compare [flags]   server CPU time per unit of work, beside plain C epoll servers
  sslbench soak [flags]      mixed load against a running server; fails if a byte is wrong

'sslbench COMMAND --help' lists the flags.
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run answers the exit status: 0, 1 after a failure, 2 after bad usage.
func run(args []string, stdout, stderr io.Writer) int {
	commands := map[string]func([]string, io.Writer) error{"compare": compare, "soak": soak}
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		fmt.Fprint(stdout, usage)
		return 0
	}
	f := commands[args[0]]
	if f == nil {
		fmt.Fprintf(stderr, "sslbench: unknown command %q\n%s", args[0], usage)
		return 2
	}
	err := f(args[1:], stdout)
	var bad usageError
	switch {
	case err == nil, errors.Is(err, pflag.ErrHelp):
		return 0
	case errors.As(err, &bad):
		fmt.Fprintf(stderr, "sslbench %s: %v\n", args[0], err)
		return 2
	}
	fmt.Fprintf(stderr, "sslbench %s: %v\n", args[0], err)
	return 1
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func badUsage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }
