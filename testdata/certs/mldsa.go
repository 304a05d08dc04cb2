package main

import (
	"fmt"
	"log"
	"os/exec"
	"path/filepath"
)

// writeMLDSA makes self-signed certificates with keys of ML-DSA, which crypto/x509 cannot sign with. It needs the
// openssl command of OpenSSL 3.5; with an older one it leaves the files as they are and says so.
func writeMLDSA(dir string) error {
	const layout = "20060102150405Z"
	for _, size := range []string{"44", "65", "87"} {
		file := filepath.Join(dir, "mldsa"+size)
		if exec.Command("openssl", "genpkey", "-algorithm", "ML-DSA-"+size).Run() != nil {
			log.Printf("%s.pem stays as it is: the openssl command has no ML-DSA (scripts/suite trixie make certs)", file)
			continue
		}
		if err := run("openssl", "genpkey", "-algorithm", "ML-DSA-"+size, "-out", file+".key"); err != nil {
			return err
		}
		if err := run("openssl", "req", "-x509", "-key", file+".key", "-out", file+".pem", "-subj", "/O=go-openssl tests/CN=ML-DSA-"+size+" server",
			"-addext", "subjectAltName=DNS:localhost,DNS:example.test,IP:127.0.0.1,IP:::1",
			"-not_before", notBefore.Format(layout), "-not_after", notAfter.Format(layout)); err != nil {
			return err
		}
	}
	return nil
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, out)
	}
	return nil
}
