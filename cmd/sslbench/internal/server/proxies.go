package server

import (
	"fmt"
	"os"
	"strings"
)

// These configurations are the least that serves: one worker, no log of connections, certificates and
// protocols as everybody's, a listen queue as long as the others', and no timeout that would end an
// idle connection within a measurement. All else is as each program has it by default.

const (
	// proxyConns is how many connections a proxy is set up for when it is to hold many.
	proxyConns = 65_000
	// proxyFew is the same for handshakes: some allocate memory for each that may come.
	proxyFew = 4096
	backlog  = 4096
)

// conns is what to put where a configuration asks for the most connections.
func (s setup) conns() (int, error) {
	most, err := fileConns(1)
	if s.Work != Idle {
		return min(most, proxyFew), err
	}
	return min(most, proxyConns), err
}

// versions are the protocols from TLS 1.2 to the highest allowed.
func (s setup) versions() string {
	if s.MaxVersion == "1.2" {
		return protocol("1.2")
	}
	return protocol("1.2") + " " + protocol("1.3")
}

// highest is the last of versions.
func (s setup) highest() string {
	if s.MaxVersion == "1.2" {
		return protocol("1.2")
	}
	return protocol("1.3")
}

// combined writes the chain and the key into one file, as HAProxy and hitch want it.
func (s setup) combined() (string, error) {
	cert, err := os.ReadFile(s.cert)
	if err != nil {
		return "", err
	}
	key, err := os.ReadFile(s.key)
	if err != nil {
		return "", err
	}
	return s.file("server.pem", append(append(cert, '\n'), key...))
}

// isRoot decides about the user that a server changes to: root stays root, so that it can read its files.
func isRoot() bool { return os.Geteuid() == 0 }

func nginxVersion(o Options) (string, error) {
	path, err := o.lookup("nginx", "nginx-light")
	if err != nil {
		return "", err
	}
	out, err := ask(path, "-V")
	if err != nil {
		return "", err
	}
	if !strings.Contains(out, "with-http_ssl_module") {
		return "", fmt.Errorf("%s is built without TLS (Debian: apt-get install nginx-light)", path)
	}
	ssl := after(out, "built with OpenSSL")
	if _, running, ok := strings.Cut(ssl, "(running with "); ok {
		ssl = strings.TrimSuffix(running, ")")
	} else {
		ssl = "OpenSSL " + ssl
	}
	return after(out, "nginx version: ") + ", " + ssl, nil
}

func nginxPlan(s setup) (plan, error) {
	path, err := s.lookup("nginx", "nginx-light")
	if err != nil {
		return plan{}, err
	}
	conns, err := s.conns()
	if err != nil {
		return plan{}, err
	}
	// When fewer than a sixteenth of them are free, nginx closes connections that are idle.
	conns += conns/15 + 64
	var b strings.Builder
	if isRoot() {
		b.WriteString("user root;\n")
	}
	fmt.Fprintf(&b, `daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events {
    worker_connections %d;
}
http {
    access_log off;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    client_header_timeout 1h;
    keepalive_timeout 1h;
    server {
        listen 127.0.0.1:%d ssl backlog=%d;
        ssl_protocols %s;
        ssl_certificate %s;
        ssl_certificate_key %s;
        location / {
            return 204;
        }
    }
}
`, conns, s.port, backlog, s.versions(), quote(s.cert), quote(s.key))
	if _, err := s.file("nginx.conf", []byte(b.String())); err != nil {
		return plan{}, err
	}
	return plan{argv: []string{path, "-p", s.dir, "-c", "nginx.conf"}, config: "nginx.conf", gentle: true,
		note: "Master and one worker. Resumption by tickets; there is no session cache, as by default. " +
			"A client's close_notify is answered by a FIN without one."}, nil
}

// quote is for a path in the configuration of nginx and HAProxy.
func quote(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(path) + `"`
}

func haproxyVersion(o Options) (string, error) {
	path, err := o.lookup("haproxy", "haproxy")
	if err != nil {
		return "", err
	}
	out, err := ask(path, "-vv")
	if err != nil {
		return "", err
	}
	ssl := after(out, "Running on OpenSSL version :")
	if ssl == "" {
		return "", fmt.Errorf("%s is built without OpenSSL (Debian: apt-get install haproxy)", path)
	}
	version, _, _ := strings.Cut(firstLine(out), " - ")
	return version + ", " + ssl, nil
}

