package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/compare"
	"github.com/spacemonad/go-openssl/cmd/sslbench/internal/rounds"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spf13/pflag"
)

// root is the module's.
const root = "../.."

// TestUsage: bad usage is status 2 with a line that says what was wrong, help is
// status 0.
func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args   string
		status int
		says   string
	}{
		{"", 0, "Usage"},
		{"--help", 0, "Usage"},
		{"compare --help", 0, "--rounds"},
		{"nonsense", 2, `not ["nonsense"]`},
		{"compare --rounds 0", 2, "at least 1 round"},
		{"compare --duration 1ms", 2, "at least 10ms"},
		{"compare --bench nonsense", 2, "no workload matches"},
		{"compare --bench (", 2, "bench"},
		{"compare --servers apache", 2, `unknown server "apache"`},
		{"compare --list", 0, "Echo/size=1k/conns=64"},
		{"compare --out /dev/null/x --bench Discard", 1, "--out"},
		{"report", 2, "want 1 arguments"},
		{"report /nonexistent", 1, "/nonexistent/rounds.txt"},
		{"compare --no-such-flag", 2, "no-such-flag"},
		{"compare extra", 2, `not ["extra"]`},
		{"serve --stack none", 1, "none"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var out, errs bytes.Buffer
			if status := run(t.Context(), strings.Fields(test.args), &out, &errs); status != test.status {
				t.Errorf("status %d, want %d; %s", status, test.status, &errs)
			}
			if text := out.String() + errs.String(); !strings.Contains(text, test.says) {
				t.Errorf("%q is not in %q", test.says, text)
			}
		})
	}
	for _, c := range newRoot().Commands() {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s has no help", c.Name(), f.Name)
			}
		})
	}
}

// TestCompare is a comparison, scaled down: each server has a line for each round
// of each workload or a reason why not, and the lines are in Go's benchmark format.
// It asserts no time.
func TestCompare(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "./cmd/sslecho", "./cmd/sslbench")
	build.Dir = root
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	workloads := `Echo/size=1k/conns=16$|newconns=250|Idle/conns=1000|HTTP2/size=1k`
	if !testing.Short() {
		workloads += `|Stream/conns=8|Resumption/tls=1.3|Reverse/size=1k|Discard|handshake=resumed`
	}
	// The real binary, since it starts itself as the servers in Go.
	cmd := exec.Command(filepath.Join(bin, "sslbench"), "compare", "--rounds", "1", "--duration", "20ms",
		"--servers", "sslecho,crypto-tls,sslhttp", "--out", dir, "--bench", workloads)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Fatalf("%v\n%s%s", err, &errs, out)
	}
	// The grammar of https://go.dev/design/14313-benchmark-format.
	line := regexp.MustCompile(`^(|# .*|[a-z][^A-Z\s]*: .*|Unit \S+ \S+=\S+|Benchmark[A-Z]\S*/server=\S+ 1( [0-9.e+]+ [^\s0-9]\S*)+)$`)
	for l := range strings.Lines(string(out)) {
		if !line.MatchString(strings.TrimSuffix(l, "\n")) {
			t.Errorf("%q is not in the format", l)
		}
	}
	raw, err := os.ReadFile(filepath.Join(dir, roundsFile))
	if err != nil || !bytes.Equal(raw, out) {
		t.Errorf("the file and standard output differ: %v", err)
	}
	file := tlstest.Value(rounds.Read(bytes.NewReader(out)))(t)
	leftOut := func(workload, server string) bool {
		return slices.ContainsFunc(file.Facts, func(f rounds.Fact) bool {
			return strings.HasPrefix(f.Value, "left out: "+server+", "+workload+":")
		})
	}
	for _, w := range compare.Workloads() {
		if !regexp.MustCompile(workloads).MatchString(w) {
			continue
		}
		servers := []string{"sslecho", "crypto-tls"}
		if strings.HasPrefix(w, "HTTP") {
			servers = []string{"sslhttp", "crypto-tls"}
		}
		for _, s := range servers {
			v, ok := file.Of(w, s, rounds.Figure(w))
			if !ok && !leftOut(w, s) || ok && v.Median <= 0 {
				t.Errorf("%s of %s: %v, %v", w, s, v, ok)
			}
		}
	}
	for _, name := range []string{pageFile, pictureFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDocs: the page in docs/bench is what its rounds say, and the README's rows
// are rows of its table.
func TestDocs(t *testing.T) {
	read := func(name string) string { return string(tlstest.Value(os.ReadFile(filepath.Join(root, name)))(t)) }
	file := tlstest.Value(rounds.Read(strings.NewReader(read("docs/bench/" + roundsFile))))(t)
	if read("docs/bench/"+pageFile) != file.Page() {
		t.Errorf("docs/bench/%s is not what %s says; run: go run ./cmd/sslbench report docs/bench", pageFile, roundsFile)
	}
	rows := 0
	for l := range strings.Lines(read("README.md")) {
		if regexp.MustCompile(`^\|.*\| µs of CPU \|`).MatchString(l) {
			if rows++; !strings.Contains(file.Table(), l) {
				t.Errorf("this row of README.md is not in docs/bench/%s: %s", pageFile, l)
			}
		}
	}
	if rows == 0 {
		t.Error("README.md has no row of the table")
	}
}
