package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// guest is a client.
type guest struct {
	*tls.Conn
	t    *testing.T
	name string
	r    *bufio.Reader
}

// enter connects and gives a name.
func enter(t *testing.T, addr, name string) *guest {
	t.Helper()
	c := exampletest.Dial(t, addr)
	g := &guest{c, t, name, bufio.NewReader(c)}
	g.expect("* Your name?")
	g.say(name)
	g.expect("* " + name + " joins.")
	return g
}

// say says a line, or several.
func (g *guest) say(s string) {
	g.t.Helper()
	if _, err := io.WriteString(g, s+"\n"); err != nil {
		g.t.Fatalf("%s: %v", g.name, err)
	}
}

// hear is the next line that comes, or how it ended.
func (g *guest) hear() (string, error) {
	line, err := g.r.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

// expect reads lines.
func (g *guest) expect(lines ...string) {
	g.t.Helper()
	for _, want := range lines {
		if got, err := g.hear(); err != nil || got != want {
			g.t.Fatalf("%s hears %.100q, %v, want %.100q", g.name, got, err, want)
		}
	}
}

// expectEnd wants close_notify.
func (g *guest) expectEnd() {
	g.t.Helper()
	if line, err := g.hear(); err != io.EOF || line != "" {
		g.t.Fatalf("%s hears %.100q, %v, want the end", g.name, line, err)
	}
}

// TestRoom: several clients on two loops talk at once. Each hears all of them, each sender's lines in the sender's order,
// and all hear the same.
func TestRoom(t *testing.T) {
	addr := exampletest.Start(t, run, "-loops=2").Addr
	const lines = 200
	var guests []*guest
	for i := range 6 {
		g := enter(t, addr, fmt.Sprintf("guest%d", i))
		for _, other := range guests {
			other.expect("* " + g.name + " joins.")
		}
		guests = append(guests, g)
	}
	heard := make(chan []string)
	for _, g := range guests {
		go func() {
			for i := range lines {
				if _, err := fmt.Fprintf(g, "line %d\n", i); err != nil {
					t.Errorf("%s: %v", g.name, err)
				}
			}
		}()
		go func() {
			var all []string
			for range lines * len(guests) {
				line, err := g.hear()
				if err != nil {
					t.Errorf("%s: %v", g.name, err)
					break
				}
				all = append(all, line)
			}
			heard <- all
		}()
	}
	first := <-heard
	for range guests[1:] {
		if !slices.Equal(first, <-heard) {
			t.Error("not all have heard the same")
		}
	}
	for _, g := range guests {
		n := 0
		for _, line := range first {
			if text, ok := strings.CutPrefix(line, g.name+": "); ok {
				if want := fmt.Sprintf("line %d", n); text != want {
					t.Fatalf("%s said %q, want %q", g.name, text, want)
				}
				n++
			}
		}
		if n != lines {
			t.Errorf("%s said %d lines, want %d", g.name, n, lines)
		}
	}
	guests[0].Close()
	for _, g := range guests[1:] {
		g.expect("* guest0 leaves.")
	}
}

// TestSlowReader: a client that does not read is dropped when too much waits for it, and told why once it
// reads; what it gets until then has no gap. The others hear everything meanwhile.
func TestSlowReader(t *testing.T) {
	addr := exampletest.Start(t, run, "-loops=2").Addr
	slow := enter(t, addr, "slow")
	slow.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10)
	talker := enter(t, addr, "talker")
	slow.expect("* talker joins.")
	line := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", 1000)) }
	const leaves = "* slow leaves. It reads too slowly."
	const most = 128 << 20 // bytes: more than the kernel and the queue take
	said, gone := 0, false
	for ; !gone; said++ {
		if said*len(line(0)) > most {
			t.Fatal("the slow reader is not dropped")
		}
		talker.say(line(said))
		// The talker reads its own line before it says the next, so that it is never behind.
		got, err := talker.hear()
		if gone = got == leaves; gone {
			got, err = talker.hear()
		}
		if want := "talker: " + line(said); err != nil || got != want {
			t.Fatalf("the talker hears %.100q, %v, want %.100q", got, err, want)
		}
	}
	talker.say("good riddance")
	talker.expect("talker: good riddance")
	for i := 0; ; i++ {
		got, err := slow.hear()
		if strings.HasPrefix(got, "* Good bye: you read too slowly, ") && i > 0 {
			break
		}
		if want := "talker: " + line(i); err != nil || got != want {
			t.Fatalf("the slow reader hears %.100q, %v, want %.100q", got, err, want)
		}
	}
	slow.expectEnd()
	again := enter(t, addr, "slow") // the name is free
	talker.expect("* slow joins.")
	again.say("here I am")
	talker.expect("slow: here I am")
}

// TestNames: a name that will not do is refused, and asked for again.
func TestNames(t *testing.T) {
	addr := exampletest.Start(t, run).Addr
	bob := enter(t, addr, "bob")
	c := exampletest.Dial(t, addr)
	alice := &guest{c, t, "alice", bufio.NewReader(c)}
	alice.expect("* Your name?")
	for _, name := range []string{"", "*", "a b", "bob: hello", strings.Repeat("a", maxName+1)} {
		alice.say(name)
		alice.expect("* A name has 1 to 20 bytes, letters and digits only. Your name?")
	}
	alice.say("bob")
	alice.expect("* bob is here already. Your name?")
	alice.say("Ali\x1bce\r")
	alice.expect("* Alice joins.")
	bob.expect("* Alice joins.")
}

// TestLines: a line may come in parts, and several at once; what could move another's cursor is left out; a line that is too
// long ends the connection, with an explanation.
func TestLines(t *testing.T) {
	addr := exampletest.Start(t, run).Addr
	bob, alice := enter(t, addr, "bob"), enter(t, addr, "alice")
	bob.expect("* alice joins.")
	for _, part := range []string{"hel", "lo\nhow ", "are\x1b[2J", "\x00\xff you?\r\nwell", "\n"} {
		tlstest.Value(io.WriteString(alice, part))(t)
	}
	bob.expect("alice: hello", "alice: how are[2J\ufffd you?", "alice: well")
	longest := strings.Repeat("x", maxLine)
	alice.say(longest + "\n" + longest + "x\nnot heard")
	bob.expect("alice: " + longest)
	alice.expect("alice: hello", "alice: how are[2J\ufffd you?", "alice: well", "alice: "+longest,
		"* Good bye: a line has at most 1024 bytes.")
	alice.expectEnd()
	alice.Close()
	bob.expect("* alice leaves.")
}

// TestStop: a signal closes the room, which all hear before close_notify.
func TestStop(t *testing.T) {
	s := exampletest.Start(t, run, "-loops=2")
	addr := s.Addr
	bob, alice := enter(t, addr, "bob"), enter(t, addr, "alice")
	bob.expect("* alice joins.")
	done := make(chan struct{})
	go func() { defer close(done); s.Stop() }()
	for _, g := range []*guest{bob, alice} {
		g.expect("* The room closes.")
	}
	bob.Close()
	alice.Close()
	<-done
}
