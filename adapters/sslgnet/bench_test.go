package sslgnet

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/panjf2000/gnet/v2"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

type reactorEcho struct{ reactor.BaseHandler }

func (reactorEcho) OnData(c *reactor.Conn, p []byte) { c.Write(p) }

// servers are those that BenchmarkEcho compares, each one loop.
var servers = []string{"gnet-plain", "sslgnet", "sslgnet-direct", "reactor", "reactor-direct"}

const benchServer = "SSLGNET_BENCH_SERVER"

// TestBenchServer is the process of a server of BenchmarkEcho: it says its
// address, and serves until its input ends.
func TestBenchServer(t *testing.T) {
	name := os.Getenv(benchServer)
	if name == "" {
		t.Skip("for BenchmarkEcho")
	}
	config := cssl.Config{Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}
	config.Records = cssl.RecordsOpenSSL
	if strings.HasSuffix(name, "-direct") {
		config.Records = cssl.RecordsDirect
	}
	x := tlstest.Value(cssl.NewServerContext(config))(t)
	var address string
	if strings.HasPrefix(name, "reactor") {
		l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
		s := &reactor.Server{Handler: reactorEcho{}, Context: x, Loops: 1}
		go s.Serve(l)
		address = l.Addr().String()
	} else {
		e := newEcho()
		e.opened, e.ends = make(chan gnet.Conn, 1000), make(chan error, 1000)
		var h gnet.EventHandler = e
		if name != "gnet-plain" {
			h = &Handler{EventHandler: e, TLS: x}
		}
		address, _, _ = run(t, h, e.booted, gnet.WithNumEventLoop(1))
	}
	fmt.Println("address", address)
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// start starts a server on processor 0, and 64 connections to it.
func start(b *testing.B, name string) (pid int, conns []net.Conn) {
	cmd := exec.Command("taskset", "-c", "0", os.Args[0], "-test.run", "^TestBenchServer$")
	cmd.Env = append(os.Environ(), benchServer+"="+name)
	stdin := tlstest.Value(cmd.StdinPipe())(b)
	out := bufio.NewScanner(tlstest.Value(cmd.StdoutPipe())(b))
	tlstest.Must(b, cmd.Start())
	b.Cleanup(func() { stdin.Close(); cmd.Wait() })
	for out.Scan() {
		if address, ok := strings.CutPrefix(out.Text(), "address "); ok {
			for range 64 {
				c := tlstest.Value(net.Dial("tcp", address))(b)
				if name != "gnet-plain" {
					c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
				}
				b.Cleanup(func() { c.Close() })
				conns = append(conns, c)
			}
			return cmd.Process.Pid, conns
		}
	}
	b.Fatalf("%s does not serve", name)
	return 0, nil
}

// cpuTime is what the threads of a process have used, in nanoseconds
// (/proc/PID/task/TID/schedstat).
func cpuTime(b *testing.B, pid int) (sum float64) {
	files := tlstest.Value(filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)))(b)
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil { // the thread has not ended
			var ns float64
			fmt.Sscan(string(text), &ns)
			sum += ns
		}
	}
	return sum
}

// BenchmarkEcho measures the CPU time of a server for an echo of 1 KiB, with 64
// connections that each send when they have received. Each round asks all
// servers; the results are medians. It needs taskset, and two processors.
//
//	go test -run '^$' -bench Echo -benchtime 9x ./adapters/sslgnet
func BenchmarkEcho(b *testing.B) {
	const echoes = 1000 // of each connection
	pids, conns, costs := map[string]int{}, map[string][]net.Conn{}, map[string][]float64{}
	for _, name := range servers {
		pids[name], conns[name] = start(b, name)
	}
	sent := tlstest.Bytes(1<<10, 1)
	for b.Loop() {
		for _, name := range servers {
			before := cpuTime(b, pids[name])
			done := make(chan error)
			for _, c := range conns[name] {
				go func() {
					got := make([]byte, len(sent))
					for range echoes {
						c.Write(sent)
						if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
							done <- fmt.Errorf("%s: other bytes, or %w", name, err)
							return
						}
					}
					done <- nil
				}()
			}
			for range conns[name] {
				tlstest.Must(b, <-done)
			}
			costs[name] = append(costs[name], (cpuTime(b, pids[name])-before)/1e3/float64(echoes*len(conns[name])))
		}
	}
	for _, name := range servers {
		slices.Sort(costs[name])
		b.ReportMetric(costs[name][len(costs[name])/2], name+"-µs/echo")
	}
}