// haproxyPlan sets the groups, since its manual has P-256 as the only one by default, which would cost a client
// that begins with X25519 another round trip; and it lets clients leave without a request, which would
// be answered by an error otherwise.
func haproxyPlan(s setup) (plan, error) {
	path, err := s.lookup("haproxy", "haproxy")
	if err != nil {
		return plan{}, err
	}
	conns, err := s.conns()
	if err != nil {
		return plan{}, err
	}
	if _, err := s.combined(); err != nil {
		return plan{}, err
	}
	// It wants two files for each connection, for a backend that is not there; without strict-limits it
	// makes do with one.
	text := fmt.Sprintf(`global
    nbthread 1
    no strict-limits
    maxconn %d
defaults
    mode http
    option http-ignore-probes
    timeout client 1h
    timeout http-request 1h
    timeout http-keep-alive 1h
frontend tls
    bind 127.0.0.1:%d backlog %d ssl crt server.pem ssl-min-ver TLSv1.2 ssl-max-ver %s curves X25519:P-256
    http-request return status 204
`, conns, s.port, backlog, s.highest())
	if _, err := s.file("haproxy.cfg", []byte(text)); err != nil {
		return plan{}, err
	}
	return plan{argv: []string{path, "-db", "-f", "haproxy.cfg"}, config: "haproxy.cfg",
		note: "One thread, no backend: it answers by itself. The groups and http-ignore-probes are set. " +
			"Resumption by tickets and by its session cache, as by default."}, nil
}

func stunnelVersion(o Options) (string, error) {
	path, err := o.lookup("stunnel", "stunnel4")
	if err != nil {
		return "", err
	}
	out, err := ask(path, "-version")
	if err != nil {
		return "", err
	}
	version, _, _ := strings.Cut(after(out, "stunnel "), " on ")
	ssl := after(out, "Running  with ")
	if ssl == "" {
		ssl = after(out, "Compiled/running with ")
	}
	return strings.TrimSuffix("stunnel "+version+", "+ssl, ", "), nil
}

func stunnelPlan(s setup) (plan, error) {
	path, err := s.lookup("stunnel", "stunnel4")
	if err != nil {
		return plan{}, err
	}
	backend, socket, err := backendPlan(s)
	if err != nil {
		return plan{}, err
	}
	text := fmt.Sprintf(`foreground = yes
pid =
syslog = no
debug = err
[tls]
accept = 127.0.0.1:0
connect = %s
cert = %s
key = %s
sslVersionMin = TLSv1.2
sslVersionMax = %s
`, socket, s.cert, s.key, s.highest())
	if _, err := s.file("stunnel.conf", []byte(text)); err != nil {
		return plan{}, err
	}
	return plan{argv: []string{path, "stunnel.conf"}, config: "stunnel.conf", backend: backend, socket: socket,
		note: "A thread for each connection. Every connection has one to a backend, tcp_epoll on another core, which does not count. " +
			"Resumption by tickets, as by default."}, nil
}

func hitchVersion(o Options) (string, error) {
	path, err := o.lookup("hitch", "hitch")
	if err != nil {
		return "", err
	}
	out, err := ask(path, "--version")
	return firstLine(out), err
}

func hitchPlan(s setup) (plan, error) {
	path, err := s.lookup("hitch", "hitch")
	if err != nil {
		return plan{}, err
	}
	backend, socket, err := backendPlan(s)
	if err != nil {
		return plan{}, err
	}
	if _, err := s.combined(); err != nil {
		return plan{}, err
	}
	var b strings.Builder
	if isRoot() {
		b.WriteString("user = \"root\"\n")
	}
	fmt.Fprintf(&b, `frontend = "[127.0.0.1]:0"
backend = "%s"
pem-file = "server.pem"
tls-protos = %s
workers = 1
backlog = %d
daemon = off
log-level = 1
ocsp-dir = ""
`, socket, s.versions(), backlog)
	if _, err := s.file("hitch.conf", []byte(b.String())); err != nil {
		return plan{}, err
	}
	return plan{argv: []string{path, "--config=hitch.conf"}, config: "hitch.conf", backend: backend, socket: socket, gentle: true,
		note: "Master and one worker. Every connection has one to a backend, tcp_epoll on another core, which does not count. " +
			"Resumption by tickets, as by default."}, nil
}
