package server

import (
	"bytes"
	"cmp"
	"debug/buildinfo"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"text/template"
)

// Work is what a server can be asked to do.
type Work string

const (
	Echo       Work = "echo"       // sends back what it gets
	Reverse    Work = "reverse"    // sends back each line reversed
	Discard    Work = "discard"    // reads and throws away
	Handshakes Work = "handshakes" // full and resumed, then the client closes
	Idle       Work = "idle"       // holds many connections
	HTTP       Work = "http"       // serves package goserver's pages
)

// Kind is a server program and how to start it.
type Kind struct {
	Name  string // as it stands in benchmark names
	works []Work
	// program is looked for in $PATH, and pkg is the Debian package that has it.
	program, pkg string
	version      string // the argument that makes the program print its versions
	args         string // a template, split at spaces
	config       string // of the files in config
	proxy        bool   // each connection has a second one, to a backend
	maxIdle      int    // the most idle connections that are asked for; 0: as many as files allow
}

// The programs that are built here and not looked for in $PATH.
const (
	sslecho = "sslecho"
	self    = "sslbench"
	epoll   = "tls_epoll"
)

// Baselines and subjects, by name.
const (
	C         = "C"
	SServer   = "s_server"
	Sslecho   = "sslecho"
	Direct    = "sslecho-direct"
	CryptoTLS = "crypto-tls"
	Sslhttp   = "sslhttp"
)

const (
	work        = "{{if .Serves}} --service {{.Work}}{{end}}{{if .TLS12}} --max-version 1.2{{end}}"
	sslechoArgs = "--listen {{.Addr}} --loops 1 --log-level warn --cert {{.PEM}} --key {{.PEM}}" + work
	selfArgs    = "serve --addr {{.Addr}} --cert {{.PEM}}" + work
)

var everyWork = []Work{Echo, Reverse, Discard, Handshakes, Idle}

// Kinds are all servers. The proxies' configurations, in the folder config, are
// the least that serves: one worker, no log of connections, certificates and
// protocols as everybody's, a listen queue as long as the others', and no timeout
// that would end an idle connection. All else is each program's default.
//
// Without -quiet, s_server would take letters that a client sends for commands.
// stunnel has a thread for each connection, hence its limit.
var Kinds = []Kind{
	{Name: C, works: []Work{Echo, Discard, Handshakes, Idle}, program: epoll,
		args: "{{.Port}} {{.PEM}} {{.Work}} {{if .TLS12}}1.2{{else}}1.3{{end}}"},
	{Name: Sslecho, works: everyWork, program: sslecho, args: sslechoArgs},
	{Name: Direct, works: everyWork, program: sslecho, args: sslechoArgs + " --records direct"},
	{Name: CryptoTLS, works: append([]Work{HTTP}, everyWork...), program: self, args: selfArgs},
	{Name: Sslhttp, works: []Work{HTTP}, program: self, args: selfArgs + " --stack sslhttp"},
	{Name: SServer, works: []Work{Reverse, Discard, Handshakes}, program: "openssl", pkg: "openssl",
		version: "version", args: "s_server -quiet -accept {{.Addr}} -cert {{.PEM}}" +
			"{{if .TLS12}} -max_protocol TLSv1.2{{end}}{{if eq .Work \"reverse\"}} -rev{{end}}"},
	{Name: "nginx", works: []Work{Handshakes, Idle}, program: "nginx", pkg: "nginx-light",
		version: "-V", config: "nginx.conf", args: "-p ./ -c nginx.conf"},
	{Name: "HAProxy", works: []Work{Handshakes, Idle}, program: "haproxy", pkg: "haproxy",
		version: "-vv", config: "haproxy.cfg", args: "-db -f haproxy.cfg"},
	{Name: "stunnel", works: []Work{Handshakes, Idle}, program: "stunnel", pkg: "stunnel4", proxy: true, maxIdle: 5000,
		version: "-version", config: "stunnel.conf", args: "stunnel.conf"},
	{Name: "hitch", works: []Work{Handshakes, Idle}, program: "hitch", pkg: "hitch", proxy: true,
		version: "--version", config: "hitch.conf", args: "--config=hitch.conf"},
}

