package fleet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// TestTicketKeysScript: each step changes the file as docs/operate/fleet.md says, and leaves it alone when it makes no sense.
func TestTicketKeysScript(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tickets")
	script := root + "/docker/fleet/ticket-keys.sh"
	keys := func() []string { t.Helper(); return strings.Fields(string(tlstest.Value(os.ReadFile(file))(t))) }
	step := func(what string, want ...string) {
		t.Helper()
		must(t, script, what, file)
		if got := keys(); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %d keys, or in another order", what, len(got))
		}
	}
	must(t, script, "new", file)
	old := keys()
	step("new", old...)
	must(t, script, "add", file)
	both := keys()
	if len(old) != 1 || len(both) != 2 || both[0] != old[0] || both[1] == old[0] {
		t.Fatalf("%d keys, then %d, or the new one is not the last", len(old), len(both))
	}
	step("promote", both[1], both[0])
	step("drop", both[1])
	for _, args := range [][]string{{"drop", file}, {"promote", file}, {"turn", file}, {"add"}} {
		if out, err := command(script, args...).CombinedOutput(); err == nil || len(out) == 0 {
			t.Errorf("%s: %v, %q", args[0], err, out)
		}
	}
	step("new", both[1])
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v: others may read the keys", info.Mode(), err)
	}
	if all, _ := filepath.Glob(file + "*"); len(all) != 1 {
		t.Errorf("left behind: %q", all)
	}
}
