package loops

import (
	"bufio"
	"bytes"
	"context"
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

	"github.com/cloudwego/netpoll"
	nbiotls "github.com/lesismal/llib/std/crypto/tls"
	"github.com/lesismal/nbio"
	nbiossl "github.com/lesismal/nbio/extension/tls"
	"github.com/panjf2000/gnet/v2"
	"github.com/spacemonad/go-openssl/adapters/sslgnet"
	"github.com/spacemonad/go-openssl/adapters/sslnetpoll"
	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// kinds have the servers: each serves, most of them an echo, on an address with one loop until the
// process ends, in plain text if x is nil.
var kinds = map[string]func(t *testing.T, address string, x *cssl.Context){
	"reactor": serveReactor, "gnet": serveGnet, "netpoll": serveNetpoll, "nbio": serveNbio, "hertz": serveHertz,
}

type reactorEcho struct{ reactor.BaseHandler }

func (reactorEcho) OnData(c *reactor.Conn, p []byte) { c.Write(p) }

func serveReactor(t *testing.T, address string, x *cssl.Context) {
	s := &reactor.Server{Handler: reactorEcho{}, Context: x, Loops: 1}
	tlstest.Must(t, s.Serve(tlstest.Value(net.Listen("tcp", address))(t)))
}

type gnetEcho struct{ gnet.BuiltinEventEngine }

func (*gnetEcho) OnTraffic(c gnet.Conn) gnet.Action {
	buf, _ := c.Next(-1)
	c.Write(buf)
	return gnet.None
}

func serveGnet(t *testing.T, address string, x *cssl.Context) {
	var h gnet.EventHandler = &gnetEcho{}
	if x != nil {
		h = &sslgnet.Handler{EventHandler: h, TLS: x}
	}
	tlstest.Must(t, gnet.Run(h, "tcp4://"+address, gnet.WithNumEventLoop(1)))
}

func netpollEcho(_ context.Context, c netpoll.Connection) error {
	r, w := c.Reader(), c.Writer()
	p, _ := r.Next(r.Len())
	buf, _ := w.Malloc(len(p))
	copy(buf, p)
	r.Release()
	return w.Flush()
}

func serveNetpoll(t *testing.T, address string, x *cssl.Context) {
	loop, err := netpoll.NewEventLoop(netpollEcho)
	if x != nil {
		loop, err = (&sslnetpoll.Server{TLS: x, OnRequest: netpollEcho}).EventLoop()
	}
	tlstest.Must(t, err)
	tlstest.Must(t, loop.Serve(tlstest.Value(net.Listen("tcp", address))(t)))
}

// serveNbio serves with nbio's own TLS unless x is nil.
func serveNbio(t *testing.T, address string, x *cssl.Context) {
	g := nbio.NewEngine(nbio.Config{Network: "tcp", Addrs: []string{address}, NPoller: 1})
	if x == nil {
		g.OnData(func(c *nbio.Conn, p []byte) { c.Write(p) })
	} else {
		pair := tlstest.Value(nbiotls.LoadX509KeyPair(testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")))(t)
		g.OnOpen(nbiossl.WrapOpen(&nbiotls.Config{Certificates: []nbiotls.Certificate{pair}}, false, nil))
		g.OnClose(nbiossl.WrapClose(nil))
		g.OnData(nbiossl.WrapData(func(_ *nbio.Conn, c *nbiotls.Conn, p []byte) { c.Write(p) }))
	}
	tlstest.Must(t, g.Start())
	select {}
}

// servers are those that BenchmarkEcho compares.
var servers = []string{"gnet", "gnet-openssl", "gnet-direct", "netpoll", "netpoll-openssl", "netpoll-direct",
	"nbio", "nbio-tls", "reactor-openssl", "reactor-direct"}

const benchServer = "LOOPS_SERVER"

// TestBenchServer is the process of a server of the other tests: it says its
// address, and serves until its input ends.
func TestBenchServer(t *testing.T) {
	name := os.Getenv(benchServer)
	if name == "" {
		t.Skip("for the other tests")
	}
	kind, records, encrypted := strings.Cut(name, "-")
	var x *cssl.Context
	if encrypted {
		config := cssl.Config{Records: cssl.RecordsOpenSSL,
			Certificates: []cssl.Certificate{{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}}
		if records == "direct" {
			config.Records = cssl.RecordsDirect
		}
		x = tlstest.Value(cssl.NewServerContext(config))(t)
	}
	l := tlstest.Value(net.Listen("tcp", "127.0.0.1:0"))(t)
	address := l.Addr().String()
	l.Close() // not all servers take a listener
	go kinds[kind](t, address, x)
	fmt.Println("address", address)
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// start starts a server in a process of its own, which ends with the test. The
// command may have words in front, such as taskset.
func start(t testing.TB, name string, front ...string) (pid int, address string) {
	args := append(front, os.Args[0], "-test.run", "^TestBenchServer$")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), benchServer+"="+name)
	stdin := tlstest.Value(cmd.StdinPipe())(t)
	out := bufio.NewScanner(tlstest.Value(cmd.StdoutPipe())(t))
	tlstest.Must(t, cmd.Start())
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	for out.Scan() {
		if address, ok := strings.CutPrefix(out.Text(), "address "); ok {
			dial(t, address).Close() // not before it listens
			return cmd.Process.Pid, address
		}
	}
	t.Fatalf("%s does not serve", name)
	return 0, ""
}

// dial connects, perhaps only when the server has begun to listen.
func dial(t testing.TB, address string) (c net.Conn) {
	tlstest.Until(t, "a connection to "+address, func() bool {
		var err error
		c, err = net.Dial("tcp", address)
		return err == nil
	})
	return c
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
//	go test -run '^$' -bench Echo -benchtime 9x ./internal/loops
func BenchmarkEcho(b *testing.B) {
	const echoes = 1000 // of each connection
	pids, conns, costs := map[string]int{}, map[string][]net.Conn{}, map[string][]float64{}
	for _, name := range servers {
		pid, address := start(b, name, "taskset", "-c", "0")
		pids[name] = pid
		for range 64 {
			c := dial(b, address)
			if strings.Contains(name, "-") {
				c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
			}
			b.Cleanup(func() { c.Close() })
			conns[name] = append(conns[name], c)
		}
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
