package fleet

import (
	"context"
	"encoding/csv"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const (
	root          = "../.."
	haproxyConfig = root + "/docker/fleet/haproxy.cfg"

	tlsPort   = "8443"
	adminPort = "9090"
	statsPort = "8404"

	clientAddr   = "10.77.0.1"
	balancerAddr = "10.77.0.2"
)

// full is whether the long form runs, as `make fleet` asks for it.
var full = os.Getenv("FLEET") == "full"

// scratch is a folder for the whole run, with the programs in it.
var scratch string

func TestMain(m *testing.M) {
	scratch, _ = os.MkdirTemp("", "fleet") // go build says what is wrong
	code := m.Run()
	os.RemoveAll(scratch)
	os.Exit(code)
}

var compiled = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("go", "build", "-o", scratch, root+"/cmd/sslecho").CombinedOutput()
})

// command is one that is killed when it takes too long.
func command(name string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), tlstest.Hang)
	time.AfterFunc(tlstest.Hang, cancel)
	return exec.CommandContext(ctx, name, args...)
}

// must runs a command, which must go well.
func must(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// TestHAProxyConfig: HAProxy finds no fault in its file as it is, where the names of compose.yaml are not known either.
func TestHAProxyConfig(t *testing.T) {
	if _, err := exec.LookPath("haproxy"); err != nil {
		t.Skip("haproxy is not installed")
	}
	must(t, "haproxy", "-c", "-f", haproxyConfig)
}

// fleet is what docker/fleet/compose.yaml starts, without containers.
type fleet struct {
	t        *testing.T
	client   *site
	balancer *site
	haproxy  int    // its process
	log      string // of it
	tickets  string // the file of ticket keys that is handed out
	hosts    []*host
}

// newFleet starts all, and waits until HAProxy has every host in its rotation.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	if tlstest.Sanitized {
		t.Skip("it is other processes that are tested: a sanitizer in this one adds nothing")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes network namespaces")
	}
	for program, pkg := range map[string]string{"haproxy": "haproxy", "ip": "iproute2"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed (package %s)", program, pkg)
		}
	}
	sites := network(t, clientAddr, balancerAddr, "10.77.0.11", "10.77.0.12", "10.77.0.13")
	dir := t.TempDir()
	f := &fleet{t: t, client: sites[0], balancer: sites[1], tickets: filepath.Join(dir, "tickets"), log: filepath.Join(dir, "haproxy")}
	f.step("new")
	for i, s := range sites[2:] {
		h := &host{t: t, site: s, name: string(rune('a' + i)), dir: t.TempDir()} // as haproxy.cfg names it
		f.hosts = append(f.hosts, h)
		h.handOut(f.tickets)
		h.start()
	}
	f.startBalancer()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("haproxy:\n%s", last(read(t, f.log)))
			for _, h := range f.hosts {
				t.Logf("%s:\n%s", h.name, last(h.text()))
			}
		}
	})
	for _, h := range f.hosts {
		f.awaitState(h.name, "UP")
	}
	return f
}

// last is the end of a long text.
func last(s string) string { return s[max(0, len(s)-4000):] }

func read(t *testing.T, file string) string {
	t.Helper()
	return string(tlstest.Value(os.ReadFile(file))(t))
}

