package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/services"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/reactor"
)

// countTLS connects, and counts the records that arrive. Go's client takes a bare FIN
// between two records for a clean end, so who wants to see a close_notify looks at the last record, which TLS
// 1.2 shows the type of.
func countTLS(t *testing.T, addr string, version uint16) (*tls.Conn, *recordCounter) {
	t.Helper()
	raw := tlstest.Value(net.Dial("tcp", addr))(t)
	counter := &recordCounter{Conn: raw}
	c := tls.Client(counter, &tls.Config{InsecureSkipVerify: true, MaxVersion: version, DynamicRecordSizingDisabled: true})
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	return c, counter
}

// TestServiceEnds: each service ends cleanly when the client has ended its own direction,
// and what it had to say until then arrives.
func TestServiceEnds(t *testing.T) {
	for name, check := range map[string]func(got string) bool{
		"echo":    func(got string) bool { return got == "one\ntwo" },
		"discard": func(got string) bool { return got == "" },
		"reverse": func(got string) bool { return got == "eno\nowt\n" },
		"chargen": func(got string) bool { return len(got) > 0 && badChargen(0, []byte(got)) < 0 },
	} {
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(v), func(t *testing.T) {
				d := runDaemon(t, "--service", name)
				c, records := countTLS(t, d.addr(), v)
				io.WriteString(c, "one\ntwo")
				c.CloseWrite()
				got, err := io.ReadAll(c)
				if err != nil || !check(string(got)) {
					t.Errorf("%d bytes, %v: %.200q", len(got), err, got)
				}
				if v == tls.VersionTLS12 && records.last.Load() != recordAlert {
					t.Error("there is no close_notify")
				}
			})
		}
	}
}

// TestDiscard: a client may send what it likes and hears nothing.
func TestDiscard(t *testing.T) {
	d := runDaemon(t, "--service=discard", "--trace")
	c := dialTLS(t, "tcp", d.addr(), nil)
	const total = 3_000_017
	tlstest.Value(c.Write(make([]byte, total)))(t)
	c.CloseWrite()
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
	c.Close()
	d.expect("#1 closed       clean")
	tlstest.Equal(t, "bytes read", readBytes(t, d.text(), "#1"), total)
}

// sServer starts s_server -rev and answers its address.
func sServer(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("openssl", "s_server", "-rev", "-accept", "127.0.0.1:0",
		"-cert", testcerts.Path("ecdsa.pem"), "-key", testcerts.Path("ecdsa.key"))
	out := &start(t, cmd).out
	accept := regexp.MustCompile(`ACCEPT (\S+)\n`)
	tlstest.Until(t, "s_server prints its address", func() bool { return accept.MatchString(out.String()) })
	return accept.FindStringSubmatch(out.String())[1]
}

// TestReverse: each input is answered alike by our service and by s_server -rev, whole, byte
// by byte and in pieces of odd length.
func TestReverse(t *testing.T) {
	long := strings.Repeat("0123456789", 1639)[:services.MaxLine-2]
	var random strings.Builder
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		for range rng.IntN(200) {
			random.WriteByte(byte(rng.IntN(256)))
		}
		random.WriteString([]string{"\n", "\r\n", "\r", "\n\n", ""}[rng.IntN(5)])
	}
	addrs := map[string]string{"ours": runDaemon(t, "--service=reverse").addr(), "s_server": sServer(t)}
	for _, tc := range []struct{ name, input, want string }{
		{"nothing", "", ""},
		{"a line", "abc\n", "cba\n"},
		{"CR LF", "abc\r\n", "cba\n"},
		{"CR CR LF", "abc\r\r\n", "cba\n"},
		{"CR inside", "a\rb\n", "b\ra\n"},
		{"empty lines", "\n\r\n\n", "\n\n\n"},
		{"CR alone", "\r", "\n"},
		{"CR at the beginning", "a\n\rb\n", "a\nb\r\n"},
		{"two lines", "one\ntwo\n", "eno\nowt\n"},
		{"no end", "one\ntwo", "eno\nowt\n"},
		{"bytes that are no text", "\x00\x01\xff\n", "\xff\x01\x00\n"},
		{"CLOSE", "one\nCLOSE\n", "eno\n"},
		{"CLOSE, CR LF", "CLOSE\r\n", ""},
		{"CLOSE without an end", "CLOSE", ""},
		{"not CLOSE", "close\nxCLOSE\nCLOSE \n", "esolc\nESOLCx\n ESOLC\n"},
		{"the longest", long + "x\n" + "next\n", "x" + backwards(long) + "\ntxen\n"},
		{"the longest, CR LF", long + "\r\n", backwards(long) + "\n"},
		{"the longest without an end", long + "xy", "yx" + backwards(long) + "\n"},
		{"random", random.String(), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for how, size := range map[string]func() int{
				"whole": func() int { return 1 << 20 },
				"bytes": func() int { return 1 },
				"odd":   func() int { return 1 + rng.IntN(97) },
			} {
				if how == "bytes" && len(tc.input) > 1000 {
					continue
				}
				got := map[string]string{}
				for who, addr := range addrs {
					got[who] = answer(t, addr, tc.input, size)
				}
				if got["ours"] != got["s_server"] || tc.name != "random" && got["ours"] != tc.want {
					t.Errorf("%s: ours %.100q, s_server's %.100q, want %.100q", how, got["ours"], got["s_server"], tc.want)
				}
			}
		})
	}
}

