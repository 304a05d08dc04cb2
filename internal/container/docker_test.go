package container

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// mine begins the name of everything that the tests make.
var mine = fmt.Sprintf("sslecho-test-%d", os.Getpid())

// engine skips the test where no Docker engine can read the files of this machine, where a tool is missing of which the base
// image is made, and where a sanitizer is built in.
func engine(t *testing.T) {
	t.Helper()
	if tlstest.Sanitized {
		t.Skip("the programs in the containers are built without a sanitizer: one in the tests adds nothing")
	}
	if h := os.Getenv("DOCKER_HOST"); h != "" && !strings.HasPrefix(h, "unix:") {
		t.Skip("DOCKER_HOST is another machine, which cannot read the files that are mounted here")
	}
	if _, err := output(nil, "docker", "info"); err != nil {
		t.Skip("no Docker engine answers here: ", err)
	}
	for _, name := range strings.Fields("bash ldd mktemp rm mv chmod openssl") {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed, of which the base image is made", name)
		}
	}
}

// images are the names of both, made once.
var (
	images              sync.Once
	daemon, load, layer = mine + "-sslecho", mine + "-sslbench", mine + "-base"
)

// needImages makes both images.
func needImages(t *testing.T) {
	t.Helper()
	engine(t)
	images.Do(func() {
		cmd := exec.Command("docker", "import", "-", layer)
		cmd.Stdin = bytes.NewReader(base(t, program(t, "sslecho"), program(t, "sslbench")))
		// Removed even if what follows fails; the layers of the builds go with the last name.
		cleanup = func() { _, _ = output(nil, "docker", "image", "rm", "-f", daemon, load, layer) }
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("docker import: %v\n%s", err, out)
		}
		// A context of its own, so that the engine is not sent the whole tree.
		tlstest.Must(t, os.CopyFS(filepath.Join(scratch, "docker"), os.DirFS(root+"/docker")))
		for target, name := range map[string]string{"sslecho-prebuilt": daemon, "sslbench-prebuilt": load} {
			must(t, "docker", "build", "-q", "-f", filepath.Join(scratch, "docker/Dockerfile"), "--target", target, "-t", name,
				"--build-arg", "RUN_IMAGE="+layer, "--build-arg", "PACKAGES=", scratch)
		}
	})
	must(t, "docker", "image", "inspect", daemon, load)
}

// await waits until docker inspect prints want for a container.
func await(t *testing.T, container, format, want string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			logs, _ := exec.Command("docker", "logs", container).CombinedOutput()
			t.Logf("%s\n%s", must(t, "docker", "inspect", "-f", "{{json .State}}", container), logs)
		}
	}()
	tlstest.Until(t, format+" is "+want, func() bool { return must(t, "docker", "inspect", "-f", format, container) == want })
}

const health = "{{.State.Health.Status}}"

// echo opens a connection to a container's daemon from this host and gets back what it sends. roots may be nil.
func echo(t *testing.T, container string, roots *x509.CertPool) *tls.Conn {
	t.Helper()
	addr, _, _ := strings.Cut(must(t, "docker", "port", container, "8443/tcp"), "\n")
	cfg := &tls.Config{ServerName: "localhost", RootCAs: roots, InsecureSkipVerify: roots == nil}
	c := tlstest.Value(tls.DialWithDialer(&net.Dialer{Timeout: tlstest.Hang}, "tcp", addr, cfg))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	sent, got := tlstest.Bytes(10_000, 1), make([]byte, 10_000)
	tlstest.Value(c.Write(sent))(t)
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("the bytes came back changed, or not: %v", err)
	}
	return c
}

// TestImage: the image runs as it stands, as a user without rights and on a file system that it cannot write; it is
// healthy, echoes, says when it is not healthy, and drains.
func TestImage(t *testing.T) {
	needImages(t)
	id := must(t, "docker", "run", "-d", "--name", mine, "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
		"--health-interval=500ms", "--publish=127.0.0.1::8443", daemon)
	t.Cleanup(func() { _, _ = output(nil, "docker", "rm", "-f", "-v", id) })
	await(t, id, health, "healthy")
	const user = `while read -r key value _; do if [ "$key" = Uid: ]; then echo "$value"; fi; done </proc/1/status`
	tlstest.Equal(t, "its user", must(t, "docker", "exec", id, "/bin/bash", "-c", user), "65532")
	out, err := output(nil, "docker", "exec", "-e", "SSLECHO_ADMIN=127.0.0.1:1", id, "/usr/local/bin/healthcheck")
	if err == nil || !strings.Contains(out, "127.0.0.1:1 does not answer") {
		t.Errorf("the health check of a daemon that does not answer: %q, %v", out, err)
	}
	c := echo(t, id, nil)
	must(t, "docker", "kill", "--signal=TERM", id)
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end the client got %d bytes, %v, want a clean EOF", n, err)
	}
	c.Close() // else the daemon waits for it until the close-timeout
	tlstest.Equal(t, "exit status", must(t, "docker", "wait", id), "0")
	if logs := must(t, "docker", "logs", id); !strings.HasSuffix(logs, "\nstopped") {
		t.Errorf("the last line is not: stopped\n%s", logs)
	}
}
