package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/config"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/life"
	"github.com/spacemonad/go-openssl/cmd/sslecho/internal/tlsconf"
)

// check is --check: everything that can be known without serving. Warnings go to
// stderr, and are no failure.
func check(c *config.Config, p *program) error {
	b := tlsconf.Builder{At: p.waiting.on}
	t := c.TLS
	t.KeyLogFile = "" // would be made
	built, err := b.Build(&t)
	if err != nil {
		return err
	}
	defer built.Context.Close()
	for _, w := range append(built.Warnings, c.Warnings()...) {
		p.output.notice(slog.LevelWarn, "warning: "+w, w)
	}
	if err := errors.Join(built.Check(), surroundings(c)); err != nil {
		return err
	}
	p.output.say("the configuration is valid")
	return nil
}

// surroundings says what is missing around the daemon: its user, and directories that it would make files in. Ports are left alone, for the
// daemon itself may have them.
func surroundings(c *config.Config) error {
	var faults []error
	if c.User.Name != "" {
		faults = append(faults, life.Known(c.User.Name, c.User.Group))
	}
	inside := func(flag, file string) {
		if fi, err := os.Stat(filepath.Dir(file)); err != nil {
			faults = append(faults, fmt.Errorf("%s %s: %w", flag, file, err))
		} else if !fi.IsDir() {
			faults = append(faults, fmt.Errorf("%s %s: %s is no directory", flag, file, filepath.Dir(file)))
		}
	}
	for _, f := range [][2]string{{"--pid-file", c.PIDFile}, {"--keylog", c.TLS.KeyLogFile}} {
		if f[1] != "" {
			inside(f[0], f[1])
		}
	}
	for _, a := range c.Listen {
		if path, ok := strings.CutPrefix(a, "unix:"); ok {
			inside("--listen", path)
		}
	}
	if path, ok := strings.CutPrefix(c.Admin, "unix:"); ok {
		inside("--admin", path)
	}
	return errors.Join(faults...)
}
