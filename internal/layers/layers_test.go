// Package layers holds the test of which package may import which.
package layers

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

const module = "github.com/spacemonad/go-openssl"

// goPackage is what go list tells of a package. TestImports and the like are left
// out: a test may import more than the package that it tests.
type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
	CgoFiles   []string
}

// rule says what a package may import besides the standard library.
type rule struct {
	folder string // of the module; those below it follow the same rule
	ours   []string
	others []string // nil is any
	cgo    bool
	alone  bool // nothing imports it
}

var unix = []string{"golang.org/x/sys/unix"}

// rules are those of docs/design/architecture.md. A folder without a rule fails.
var rules = []rule{
	{folder: "tlsio", others: []string{}},
	{folder: "cssl/ja4", ours: []string{"cssl"}, others: []string{}},
	{folder: "cssl/fromtls", ours: []string{"cssl", "tlsio", "internal/connstate"}, others: []string{}},
	{folder: "cssl", ours: []string{"tlsio", "internal/features", "internal/filetype", "internal/hostname", "internal/libcrypto",
		"internal/live", "internal/negotiated", "internal/pkcs11uri", "internal/platform", "internal/recordmode",
		"internal/sessionid"}, others: []string{}, cgo: true},
	{folder: "session", ours: []string{"tlsio"}, others: []string{}},
	// Only its own tests import it; its C is linked into nothing else.
	{folder: "reactor/internal/faults", ours: []string{"reactor", "cssl", "tlsio"}, others: unix, cgo: true, alone: true},
	{folder: "reactor/connlimit", others: []string{}},
	{folder: "reactor", ours: []string{"session", "cssl", "tlsio", "internal/dialbound", "internal/saturate", "internal/logqueue",
		"internal/negotiated", "internal/platform"}, others: unix},
	{folder: "sslnet", ours: []string{"sslnet", "cssl", "tlsio", "internal/connstate", "internal/dialbound", "internal/logqueue",
		"internal/negotiated"}, others: unix},
	// Nothing but tests and what they say.
	{folder: "cmd/sslbench/internal/stress", others: []string{}, alone: true},
	{folder: "adapters/sslgnet", ours: []string{"cssl", "session"}},
	{folder: "adapters/sslgrpc", ours: []string{"cssl", "sslnet"}},
	{folder: "adapters/sslnetpoll", ours: []string{"cssl", "session", "tlsio"}},
	{folder: "adapters", ours: []string{"reactor", "tlsio"}},
	{folder: "cmd", ours: []string{"adapters", "reactor", "session", "cssl", "sslnet", "tlsio", "internal"}},
	{folder: "examples/internal/exampletest", ours: []string{"internal/live", "internal/testcerts", "internal/tlstest"}, others: []string{}},
	{folder: "examples", ours: []string{"reactor", "session", "cssl", "sslnet", "tlsio", "internal/live"}},
	{folder: "packaging", others: []string{}},
	{folder: "internal/services", ours: []string{"reactor", "session", "cssl", "tlsio"}, others: []string{}},
	{folder: "internal/connstate", ours: []string{"cssl"}, others: []string{}},
	{folder: "internal/dialbound", others: []string{}},
	{folder: "internal/features", others: []string{}},
	{folder: "internal/filetype", others: []string{}},
	{folder: "internal/hostname", others: []string{}},
	{folder: "internal/libcrypto", others: []string{}},
	{folder: "internal/logqueue", others: []string{}},
	{folder: "internal/negotiated", others: []string{}},
	{folder: "internal/pkcs11uri", others: []string{}},
	{folder: "internal/recordmode", others: []string{}},
	{folder: "internal/sessionid", others: []string{}},
	{folder: "internal/testktls", others: unix},
	{folder: "internal/testmain", ours: []string{"internal/live", "internal/recordmode", "internal/tlstest"}, others: []string{}},
	{folder: "internal", others: []string{}}, // what stands on nothing, and help for tests, on which nothing of the library stands
}

// violations says what in pkgs breaks the rules.
func violations(pkgs []goPackage) []string {
	standard := map[string]bool{"C": true, "unsafe": true}
	for _, p := range pkgs {
		standard[p.ImportPath] = standard[p.ImportPath] || p.Standard
	}
	var out []string
	for _, p := range pkgs {
		name, ok := strings.CutPrefix(p.ImportPath, module+"/")
		if !ok {
			continue
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return name == r.folder || strings.HasPrefix(name, r.folder+"/") })
		if i < 0 {
			out = append(out, name+" has no rule")
			continue
		}
		r := rules[i]
		if !r.cgo && (len(p.CgoFiles) > 0 || slices.Contains(p.Imports, "C")) {
			out = append(out, name+" uses cgo")
		}
		for _, imp := range p.Imports {
			if slices.ContainsFunc(rules, func(r rule) bool { return r.alone && imp == module+"/"+r.folder }) {
				out = append(out, name+" imports "+strings.TrimPrefix(imp, module+"/"))
				continue
			}
			if own, ok := strings.CutPrefix(imp, module+"/"); ok {
				if !slices.Contains(r.ours, own) && !slices.Contains(r.ours, strings.Split(own, "/")[0]) &&
					!strings.HasPrefix(own, r.folder+"/") {
					out = append(out, name+" imports "+own)
				}
			} else if r.others != nil && !standard[imp] && !slices.Contains(r.others, imp) {
				out = append(out, name+" imports "+imp)
			}
		}
	}
	return out
}

