package main

import (
	"context"
	"fmt"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/filewatch"
)

// watchFiles begins to watch what a reload reads, with --watch. It comes before
// the first of these files is read, and before the user changes.
func (d *process) watchFiles() (err error) {
	if !d.cfg.Watch {
		return nil
	}
	if d.files, err = filewatch.New(d.log); err != nil {
		return fmt.Errorf("--watch: %w", err)
	}
	return d.files.Watch(context.Background(), d.cfg.Files())
}
