package container

import (
	"os/exec"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// makeBase writes the tar of a root file system that holds nothing but the programs of this machine that the image, the health
// check and certs.sh run, the libraries of those and of the programs that follow, OpenSSL's settings, whose folder is not the same
// everywhere, and the CAs.
const makeBase = `
	umask 022
	mkdir -p "$0/usr/bin" "$0/bin" "$0/etc" "$0/tmp" "$0/proc" "$0/sys" "$0/dev" "$0/certs"
	chmod 1777 "$0/tmp"
	for tool in mktemp rm mv chmod openssl; do
		cp -L "$(command -v $tool)" "$0/usr/bin/"
	done
	for name in bash sh; do
		cp -L "$(command -v bash)" "$0/bin/$name"
	done
	ldd "$@" "$0"/usr/bin/* "$0/bin/bash" | sed -n 's,.*[[:space:]]\(/[^ ]*\) (0x.*,\1,p' | sort -u | xargs cp -L --parents -t "$0"
	echo root:x:0:0:root:/:/bin/sh >"$0/etc/passwd"
	echo root:x:0: >"$0/etc/group"
	dir=$(openssl version -d | cut -d'"' -f2)
	for name in openssl.cnf certs/ca-certificates.crt; do
		[ ! -e "$dir/$name" ] || cp -L --parents "$dir/$name" "$0"
	done
	cd "$0"
	tar -c --owner=0 --group=0 *`

// base makes the root file system for programs.
func base(t *testing.T, programs ...string) []byte {
	t.Helper()
	return tlstest.Value(exec.Command("bash", append([]string{"-euo", "pipefail", "-c", makeBase, t.TempDir()}, programs...)...).Output())(t)
}
