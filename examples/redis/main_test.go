package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/spacemonad/go-openssl/examples/internal/exampletest"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/testmain"
	"github.com/spacemonad/go-openssl/internal/tlstest"
)

func TestMain(m *testing.M) { testmain.Run(m, nil) }

// say writes to a client's connection while the test reads what comes back.
func say(t *testing.T, c io.Writer, text string) {
	t.Helper()
	go func() {
		if _, err := io.WriteString(c, text); err != nil {
			t.Errorf("write: %v", err)
		}
	}()
}

func expect(t *testing.T, c io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); string(got[:n]) != want {
		t.Fatalf("got %.200q, %v, want %.200q", got[:n], err, want)
	}
}

func expectEnd(t *testing.T, c io.Reader) {
	t.Helper()
	rest, err := io.ReadAll(c)
	if tlstest.Must(t, err); len(rest) > 0 {
		t.Errorf("got %.200q, want the end", rest)
	}
}

// words is a command.
func words(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

// replies are what Redis 7.0 replies (TestLikeRedis compares). Where "!" follows, the connection ends.
var replies = []struct{ say, hear string }{
	{"PING\r\n", "+PONG\r\n"},
	{"\r\n\r\nPING\nping hello\r\n", "+PONG\r\n$5\r\nhello\r\n"},
	{"PING a b\r\n", "-ERR wrong number of arguments for 'ping' command\r\n"},
	{"*0\r\n*-1\r\n*1\r\n$4\r\nPINGxxPING\r\r\n", "+PONG\r\n+PONG\r\n"},
	{words("foo", "a\r\nb"), "-ERR unknown command 'foo', with args beginning with: 'a  b' \r\n"},
	{words(""), "-ERR unknown command '', with args beginning with: \r\n"},
	{"GET a\r\nSET a 1\r\nGET a\r\n" + words("SET", "a", "") + "GET a\r\nDEL a b\r\n", "$-1\r\n+OK\r\n$1\r\n1\r\n+OK\r\n$0\r\n\r\n:1\r\n"},
	{"SET a 1 nosuch\r\n", "-ERR syntax error\r\n"},
	{"ACL WHOAMI\r\nACL\r\nACL FOO\r\n", "$7\r\ndefault\r\n-ERR wrong number of arguments for 'acl' command\r\n-ERR unknown subcommand 'FOO'. Try ACL HELP.\r\n"},
	{"CONFIG GET save\r\nCONFIG GET appendonly\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"},
	{"SUBSCRIBE a b\r\nGET x\r\nPING\r\nUNSUBSCRIBE a b\r\nUNSUBSCRIBE\r\nPUBLISH a x\r\n",
		"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n" +
			"-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n" +
			"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:0\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n:0\r\n"},
	{"QUIT\r\nPING\r\n", "+OK\r\n!"},
	{"*abc\r\n", "-ERR Protocol error: invalid multibulk length\r\n!"},
	{"PING\r\n*1\r\nfoo\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: expected '$', got 'f'\r\n!"},
	{"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n!"},
	{strings.Repeat("x", maxLine+1), "-ERR Protocol error: too big inline request\r\n!"},
}

// TestReplies: each row at once, and (the short ones) byte by byte, each byte in a record of its own.
func TestReplies(t *testing.T) {
	s := exampletest.Start(t, run)
	for _, row := range replies {
		for _, whole := range []bool{true, false} {
			if !whole && len(row.say) > 1000 {
				continue
			}
			c := exampletest.Dial(t, s.Addr)
			say(t, c, "DEL a b k n\r\n")
			if _, err := fmt.Fscanf(c, ":%d\r\n", new(int)); err != nil {
				t.Fatal(err)
			}
			if whole {
				say(t, c, row.say)
			} else {
				for _, b := range []byte(row.say) {
					c.Write([]byte{b}) // fails behind an error that ends the connection
				}
			}
			hear, ends := strings.CutSuffix(row.hear, "!")
			if expect(t, c, hear); ends {
				expectEnd(t, c)
			}
			c.Close()
		}
	}
}

// TestPipeline: 10,000 commands in one write; a client that does not read is read no further, and misses nothing. Then replies
// that are far longer than the queue may be, and a client that goes in the midst.
func TestPipeline(t *testing.T) {
	s := exampletest.Start(t, run)
	c := exampletest.Dial(t, s.Addr)
	var commands, answers strings.Builder
	for i := range 5000 {
		commands.WriteString(words("SET", "n", fmt.Sprint(i)) + "GET n\r\n")
		fmt.Fprintf(&answers, "+OK\r\n$%d\r\n%d\r\n", len(fmt.Sprint(i)), i)
	}
	say(t, c, commands.String())
	expect(t, c, answers.String())
	big := string(tlstest.Bytes(maxBulk, 1))
	reply := fmt.Sprintf("$%d\r\n%s\r\n", len(big), big)
	say(t, c, words("SET", "big", big)+words("PING", big)+strings.Repeat("GET big\r\n", 3)+"PING\r\n")
	expect(t, c, "+OK\r\n")
	for range 4 {
		expect(t, c, reply)
	}
	expect(t, c, "+PONG\r\n")
	other := exampletest.Dial(t, s.Addr)
	say(t, other, words("GET", "big")+"*2\r\n$3\r\nGET\r\n$3\r\nb")
	expect(t, other, reply[:1000])
	other.NetConn().Close()
	say(t, c, "PING\r\n")
	expect(t, c, "+PONG\r\n")
}

// TestSubscribers: all on two loops hear all messages of two publishers in the same order; one that does not read is closed, and
// holds up nobody.
func TestSubscribers(t *testing.T) {
	s := exampletest.Start(t, run, "-loops=2")
	const subscribers, messages = 6, 300
	join := func() *tls.Conn {
		c := exampletest.Dial(t, s.Addr)
		say(t, c, "SUBSCRIBE news\r\n")
		expect(t, c, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")
		return c
	}
	message := strings.Repeat("m", 1000)
	var heard []<-chan string
	for range subscribers {
		c := join()
		heard = append(heard, tlstest.Later(func() string {
			p := make([]byte, 2*messages*len(words("message", "news", "0"+message)))
			n, _ := io.ReadFull(c, p)
			return string(p[:n])
		}))
	}
	for i := range 2 {
		c := exampletest.Dial(t, s.Addr)
		say(t, c, strings.Repeat(words("PUBLISH", "news", fmt.Sprint(i)+message), messages))
		defer func() { expect(t, c, strings.Repeat(fmt.Sprintf(":%d\r\n", subscribers), messages)) }()
	}
	first := <-heard[0]
	for i := range 2 {
		tlstest.Equal(t, "messages", strings.Count(first, words("message", "news", fmt.Sprint(i)+message)), messages)
	}
	for _, h := range heard[1:] {
		if <-h != first {
			t.Error("not all have heard the same")
		}
	}
	c := exampletest.Dial(t, s.Addr)
	big := words("PUBLISH", "slow", strings.Repeat("m", maxBulk))
	slow := exampletest.Dial(t, s.Addr)
	say(t, slow, "SUBSCRIBE slow\r\n")
	expect(t, slow, "*3\r\n$9\r\nsubscribe\r\n$4\r\nslow\r\n:1\r\n")
	for range 2 {
		say(t, c, big)
		expect(t, c, ":1\r\n")
	}
	tlstest.Until(t, "the end of the slow subscriber", func() bool {
		say(t, c, "PUBLISH slow x\r\n")
		reply := make([]byte, 4)
		io.ReadFull(c, reply)
		return string(reply) == ":0\r\n"
	})
}

// TestMessageBehindReply: with RESP3 a subscriber has other replies too. A message does not come into the midst of one, however
// slowly the client reads it.
func TestMessageBehindReply(t *testing.T) {
	s := exampletest.Start(t, run)
	c, publisher := exampletest.Dial(t, s.Addr), exampletest.Dial(t, s.Addr)
	value := string(tlstest.Bytes(32<<20, 1)) // more than the kernel's buffers take
	say(t, publisher, words("SET", "big", value))
	expect(t, publisher, "+OK\r\n")
	say(t, c, "HELLO 3\r\nSUBSCRIBE a\r\nGET big\r\n")
	reply := fmt.Sprintf("$%d\r\n%s\r\n", len(value), value)
	begin := ""
	for b := make([]byte, 1); !strings.HasSuffix(begin, reply[:100]); begin += string(b) {
		tlstest.Value(io.ReadFull(c, b))(t)
	}
	say(t, publisher, "PUBLISH a m\r\n")
	expect(t, publisher, ":1\r\n")
	expect(t, c, reply[100:]+">"+words("message", "a", "m")[1:])
}

// TestFull: nothing is stored above -maxmemory, until something is deleted.
func TestFull(t *testing.T) {
	c := exampletest.Dial(t, exampletest.Start(t, run, "-maxmemory=1000").Addr)
	const full = "-OOM command not allowed when used memory > 'maxmemory'.\r\n"
	big := strings.Repeat("x", 999-overhead)
	say(t, c, words("SET", "a", big)+"SET b 1\r\nGET b\r\nSUBSCRIBE b\r\nDEL a\r\nSET b 1\r\nDEL b\r\n"+words("SUBSCRIBE", big, "cc")+"UNSUBSCRIBE\r\nSET b 1\r\n")
	change := func(how string, n int) string { return "*3" + words(how, big)[2:] + fmt.Sprintf(":%d\r\n", n) }
	expect(t, c, "+OK\r\n"+full+"$-1\r\n"+full+":1\r\n+OK\r\n:1\r\n"+change("subscribe", 1)+full+change("unsubscribe", 0)+"+OK\r\n")
}

// TestBadInput: commands that announce much, or are refused only late, take little memory, and others are served meanwhile.
func TestBadInput(t *testing.T) {
	s := exampletest.Start(t, run, "-loops=1")
	other := exampletest.Dial(t, s.Addr)
	before := tlstest.RSS(t)
	for range 64 {
		c := exampletest.Dial(t, s.Addr)
		say(t, c, "PING\r\n*2147483647\r\n$67108864\r\nhalf")
		expect(t, c, "+PONG\r\n")
	}
	say(t, other, "PING\r\n")
	expect(t, other, "+PONG\r\n")
	if grown := tlstest.RSS(t) - before; grown > maxBulk {
		t.Errorf("64 beginnings of commands take %d bytes", grown)
	}
	c := exampletest.Dial(t, s.Addr)
	tlstest.Value(io.WriteString(c, "*2147483647\r\n"+strings.Repeat("$0\r\n\r\n", maxCommand/overhead)))(t)
	say(t, other, "PING\r\n")
	expect(t, other, "+PONG\r\n")
	say(t, c, "$0\r\n")
	expect(t, c, "-ERR Protocol error: too big command\r\n")
	expectEnd(t, c)
}

// TestUser: the user is the common name of the client's certificate, which -ca demands.
func TestUser(t *testing.T) {
	s := exampletest.Start(t, run, "-ca="+testcerts.Path("root.pem"))
	pair := tlstest.Value(tls.LoadX509KeyPair(testcerts.Path("client.pem"), testcerts.Path("client.key")))(t)
	c := tls.Client(s.Connect(t), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}})
	say(t, c, "ACL WHOAMI\r\n")
	expect(t, c, "$6\r\nclient\r\n")
	c.Close()
	none := exampletest.Dial(t, s.Addr)
	if _, err := none.Read(make([]byte, 1)); err == nil {
		t.Error("a client without a certificate was served")
	}
}

