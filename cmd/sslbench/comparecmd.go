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
	"text/tabwriter"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/compare"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spf13/pflag"
)

// compareCommand measures servers side by side.
func compareCommand(args []string, stdout, stderr io.Writer) error {
	f := pflag.NewFlagSet("compare", pflag.ContinueOnError)
	f.SetOutput(stdout)
	f.SortFlags = false
	o := compare.Options{}
	out := f.String("out", "", "`folder` for the report: README.md, report.html, pictures, data.json")
	f.BoolVar(&o.Quick, "quick", false, "fewer points and rounds: about 90 seconds")
	f.StringSliceVar(&o.Experiments, "only", nil, "`experiments` to run, joined by commas (see --list)")
	f.StringSliceVar(&o.Servers, "servers", nil, "`servers` to measure beside the baseline, joined by commas (see --list)")
	f.StringVar(&o.Baseline, "baseline", server.CTLS, "`server` that ratios refer to")
	f.IntVar(&o.Rounds, "rounds", 0, "measured rounds for each server and point (default 9, with --quick 2)")
	f.DurationVar(&o.Duration, "duration", 0, "of one round (default 250ms, with --quick 120ms)")
	f.StringVar(&o.Server.Sslecho, "sslecho", "", "`path` of the sslecho binary (default: next to sslbench)")
	list := f.Bool("list", false, "list the experiments and the servers, and which of them are installed")
	if err := f.Parse(args); err != nil {
		if err == pflag.ErrHelp {
			return err
		}
		return usageError{err}
	}
	if f.NArg() > 0 {
		return badUsage("unexpected argument %q: everything is a flag", f.Arg(0))
	}
	o.Server.Sources = referenceSources()
	if *list {
		return listAll(o.Server, stdout)
	}
	if !f.Changed("rounds") {
		o.Rounds = map[bool]int{false: 9, true: 2}[o.Quick]
	}
	if !f.Changed("duration") {
		o.Duration = map[bool]time.Duration{false: 250 * time.Millisecond, true: 120 * time.Millisecond}[o.Quick]
	}
	if err := o.Check(); err != nil {
		return usageError{err}
	}
	o.Commands = []string{"make build", commandLine(args)}
	if *out != "" { // before the measuring, so that a folder that cannot be written costs no run
		if err := os.MkdirAll(*out, 0o777); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		trial, err := os.CreateTemp(*out, ".trial")
		if err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		trial.Close()
		os.Remove(trial.Name())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	p := steps{out: stderr}
	o.Progress = p.step
	data, err := compare.Run(ctx, o)
	p.finish()
	if data == nil {
		return err
	}
	if *out != "" {
		if werr := data.Write(*out); werr != nil {
			return werr
		}
	}
	if terr := data.Text(stdout); terr != nil {
		return terr
	}
	if *out != "" {
		fmt.Fprintf(stdout, "\nreport: %s\n", filepath.Join(*out, "report.html"))
	}
	return err
}

// commandLine is what to type into a shell to run compare with args.
func commandLine(args []string) string {
	line := "bin/sslbench compare"
	for _, a := range args {
		if strings.ContainsAny(a, " \t\"'$&;|<>()*?") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		line += " " + a
	}
	return line
}

// listAll tells what can be measured here.
func listAll(o server.Options, out io.Writer) error {
	tab := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "EXPERIMENT\t")
	for _, e := range compare.Experiments() {
		fmt.Fprintf(tab, "%s\t%s\n", e.ID, e.Title)
	}
	fmt.Fprintln(tab, "\t\nSERVER\t")
	for _, k := range server.Kinds(o) {
		version, err := k.Find()
		if err != nil {
			version = "missing: " + err.Error()
		}
		fmt.Fprintf(tab, "%s\t%s\n", k.Name, version)
	}
	return tab.Flush()
}
