package interop

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/spacemonad/go-openssl/internal/figures"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestMain(m *testing.M) { testmain.Run(m, writeFigures) }

// full is whether the long form runs, as `make peers` asks for it. The short form has each row in one version of TLS.
var full = os.Getenv("PEERS") == "full"

// volume is how many bytes each side sends in a test of the table. slowVolume is for GnuTLS's programs: they print what
// is not ASCII byte by byte, with a call of the system for each.
var volume, slowVolume = 1_000_003, 5_003

func init() {
	if full && !tlstest.Sanitized {
		volume, slowVolume = 10_000_003, 20_011
	}
}

// tally is what the tests of a name did with their peers: connections that went well, and bytes that our side checked
// and sent on them.
type tally struct{ conns, bytes int64 }

var (
	tallyMu sync.Mutex
	tallies = map[string]tally{}  // by the name of the test
	scanned = map[string]string{} // what the scanners looked at, by their names
)

// peers are the kinds, each with what tells its version.
var peers = []struct {
	figure         string
	version, tests []string
}{
	{"peers-openssl", []string{"openssl", "version"}, []string{"TestSClient", "TestSServer", "TestRenegotiationSClient",
		"TestRenegotiationSServer", "TestKeyUpdateOpenSSL"}},
	{"peers-go", []string{"go", "version"}, []string{"TestGoClient", "TestGoServer", "TestKeyUpdateGo", "TestRenegotiationGoClient"}},
	{"peers-gnutls", []string{"gnutls-cli", "--version"}, []string{"TestGnuTLSClient", "TestGnuTLSServer", "TestGnuTLSRekey",
		"TestGnuTLSRenegotiation"}},
	{"peers-nss", []string{"dpkg-query", "-W", nssPackage}, []string{"TestNSSClient", "TestNSSServer", "TestNSSResumption"}},
}

// count adds a connection that went well to its test's tally.
func count(t *testing.T, conns, bytes int64) {
	name, _, _ := strings.Cut(t.Name(), "/")
	tallyMu.Lock()
	defer tallyMu.Unlock()
	d := tallies[name]
	tallies[name] = tally{d.conns + conns, d.bytes + bytes}
}

// writeFigures writes the figure of each kind of peer whose tests have all run in their long form.
func writeFigures() error {
	kinds := peers
	if !full {
		kinds = nil
	}
next:
	for _, f := range kinds {
		var sum tally
		for _, name := range f.tests {
			d := tallies[name]
			if d.conns == 0 {
				continue next // it was not asked for
			}
			sum = tally{sum.conns + d.conns, sum.bytes + d.bytes}
		}
		out, err := exec.Command(f.version[0], f.version[1:]...).Output()
		if err != nil {
			return fmt.Errorf("%s: %w", f.version[0], err)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		if err := figures.Write(f.figure, fmt.Sprintf("%s: %d connections, %.1f MB sent and checked",
			strings.Join(strings.Fields(line), " "), sum.conns, float64(sum.bytes)/1e6)); err != nil {
			return err
		}
	}
	if scanned["sslscan"] != "" && scanned["testssl"] != "" {
		return figures.Write("peers-scan", scanned["sslscan"]+"; "+scanned["testssl"])
	}
	return nil
}
