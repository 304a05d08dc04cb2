// Command record writes a figure into docs/design/results.txt, for a target of
// make whose tests do not. Its arguments are the figure's name and its text.
package main

import (
	"fmt"
	"os"

	"github.com/spacemonad/go-openssl/internal/figures"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: record NAME TEXT")
		os.Exit(2)
	}
	if err := figures.Write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