// Can reports whether the server does this work.
func (k Kind) Can(w Work) bool { return slices.Contains(k.works, w) }

var openssl = regexp.MustCompile(`OpenSSL [0-9]\S*`)

// Find returns the version of the server and of the OpenSSL under it, where it
// tells. The error says what is missing and how to get it.
func (e *Env) Find(k Kind) (string, error) {
	path, err := e.path(k)
	if err != nil {
		return "", err
	}
	switch k.program {
	case self:
		return runtime.Version(), nil
	case epoll:
		return e.buildVersion, nil
	case sslecho:
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return "", err
		}
		return strings.TrimSpace(info.Main.Version + " " + info.GoVersion), nil
	}
	out, err := exec.Command(path, k.version).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w%s", path, k.version, err, quoted(string(out)))
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if ssl := openssl.FindString(string(out)); !strings.Contains(version, ssl) {
		version += ", " + ssl
	}
	return version, nil
}

// path finds the program.
func (e *Env) path(k Kind) (string, error) {
	switch k.program {
	case self:
		return e.Executable, nil
	case epoll:
		return filepath.Join(e.dir, epoll), e.build()
	case sslecho:
		if info, err := os.Stat(e.Sslecho); err != nil || info.IsDir() {
			return "", fmt.Errorf("there is no binary %s (make build)", e.Sslecho)
		}
		return e.Sslecho, nil
	}
	// Ordinary users often do not have the sbin folders in their $PATH.
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/local/sbin", "/usr/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, k.program)); err == nil && filepath.IsAbs(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no program %s (Debian: apt-get install %s)", k.program, k.pkg)
}

// compile compiles the C server.
func (e *Env) compile() error {
	cc := strings.Fields(cmp.Or(os.Getenv("CC"), "cc"))
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "openssl").Output()
	if err != nil {
		return fmt.Errorf("pkg-config openssl: %w (Debian: apt-get install gcc pkg-config libssl-dev)", err)
	}
	if out, err := exec.Command("pkg-config", "--modversion", "openssl").Output(); err == nil {
		e.buildVersion = "OpenSSL " + strings.TrimSpace(string(out))
	}
	argv := slices.Concat(cc, []string{"-std=c11", "-D_GNU_SOURCE", "-O2", "-o", epoll, "-xc", "-", "-xnone"}, strings.Fields(string(flags)))
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin = e.dir, bytes.NewReader(e.Source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w%s", strings.Join(argv, " "), err, quoted(string(out)))
	}
	return nil
}

//go:embed config
var configs embed.FS

// settings are what the templates of arguments and configurations get.
type settings struct {
	Spec
	Host        string
	Port, Conns int
	PEM         string // a file with the certificate and its key
	Backend     string // a Unix socket
	Root        bool   // we are root, and so must the server stay, to read its files
}

// Addr is where to listen.
func (s *settings) Addr() string { return fmt.Sprintf("%s:%d", s.Host, s.Port) }

// Serves says that the work is a service that has to be named.
func (s *settings) Serves() bool { return s.Work == Reverse || s.Work == Discard || s.Work == HTTP }

// proxyConns is how many connections a proxy is set up for.
const proxyConns = 65_000

// configure writes the configuration into dir and returns the arguments.
func (e *Env) configure(k Kind, s Spec, dir string, port int) ([]string, error) {
	data := &settings{Spec: s, Host: loopback, Port: port, Root: os.Geteuid() == 0, Backend: e.socket,
		PEM: filepath.Join("..", s.KeyType+".pem")}
	// Some allocate memory for each connection that may come. When fewer than a
	// sixteenth of them are free, nginx closes those that are idle.
	data.Conns = 4096
	if s.Work == Idle {
		data.Conns = min(e.Files, proxyConns)
	}
	var argv bytes.Buffer
	err := template.Must(template.New("").Parse(k.args)).Execute(&argv, data)
	if err == nil && k.config != "" {
		var text bytes.Buffer
		err = errors.Join(template.Must(template.ParseFS(configs, "config/"+k.config)).Execute(&text, data),
			os.WriteFile(filepath.Join(dir, k.config), text.Bytes(), 0o600))
	}
	return strings.Fields(argv.String()), err
}