func backwards(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte(s[len(s)-1-i])
	}
	return b.String()
}

// answer sends input in records of the sizes that size says and answers what comes back until the end.
func answer(t *testing.T, addr, input string, size func() int) string {
	t.Helper()
	c := dialTLS(t, "tcp", addr, nil)
	defer c.Close()
	go func() {
		for rest := input; len(rest) > 0; {
			n := min(size(), len(rest))
			if _, err := io.WriteString(c, rest[:n]); err != nil {
				return // it is over after CLOSE
			}
			rest = rest[n:]
		}
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("after %d bytes: %v", len(got), err)
	}
	return string(got)
}

// TestReverseTogether: the lines of one read are answered in one record.
func TestReverseTogether(t *testing.T) {
	d := runDaemon(t, "--service=reverse")
	c, counter := countTLS(t, d.addr(), tls.VersionTLS13)
	exchange := func(text, want string) {
		t.Helper()
		io.WriteString(c, text)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Fatalf("%v, %.100q", err, got)
		}
	}
	exchange("the tickets come before this\n", backwards("the tickets come before this")+"\n")
	before := counter.count.Load()
	exchange(strings.Repeat("line\r\n", 2000), strings.Repeat("enil\n", 2000))
	tlstest.Equal(t, "records", counter.count.Load()-before, 1)
}

// TestReverseTooLong: a line over the bound resets its connection, with the cause in the
// trace; others go on.
func TestReverseTooLong(t *testing.T) {
	d := runDaemon(t, "--service=reverse", "--trace")
	for i, input := range []string{
		strings.Repeat("x", services.MaxLine) + "\n",
		strings.Repeat("x", services.MaxLine+1),
		strings.Repeat("x", 10*services.MaxLine),
	} {
		c := dialTLS(t, "tcp", d.addr(), nil)
		wrote := make(chan error, 1)
		go func() {
			_, err := io.WriteString(c, input)
			wrote <- err
		}()
		got, err := io.ReadAll(c)
		// The system tells of a reset once: whichever call comes first.
		if err = errors.Join(err, <-wrote); len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%d bytes: %d bytes came back, %v, want a reset", len(input), len(got), err)
		}
		c.Close()
		d.expect(fmt.Sprintf("#%d closed       reverse: line longer than 16384 bytes", i+1))
	}
	tlstest.Equal(t, "afterwards", answer(t, d.addr(), "still there\n", func() int { return 100 }), "ereht llits\n")
}

// badChargen is the place of the first byte of p that is not RFC 864's, if p comes after n bytes; or -1.
func badChargen(n int, p []byte) int {
	for i, b := range p {
		line, column := (n+i)/74, (n+i)%74
		want := byte(' ' + (line+column)%95)
		switch column {
		case 72:
			want = '\r'
		case 73:
			want = '\n'
		}
		if b != want {
			return n + i
		}
	}
	return -1
}

// readChargen reads n bytes, of which the first comes after at, and checks them.
func readChargen(t *testing.T, r io.Reader, at, n int) {
	t.Helper()
	b := make([]byte, 16<<10)
	for end := at + n; at < end; {
		k, err := r.Read(b[:min(len(b), end-at)])
		if bad := badChargen(at, b[:k]); bad >= 0 {
			t.Fatalf("wrong byte at %d: %q", bad, b[:k][bad-at])
		}
		if at += k; err != nil {
			t.Fatalf("after %d bytes: %v", at, err)
		}
	}
}

