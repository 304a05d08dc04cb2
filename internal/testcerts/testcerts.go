// Package testcerts gives tests the certificates of testdata/certs, wherever
// in the module they run.
package testcerts

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// margin is how long before the end of a certificate Check begins to fail: time
// enough to make new ones before tests fail with reasons that are hard to read.
const margin = 30 * 24 * time.Hour

// expiredFile is the one file whose leaf has to be out of date.
const expiredFile = "expired.pem"

// Path returns the absolute path of a file in testdata/certs.
func Path(name string) string {
	return filepath.Join(directory(), name)
}

// Read returns the content of a file in testdata/certs.
func Read(t testing.TB, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(Path(name))
	if err != nil {
		t.Fatalf("%v: run make certs", err)
	}
	return content
}

// Check fails the test when a certificate or a CRL in testdata/certs is about
// to expire, other than the one that has to be expired.
func Check(t testing.TB) {
	t.Helper()
	for _, problem := range problems(directory(), time.Now()) {
		t.Error(problem)
	}
}

// directory finds testdata/certs from the place of this source file. A binary
// that was built with -trimpath does not know that place; then the module's
// root is looked for from the working directory upwards, which go test sets to
// the folder of the package under test.
var directory = sync.OnceValue(func() string {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		dir := certsBelow(filepath.Dir(filepath.Dir(filepath.Dir(file))))
		if isDir(dir) {
			return dir
		}
	}
	start, err := os.Getwd()
	if err != nil {
		panic("testcerts: " + err.Error())
	}
	for root := start; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil && isDir(certsBelow(root)) {
			return certsBelow(root)
		}
		if root == filepath.Dir(root) {
			panic("testcerts: there is no testdata/certs in or above " + start)
		}
	}
})

func certsBelow(root string) string {
	return filepath.Join(root, "testdata", "certs")
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// problems names everything in the .pem files of dir that is out of date at
// now, or will be within the margin.
func problems(dir string, now time.Time) []string {
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil || len(files) == 0 {
		return []string{fmt.Sprintf("there is no .pem file in %s: run make certs", dir)}
	}
	var found []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			found = append(found, err.Error())
			continue
		}
		found = append(found, problemsIn(filepath.Base(file), content, now)...)
	}
	return found
}

// problemsIn does the work of problems for the content of one file.
func problemsIn(name string, content []byte, now time.Time) []string {
	var found []string
	report := func(format string, args ...any) {
		found = append(found, "testdata/certs/"+name+" "+fmt.Sprintf(format, args...)+": run make certs")
	}
	blocks := 0
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		blocks++
		from, until, err := validity(block)
		switch {
		case err != nil:
			report("cannot be read (%v)", err)
		case name == expiredFile && blocks == 1:
			if now.Before(until) {
				report("has to be expired but is valid until %s", until.Format(time.DateOnly))
			}
		case now.Before(from):
			report("is not valid before %s", from.Format(time.DateOnly))
		case now.Add(margin).After(until):
			report("expires on %s", until.Format(time.DateOnly))
		}
	}
	if blocks == 0 {
		report("holds no certificate and no CRL")
	}
	return found
}

// validity returns from when and until when a certificate or a CRL is good.
func validity(block *pem.Block) (from, until time.Time, err error) {
	switch block.Type {
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return from, until, err
		}
		return cert.NotBefore, cert.NotAfter, nil
	case "X509 CRL":
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return from, until, err
		}
		return list.ThisUpdate, list.NextUpdate, nil
	}
	return from, until, fmt.Errorf("a PEM block of type %q is not expected", block.Type)
}