// list asks go list for packages and all that they stand on.
func list(t *testing.T, env string, patterns ...string) []goPackage {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Standard,Imports,CgoFiles"}, patterns...)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), env)
	cmd.Stderr = os.Stderr
	var pkgs []goPackage
	for d := json.NewDecoder(bytes.NewReader(tlstest.Value(cmd.Output())(t))); d.More(); {
		var p goPackage
		tlstest.Must(t, d.Decode(&p))
		pkgs = append(pkgs, p)
	}
	return pkgs
}

// TestLayers: no package imports against the rules.
func TestLayers(t *testing.T) {
	pkgs := list(t, "CGO_ENABLED=1", "work")
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
	for _, want := range []string{"cssl", "session", "reactor", "sslnet"} {
		if !slices.ContainsFunc(pkgs, func(p goPackage) bool { return p.ImportPath == module+"/"+want }) {
			t.Errorf("go list does not know %s, so this proves nothing", want)
		}
	}
}

// TestSessionWithoutCgo: session and all below it needs neither cgo nor anything outside the
// standard library.
func TestSessionWithoutCgo(t *testing.T) {
	for _, p := range list(t, "CGO_ENABLED=0", "./session") {
		if !p.Standard && p.ImportPath != module+"/session" && p.ImportPath != module+"/tlsio" {
			t.Errorf("session stands on %s", p.ImportPath)
		}
		if !p.Standard && len(p.CgoFiles) > 0 {
			t.Errorf("%s uses cgo", p.ImportPath)
		}
	}
}

// TestViolations shows that the check can fail, for each rule.
func TestViolations(t *testing.T) {
	pkg := func(name string, imports ...string) goPackage {
		return goPackage{ImportPath: module + "/" + name, Imports: imports}
	}
	std := []goPackage{{ImportPath: "fmt", Standard: true}, {ImportPath: "crypto/x509", Standard: true}}
	for _, tc := range []struct {
		pkg  goPackage
		want string
	}{
		{pkg("cssl", "C", "fmt", "crypto/x509"), ""},
		{pkg("cssl", module+"/tlsio"), ""},
		{pkg("cssl/ja4", "fmt", module+"/cssl"), ""},
		{pkg("cssl/ja4", "C"), "cssl/ja4 uses cgo"},
		{pkg("session", "fmt", module+"/tlsio"), ""},
		{pkg("reactor", "golang.org/x/sys/unix", module+"/cssl", module+"/session"), ""},
		{pkg("cmd/sslecho", module+"/reactor", "github.com/spf13/pflag"), ""},
		{pkg("cssl", module+"/session"), "cssl imports session"},
		{pkg("session", module+"/reactor"), "session imports reactor"},
		{pkg("session", module+"/cssl"), "session imports cssl"},
		{pkg("tlsio", module+"/cssl"), "tlsio imports cssl"},
		{pkg("tlsio", "C"), "tlsio uses cgo"},
		{pkg("session", "golang.org/x/sys/unix"), "session imports golang.org/x/sys/unix"},
		{pkg("session", "C"), "session uses cgo"},
		{pkg("reactor", module+"/internal/testcerts"), "reactor imports internal/testcerts"},
		{pkg("reactor", "github.com/spf13/pflag"), "reactor imports github.com/spf13/pflag"},
		{pkg("reactor", module+"/cmd/sslecho"), "reactor imports cmd/sslecho"},
		{pkg("adapters/proxyproto", module+"/reactor"), ""},
		{pkg("adapters/sslgnet", module+"/session", "github.com/panjf2000/gnet/v2"), ""},
		{pkg("adapters/sslgnet", module+"/reactor"), "adapters/sslgnet imports reactor"},
		{pkg("adapters/sslgrpc", module+"/sslnet", "google.golang.org/grpc/credentials"), ""},
		{pkg("adapters/sslgrpc", module+"/reactor"), "adapters/sslgrpc imports reactor"},
		{pkg("adapters/sslnetpoll", module+"/session", "github.com/cloudwego/netpoll"), ""},
		{pkg("adapters/sslnetpoll", module+"/sslnet"), "adapters/sslnetpoll imports sslnet"},
		{pkg("reactor/connlimit", module+"/reactor"), "reactor/connlimit imports reactor"},
		{pkg("reactor", module+"/adapters/prommetrics"), "reactor imports adapters/prommetrics"},
		{pkg("cmd/sslecho", "C"), "cmd/sslecho uses cgo"},
		{pkg("reactor/internal/faults", "C", "fmt", module+"/reactor/internal/sys"), ""},
		{pkg("reactor", module+"/reactor/internal/faults"), "reactor imports reactor/internal/faults"},
		{pkg("internal/services", module+"/reactor", module+"/cssl"), ""},
		{pkg("internal/services", "github.com/spf13/pflag"), "internal/services imports github.com/spf13/pflag"},
		{pkg("internal/testcerts", module+"/reactor"), "internal/testcerts imports reactor"},
		{pkg("cmd/sslbench", module+"/cmd/sslbench/internal/stress"), "cmd/sslbench imports cmd/sslbench/internal/stress"},
		{pkg("cmd/sslbench/internal/stress", module+"/reactor"), "cmd/sslbench/internal/stress imports reactor"},
		{pkg("attic", "fmt"), "attic has no rule"},
	} {
		if got := strings.Join(violations(append(std, tc.pkg)), "; "); got != tc.want {
			t.Errorf("%s importing %v: %q, want %q", tc.pkg.ImportPath, tc.pkg.Imports, got, tc.want)
		}
	}
}
