package server

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// Each server that can is left to choose its port: address 127.0.0.1:0.

func sslechoPlan(s setup) (plan, error) {
	path, err := s.sslecho()
	if err != nil {
		return plan{}, err
	}
	argv := []string{path, "--listen", "127.0.0.1:0", "--loops", "1", "--log-level", "warn", "--cert", s.cert, "--key", s.key}
	if s.Work == Reverse || s.Work == Discard {
		argv = append(argv, "--service", string(s.Work))
	}
	if s.MaxVersion != "" {
		argv = append(argv, "--max-version", s.MaxVersion)
	}
	return plan{argv: argv}, nil
}

func directPlan(s setup) (plan, error) {
	p, err := sslechoPlan(s)
	p.argv = append(p.argv, "--records", "direct")
	return p, err
}

// protocol is OpenSSL's name of a TLS version.
func protocol(version string) string { return "TLSv" + version }

// sServerPlan: without -quiet it would decide what to do by the letters that a client sends; in the
// default mode it would also end with its standard input.
func sServerPlan(s setup) (plan, error) {
	path, err := s.lookup("openssl", "openssl")
	if err != nil {
		return plan{}, err
	}
	argv := []string{path, "s_server", "-quiet", "-accept", "127.0.0.1:0", "-cert", s.cert, "-key", s.key}
	chain, err := s.chain()
	if err != nil {
		return plan{}, err
	}
	if chain != "" {
		argv = append(argv, "-cert_chain", chain)
	}
	if s.MaxVersion != "" {
		argv = append(argv, "-max_protocol", protocol(s.MaxVersion))
	}
	if s.Work == Reverse {
		return plan{argv: append(argv, "-rev")}, nil
	}
	return plan{argv: argv, stdin: true, discard: true, note: "What it receives goes to /dev/null."}, nil
}

// chain writes the certificates above the first one into a file, and answers "" if there are none. s_server
// would send the first one twice if it got the whole file.
func (s setup) chain() (string, error) {
	rest, err := os.ReadFile(s.cert)
	if err != nil {
		return "", err
	}
	var above []byte
	for n := 0; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		if n++; n > 1 {
			above = append(above, pem.EncodeToMemory(b)...)
		}
	}
	if above == nil {
		return "", nil
	}
	return s.file("chain.pem", above)
}

// file writes a file into the server's folder, for its owner only, and answers its path.
func (s setup) file(name string, text []byte) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, text, 0o600)
}

func cryptoTLSVersion(Options) (string, error) { return runtime.Version(), nil }

func cryptoTLSPlan(s setup) (plan, error) {
	self, err := s.executable()
	if err != nil {
		return plan{}, err
	}
	argv := []string{self, CryptoTLSCommand, "--addr", "127.0.0.1:0", "--cert", s.cert, "--key", s.key}
	if s.Work == Reverse || s.Work == Discard {
		argv = append(argv, "--service", string(s.Work))
	}
	if s.MaxVersion != "" {
		argv = append(argv, "--max-version", s.MaxVersion)
	}
	return plan{argv: argv, note: "With TLS 1.3 it takes AES-128-GCM where a client offers that too, and cannot be told otherwise; " +
		"the servers over OpenSSL take the client's first choice."}, nil
}

func cTLSPlan(s setup) (plan, error) {
	bin, err := s.build("tls_epoll", true)
	if err != nil {
		return plan{}, err
	}
	argv := []string{bin, "-c", s.cert, "-k", s.key}
	if s.Work == Discard {
		argv = append(argv, "-s", string(Discard))
	}
	if s.MaxVersion != "" {
		argv = append(argv, "-t", s.MaxVersion)
	}
	return plan{argv: argv}, nil
}

func cTCPPlan(s setup) (plan, error) {
	bin, err := s.build("tcp_epoll", false)
	if err != nil {
		return plan{}, err
	}
	argv := []string{bin}
	if s.Work == Discard {
		argv = append(argv, "-s", string(Discard))
	}
	return plan{argv: argv}, nil
}

// backendPlan is for a proxy that cannot do without a backend. It listens on a Unix socket, since every
// connection to a TCP backend would take one of about 28,000 ports.
func backendPlan(s setup) (*plan, string, error) {
	bin, err := s.build("tcp_epoll", false)
	if err != nil {
		return nil, "", err
	}
	socket := filepath.Join(s.dir, "backend.sock")
	if len(socket) > 107 {
		return nil, "", fmt.Errorf("the path %s is too long for a Unix socket: give it a shorter folder", socket)
	}
	// One that was killed leaves its socket behind.
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, "", err
	}
	return &plan{argv: []string{bin, "-s", string(Discard), "-u", socket}}, socket, nil
}
