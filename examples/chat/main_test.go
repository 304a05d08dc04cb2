package main

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// guest is a client with a name.
type guest struct {
	*exampletest.Talker
	name string
}

// enter connects and gives a name.
func enter(t *testing.T, addr, name string) *guest {
	t.Helper()
	g := &guest{exampletest.Talk(t, addr), name}
	g.Expect("* Your name?")
	g.Say(name + "\n")
	g.Expect("* " + name + " joins.")
	return g
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
			other.Expect("* " + g.name + " joins.")
		}
		guests = append(guests, g)
	}
	var heard []<-chan []string
	for _, g := range guests {
		go func() {
			for i := range lines {
				if _, err := fmt.Fprintf(g, "line %d\n", i); err != nil {
					t.Errorf("%s: %v", g.name, err)
				}
			}
		}()
		heard = append(heard, tlstest.Later(func() (all []string) {
			for len(all) < lines*len(guests) {
				line, err := g.Hear()
				if err != nil {
					t.Errorf("%s: %v", g.name, err)
					break
				}
				all = append(all, line)
			}
			return all
		}))
	}
	first := <-heard[0]
	for _, others := range heard[1:] {
		if !slices.Equal(first, <-others) {
			t.Error("not all have heard the same")
		}
	}
	said := map[string]int{}
	for _, line := range first {
		name, text, _ := strings.Cut(line, ": ")
		tlstest.Equal(t, name+" says", text, fmt.Sprintf("line %d", said[name]))
		said[name]++
	}
	for _, g := range guests {
		tlstest.Equal(t, "lines of "+g.name, said[g.name], lines)
	}
	guests[0].Close()
	for _, g := range guests[1:] {
		g.Expect("* guest0 leaves.")
	}
}

// TestSlowReader: a client that does not read is dropped when too much waits for it, and told why once it
// reads; what it gets until then has no gap. The others hear everything meanwhile.
func TestSlowReader(t *testing.T) {
	addr := exampletest.Start(t, run, "-loops=2").Addr
	slow := enter(t, addr, "slow")
	slow.NetConn().(*net.TCPConn).SetReadBuffer(64 << 10)
	talker := enter(t, addr, "talker")
	slow.Expect("* talker joins.")
	line := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", 1000)) }
	const leaves = "* slow leaves. It reads too slowly."
	const most = 128 << 20 // bytes: more than the kernel and the queue take
	said, gone := 0, false
	for ; !gone; said++ {
		if said*len(line(0)) > most {
			t.Fatal("the slow reader is not dropped")
		}
		talker.Say(line(said) + "\n")
		// The talker reads its own line before it says the next, so that it is never behind.
		got, err := talker.Hear()
		if gone = got == leaves; gone {
			got, err = talker.Hear()
		}
		if want := "talker: " + line(said); err != nil || got != want {
			t.Fatalf("the talker hears %.100q, %v, want %.100q", got, err, want)
		}
	}
	talker.Say("good riddance\n")
	talker.Expect("talker: good riddance")
	for i := 0; ; i++ {
		got, err := slow.Hear()
		if strings.HasPrefix(got, "* Good bye: you read too slowly, ") && i > 0 {
			break
		}
		if want := "talker: " + line(i); err != nil || got != want {
			t.Fatalf("the slow reader hears %.100q, %v, want %.100q", got, err, want)
		}
	}
	slow.ExpectEnd()
	again := enter(t, addr, "slow") // the name is free
	talker.Expect("* slow joins.")
	again.Say("here I am\n")
	talker.Expect("slow: here I am")
}

// TestNames: a name that will not do is refused, and asked for again.
func TestNames(t *testing.T) {
	addr := exampletest.Start(t, run).Addr
	bob := enter(t, addr, "bob")
	alice := exampletest.Talk(t, addr)
	alice.Expect("* Your name?")
	for _, name := range []string{"", "*", "a b", "bob: hello", strings.Repeat("a", maxName+1)} {
		alice.Say(name + "\n")
		alice.Expect("* A name has 1 to 20 bytes, letters and digits only. Your name?")
	}
	alice.Say("bob\n")
	alice.Expect("* bob is here already. Your name?")
	alice.Say("Ali\x1bce\r\n")
	alice.Expect("* Alice joins.")
	bob.Expect("* Alice joins.")
}

// TestLines: a line may come in parts, and several at once; what could move another's cursor is left out; a line that is too
// long ends the connection, with an explanation.
func TestLines(t *testing.T) {
	addr := exampletest.Start(t, run).Addr
	bob, alice := enter(t, addr, "bob"), enter(t, addr, "alice")
	bob.Expect("* alice joins.")
	for _, part := range []string{"hel", "lo\nhow ", "are\x1b[2J", "\x00\xff you?\r\nwell", "\n"} {
		alice.Say(part)
	}
	bob.Expect("alice: hello", "alice: how are[2J\ufffd you?", "alice: well")
	longest := strings.Repeat("x", maxLine)
	alice.Say(longest + "\n" + longest + "x\nnot heard\n")
	bob.Expect("alice: " + longest)
	alice.Expect("alice: hello", "alice: how are[2J\ufffd you?", "alice: well", "alice: "+longest,
		"* Good bye: a line has at most 1024 bytes.")
	alice.ExpectEnd()
	alice.Close()
	bob.Expect("* alice leaves.")
}

// TestStop: a signal closes the room, which all hear before close_notify.
func TestStop(t *testing.T) {
	s := exampletest.Start(t, run, "-loops=2")
	bob, alice := enter(t, s.Addr, "bob"), enter(t, s.Addr, "alice")
	bob.Expect("* alice joins.")
	done := tlstest.Later(func() bool { s.Stop(); return true })
	for _, g := range []*guest{bob, alice} {
		g.Expect("* The room closes.")
	}
	bob.Close()
	alice.Close()
	<-done
}
