package loops

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/config"
	"github.com/cloudwego/hertz/pkg/network"
	"github.com/cloudwego/netpoll"
	"github.com/spacemonad/go-openssl/adapters/sslnetpoll"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// transporter is what Hertz, the HTTP framework over netpoll, needs to serve
// over sslnetpoll.
type transporter struct {
	address string
	tls     *cssl.Context
	loop    netpoll.EventLoop
}

// hertzConn has the methods of a connection and those of its Reader and Writer,
// as netpoll's own has.
type hertzConn struct {
	netpoll.Connection
	netpoll.Reader
	netpoll.Writer
}

func (t *transporter) ListenAndServe(onData network.OnData) error {
	s := &sslnetpoll.Server{TLS: t.tls, OnRequest: func(ctx context.Context, c netpoll.Connection) error {
		return onData(ctx, hertzConn{c, c.Reader(), c.Writer()})
	}}
	l, err := net.Listen("tcp", t.address)
	if err != nil {
		return err
	}
	if t.loop, err = s.EventLoop(); err != nil {
		return err
	}
	return t.loop.Serve(l)
}

func (t *transporter) Close() error                       { return t.Shutdown(context.Background()) }
func (t *transporter) Shutdown(ctx context.Context) error { return t.loop.Shutdown(ctx) }

// serveHertz serves an HTTP server that sends bodies back.
func serveHertz(t *testing.T, address string, x *cssl.Context) {
	h := server.New(server.WithTransport(func(*config.Options) network.Transporter { return &transporter{address: address, tls: x} }))
	h.POST("/", func(_ context.Context, c *app.RequestContext) {
		c.Data(200, "application/octet-stream", c.Request.Body())
	})
	tlstest.Must(t, h.Run())
}

// TestHertz: curl talks to a server of Hertz, which is served over sslnetpoll.
func TestHertz(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	body := tlstest.Bytes(1<<20, 1)
	file := filepath.Join(t.TempDir(), "body")
	tlstest.Must(t, os.WriteFile(file, body, 0o600))
	for _, name := range []string{"hertz-openssl", "hertz-direct"} {
		_, address := start(t, name)
		url := "https://" + address + "/"
		out := tlstest.Value(exec.Command("curl", "--silent", "--show-error", "--fail", "--insecure", "--data-binary", "@"+file,
			"--write-out", "%{num_connects}", url, url).CombinedOutput())(t)
		if want := fmt.Sprintf("%s1%s0", body, body); string(out) != want {
			t.Errorf("%s: %d bytes, or others: %.100q", name, len(out), out)
		}
	}
}

// TestLoad: sslbench checks every byte that 64 connections get back.
func TestLoad(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "sslbench")
	if out, err := exec.Command("go", "build", "-o", bin, "github.com/spacemonad/go-openssl/cmd/sslbench").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"gnet-openssl", "gnet-direct", "netpoll-openssl", "netpoll-direct"} {
		_, address := start(t, name)
		for _, version := range []string{"1.2", "1.3"} {
			for _, kind := range []string{"request", "stream", "resumed-handshake"} {
				t.Run(name+"/"+version+"/"+kind, func(t *testing.T) {
					cmd := exec.Command(bin, "load", "--target", address, "--insecure", "--kind", kind, "--tls", version, "--conns", "64",
						"--size", "64k", "--duration", "300ms", "--timeout", tlstest.Hang.String(), "--format", "json")
					var problems bytes.Buffer
					cmd.Stderr = &problems
					out, err := cmd.Output()
					var report struct {
						Error         string
						ReceivedBytes uint64 `json:"received_bytes"`
						Opened        int    `json:"connections_opened"`
						Failed        int
						Failures      []any
					}
					tlstest.IsError(t, "the report", json.Unmarshal(out, &report), nil)
					if err != nil || report.Error != "" || report.Failed > 0 {
						t.Errorf("%v, %s, %d failures: %v\n%s", err, report.Error, report.Failed, report.Failures, &problems)
					}
					if report.Opened < 64 || report.ReceivedBytes == 0 && kind != "resumed-handshake" {
						t.Errorf("%d connections, %d bytes", report.Opened, report.ReceivedBytes)
					}
				})
			}
		}
	}
}
