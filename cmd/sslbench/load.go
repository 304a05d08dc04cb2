package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/load"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

const loadHelp = `Put load on a TLS server: check every byte, and count what fails.

Kinds:
  full-handshake     connect, handshake, close_notify both ways, again and again
  resumed-handshake  the same with sessions that the server gave
  request            a message, its whole answer, the next; or at a --rate
  stream             both ways at once, with --size bytes under way
  send               one way, as fast as the server reads
  idle               connections are opened and held

With --rate, messages that are due and not sent at the end are failures, slower
than asked, if they wait for more than 250 ms (in runs above 25 s: a hundredth
of them). A stall that the server makes up for is none.

Exit status: 0 when nothing failed, 1 when anything did, 2 after bad usage.
`

// loadOptions is what the command line says.
type loadOptions struct {
	cfg              load.Config
	flags            *pflag.FlagSet
	duration, warmup time.Duration
	format, progress string
	insecure         bool
	size             string
	version          string
	cert, key        string
}

// loadCommand puts load on a server.
func loadCommand() *cobra.Command {
	o := &loadOptions{}
	cmd := &cobra.Command{
		Use: "load --target HOST:PORT [flags]", Short: "Put one kind of load on any TLS server: rates, latency, what failed",
		Long: loadHelp, Args: arguments(0),
	}
	f := cmd.Flags()
	o.flags = f
	f.SortFlags = false
	f.StringVar(&o.cfg.Target, "target", "", "`host:port` of the server")
	f.StringVar((*string)(&o.cfg.Kind), "kind", "request", "`kind` of load, see below")
	f.StringVar((*string)(&o.cfg.Answer), "answer", "echo", "what the server answers a request: `echo or reverse` (each line reversed)")
	f.Float64Var(&o.cfg.Rate, "rate", 0, "`messages` a second, sent by the clock (default: the next after each answer)")
	f.IntVar(&o.cfg.Conns, "conns", 1, "`number` of connections at once")
	f.StringVar(&o.size, "size", "1k", "`bytes` of a message, or under way in a stream: 64, 16k, 1m")
	f.DurationVar(&o.cfg.Ramp, "ramp", 0, "`time` over which the connections are opened")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "`time` to work")
	f.DurationVar(&o.warmup, "warmup", 0, "`time` to work before anything is measured")
	f.DurationVar(&o.cfg.Timeout, "timeout", 10*time.Second, "`time` for a handshake, and for one answer")
	f.IntVar(&o.cfg.Loops, "loops", runtime.NumCPU(), "`number` of event loops")
	f.StringVar(&o.version, "tls", "", "TLS `version`: 1.2 or 1.3, or 1.0 or 1.1 with --ciphers that have @SECLEVEL=0"+
		" (default: the best of 1.2 and 1.3)")
	f.StringVar(&o.cfg.TLS.CipherList, "ciphers", "", "`list` of ciphers up to TLS 1.2, such as ECDHE+AESGCM")
	f.StringVar(&o.cfg.TLS.CipherSuites, "ciphersuites", "", "`list` of TLS 1.3 cipher suites, joined by colons")
	f.StringVar(&o.cfg.TLS.Groups, "groups", "", "`list` of groups, such as X25519:P-256")
	f.StringSliceVar(&o.cfg.TLS.ALPN, "alpn", nil, "`protocols` to offer, joined by commas, best first")
	f.StringVar(&o.cfg.TLS.CAFile, "ca", "", "PEM `file` with the CAs to trust (default: the system's)")
	f.StringVar(&o.cfg.ServerName, "sni", "", "`name` to send, and to check (default: the target's host)")
	f.BoolVar(&o.insecure, "insecure", false, "take any certificate")
	f.StringVar(&o.cert, "cert", "", "PEM `file`, our own chain, for servers that ask for one")
	f.StringVar(&o.key, "key", "", "PEM `file`, its private key (default: in --cert)")
	f.StringVar(&o.format, "format", "text", "of the output: `text or json`")
	f.StringVar(&o.progress, "progress", "auto", "bar on standard error: `auto`, always or never")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		for _, name := range []string{"conns", "loops", "timeout"} { // 0 would mean the default
			if v := f.Lookup(name).Value.String(); v == "0" || v == "0s" {
				return badUsage("--%s %s: must be greater than 0", name, v)
			}
		}
		if err := o.check(); err != nil {
			return usageError{err}
		}
		return o.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	return cmd
}

