package main

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/compare"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/rounds"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spf13/cobra"
)

//go:embed reference/tls_epoll.c
var reference []byte

// The files of a report. The rounds come first: the rest is made from them.
const (
	roundsFile  = "rounds.txt"
	pageFile    = "README.md"
	pictureFile = "ratios.svg"
)

// compareCommand measures servers side by side.
func compareCommand() *cobra.Command {
	o := compare.Options{Server: server.Options{Source: reference}}
	var out string
	var list bool
	cmd := &cobra.Command{
		Use:   "compare [flags]",
		Short: "Measure what a unit of work costs sslecho and other servers, side by side",
		Long: "Measure what a unit of work costs sslecho and other servers, side by side.\n\n" +
			"Standard output gets each round as a line in Go's benchmark format, which\n" +
			"benchstat reads. Two cores are needed: one for the server, one for the load.\n" +
			"Servers that are not installed are left out.",
		Args: arguments(0),
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&out, "out", "", "`folder` for the rounds, the table and the picture")
	f.BoolVar(&o.Quick, "quick", false, "fewer workloads and rounds: about two minutes")
	f.StringVar(&o.Bench, "bench", "", "`regexp` that names of workloads match (see --list)")
	f.StringSliceVar(&o.Servers, "servers", nil, "`servers` to measure beside the baselines, joined by commas (see --list)")
	f.IntVar(&o.Rounds, "rounds", 9, "measured `rounds` for each server and workload (with --quick 2)")
	f.DurationVar(&o.Duration, "duration", 250*time.Millisecond, "`time` of one round (with --quick 120ms)")
	f.StringVar(&o.Server.Sslecho, "sslecho", "", "`path` of the sslecho binary (default: beside sslbench)")
	f.BoolVar(&list, "list", false, "list the workloads and the servers")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		stdout := cmd.OutOrStdout()
		if list {
			for _, k := range server.Kinds {
				fmt.Fprintf(stdout, "%s\n", k.Name)
			}
			_, err := fmt.Fprintf(stdout, "\n%s\n", strings.Join(compare.Workloads(), "\n"))
			return err
		}
		if o.Server.Executable, err = os.Executable(); err != nil {
			return err
		}
		beside := filepath.Join(filepath.Dir(o.Server.Executable), "sslecho")
		if o.Server.Sslecho, err = filepath.Abs(cmp.Or(o.Server.Sslecho, beside)); err != nil {
			return err
		}
		if o.Quick && !f.Changed("rounds") {
			o.Rounds = 2
		}
		if o.Quick && !f.Changed("duration") {
			o.Duration = 120 * time.Millisecond
		}
		if err := o.Check(); err != nil {
			return usageError{err}
		}
		if out == "" {
			return compare.Run(cmd.Context(), o, stdout)
		}
		// Before the measuring, so that a folder that cannot be made costs no run.
		err = os.MkdirAll(out, 0o777)
		file, err2 := os.Create(filepath.Join(out, roundsFile))
		if err := errors.Join(err, err2); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
		err = compare.Run(cmd.Context(), o, io.MultiWriter(stdout, file))
		return errors.Join(err, file.Close(), report(out))
	}
	return cmd
}

// reportCommand makes the table and the picture again.
func reportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "report FOLDER",
		Short: "Make the table and the picture again, from the rounds.txt of an earlier compare",
		Args:  arguments(1),
		RunE:  func(_ *cobra.Command, args []string) error { return report(args[0]) },
	}
}

// report makes the table and the picture of the rounds in a folder.
func report(dir string) error {
	f, err := os.Open(filepath.Join(dir, roundsFile))
	if err != nil {
		return err
	}
	defer f.Close()
	file, err := rounds.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	var svg bytes.Buffer
	if err := file.Plot(&svg); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, pageFile), []byte(file.Page()), 0o666),
		os.WriteFile(filepath.Join(dir, pictureFile), svg.Bytes(), 0o666))
}
