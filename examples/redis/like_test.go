package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/live"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

// scripts are commands whose replies are those of a redis-server, with those of replies.
var scripts = []string{
	"PING\r\n  ping\ta \v\r\nPiNg a b\n\n\r\n*1\r\n$4\r\nPING\r\n",
	"GET\r\nGET k1 k2\r\nSET k1\r\nSET k1 a b\r\nDEL\r\nPUBLISH a\r\nSUBSCRIBE\r\nACL\r\nACL WHOAMI x\r\nCONFIG GET\r\nCOMMAND DOCS nosuch\r\nCLIENT\r\nCONFIG\r\n",
	"SET k1 1\r\nSET k2 2\r\nGET k1\r\nDEL k1 k1 k2 k3\r\nGET k1\r\n",
	"nosuch\r\nnosuch " + strings.Repeat("a ", 100) + "\r\nnosuch " + strings.Repeat("y", 200) + "\r\n" + strings.Repeat("n", 200) + " b\r\n",
	words("nosuch", "a\x00b", "é"+strings.Repeat("ü", 100), "z") + words("no\x00such", "\xff\xfe") + words("é"+strings.Repeat("ü", 100)) + words("no\r\nsuch", "\r\n"),
	words("ACL|WHOAMI") + words("config|get", "save") + words("acl", "no|such") + words("ACL", "NO\r\nSUCH\x00x") + words("client", strings.Repeat("é", 100)),
	"HELLO\r\nHELLO 2\r\nHELLO 3\r\nHELLO 4\r\nHELLO 1\r\nHELLO 03\r\nHELLO x\r\nHELLO 99999999999999999999\r\nHELLO 3 FOO\r\nHELLO 2 a\x01 b\r\n" + words("HELLO", "2", "a\r\nb\x00c"),
	"CONFIG GET save\r\nCONFIG GET appendonly\r\nCONFIG GET nosuch\r\nCONFIG GET nosuch save\r\nCONFIG NOSUCH\r\nconfig get save SAVE nosuch\r\n",
	"SUBSCRIBE a b a\r\nGET x\r\nACL WHOAMI\r\nCONFIG GET save\r\nnosuch\r\nGET\r\nHELLO 2\r\nPUBLISH b m\r\nPING\r\nPING x\r\nUNSUBSCRIBE c b\r\nUNSUBSCRIBE\r\nUNSUBSCRIBE\r\nPUBLISH a m\r\nPING\r\n",
	"SUBSCRIBE a\r\nQUIT\r\nPING\r\n", "QUIT x\r\n", "quit\r\nPING\r\n",
	"HELLO 3\r\nSUBSCRIBE a\r\nHELLO 2\r\nPUBLISH a m\r\nHELLO 3\r\nPING\r\nUNSUBSCRIBE\r\nPUBLISH a m\r\n",
	"PING \"a b\r\n", "PING 'a\r\n",
	"*0\r\n*-1\r\n*-2147483649\r\nPING\r\n", "*1000000000\r\n$4\r\nPING\r\n", "*2147483647\r\n", "*2147483648\r\nPING\r\n", "*\r\n", "*01\r\n", "*+1\r\n", "* 1\r\n", "*1 \r\n", "*-0\r\n",
	"*9223372036854775808\r\n", "*1\rx$4\r\nPING\r\n*1\r\n", "*1\r\n$-5\r\n", "*1\r\n$04\r\nPING\r\n", "*1\r\n$+4\r\nPING\r\n", "*1\r\n$\r\n", "*1\r\n$67108865\r\n",
	"*1\r\n$67108864\r\nPING", "*1\r\n$9223372036854775807\r\n", "*1\r\n$0\r\n\r\nPING\r\n", "*1\r\nPING\r\n", "*1\r\n\r\n", "*1\r\n\n\r\n", "*1\r\n\xff\r\n", "*2\r\n$4\r\nPING\r\n:1\r\n",
	"*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n", "PING", "*", "*1", "*1\r", "*1\r\n$", "*1\r\n$4\r\nPING\r",
	strings.Repeat("x", maxLine+1), "*" + strings.Repeat("1", maxLine), "*1\r\n$" + strings.Repeat("1", maxLine), "*" + strings.Repeat("1", 1000) + "\r\n",
	words(append([]string{"DEL"}, strings.Fields(strings.Repeat("k ", 5000))...)...) + "PING\r\n",
}

// pieces are what random scripts are made of. Redis has an order of its own for all channels, all settings and all commands; so nothing
// asks for them, nor can damage make it: UNSUBSCRIBE has a channel, and COMMAND and CONFIG stand only in scripts.
var pieces = []func(r *rand.Rand) string{
	func(r *rand.Rand) string { return command(r, "PING", 0, 3) }, func(r *rand.Rand) string { return command(r, "GET", 0, 3) },
	func(r *rand.Rand) string { return command(r, "SET", 2, 3) }, func(r *rand.Rand) string { return command(r, "SET", 0, 5) },
	func(r *rand.Rand) string { return command(r, "DEL", 0, 4) }, func(r *rand.Rand) string { return command(r, "nosuch", 0, 6) },
	func(r *rand.Rand) string {
		return pick(r, "SUBSCRIBE k1\r\n", words("subscribe", "k1", "k1"), "Subscribe\n")
	},
	func(r *rand.Rand) string { return command(r, "UNSUBSCRIBE", 1, 3) },
	func(r *rand.Rand) string { return command(r, "PUBLISH", 1, 4) }, func(r *rand.Rand) string { return command(r, "PUBLISH", 2, 3) },
	func(r *rand.Rand) string { return pick(r, "HELLO 2\r\n", "HELLO 3\r\n", "hello\n") },
	func(r *rand.Rand) string { return pick(r, "acl whoami\r\n", "CLIENT nosuch\r\n") },
	func(r *rand.Rand) string { return pick(r, "\r\n", "*0\r\n", "*-1\r\n", "  \n") },
}

