package fleet

import (
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
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const (
	tlsPort   = "8443"
	adminPort = "9090"
	statsPort = "8404"

	clientAddr   = "10.77.0.1"
	balancerAddr = "10.77.0.2"
)

// names of the hosts in haproxy.cfg.
var names = []string{"a", "b", "c"}

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

// host is one sslecho, and those that take over from it.
type host struct {
	t    *testing.T
	site *site
	name string
	dir  string
	cmd  *exec.Cmd
	wait chan error
	log  *os.File
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
	addrs := []string{clientAddr, balancerAddr}
	for i := range names {
		addrs = append(addrs, fmt.Sprintf("10.77.0.%d", 11+i))
	}
	sites := network(t, addrs...)
	f := &fleet{t: t, client: sites[0], balancer: sites[1], tickets: filepath.Join(t.TempDir(), "tickets")}
	f.step("new")
	for i, s := range sites[2:] {
		h := &host{t: t, site: s, name: names[i], dir: t.TempDir()}
		f.hosts = append(f.hosts, h)
		h.handOut(f.tickets)
		h.start()
	}
	f.startBalancer()
	t.Cleanup(func() {
		if t.Failed() {
			b, _ := os.ReadFile(f.log)
			t.Logf("haproxy:\n%s", last(string(b)))
			for _, h := range f.hosts {
				t.Logf("%s:\n%s", h.name, last(h.text()))
			}
		}
	})
	for _, n := range names {
		f.awaitState(n, "UP")
	}
	return f
}

// last is the end of a long text.
func last(s string) string { return s[max(0, len(s)-4000):] }

// environment of HAProxy: where the hosts are.
func (f *fleet) environment() []string {
	conns := 2000
	if full {
		conns = 9000
	}
	env := append(os.Environ(), fmt.Sprintf("FLEET_MAXCONN=%d", conns),
		"FLEET_BIND="+balancerAddr+":"+tlsPort, "FLEET_STATS="+balancerAddr+":"+statsPort)
	for _, h := range f.hosts {
		env = append(env, fmt.Sprintf("FLEET_%s=%s", strings.ToUpper(h.name), h.addr()))
	}
	return env
}

const haproxyConfig = root + "/docker/fleet/haproxy.cfg"

// startBalancer checks HAProxy's configuration, which must not give it a warning either, and starts it.
func (f *fleet) startBalancer() {
	f.t.Helper()
	check := command("haproxy", "-c", "-f", haproxyConfig)
	check.Env = f.environment()
	if out, err := check.CombinedOutput(); err != nil || strings.Contains(string(out), "WARNING") {
		f.t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	log := tlstest.Value(os.Create(filepath.Join(f.t.TempDir(), "haproxy")))(f.t)
	defer log.Close()
	f.log = log.Name()
	cmd := exec.Command("haproxy", "-db", "-f", haproxyConfig)
	cmd.Env, cmd.Stdout, cmd.Stderr = f.environment(), log, log
	f.balancer.start(f.t, cmd)
	f.haproxy = cmd.Process.Pid
	f.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// addr is the balancer's.
func (f *fleet) addr() string { return net.JoinHostPort(balancerAddr, tlsPort) }

// step changes the file of ticket keys with the script of docker/fleet.
func (f *fleet) step(what string) {
	f.t.Helper()
	must(f.t, root+"/docker/fleet/ticket-keys.sh", what, f.tickets)
}

// state is what HAProxy has of a host in a column of its statistics.
func (f *fleet) state(host, column string) string {
	f.t.Helper()
	_, body := f.client.get("http://" + net.JoinHostPort(balancerAddr, statsPort) + "/;csv")
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
func (f *fleet) sessions(host string) int {
	f.t.Helper()
	return tlstest.Value(strconv.Atoi(f.state(host, "stot")))(f.t)
}

// served answers which host the balancer gave the connection to that came from a port of the client. It is known when that has ended.
func (f *fleet) served(port int) (host string) {
	f.t.Helper()
	line := regexp.MustCompile(fmt.Sprintf(`(?m)^%s:%d \[\S+\] tls hosts/(\S+) `, regexp.QuoteMeta(clientAddr), port))
	tlstest.Until(f.t, fmt.Sprintf("a line on the connection from port %d in HAProxy's log", port), func() bool {
		b := tlstest.Value(os.ReadFile(f.log))(f.t)
		m := line.FindAllSubmatch(b, -1)
		if len(m) == 0 {
			return false
		}
		host = string(m[len(m)-1][1])
		return true
	})
	return host
}

func (h *host) addr() string { return net.JoinHostPort(h.site.addr, tlsPort) }

// start starts a sslecho with the settings of compose.yaml, but for names of files and addresses, and waits until it is ready.
func (h *host) start() {
	h.t.Helper()
	if h.log == nil {
		log := tlstest.Value(os.Create(filepath.Join(h.dir, "log")))(h.t)
		h.t.Cleanup(func() { log.Close() })
		h.log = log
	}
	h.cmd = exec.Command(sslecho(h.t))
	h.cmd.Stdout, h.cmd.Stderr = h.log, h.log
	set := hostSettings(h.t)
	set["SSLECHO_LISTEN"], set["SSLECHO_ADMIN"] = h.addr(), net.JoinHostPort(h.site.addr, adminPort)
	set["SSLECHO_CERT"], set["SSLECHO_KEY"] = testcerts.Path("ecdsa.pem"), testcerts.Path("ecdsa.key")
	set["SSLECHO_TICKET_KEYS"], set["SSLECHO_PID_FILE"] = filepath.Join(h.dir, "tickets"), filepath.Join(h.dir, "pid")
	set["SSLECHO_PROXY_TRUSTED"] = balancerAddr // so that the tests may also come without it
	h.cmd.Env = os.Environ()
	for k, v := range set {
		h.cmd.Env = append(h.cmd.Env, k+"="+v)
	}
	h.site.start(h.t, h.cmd)
	h.wait = make(chan error, 1)
	go func(cmd *exec.Cmd, wait chan<- error) { wait <- cmd.Wait() }(h.cmd, h.wait)
	h.t.Cleanup(func() { _ = h.cmd.Process.Kill() })
	h.ready()
}

// ready waits until the host says so.
func (h *host) ready() {
	h.t.Helper()
	tlstest.Until(h.t, h.name+" is ready", func() bool {
		status, _ := h.site.get("http://" + net.JoinHostPort(h.site.addr, adminPort) + "/readyz")
		return status == 200
	})
}

// handOut puts a copy of the file of ticket keys into its place, at once.
func (h *host) handOut(tickets string) {
	h.t.Helper()
	b := tlstest.Value(os.ReadFile(tickets))(h.t)
	to := filepath.Join(h.dir, "tickets")
	tlstest.Must(h.t, os.WriteFile(to+".new", b, 0o600))
	tlstest.Must(h.t, os.Rename(to+".new", to))
}

// text is all that the processes of this host have said.
func (h *host) text() string { return string(tlstest.Value(os.ReadFile(h.log.Name()))(h.t)) }

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
	b := tlstest.Value(os.ReadFile(filepath.Join(h.dir, "pid")))(h.t)
	pid := tlstest.Value(strconv.Atoi(strings.TrimSpace(string(b))))(h.t)
	tlstest.Must(h.t, syscall.Kill(pid, sig))
}

// ended waits for the end of the process that start has started.
func (h *host) ended() error {
	h.t.Helper()
	select {
	case err := <-h.wait:
		return err
	case <-time.After(tlstest.Hang):
		h.t.Fatalf("%s does not end", h.name)
		return nil
	}
}

// metric is the value of one, named with its labels.
func (h *host) metric(name string) int {
	h.t.Helper()
	_, body := h.site.get("http://" + net.JoinHostPort(h.site.addr, adminPort) + "/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
	if m == nil {
		h.t.Fatalf("%s has no metric %s", h.name, name)
	}
	return int(tlstest.Value(strconv.ParseFloat(m[1], 64))(h.t))
}
