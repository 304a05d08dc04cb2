// Sslecho is a TLS echo daemon: what a client sends comes back. It is for testing
// TLS clients, proxies and networks, and the example of a server over package reactor.
//
// With --service it does something else with its connections: discard reads and says nothing;
// chargen sends the pattern of RFC 864 without end, as fast as the client reads; reverse answers
// each line backwards, as openssl s_server -rev does. A line of reverse has at most 16384
// bytes with its end; one that is longer resets the connection, and answers that the client has not read are lost.
//
// Run sslecho --help for its flags, which may also stand in the environment (SSLECHO_…) and in a file; docs/sslecho.md is the
// page for operators.
//
//	main ─► config ─► daemon ─┬─ tlsconf   contexts from files         (SIGHUP: anew)
//	                          ├─ life      sockets, systemd, user      (SIGUSR2: another process takes over)
//	                          ├─ guard     who gets in
//	                          ├─ connlog   a line for each connection
//	                          ├─ metrics   what is watched
//	                          └─ reactor.Server, services
//
// SIGTERM and SIGINT drain: it stops accepting,
// finishes what is queued and says close_notify; a second signal ends it at once. The exit status is 0
// after a clean stop, 2 after bad usage and 1 after a failure.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func run(args []string, stdout, stderr io.Writer) int {
	cmd := config.Command(func(c *config.Config) error {
		if c.Check {
			return check(c, stdout, stderr)
		}
		return serve(c, stdout, stderr)
	}, printVersion)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	switch err := cmd.Execute(); {
	case errors.Is(err, config.ErrUsage):
		fmt.Fprintf(stderr, "sslecho: %v (see sslecho --help)\n", err)
		return exitUsage
	case err != nil:
		fmt.Fprintf(stderr, "sslecho: %v\n", err)
		return exitFailure
	}
	return exitOK
}
