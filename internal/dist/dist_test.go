package main

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestDebianVersion(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.3": "1.2.3", "1.2.3+dirty": "1.2.3+dirty", "1.2.3-rc.1": "1.2.3~rc.1", "unknown": "0~unknown",
		"1.2.4-0.20261129180000-0123abc+dirty": "1.2.4~0.20261129180000.0123abc+dirty",
	} {
		if got := debianVersion(version); got != want {
			t.Errorf("%s became %s, want %s", version, got, want)
		}
	}
}

func TestEpoch(t *testing.T) {
	for _, x := range []struct {
		variable, date string
		want           int64
		fails          bool
	}{
		{"", "2023-11-14T22:13:20Z", 1700000000, false},
		{"12", "2023-11-14T22:13:20Z", 12, false},
		{"12", "unknown", 12, false},
		{"yesterday", "2023-11-14T22:13:20Z", 0, true},
		{"-1", "2023-11-14T22:13:20Z", 0, true},
	} {
		got, err := epoch(x.variable, x.date)
		if (err != nil) != x.fails || err == nil && got.Unix() != x.want {
			t.Errorf("%+v: %v, %v", x, got, err)
		}
	}
}

func TestNeeds(t *testing.T) {
	for _, x := range []struct{ a, b, want string }{
		{"", "2.4", "2.4"}, {"2.34", "2.4", "2.34"}, {"3.0.0", "3.0.9", "3.0.9"}, {"2.17", "2.17.1", "2.17.1"},
	} {
		if a, b := newest(x.a, x.b), newest(x.b, x.a); x.a != "" && b != x.want || a != x.want {
			t.Errorf("newest of %s and %s is %s, %s", x.a, x.b, a, b)
		}
	}
	for headers, want := range map[string]string{"3.0.19": "3.0.7", "3.5.1": "3.5.0"} {
		if got := (needs{ssl: "3.0.7"}).openssl(headers); got != want {
			t.Errorf("symbols of 3.0.7 and headers of %s want %s, not %s", headers, got, want)
		}
	}
	for soname, want := range map[string]string{
		"3": "libssl3t64 (>= 3.5.0) | libssl3 (>= 3.5.0)", "4": "libssl4 (>= 3.5.0)",
	} {
		if got := (needs{libssl: soname}).debian("3.5.0"); got != want {
			t.Errorf("libssl.so.%s is of %s, not %s", soname, want, got)
		}
	}
	if _, err := needsOf("/bin/sh"); err == nil || !strings.Contains(err.Error(), "OpenSSL") {
		t.Errorf("a program without OpenSSL: %v", err)
	}
}

// TestArchive: the same files make the same bytes, whenever they were written.
func TestArchive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	made := func() []byte {
		t.Helper()
		tlstest.Must(t, os.WriteFile(file, []byte("text"), 0o600))
		return archive("top", time.Unix(1700000000, 0), []entry{{"a/b/file", file, 0o644}, {"program", file, 0o755}})
	}
	first := made()
	tlstest.Must(t, os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)))
	if !bytes.Equal(first, made()) {
		t.Error("two archives differ")
	}
	list := exec.Command("tar", "-tzf", "-")
	list.Stdin = bytes.NewReader(first)
	tlstest.Equal(t, "the archive", mustRun(t, list), "top/\ntop/a/\ntop/a/b/\ntop/a/b/file\ntop/program\n")
}

// TestDist: two runs make the same bytes; the tarball works where it is unpacked; the checksums are right; the SBOM
// names what the program is linked to, and each module in it.
func TestDist(t *testing.T) {
	needsWhole(t)
	one, two := distribution(t), t.TempDir()
	makeInto(t, two)
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = one
		return mustRun(t, cmd)
	}
	sums := run("cat", "SHA256SUMS")
	tlstest.Equal(t, "the sums of a second run", run("cat", filepath.Join(two, "SHA256SUMS")), sums)
	tlstest.Equal(t, "the number of files", strings.Count(sums, "\n"), 3)
	run("sha256sum", "--strict", "-c", "SHA256SUMS")

	run("tar", "-xzf", result(t, one, "*.tar.gz"), "--strip-components=1", "-C", two)
	var told told
	program := filepath.Join(two, "sslecho")
	tlstest.Must(t, json.Unmarshal([]byte(run(program, "version", "--json")), &told))
	tlstest.Equal(t, "VERSION", run("cat", filepath.Join(two, "VERSION")), told.Version+"\n"+told.Commit+"\n"+told.Date+"\n")

	var bom struct {
		BOMFormat  string
		Components []struct{ Name, Version string }
	}
	tlstest.Must(t, json.Unmarshal([]byte(run("cat", result(t, one, "*.cdx.json"))), &bom))
	named := map[string]bool{}
	for _, c := range bom.Components {
		named[c.Name+" "+c.Version] = true
	}
	want := []string{"openssl " + strings.Fields(told.OpenSSL.Run)[1]}
	for line := range strings.Lines(run("go", "version", "-m", program)) {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "dep" {
			want = append(want, f[1]+" "+f[2])
		}
	}
	for _, w := range want {
		if !named[w] {
			t.Errorf("the SBOM does not name %s", w)
		}
	}
	if bom.BOMFormat != "CycloneDX" || len(want) < 10 {
		t.Errorf("%s, %d modules", bom.BOMFormat, len(want))
	}
}

// TestStatic: the program of make static wants no library, and serves where there is no other file.
func TestStatic(t *testing.T) {
	needsWhole(t)
	root := t.TempDir()
	for _, dir := range []string{"proc", "bin"} {
		tlstest.Must(t, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	program := filepath.Join(root, "bin", "sslecho")
	mustRun(t, inModule("make", "-s", "static", "STATICBIN="+program))
	f := tlstest.Value(elf.Open(program))(t)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a %v: it is not static", p.Type)
		}
	}
	needsNamespaces(t)
	serves(t, inside(root, true, "/bin/sslecho"))
}
