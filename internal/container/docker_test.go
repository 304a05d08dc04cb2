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
	for _, name := range append([]string{"bash", "ldd"}, tools...) {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed, of which the base image is made", name)
		}
	}
}

var imagesOnce sync.Once

// images makes both images, once, and answers their names.
func images(t *testing.T) (daemon, load string) {
	t.Helper()
	engine(t)
	daemon, load = mine+"-sslecho", mine+"-sslbench"
	imagesOnce.Do(func() { makeImages(t, daemon, load) })
	for _, name := range []string{daemon, load} {
		if _, err := output(nil, "docker", "image", "inspect", name); err != nil {
			t.Fatal("the image could not be made")
		}
	}
	return daemon, load
}

func makeImages(t *testing.T, daemon, load string) {
	base := base(t, program(t, "sslecho"), program(t, "sslbench"))
	from := mine + "-base"
	cmd := exec.Command("docker", "import", "-", from)
	cmd.Stdin = bytes.NewReader(base)
	// Removed even if what follows fails; the layers of the builds go with the last name.
	cleanups = append(cleanups, func() {
		for _, name := range []string{daemon, load, from} {
			_, _ = output(nil, "docker", "image", "rm", "-f", name)
		}
	})
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	// A context of its own, so that the engine is not sent the whole tree.
	tlstest.Must(t, os.CopyFS(filepath.Join(scratch, "docker"), os.DirFS(root+"/docker")))
	for target, name := range map[string]string{"sslecho-prebuilt": daemon, "sslbench-prebuilt": load} {
		must(t, "docker", "build", "-q", "-f", filepath.Join(scratch, "docker/Dockerfile"), "--target", target, "-t", name,
			"--build-arg", "RUN_IMAGE="+from, "--build-arg", "PACKAGES=", scratch)
	}
	size := func(name string) string { return must(t, "docker", "image", "inspect", "-f", "{{.Size}}", name) }
	t.Logf("image sizes in bytes: sslecho %s, sslbench %s, of which the base is %s", size(daemon), size(load), size(from))
}

// await looks again and again until docker inspect prints want for a container.
func await(t *testing.T, container, format, want string) {
	t.Helper()
	for deadline := time.Now().Add(tlstest.Hang); ; time.Sleep(100 * time.Millisecond) {
		got := must(t, "docker", "inspect", "-f", format, container)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			logs, _ := exec.Command("docker", "logs", container).CombinedOutput()
			t.Fatalf("%s is %q, not %q\n%s\n%s", format, got, want, must(t, "docker", "inspect", "-f", "{{json .State}}", container), logs)
		}
	}
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
	sent := bytes.Repeat([]byte("container "), 1000)
	tlstest.Value(c.Write(sent))(t)
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes came back changed, or not: %v", len(got), err)
	}
	return c
}

// user is who the first process of a container is.
func user(t *testing.T, container string) string {
	t.Helper()
	return must(t, "docker", "exec", container, "/bin/bash", "-c",
		`while read -r key value _; do if [ "$key" = Uid: ]; then echo "$value"; fi; done </proc/1/status`)
}

// TestImage: the image runs as it stands, as a user without rights and on a file system that it cannot write; it is
// healthy, echoes, says when it is not healthy, and drains.
func TestImage(t *testing.T) {
	image, _ := images(t)
	id := must(t, "docker", "run", "-d", "--name", mine, "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
		"--health-interval=500ms", "--publish=127.0.0.1::8443", image)
	t.Cleanup(func() { _, _ = output(nil, "docker", "rm", "-f", "-v", id) })
	await(t, id, health, "healthy")
	tlstest.Equal(t, "its user", user(t, id), "65532")
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
