package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/httpbench"
	"github.com/spf13/pflag"
)

const httpUsage = `sslbench http: net/http over crypto/tls and over sslnet, side by side

Usage: sslbench http [flags]

CPU time of the server for one request (HTTP/1.1 and HTTP/2, small and large
bodies, a handshake for each request) and memory of one idle connection. About
three minutes, on loopback, on two cores: one for the server, one for the load.

The load is wrk for HTTP/1.1 and h2load for HTTP/2 (Debian: apt-get install wrk
nghttp2-client). Without wrk, h2load does HTTP/1.1 too. What is left is done by
Go's own client, which is slower than the servers.

`

// httpCommand measures net/http over both stacks.
func httpCommand(args []string, stdout, stderr io.Writer) error {
	o, format, out, err := parseHTTP(args, stdout)
	if err != nil {
		return err
	}
	if out != "" { // before the measuring, so that a folder that cannot be made costs no run
		if err := os.MkdirAll(out, 0o777); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := steps{out: stderr}
	o.Progress = p.step
	data, err := httpbench.Run(ctx, o)
	p.finish()
	if data == nil {
		return err
	}
	if out != "" {
		if werr := writeHTTP(data, out); werr != nil {
			return werr
		}
	}
	write := data.Text
	if format == "json" {
		write = data.JSON
	}
	if werr := write(stdout); werr != nil {
		return werr
	}
	return err
}

// parseHTTP reads the command line.
func parseHTTP(args []string, stdout io.Writer) (o httpbench.Options, format, out string, err error) {
	f := pflag.NewFlagSet("http", pflag.ContinueOnError)
	f.SetOutput(stdout)
	f.SortFlags = false
	f.Usage = func() { fmt.Fprint(stdout, httpUsage, f.FlagUsagesWrapped(80)) }
	f.StringVar(&out, "out", "", "`folder` for the report: http.md, http.json")
	f.StringVar(&format, "format", "text", "of the output: `text or json`")
	f.BoolVar(&o.Quick, "quick", false, "fewer rounds and idle connections: about 30 seconds")
	f.IntVar(&o.Rounds, "rounds", 11, "measured `rounds` for each server and case (with --quick 2)")
	f.DurationVar(&o.Duration, "duration", 750*time.Millisecond, "`time` of one round (with --quick 400ms)")
	f.IntVar(&o.Conns, "conns", 64, "`number` of connections at once with small bodies; HTTP/2 and large bodies have an eighth")
	f.IntVar(&o.IdleConns, "idle-conns", 2000, "`number` of idle connections whose memory is measured, 0 for none (with --quick 500)")
	f.IntVar(&o.IdleRounds, "idle-rounds", 3, "measured `rounds` for the memory, each with a new server (with --quick 1)")
	f.BoolVar(&o.GoClient, "go-client", false, "all load from Go's own client, also where wrk and h2load are there")
	if err := f.Parse(args); err != nil {
		if err == pflag.ErrHelp {
			return o, "", "", err
		}
		return o, "", "", usageError{err}
	}
	if f.NArg() > 0 {
		return o, "", "", badUsage("unexpected argument %q: everything is a flag", f.Arg(0))
	}
	if format != "text" && format != "json" {
		return o, "", "", badUsage("--format %q: use text or json", format)
	}
	if o.Quick {
		for name, quick := range map[string]func(){
			"rounds": func() { o.Rounds = 2 }, "duration": func() { o.Duration = 400 * time.Millisecond },
			"idle-conns": func() { o.IdleConns = 500 }, "idle-rounds": func() { o.IdleRounds = 1 },
		} {
			if !f.Changed(name) {
				quick()
			}
		}
	}
	if err := o.Check(); err != nil {
		return o, "", "", usageError{err}
	}
	o.Commands = []string{"make build", "bin/sslbench http" + strings.TrimPrefix(commandLine(args), "bin/sslbench compare")}
	return o, format, out, nil
}

// writeHTTP writes the report into a folder.
func writeHTTP(data *httpbench.Data, dir string) error {
	var raw strings.Builder
	if err := data.JSON(&raw); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "http.json"), []byte(raw.String()), 0o666); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "http.md"), data.Markdown(), 0o666)
}

// serveHTTP is the hidden command that http starts as its servers.
func serveHTTP(args []string, out io.Writer) error {
	f := pflag.NewFlagSet(httpbench.ServeCommand, pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	var s httpbench.Server
	s.Flags(f)
	if err := f.Parse(args); err != nil {
		if err == pflag.ErrHelp {
			return err
		}
		return usageError{err}
	}
	if f.NArg() > 0 {
		return badUsage("unexpected argument %q", f.Arg(0))
	}
	return s.Run(out)
}
