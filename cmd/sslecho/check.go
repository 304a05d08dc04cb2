package main

import (
	"fmt"
	"io"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
)

// check is --check: everything that can be known without serving.
func check(c *config.Config, stdout io.Writer) error {
	var b tlsconf.Builder
	t := c.TLS
	t.KeyLogFile = "" // would be made
	built, err := b.Build(&t)
	if err != nil {
		return err
	}
	defer built.Context.Close()
	if err := built.Check(); err != nil {
		return err
	}
	for _, w := range append(built.Warnings, c.Warnings()...) {
		fmt.Fprintf(stdout, "warning: %s\n", w)
	}
	fmt.Fprintln(stdout, "the configuration is valid")
	return nil
}