// damages are what a random script may have instead of something right.
var damages = []string{"$", "*", ":1\r\n", "\r\n", "\n", "$-1\r\n", "$3\r\n", "*2\r\n", "*1000000\r\n", "$67108865\r\n", "*x\r\n", "x", "$01\r\n", "\"", "\xff"}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }

// command has at least least arguments, and fewer than most.
func command(r *rand.Rand, name string, least, most int) string {
	if r.IntN(4) == 0 {
		name = strings.ToLower(name)
	}
	all := []string{name}
	inline := r.IntN(3) == 0
	for range least + r.IntN(most-least) {
		if inline {
			all = append(all, pick(r, "k1", "k2", "k3", "7", "é", "\x01\xff"))
		} else {
			all = append(all, pick(r, "k1", "k2", "k3", "", "a\r\nb", "a\x00b", "\xc3\xa9", strings.Repeat("v", r.IntN(1000))))
		}
	}
	if inline {
		return strings.Join(all, pick(r, " ", "\t", "  ")) + pick(r, "\n", "\r\n")
	}
	return words(all...)
}

// randomScript is right for the greater part. Redis looks for the end of a line with C's strchr, and so waits for more behind a
// zero byte; so such bytes are in arguments only, and a script with them has no damage.
func randomScript(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(12) {
		b.WriteString(pieces[r.IntN(len(pieces))](r))
	}
	script := b.String()
	if r.IntN(2) == 0 && !strings.Contains(script, "\x00") {
		at := r.IntN(len(script))
		script = script[:at] + pick(r, damages...) + script[min(len(script), at+r.IntN(3)):]
	}
	return script
}

// hidden are what may differ: the version, and the number of the connection, which counts others as well.
var hidden = regexp.MustCompile(`(\$7\r\nversion\r\n)\$\d+\r\n[0-9.]+|(\$2\r\nid\r\n):\d+`)

// replyTo sends a script in n writes, and a close behind it, and returns all replies.
func replyTo(t *testing.T, c interface {
	net.Conn
	CloseWrite() error
}, script string, n int) string {
	t.Helper()
	defer c.Close()
	wrote := tlstest.Later(func() error {
		for i := range n {
			if _, err := io.WriteString(c, script[len(script)*i/n:len(script)*(i+1)/n]); err != nil {
				return err // behind an error of the protocol the connection ends
			}
		}
		return c.CloseWrite()
	})
	got, _ := io.ReadAll(c) // it may end with a reset
	<-wrote
	return hidden.ReplaceAllString(string(got), "$1$2")
}

// TestLikeRedis: the replies are those of a redis-server, byte by byte.
func TestLikeRedis(t *testing.T) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	redis := exec.Command(path, "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no", "--proto-max-bulk-len", fmt.Sprint(maxBulk))
	tlstest.Must(t, redis.Start())
	t.Cleanup(func() { redis.Process.Kill(); redis.Wait() })
	var theirs net.Conn
	dial := func() (err error) {
		if theirs, err = net.Dial("unix", socket); err == nil {
			theirs.SetDeadline(time.Now().Add(tlstest.Hang))
		}
		return err
	}
	tlstest.Until(t, "redis-server", func() bool { return dial() == nil })
	theirs.Close()

	s := exampletest.Start(t, run)
	compare := func(script string, n int) bool {
		t.Helper()
		tlstest.Must(t, dial())
		want, got := replyTo(t, theirs.(*net.UnixConn), script, n), replyTo(t, exampletest.Dial(t, s.Addr), script, n)
		tlstest.Until(t, "the end of the connection's subscriptions", func() bool { return live.Conns() == 0 })
		if got != want {
			t.Errorf("%.500q: got\n%.1000q, want\n%.1000q", script, got, want)
		}
		return got == want
	}
	all := scripts
	for _, row := range replies {
		all = append(all, row.say)
	}
	for _, script := range all {
		for _, hello := range []string{"", "HELLO 3\r\n"} {
			compare("DEL k1 k2 k3 a b n\r\n"+hello+script, 1)
		}
	}
	seed := rand.Uint64()
	for i := range uint64(1000 / tlstest.Scale) {
		r := rand.New(rand.NewPCG(seed, i))
		script := pick(r, "", "HELLO 3\r\n") + randomScript(r)
		if !compare("DEL k1 k2 k3\r\n"+script, 1+r.IntN(min(len(script), 20))) {
			t.Fatalf("seed %d, script %d", seed, i)
		}
	}
}