// TestChargenPattern: the lines are those of RFC 864: each begins one further in the ring.
func TestChargenPattern(t *testing.T) {
	d := runDaemon(t, "--service=chargen")
	c := dialTLS(t, "tcp", d.addr(), nil)
	b := make([]byte, 97*74)
	tlstest.Value(io.ReadFull(c, b))(t)
	lines := strings.SplitAfter(string(b), "\r\n")
	for i, want := range map[int]string{
		0:  " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefg\r\n",
		1:  "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefgh\r\n",
		94: "~ !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdef\r\n",
	} {
		if lines[i] != want {
			t.Errorf("line %d is %q", i, lines[i])
		}
	}
	if lines[95] != lines[0] || lines[96] != lines[1] {
		t.Error("the ring does not begin again after 95 lines")
	}
	if bad := badChargen(0, b); bad >= 0 {
		t.Errorf("the test's own pattern differs at %d", bad)
	}
}

// TestChargenStream: two clients of one loop stream at the same time, one of which talks all the while;
// both get the right bytes, and a third one gets in.
func TestChargenStream(t *testing.T) {
	d := runDaemon(t, "--service=chargen", "--loops=1", "--trace")
	const total = 5_000_000
	stop := make(chan struct{})
	endless := dialTLS(t, "tcp", d.addr(), nil)
	go func() {
		defer close(stop)
		io.Copy(io.Discard, endless)
	}()
	c := dialTLS(t, "tcp", d.addr(), nil)
	talked := make(chan error, 1)
	go func() {
		_, err := c.Write(bytes.Repeat([]byte("who listens?\n"), 100_000))
		talked <- err
	}()
	readChargen(t, c, 0, total)
	if err := <-talked; err != nil {
		t.Errorf("what the client says is not taken: %v", err)
	}
	readChargen(t, dialTLS(t, "tcp", d.addr(), nil), 0, total)
	endless.NetConn().Close()
	<-stop
}

// TestChargenSlow: what is queued for a client that does not read is bounded, and once it
// reads it gets everything.
func TestChargenSlow(t *testing.T) {
	x, err := cssl.NewServerContext(cssl.Config{Certificates: []cssl.Certificate{
		{ChainFile: testcerts.Path("ecdsa.pem"), KeyFile: testcerts.Path("ecdsa.key")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	opened := make(chan *reactor.Conn, 1)
	srv := services.NewServer(spy{services.Chargen{}, opened}, x)
	srv.Addr, srv.Loops = "127.0.0.1:0", 1
	ls := tlstest.Value(srv.Listen())(t)
	go srv.Serve(ls...)
	defer srv.Close()
	c := slowClient(t, ls[0].Addr().String())
	conn := <-opened
	at := 0
	for range 3 {
		// It has stopped when it sends nothing more although it would have had the time.
		// To look too early makes the test weaker, no more.
		end := time.Now().Add(tlstest.Hang)
		for before := ^uint64(0); conn.Queued() == 0 || before != srv.Stats().Sessions.BytesWritten; time.Sleep(50 * time.Millisecond) {
			before = srv.Stats().Sessions.BytesWritten
			if time.Now().After(end) {
				t.Fatal("it does not stop")
			}
		}
		if n := conn.Queued(); n == 0 || n >= services.HighWater+services.ChargenWrite {
			t.Errorf("%d bytes are queued, want 1 to %d", n, services.HighWater+services.ChargenWrite-1)
		}
		const n = 8_000_000 // more than all buffers of the system hold
		readChargen(t, c, at, n)
		at += n
	}
}

// spy tells of a connection.
type spy struct {
	reactor.Handler
	opened chan *reactor.Conn
}

// OnOpen implements reactor.Handler.
func (s spy) OnOpen(c *reactor.Conn) {
	s.Handler.OnOpen(c)
	s.opened <- c
}

// TestChargenDrain: a signal ends the endless stream cleanly, whole up to its end.
func TestChargenDrain(t *testing.T) {
	d := runDaemon(t, "--service=chargen", "--drain-timeout=1m")
	c, records := countTLS(t, d.addr(), tls.VersionTLS12)
	readChargen(t, c, 0, 1_000_003)
	d.signal(syscall.SIGTERM)
	d.expect("draining 1 connections")
	rest, err := io.ReadAll(c)
	if err != nil || records.last.Load() != recordAlert {
		t.Errorf("after the signal: %d bytes, %v, the last record has type %d; want a close_notify", len(rest), err, records.last.Load())
	}
	if bad := badChargen(1_000_003, rest); bad >= 0 {
		t.Errorf("wrong byte at %d", bad)
	}
	c.Close()
	d.stopped()
}
