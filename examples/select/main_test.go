package main

import (
	"crypto/tls"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// TestSelectEcho: echo in all its forms, and clients that end in each way, over TLS 1.2 and 1.3.
func TestSelectEcho(t *testing.T) { exampletest.Echo(t, run) }

// TestSelectDeadlines: a handshake and a close that take too long are ended.
func TestSelectDeadlines(t *testing.T) { exampletest.Deadlines(t, run) }

// TestSetSize: a connection whose descriptor does not fit into a set is refused, and the program says so. Those that
// are there go on, and others are taken when there is room again.
func TestSetSize(t *testing.T) {
	s := exampletest.Start(t, run)
	open := s.Dial(t, tls.VersionTLS13)
	release := takeDescriptors(t)
	if n, _ := io.Copy(io.Discard, s.Connect(t)); n > 0 {
		t.Errorf("the connection that is refused got %d bytes", n)
	}
	if line := s.Expect(t, "is refused"); !strings.Contains(line, "FD_SETSIZE") {
		t.Errorf("the program says %q", line)
	}
	if err := exampletest.Exchange(open, 100_000); err != nil {
		t.Error(err)
	}
	release()
	if err := exampletest.Exchange(s.Dial(t, tls.VersionTLS13), 100_000); err != nil {
		t.Error(err)
	}
}

// takeDescriptors opens files until none is left that fits into a set. The answer closes them.
func takeDescriptors(t *testing.T) (release func()) {
	var files []*os.File
	release = func() {
		for _, f := range files {
			f.Close()
		}
		files = nil
	}
	t.Cleanup(release)
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Skipf("this process may not have %d descriptors: %v", unix.FD_SETSIZE, err)
		}
		files = append(files, f)
		if f.Fd() >= unix.FD_SETSIZE {
			return release
		}
	}
}