// startBalancer checks HAProxy's configuration, which must not give it a warning either, and starts it.
func (f *fleet) startBalancer() {
	f.t.Helper()
	conns := 2000
	if full {
		conns = 9000
	}
	env := append(os.Environ(), fmt.Sprintf("FLEET_MAXCONN=%d", conns), "FLEET_BIND="+f.addr(), "FLEET_STATS="+balancerAddr+":"+statsPort)
	for _, h := range f.hosts {
		env = append(env, fmt.Sprintf("FLEET_%s=%s", strings.ToUpper(h.name), h.addr()))
	}
	check := command("haproxy", "-c", "-f", haproxyConfig)
	check.Env = env
	if out, err := check.CombinedOutput(); err != nil || strings.Contains(string(out), "WARNING") {
		f.t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	// Here connections that have carried nothing are logged too: one of a busy client may be lost before its ClientHello.
	logsAll := filepath.Join(f.t.TempDir(), "haproxy.cfg")
	tlstest.Must(f.t, os.WriteFile(logsAll, []byte(strings.ReplaceAll(read(f.t, haproxyConfig), "option dontlognull", "")), 0o600))
	log := tlstest.Value(os.Create(f.log))(f.t)
	defer log.Close()
	cmd := exec.Command("haproxy", "-db", "-f", logsAll)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	f.balancer.start(cmd)
	f.haproxy = cmd.Process.Pid
	f.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// addr is the balancer's.
func (f *fleet) addr() string { return net.JoinHostPort(balancerAddr, tlsPort) }

// step changes the file of ticket keys with the script of docker/fleet.
func (f *fleet) step(what string) {
	f.t.Helper()
	must(f.t, ticketKeys, what, f.tickets)
}

// state is what HAProxy has of a host in a column of its statistics.
func (f *fleet) state(host, column string) string {
	_, body := f.client.get(balancerAddr, statsPort, "/;csv")
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(body, "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		return ""
	}
	at := slices.Index(rows[0], column)
	for _, r := range rows[1:] {
		if r[0] == "hosts" && r[1] == host {
			return r[at]
		}
	}
	return ""
}

// awaitState waits until HAProxy says that a host is UP or DOWN.
func (f *fleet) awaitState(host, want string) {
	f.t.Helper()
	tlstest.Until(f.t, "HAProxy says that "+host+" is "+want, func() bool { return strings.HasPrefix(f.state(host, "status"), want) })
}

// sessions is how many connections HAProxy has given to a host.
func (f *fleet) sessions(h *host) int {
	f.t.Helper()
	return tlstest.Value(strconv.Atoi(f.state(h.name, "stot")))(f.t)
}

// moreSessions waits until HAProxy gives connections to a host.
func (f *fleet) moreSessions(h *host) {
	f.t.Helper()
	before := f.sessions(h)
	tlstest.Until(f.t, "connections to "+h.name, func() bool { return f.sessions(h) > before })
}

// served returns the host that the balancer gave a connection to, by the client's port and when it connected: ports come again. It is
// known when the connection has ended.
func (f *fleet) served(port int, begun time.Time) (host string) {
	f.t.Helper()
	line := regexp.MustCompile(fmt.Sprintf(`(?m)^%s:%d \[(\S+)\] tls hosts/(\S+) `, regexp.QuoteMeta(clientAddr), port))
	tlstest.Until(f.t, fmt.Sprintf("a line on the connection from port %d in HAProxy's log", port), func() bool {
		nearest := 5 * time.Second
		for _, m := range line.FindAllStringSubmatch(read(f.t, f.log), -1) {
			accepted := tlstest.Value(time.ParseInLocation("02/Jan/2006:15:04:05.000", m[1], time.Local))(f.t)
			if d := accepted.Sub(begun).Abs(); d < nearest {
				host, nearest = m[2], d
			}
		}
		return host != ""
	})
	return host
}

// sum adds up a metric of all hosts.
func (f *fleet) sum(metric string) (n int) {
	f.t.Helper()
	for _, h := range f.hosts {
		n += h.metric(metric)
	}
	return n
}

// host is one sslecho, and those that take over from it.
type host struct {
	t    *testing.T
	site *site
	name string
	dir  string
	cmd  *exec.Cmd
	wait <-chan error
}

func (h *host) addr() string { return net.JoinHostPort(h.site.addr, tlsPort) }

// file is one of the host's own.
func (h *host) file(name string) string { return filepath.Join(h.dir, name) }

// start starts a sslecho with the settings of compose.yaml, but for names of files and addresses, and waits until it is ready.
func (h *host) start() {
	h.t.Helper()
	if out, err := compiled(); err != nil {
		h.t.Fatalf("go build: %v\n%s", err, out)
	}
	log := tlstest.Value(os.OpenFile(h.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))(h.t)
	defer log.Close()
	h.cmd = exec.Command(filepath.Join(scratch, "sslecho"))
	h.cmd.Stdout, h.cmd.Stderr, h.cmd.Env = log, log, os.Environ()
	settings := regexp.MustCompile(`(?m)^    (SSLECHO_\w+): "?([^"\n]+)`)
	for _, m := range settings.FindAllStringSubmatch(read(h.t, root+"/docker/fleet/compose.yaml"), -1) {
		h.cmd.Env = append(h.cmd.Env, m[1]+"="+m[2])
	}
	for name, value := range map[string]string{ // the last ones count
		"LISTEN": h.addr(), "ADMIN": net.JoinHostPort(h.site.addr, adminPort),
		"CERT": testcerts.Path("ecdsa.pem"), "KEY": testcerts.Path("ecdsa.key"),
		"TICKET_KEYS": h.file("tickets"), "PID_FILE": h.file("pid"),
		"PROXY_TRUSTED": balancerAddr, // so that the tests may also come without it
	} {
		h.cmd.Env = append(h.cmd.Env, "SSLECHO_"+name+"="+value)
	}
	h.site.start(h.cmd)
	h.wait = tlstest.Later(h.cmd.Wait)
	h.ready()
}

// ready waits until the host says so.
func (h *host) ready() {
	h.t.Helper()
	tlstest.Until(h.t, h.name+" is ready", func() bool {
		status, _ := h.site.get(h.site.addr, adminPort, "/readyz")
		return status == 200
	})
}

// handOut puts a copy of the file of ticket keys into its place, at once.
func (h *host) handOut(tickets string) {
	h.t.Helper()
	tlstest.Must(h.t, os.WriteFile(h.file("new"), []byte(read(h.t, tickets)), 0o600))
	tlstest.Must(h.t, os.Rename(h.file("new"), h.file("tickets")))
}

// text is all that the processes of this host have said.
func (h *host) text() string { return read(h.t, h.file("log")) }

// after does what makes the host say something, and waits until it does.
func (h *host) after(do func(), says string) {
	h.t.Helper()
	n := strings.Count(h.text(), says)
	do()
	tlstest.Until(h.t, fmt.Sprintf("%s says %q", h.name, says), func() bool { return strings.Count(h.text(), says) > n })
}

// signal goes to the process that serves now.
func (h *host) signal(sig syscall.Signal) {
	h.t.Helper()
	pid := tlstest.Value(strconv.Atoi(strings.TrimSpace(read(h.t, h.file("pid")))))(h.t)
	tlstest.Must(h.t, syscall.Kill(pid, sig))
}

// ends waits for the good end of the process that start has started.
func (h *host) ends() {
	h.t.Helper()
	if err := tlstest.Receive(h.t, h.wait, "the end of "+h.name); err != nil {
		h.t.Errorf("%s: %v", h.name, err)
	}
}

// metric is the value of one, named with its labels.
func (h *host) metric(name string) int {
	h.t.Helper()
	_, body := h.site.get(h.site.addr, adminPort, "/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		h.t.Fatalf("%s has no metric %s", h.name, name)
	}
	return int(tlstest.Value(strconv.ParseFloat(m[1], 64))(h.t))
}
