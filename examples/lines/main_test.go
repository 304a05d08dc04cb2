package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// enter runs the program with a first client.
func enter(t *testing.T) (addr string, p *exampletest.Talker) {
	t.Helper()
	addr = exampletest.Start(t, run).Addr
	return addr, exampletest.Talk(t, addr)
}

// flood says the same with each number below n, without waiting for answers.
func flood(t *testing.T, p *exampletest.Talker, n int, format string) {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	go func() {
		if _, err := io.WriteString(p, b.String()); err != nil {
			t.Errorf("write: %v", err)
		}
	}()
}

const (
	usage   = "ERROR say SET key value, GET key, DEL key, or QUIT"
	tooLong = "ERROR the line is longer than 1024 bytes"
)

// TestCommands: each command, and each way to get one wrong, has its answer.
func TestCommands(t *testing.T) {
	_, p := enter(t)
	for _, c := range []struct{ command, answer string }{
		{"GET a", "NONE"},
		{"DEL a", "NONE"},
		{"SET a 1", "OK"},
		{"get a", "VALUE 1"},
		{"SET a of several words ", "OK"},
		{"GET a", "VALUE of several words "},
		{"SET a ", "OK"},
		{"GET a", "VALUE "},
		{"DEL a", "OK"},
		{"GET a", "NONE"},
		{"GET a\r", "NONE"},
		{"", usage}, {"GET", usage}, {"GET ", usage}, {"SET a", usage}, {"SET  1", usage}, {"GET a b", usage},
		{"QUIT now", usage}, {"GO a", usage}, {"\x00\xff", usage},
	} {
		p.Say(c.command + "\n")
		p.Expect(c.answer)
	}
}

// TestSplit: a line may come byte by byte, each in a TLS record of its own.
func TestSplit(t *testing.T) {
	_, p := enter(t)
	for _, b := range []byte("SET key value\r\nGET key\n") {
		p.Say(string(b))
	}
	p.Expect("OK", "VALUE value")
}

// TestPipelined: commands that do not wait for answers get them in order, also when a record's end is in the midst of a
// line; and a client that does not read its answers is not cut off for it, however long they are.
func TestPipelined(t *testing.T) {
	addr, p := enter(t)
	value := strings.Repeat("v", 1000)
	p.Say("SET long " + value + "\n")
	p.Expect("OK")
	const rounds = 4000
	flood(t, p, rounds, "SET key %d\nGET key\nGET long\n") // all at once: the answers are 4 MB
	other := exampletest.Talk(t, addr)
	other.Say("GET long\n") // the loops are not held up meanwhile
	other.Expect("VALUE " + value)
	for i := range rounds {
		p.Expect("OK", fmt.Sprintf("VALUE %d", i), "VALUE "+value)
	}
}

// TestTooLong: a line of the greatest length is a line; one that is longer, in one piece or in many, is answered by an error,
// in its turn, and none of it is taken for a command.
func TestTooLong(t *testing.T) {
	_, p := enter(t)
	longest := "SET a " + strings.Repeat("x", maxLine-len("SET a "))
	p.Say(longest + "\nGET a\n")
	p.Expect("OK", "VALUE "+longest[len("SET a "):])
	p.Say("GET b\n" + longest + "x\nGET b\n")
	p.Expect("NONE", tooLong, "NONE")
	for range 3 * maxLine / 8 {
		p.Say("DEL a   ")
	}
	p.Say("\nGET a\n")
	p.Expect(tooLong, "VALUE "+longest[len("SET a "):])
}

// TestFull: the store refuses a key too many, and goes on with those that it has.
func TestFull(t *testing.T) {
	_, p := enter(t)
	flood(t, p, maxKeys+1, "SET %d x\n")
	for range maxKeys {
		p.Expect("OK")
	}
	p.Expect("ERROR there are 10000 keys already: DEL one first")
	p.Say("SET 0 y\nGET 0\n")
	p.Expect("OK", "VALUE y")
}

// TestQuit: QUIT is answered behind all that came before it, the connection ends with close_notify, and what follows QUIT
// in the same record is not done.
func TestQuit(t *testing.T) {
	addr, p := enter(t)
	p.Say("SET a 1\nGET a\nQUIT\nSET a 2\n")
	p.Expect("OK", "VALUE 1", "BYE")
	p.ExpectEnd()
	other := exampletest.Talk(t, addr)
	other.Say("GET a\n")
	other.Expect("VALUE 1")
}

// TestHangUp: what a client has sent before its close_notify is answered.
func TestHangUp(t *testing.T) {
	_, p := enter(t)
	p.Say("SET a 1\nGET a\nGET a")
	tlstest.Must(t, p.CloseWrite())
	p.Expect("OK", "VALUE 1")
	p.ExpectEnd()
}
