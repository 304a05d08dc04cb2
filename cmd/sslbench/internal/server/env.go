// Package server starts the servers that sslbench compare measures, each on
// loopback and pinned to one core, and reads their CPU time and memory.
//
//	env, err := server.NewEnv(opts)  // a folder with certificates, and a backend for proxies
//	for _, k := range server.Kinds {
//		version, err := env.Find(k)      // the error names what is missing
//		p, err := env.Start(ctx, k, spec) // returns once a TLS handshake has succeeded
//		before, err := p.CPU()
//		// load on p.Addr
//		after, err := p.CPU()
//		err = p.Stop()
//	}
//	env.Close()
//
// A server is one process group, started from a goroutine that stays locked to
// its thread for as long as the server runs: the death signal of its processes
// (PR_SET_PDEATHSIG) fires when the thread that forked ends.
//
// A proxy that needs a backend connects to one in this process, which throws
// away what it gets. It does not count in the figures.
package server

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const loopback = "127.0.0.1"

// Options say where the programs are.
type Options struct {
	Sslecho    string // path of the sslecho binary
	Executable string // path of sslbench, which has the servers in Go
	Source     []byte // of the C server
}

// Env is what all servers of a run share: certificates, the compiled C server,
// and a backend for proxies.
type Env struct {
	Options
	Files int // how many files a process may have open

	dir          string
	socket       string
	backend      net.Listener
	port         func() (int, error) // chooses one
	build        func() error        // compiles the C server, once
	buildVersion string
}

// NewEnv makes the folder. The caller closes the Env.
func NewEnv(o Options) (e *Env, err error) {
	e = &Env{Options: o, port: freePort}
	e.build = sync.OnceValue(e.compile)
	if e.Files, err = raiseFileLimit(); err != nil {
		return nil, err
	}
	if e.dir, err = os.MkdirTemp("", "sslbench"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	if err := makeCertificates(e.dir); err != nil {
		return nil, err
	}
	// A Unix socket, since a connection to a TCP backend takes a port.
	e.socket = filepath.Join(e.dir, "backend")
	if e.backend, err = net.Listen("unix", e.socket); err != nil {
		return nil, fmt.Errorf("backend for proxies: %w", err)
	}
	go discard(e.backend)
	return e, nil
}

// RootFile has what clients trust.
func (e *Env) RootFile() string { return filepath.Join(e.dir, "roots.pem") }

// Close removes the folder. All servers have been stopped.
func (e *Env) Close() {
	if e.backend != nil {
		e.backend.Close()
	}
	os.RemoveAll(e.dir)
}

// discard reads what proxies send and throws it away.
func discard(l net.Listener) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			go func() {
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}
}

// spareFiles is what a process has open beside its connections, and more.
const spareFiles = 256

// MaxConns is how many connections at once can be opened to the server: by the
// limit for open files, here and there, and by its configuration.
func (e *Env) MaxConns(k Kind) int {
	most := e.Files - spareFiles
	if k.proxy {
		most /= 2 // its backend is in this process
	}
	if k.config != "" {
		most = min(most, proxyConns*15/16-64)
	}
	return max(0, min(most, cmp.Or(k.maxIdle, most)))
}

// makeCertificates writes TYPE.pem for each type of key: a certificate for
// localhost that signs itself, and its key. Clients trust all, in roots.pem.
func makeCertificates(dir string) error {
	ec, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rsa, err2 := rsa.GenerateKey(rand.Reader, 2048)
	_, ed, err3 := ed25519.GenerateKey(rand.Reader)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	var roots []byte
	write := func(name string, text []byte) error { return os.WriteFile(filepath.Join(dir, name), text, 0o600) }
	for name, key := range map[string]crypto.Signer{"ecdsa": ec, "rsa": rsa, "ed25519": ed} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sslbench " + name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 2),
			DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(loopback)},
		}
		der, err1 := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		pkcs8, err2 := x509.MarshalPKCS8PrivateKey(key)
		chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		roots = append(roots, chain...)
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
		if err := errors.Join(err1, err2, write(name+".pem", chain)); err != nil {
			return err
		}
	}
	return write("roots.pem", roots)
}
