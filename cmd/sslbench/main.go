// Sslbench puts load on TLS servers and measures them side by side.
//
//	sslbench load      one kind of load on any TLS server: rates, latency, what failed
//	sslbench compare   what a unit of work costs sslecho, openssl s_server, crypto/tls, C epoll and others
//	sslbench report    the report of an earlier compare, from its data.json
//	sslbench http      what a request costs net/http over sslnet and over crypto/tls, side by side
//	sslbench soak      mixed load on a running echo server, for as long as one likes
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/httpbench"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spf13/pflag"
)

const usage = `sslbench: load and measurements for TLS servers

Usage:
  sslbench load [flags]        one kind of load on any TLS server: rates, latency, what failed
  sslbench compare [flags]     what a unit of work costs sslecho and other servers, side by side
  sslbench report FILE FOLDER  the report again, from an earlier compare's data.json
  sslbench http [flags]        what a request costs net/http over sslnet and over crypto/tls
  sslbench soak [flags]        mixed load on a running echo server; fails if a byte is wrong

'sslbench COMMAND --help' lists the flags.
`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run answers the exit status: 0, 1 after a failure, 2 after bad usage.
func run(args []string, stdout, stderr io.Writer) int {
	commands := map[string]func(args []string, stdout, stderr io.Writer) error{
		"load":                  loadCommand,
		"compare":               compareCommand,
		"report":                reportCommand,
		"http":                  httpCommand,
		"soak":                  func(args []string, stdout, _ io.Writer) error { return soak(args, stdout) },
		httpbench.ServeCommand:  func(args []string, stdout, _ io.Writer) error { return serveHTTP(args, stdout) },
		server.CryptoTLSCommand: func(args []string, stdout, _ io.Writer) error { return serveCryptoTLS(args, stdout) },
	}
	if len(args) == 0 || args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		fmt.Fprint(stdout, usage)
		return 0
	}
	f := commands[args[0]]
	if f == nil {
		fmt.Fprintf(stderr, "sslbench: unknown command %q\n%s", args[0], usage)
		return 2
	}
	err := f(args[1:], stdout, stderr)
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