// check brings the options into the form that the load generator takes.
func (o *loadOptions) check() (err error) {
	c := &o.cfg
	if c.Target == "" {
		return fmt.Errorf("--target HOST:PORT is missing")
	}
	if c.Size, err = parseSize(o.size); err != nil {
		return fmt.Errorf("--size %q: %w", o.size, err)
	}
	switch {
	case o.duration <= 0:
		return fmt.Errorf("--duration %v: must be greater than 0", o.duration)
	case o.warmup < 0:
		return fmt.Errorf("--warmup %v: must not be negative", o.warmup)
	case o.format != "text" && o.format != "json":
		return fmt.Errorf("--format %q: use text or json", o.format)
	case !slices.Contains([]string{"auto", "always", "never"}, o.progress):
		return fmt.Errorf("--progress %q: use auto, always or never", o.progress)
	case o.insecure && c.TLS.CAFile != "":
		return fmt.Errorf("--insecure checks nothing, and --ca says what to check against: use either")
	case o.key != "" && o.cert == "":
		return fmt.Errorf("--key without --cert: give the certificate too")
	}
	if c.TLS.MinVersion, err = cssl.ParseTLSVersion(o.version); err != nil {
		return err
	}
	c.TLS.MaxVersion = c.TLS.MinVersion
	if o.insecure {
		c.TLS.Verify = cssl.VerifyNone
	}
	if o.cert != "" {
		c.TLS.Certificates = []cssl.Certificate{{ChainFile: o.cert, KeyFile: o.key}}
	}
	return c.Check()
}

// parseSize reads a number of bytes, of KiB (k) or of MiB (m).
func parseSize(s string) (int, error) {
	number, unit := s, 1
	switch {
	case strings.HasSuffix(strings.ToLower(s), "k"):
		number, unit = s[:len(s)-1], 1<<10
	case strings.HasSuffix(strings.ToLower(s), "m"):
		number, unit = s[:len(s)-1], 1<<20
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > load.MaxSize/unit {
		return 0, fmt.Errorf("want 1 to %d bytes, such as 64, 16k or 1m", load.MaxSize)
	}
	return n * unit, nil
}

// loadFlagOf names the flags of settings that cssl may refuse.
var loadFlagOf = map[string]string{
	"Certificates[0]": "--cert", "Certificates[0].ChainFile": "--cert", "Certificates[0].KeyFile": "--key",
	"CAFile": "--ca", "CipherList": "--ciphers", "CipherSuites": "--ciphersuites", "Groups": "--groups",
	"ALPN": "--alpn", "ServerName": "--sni", "MinVersion": "--tls", "MaxVersion": "--tls",
}

// byLoadFlag says a refused setting in the words of the command line.
func byLoadFlag(err error) error {
	var e *cssl.ConfigError
	if !errors.As(err, &e) || loadFlagOf[e.Setting] == "" {
		return err
	}
	renamed := *e
	renamed.Setting = loadFlagOf[e.Setting]
	return errors.New(strings.TrimPrefix(renamed.Error(), "tls config: "))
}

// run runs the command until ctx ends; the progress bar goes to stderr.
func (o *loadOptions) run(ctx context.Context, out, stderr io.Writer) error {
	// One P more than loops: see package reactor.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), o.cfg.Loops+1))
	l, err := load.New(o.cfg)
	if err != nil {
		return byLoadFlag(err)
	}
	defer l.Close()
	r, err := o.work(ctx, l, stderr)
	if ctx.Err() != nil {
		err = errors.New("stopped by a signal")
	}
	if werr := o.write(out, r, err); werr != nil {
		return werr
	}
	if err = errors.Join(err, r.Err()); err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")) // one line
}

// work opens, warms up and runs. Failures of all three are in the result.
func (o *loadOptions) work(ctx context.Context, l *load.Load, stderr io.Writer) (load.Result, error) {
	bar := &loadProgress{load: l}
	f, isFile := stderr.(*os.File)
	if o.progress == "always" || o.progress == "auto" && isFile && term.IsTerminal(int(f.Fd())) {
		bar.out = stderr
	}
	bar.begin("opening", -time.Millisecond)
	defer bar.close()
	if err := l.Open(ctx, o.cfg.Conns); err != nil {
		return l.Collect(), err
	}
	var before load.Result
	if o.warmup > 0 {
		bar.begin("warm-up", o.warmup)
		var err error
		if before, err = l.Run(ctx, o.warmup); err != nil {
			return before, err
		}
	}
	bar.begin(string(o.cfg.Kind), o.duration)
	r, err := l.Run(ctx, o.duration)
	// The connections opened are all that idle ones have to measure. Of others, what failed counts as well.
	counts := load.Result{Opened: before.Opened, Failures: before.Failures, Examples: before.Examples}
	if o.cfg.Kind == load.Idle {
		counts.Units, counts.Latency = before.Units, before.Latency
	}
	r.Add(counts)
	return r, err
}
