package server

// HTTP is the work of a server that answers requests of HTTP over TLS.
const HTTP Work = "http"

// Own makes a Kind of a hidden command of sslbench, for measurements whose servers are not among Kinds. It is
// started with --addr, --cert and --key, as the one with crypto/tls is, and with args behind them.
func Own(o Options, name, command string, args ...string) Kind {
	return Kind{
		Name: name, works: []Work{HTTP}, opts: o,
		version: cryptoTLSVersion, // that of Go
		plan: func(s setup) (plan, error) {
			self, err := s.executable()
			if err != nil {
				return plan{}, err
			}
			return plan{argv: append([]string{self, command, "--addr", "127.0.0.1:0", "--cert", s.cert, "--key", s.key}, args...)}, nil
		},
	}
}

// FindProgram answers the path of a program that puts load on servers. The error names it and the Debian package
// that brings it.
func (o Options) FindProgram(name, pkg string) (string, error) { return o.lookup(name, pkg) }
