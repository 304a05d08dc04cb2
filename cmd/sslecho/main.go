// Sslecho is a TLS echo daemon: what a client sends comes back. It is for testing
// TLS clients, proxies and networks, and the example of a server over package reactor.
//
// With --service it does something else with its connections: discard reads and says nothing;
// chargen sends the pattern of RFC 864 without end, as fast as the client reads; reverse answers
// each line backwards, as openssl s_server -rev does. A line of reverse has at most 16384
// bytes with its end; one that is longer resets the connection, and answers that the client has not read are lost.
//
// Run sslecho --help for its flags. SIGTERM and SIGINT drain: it stops accepting,
// finishes what is queued and says close_notify; a second signal ends it at once. The exit status is 0
// after a clean stop, 2 after bad usage and 1 after a failure.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// Exit statuses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout)
	switch {
	case errors.Is(err, errHelp):
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "sslecho: %v (see sslecho --help)\n", err)
		return exitUsage
	}
	if err := serve(o, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "sslecho: %v\n", err)
		return exitFailure
	}
	return exitOK
}

func serve(o *options, stdout, stderr io.Writer) error {
	cfg := o.tls
	var fingerprint string
	if len(cfg.Certificates) == 0 {
		cert, print, err := selfSigned()
		if err != nil {
			return fmt.Errorf("no certificate could be made: %w", err)
		}
		cfg.Certificates, fingerprint = []cssl.Certificate{cert}, print
	}
	ctx, err := cssl.NewServerContext(cfg)
	if err != nil {
		return byFlag(err)
	}
	defer ctx.Close()

	// A reader of the output that goes away does not end the daemon.
	signal.Ignore(syscall.SIGPIPE)
	// Signals count from before the first line of output: who reads that may send one.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)

	loops := o.loops
	if loops == 0 {
		loops = runtime.GOMAXPROCS(0)
	}
	// One P more than loops: when every P is inside C, Go's monitor takes them away
	// from calls that last longer than 20 µs, which is what a signature takes.
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), loops+1))
	collectOften()
	srv := services.NewServer(o.service, ctx)
	srv.Loops = loops
	srv.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	if o.trace {
		t := newTracer(stdout)
		srv.Trace, srv.Handler = t.operation, traced{o.service, t}
	}
	var listening []net.Listener
	failed := make(chan error, len(o.listen))
	for _, addr := range o.listen {
		srv.Addr = addr
		ls, err := srv.Listen()
		if err != nil {
			srv.Close()
			return err
		}
		listening = append(listening, ls[0])
		go func() { failed <- srv.ServeAll(ls) }()
	}
	fmt.Fprintln(stdout, cssl.OpenSSLVersion())
	for _, l := range listening {
		fmt.Fprintf(stdout, "listening on %s\n", addressOf(l))
	}
	if fingerprint != "" {
		fmt.Fprintf(stdout, "certificate made in memory, SHA-256 %s\ntry: %s\n", fingerprint, clientLine(listening[0]))
	}

	serving, stop := context.WithCancel(context.Background())
	defer stop()
	go giveBack(serving, srv.Stats)

	select {
	case err := <-failed:
		srv.Close()
		return err
	case sig := <-signals:
		fmt.Fprintf(stdout, "%s: draining %d connections, a second signal ends at once\n", sig, srv.Conns())
	}
	drain, cancel := context.WithTimeout(context.Background(), o.drainTimeout)
	defer cancel()
	go func() {
		<-signals
		cancel()
	}()
	if err := srv.Shutdown(drain); err != nil {
		n := srv.Conns()
		srv.Close()
		fmt.Fprintf(stdout, "stopped, %d connections cut off\n", n)
		return nil
	}
	fmt.Fprintln(stdout, "stopped")
	return nil
}
