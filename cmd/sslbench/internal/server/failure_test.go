package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"
)

// contains checks that the error is there and says each of the words.
func contains(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
}

// TestCannotServe: with a certificate that is none, the error has the server's own words about the file.
func TestCannotServe(t *testing.T) {
	eachKind(t, func(t *testing.T, k Kind, w Work) {
		s := spec(t, w)
		s.Cert = filepath.Join(s.Dir, "broken.pem")
		if err := os.WriteFile(s.Cert, []byte("this is no certificate\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := k.Start(t.Context(), s)
		if err == nil {
			p.Stop()
			t.Fatal("it serves without a certificate")
		}
		contains(t, err, k.Name+": it ended by itself (exit status")
		own := false
		for _, name := range []string{"broken.pem", "server.pem", "--cert: PEM"} {
			own = own || strings.Contains(err.Error(), name)
		}
		if !own {
			t.Errorf("the server's words about the file are not in: %v", err)
		}
	}, Handshakes)
}

// TestBadSpec: what cannot be is found before anything is started.
func TestBadSpec(t *testing.T) {
	k := kind(t, SServer)
	for _, test := range []struct {
		name string
		edit func(*Spec)
		says string
	}{
		{"work", func(s *Spec) { s.Work = Echo }, `it cannot do "echo"`},
		{"folder", func(s *Spec) { s.Dir = "" }, "Spec.Dir is empty"},
		{"no folder", func(s *Spec) { s.Dir += "/none" }, "none"},
		{"version", func(s *Spec) { s.MaxVersion = "1.1" }, `Spec.MaxVersion is "1.1"`},
		{"no certificate", func(s *Spec) { s.Cert = "/nonexistent.pem" }, "/nonexistent.pem: no such file"},
		{"key is a folder", func(s *Spec) { s.Key = s.Dir }, "is a folder: want a PEM file"},
		{"core", func(s *Spec) { s.Core = 1000 }, "pinning to core 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := spec(t, Reverse)
			test.edit(&s)
			p, err := k.Start(t.Context(), s)
			if err == nil {
				p.Stop()
			}
			contains(t, err, SServer+": ", test.says)
		})
	}
}

// TestBusyPort: a port that another process has is given up for the next one; if all are taken, the
// error has the server's words.
func TestBusyPort(t *testing.T) {
	for _, name := range []string{Nginx, HAProxy} {
		t.Run(name, func(t *testing.T) {
			k := kind(t, name)
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			busy := l.Addr().(*net.TCPAddr).Port
			asked := 0
			p, err := k.start(t.Context(), spec(t, Handshakes), func() (int, error) {
				if asked++; asked == 1 {
					return busy, nil
				}
				return freePort()
			})
			if err != nil {
				t.Fatal(err)
			}
			if asked != 2 || p.Addr().Port() == uint16(busy) {
				t.Errorf("it listens on %v after %d tries, port %d is taken", p.Addr(), asked, busy)
			}
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
			if name == Nginx {
				return // each of its attempts takes some seconds
			}
			asked = 0
			_, err = k.start(t.Context(), spec(t, Handshakes), func() (int, error) { asked++; return busy, nil })
			contains(t, err, "it ended by itself", fmt.Sprintf("127.0.0.1:%d", busy))
			if asked != startAttempts {
				t.Errorf("%d tries, want %d", asked, startAttempts)
			}
		})
	}
}

// TestCrash: a server that has ended is noticed by all who ask.
func TestCrash(t *testing.T) {
	eachKind(t, func(t *testing.T, k Kind, w Work) {
		p, err := k.Start(t.Context(), spec(t, w))
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Kill(p.server.pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "CPU does not notice", func() bool { _, err = p.CPU(); return err != nil })
		const says = "it ended by itself (signal: killed)"
		contains(t, err, says)
		_, _, err = p.Memory()
		contains(t, err, says)
		contains(t, p.ResetPeak(), says)
		contains(t, p.Stop(), says)
		contains(t, p.Stop(), says) // still
		gone(t, p)
	}, Handshakes, Idle)
}

// TestWorkerCrash: a worker's CPU time goes with it, so a new worker cannot hide that it has ended.
func TestWorkerCrash(t *testing.T) {
	for _, name := range []string{Nginx, Hitch} {
		t.Run(name, func(t *testing.T) {
			k := kind(t, name)
			p, err := k.Start(t.Context(), spec(t, Handshakes))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			if len(p.pids) < 2 {
				t.Fatalf("it has the processes %v, want a master and a worker", p.pids)
			}
			worker := p.pids[slices.IndexFunc(p.pids, func(pid int) bool { return pid != p.server.pid })]
			if err := unix.Kill(worker, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			until(t, "CPU does not notice", func() bool { _, err = p.CPU(); return err != nil })
			contains(t, err, fmt.Sprintf("its process %d has ended", worker))
			if err := p.Stop(); err != nil {
				t.Error(err)
			}
			gone(t, p)
		})
	}
}

// TestBackendCrash: without its backend a proxy's figures are worth nothing.
func TestBackendCrash(t *testing.T) {
	for _, name := range []string{Stunnel, Hitch} {
		t.Run(name, func(t *testing.T) {
			k := kind(t, name)
			p, err := k.Start(t.Context(), spec(t, Handshakes))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Stop()
			if err := unix.Kill(p.backend.pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			until(t, "CPU does not notice", func() bool { _, err = p.CPU(); return err != nil })
			contains(t, err, "its backend: it ended by itself (signal: killed)")
			contains(t, p.Stop(), "its backend: it ended by itself (signal: killed)")
			gone(t, p)
		})
	}
}

// TestStubborn: a server that does not heed SIGTERM is killed.
func TestStubborn(t *testing.T) {
	t.Parallel()
	p := start(t, kind(t, CTLS), spec(t, Handshakes))
	if err := unix.Kill(p.server.pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// start's cleanup stops it, and checks that nothing is left.
}

// TestNotReady: the end of the context ends a start, and what was started.
func TestNotReady(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	p, err := kind(t, CTLS).Start(ctx, spec(t, Handshakes))
	if err == nil {
		p.Stop()
	}
	contains(t, err, "it was not ready in time: enough")

	// A program that runs but never listens.
	bin := t.TempDir()
	script := "#!/bin/sh\necho I sleep >&2\nwhile :; do sleep 1; done\n"
	if err := os.WriteFile(filepath.Join(bin, "openssl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	mute := kind(t, SServer)
	mute.opts.Path = bin
	// A busy machine may need more time for the program to say something.
	for within := time.Second; within < limit; within *= 2 {
		short, stop := context.WithTimeout(t.Context(), within)
		_, err = mute.Start(short, spec(t, Reverse))
		stop()
		if err == nil || strings.Contains(err.Error(), "I sleep") {
			break
		}
	}
	contains(t, err, "it was not ready in time: context deadline exceeded", "I sleep")
}

// TestAbsent: with no program to be found, each error names what is missing and what brings it.
func TestAbsent(t *testing.T) {
	t.Setenv("CC", "")
	o := Options{Path: t.TempDir(), Sources: os.DirFS("../../reference"), Sslecho: filepath.Join(t.TempDir(), "sslecho")}
	want := map[string]string{
		Sslecho: "make build",
		SServer: "no program openssl (Debian: apt-get install openssl)",
		CTLS:    "no program gcc (Debian: apt-get install gcc)",
		CTCP:    "no program gcc (Debian: apt-get install gcc)",
		Nginx:   "no program nginx (Debian: apt-get install nginx-light)",
		HAProxy: "no program haproxy (Debian: apt-get install haproxy)",
		Stunnel: "no program stunnel (Debian: apt-get install stunnel4)",
		Hitch:   "no program hitch (Debian: apt-get install hitch)",
	}
	for _, k := range Kinds(o) {
		t.Run(k.Name, func(t *testing.T) {
			version, err := k.Find()
			if k.Name == CryptoTLS {
				if err != nil || version != runtime.Version() {
					t.Errorf("%q, %v", version, err)
				}
				return
			}
			contains(t, err, k.Name+": ", want[k.Name])
			_, err = k.Start(t.Context(), spec(t, k.works[0]))
			contains(t, err, k.Name+": ", want[k.Name])
		})
	}
	t.Run("sources", func(t *testing.T) {
		for _, k := range Kinds(Options{}) {
			if k.Name == CTLS || k.Name == CTCP {
				_, err := k.Find()
				contains(t, err, k.Name+": its C sources are missing")
			}
		}
	})
	t.Run("CC", func(t *testing.T) {
		t.Setenv("CC", "no-such-cc -m64")
		_, err := kind(t, Sslecho).opts.compiler()
		contains(t, err, "CC is set, but there is no program no-such-cc")
	})
}

// TestBuild: a source that does not compile is answered with the compiler's words, and leaves no binary.
func TestBuild(t *testing.T) {
	o := options(t)
	o.Build = t.TempDir()
	o.Sources = fstest.MapFS{"tcp_epoll.c": {Data: []byte("int main(void) { return nothing; }\n")}}
	for range 2 {
		for _, k := range Kinds(o) {
			if k.Name == CTCP {
				_, err := k.Start(t.Context(), spec(t, Echo))
				contains(t, err, "tcp_epoll.c", "undeclared")
			}
		}
	}
}

// TestThreadsEnd: a server survives the end of threads of this process, as its own is not among them.
func TestThreadsEnd(t *testing.T) {
	p := start(t, kind(t, CTCP), spec(t, Idle))
	for range 20 {
		var wg sync.WaitGroup
		var together sync.WaitGroup
		together.Add(8)
		for range 8 {
			wg.Go(func() {
				runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
				together.Done()
				together.Wait()
			})
		}
		wg.Wait()
		runtime.GC()
	}
	shake(t, kind(t, CTCP), p, nil)
	if _, err := p.CPU(); err != nil {
		t.Error(err)
	}
}