// TestClients: redis-cli, also with a certificate, and redis-benchmark, also with pipelines.
func TestClients(t *testing.T) {
	root := testcerts.Path("root.pem")
	for _, program := range []struct {
		input  string
		want   string
		args   []string
		server []string
	}{
		{"SET a \"\"\nSET a 12\nGET a\nGET b\n", "12", []string{"redis-cli"}, nil},
		{"SET a 12\nGET a\nGET b\nHELLO\n", "proto", []string{"redis-cli", "-3"}, nil},
		{"ACL WHOAMI\n", "client", []string{"redis-cli", "--cert", testcerts.Path("client.pem"), "--key", testcerts.Path("client.key")},
			[]string{"-ca", root}},
		{"", "GET", []string{"redis-benchmark", "-q", "-n", "1000", "-t", "ping,set,get"}, nil},
		{"", "GET", []string{"redis-benchmark", "-q", "-n", "5000", "-P", "100", "-d", "5000", "-t", "ping,set,get"}, nil},
	} {
		t.Run(program.args[0], func(t *testing.T) {
			if _, err := exec.LookPath(program.args[0]); err != nil {
				t.Skip(err)
			}
			_, port, _ := strings.Cut(exampletest.Start(t, run, program.server...).Addr, ":")
			cmd := exec.Command(program.args[0], append([]string{"-p", port, "--tls", "--cacert", root}, program.args[1:]...)...)
			cmd.Stdin = strings.NewReader(program.input)
			out := tlstest.Value(cmd.CombinedOutput())(t)
			if !bytes.Contains(out, []byte(program.want)) || bytes.Contains(bytes.ToUpper(out), []byte("WARN")) {
				t.Errorf("%s", out)
			}
		})
	}
}
