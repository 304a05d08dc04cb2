package main

import (
	"embed"
	"io"
	"io/fs"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/server"
	"github.com/spf13/pflag"
)

//go:embed reference/*.c
var reference embed.FS

// referenceSources has the C files of the reference servers, so that sslbench runs from any folder.
func referenceSources() fs.FS {
	sub, err := fs.Sub(reference, "reference")
	if err != nil {
		panic(err) // only a name that is not a path could cause it
	}
	return sub
}

// serveCryptoTLS is the hidden command that compare starts as its crypto/tls server.
func serveCryptoTLS(args []string, out io.Writer) error {
	f := pflag.NewFlagSet(server.CryptoTLSCommand, pflag.ContinueOnError)
	f.SetOutput(out)
	f.SortFlags = false
	var s server.GoServer
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
