package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/report"
	"github.com/spf13/pflag"
)

// reportCommand renders what an earlier compare has measured.
func reportCommand(args []string, stdout, _ io.Writer) error {
	f := pflag.NewFlagSet("report", pflag.ContinueOnError)
	f.SetOutput(stdout)
	f.Usage = func() {
		fmt.Fprintln(stdout, "Usage: sslbench report FILE FOLDER\n\nFILE is the data.json of an earlier compare; FOLDER gets its tables, pictures and page.")
	}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return usageError{err}
	}
	if f.NArg() != 2 {
		return badUsage("want two arguments, the data.json of an earlier compare and a folder for the report; got %d", f.NArg())
	}
	data, err := report.Read(f.Arg(0))
	if err != nil {
		return err
	}
	if err := data.Write(f.Arg(1)); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "report: %s\n", filepath.Join(f.Arg(1), "report.html"))
	return nil
}
