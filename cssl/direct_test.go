package cssl

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
)

// directServer is a server with direct records and one suite.
func directServer(t testing.TB, suite gcmSuite, tail int) *Context {
	s := suite.server(RecordsDirect)
	s.Tail = tail
	return mustServer(t, s)
}

// taken takes and opens all that the server has to send.
func (p *recordPeer) taken() []string {
	return p.heard(p.takeAll())
}

// sends demands that the server has this to send, and nothing else.
func (p *recordPeer) sends(what string, want ...string) {
	p.t.Helper()
	got := p.taken()
	check(p.t, slices.Equal(got, want), "%s: sent %q, want %q", what, got, want)
}

// takeAll takes all that the server has to send.
func (p *recordPeer) takeAll() (sent []byte) {
	for n := p.server.Take(p.buf); n > 0; n = p.server.Take(p.buf) {
		sent = append(sent, p.buf[:n]...)
	}
	return sent
}

func afterRecords(t testing.TB, n uint32) {
	updateAfter = n
	t.Cleanup(func() { updateAfter = 0 })
}

// TestDirectUpdatesKey: a key is replaced before it has protected more records than it may, also within a large Write.
func TestDirectUpdatesKey(t *testing.T) {
	afterRecords(t, 8)
	sx := directServer(t, gcmSuites[0], 0)
	p := newRecordPeers(t, gcmSuites[0]).connect(t, sx)
	var want []string
	for i := range 30 {
		letter := string(rune('a' + i))
		send(t, p.server, letter)
		if i%8 == 7 { // the first key has sealed a ticket too
			want = append(want, "KeyUpdate [0]")
		}
		want = append(want, fmt.Sprintf("data %q", letter))
	}
	p.sends("thirty writes", want...)
	// OpenSSL's client reads on.
	c, s := engineEnds(t, mustClient(t, clientConfig()), sx)
	s.out = tlstest.Bytes(1<<20, 1)
	runEngine(t, c, s, 1<<16, func() bool { return len(c.in) == len(s.out) })
	sameBytes(t, "data", c.in, s.out)
}

// TestDirectKeyLimit: TLS 1.2 cannot replace a key, so the connection ends. A batch is written up to the last record that the key may seal.
func TestDirectKeyLimit(t *testing.T) {
	afterRecords(t, 8)
	for _, batch := range []bool{false, true} {
		p := newRecordPeers(t, gcmSuites[2]).connect(t, directServer(t, gcmSuites[2], 0))
		for range 5 { // Finished was the first record
			send(t, p.server, "x")
		}
		write := func(n int) tlsio.Result {
			return p.server.WriteBuffers([][]byte{[]byte("x"), []byte("x"), []byte("x"), []byte("x")}[:n], false)
		}
		if batch {
			equal(t, write(4).N, 2, "records of four")
		} else {
			write(1)
			write(1)
		}
		eighth := write(2)
		check(t, errors.Is(eighth.Err, tlsio.ErrLimit) && eighth.N == 0, "the eighth record: %+v", eighth)
		got := p.taken()
		check(t, len(got) == 8 && got[6] == `data "x"` && got[7] == "alert [1 0]", "sent %q", got)
		tlstest.IsError(t, "then", p.server.Read(p.buf).Err, tlsio.ErrLimit)
	}
}

// TestDirectOwesOneAnswer: requests for a KeyUpdate that cannot be answered yet lead to one answer, before the next data.
func TestDirectOwesOneAnswer(t *testing.T) {
	for _, flush := range []bool{true, false} {
		p := newRecordPeers(t, gcmSuites[0]).connect(t, directServer(t, gcmSuites[0], 1))
		for range 10 {
			p.server.Feed(p.keyUpdate(1))
		}
		wants(t, "read", p.server.Read(p.buf), tlsio.WantRead)
		p.sends("after ten requests in one read", "KeyUpdate [0]")
		p.server.Write(make([]byte, 16384))
		for range 40 { // the first of them find room
			p.server.Feed(p.keyUpdate(1))
			r := p.server.Read(p.buf)
			demand(t, r.Want == tlsio.WantRead && p.server.Unsent() <= minTail, "%+v, %d bytes in the tail", r, p.server.Unsent())
		}
		wants(t, "flush of a full tail", p.server.Flush(), tlsio.WantWrite)
		got := p.taken()
		demand(t, len(got) >= 2 && len(got) <= 15, "%d messages", len(got))
		var owed []string
		if flush {
			p.server.Flush()
			p.sends("a flush", "KeyUpdate [0]")
		} else {
			owed = []string{"KeyUpdate [0]"}
		}
		p.server.Write([]byte("x"))
		p.sends("a write", append(owed, `data "x"`)...)
	}
}

// TestDirectKeepsRequest: a KeyUpdate that waits for room asks for the peer's, also if another one that does not comes on top.
func TestDirectKeepsRequest(t *testing.T) {
	p := newRecordPeers(t, gcmSuites[0]).connect(t, directServer(t, gcmSuites[0], 1))
	p.server.Write(make([]byte, 16384))
	for range 20 {
		p.server.KeyUpdate(false)
	}
	for _, request := range []bool{true, false} {
		wants(t, "key update", p.server.KeyUpdate(request), tlsio.WantWrite)
	}
	p.taken()
	p.server.Flush()
	p.sends("a flush", "KeyUpdate [1]")
}

// TestDirectFacts: both sides know the same, and export the same. After the switch to direct records a server knows what one with OpenSSL's
// records knows.
func TestDirectFacts(t *testing.T) {
	openSSLToo(t)
	for _, version := range versions {
		for _, resume := range []bool{false, true} {
			var states [2]State
			for i, mode := range []Records{RecordsOpenSSL, RecordsDirect} {
				c, s := clientConfig(), serverConfig("rsa")
				c.MaxVersion, s.Records = version, mode
				c.Groups, c.CipherList, c.CipherSuites = "P-384:P-256", "ECDHE-RSA-AES256-GCM-SHA384", "TLS_CHACHA20_POLY1305_SHA256"
				c.ALPN, s.ALPN = []string{"http/1.1", "h2"}, []string{"h2", "http/1.1"}
				c.Certificates = serverConfig("client").Certificates
				s.Verify, s.CAPEM = VerifyRequire, testcerts.Read(t, "root.pem")
				cx, sx := mustClient(t, c), mustServer(t, s)
				p := newPair(t, cx, sx)
				if resume {
					p = earlyPair(t, cx, sx, ticketOf(t, cx, sx))
				}
				p.handshake()
				states[i] = p.server.State()
				demand(t, states[i].Records == mode && states[i].RecordsReason == "" && states[i].Resumed == resume, "%+v", states[i])
				states[i].Records = 0
				check(t, knows(t, p.server) > 0, "no chain of the peer")
				st, client := states[i], p.client.State()
				check(t, st.Version == version && st.ALPN == "h2" && st.ServerName == "localhost" && st.Cipher != "" && st.Group != "",
					"%v %q %q %q %q", st.Version, st.ALPN, st.ServerName, st.Cipher, st.Group)
				check(t, client.Version == version && client.ALPN == "h2" && client.ServerName == "localhost" && client.Cipher == st.Cipher &&
					client.CipherID == st.CipherID && client.Group == st.Group,
					"client: %v %q %q %q %q", client.Version, client.ALPN, client.ServerName, client.Cipher, client.Group)
				check(t, bytes.Equal(client.TLSUnique, st.TLSUnique) && (st.TLSUnique == nil) == (version == TLS13), "tls-unique %x, client: %x", st.TLSUnique, client.TLSUnique)
				states[i].TLSUnique = nil // of one handshake
				exported := map[string]bool{}
				for _, label := range []string{"EXPORTER-test", "EXPORTER-other", "key expansion", "client finished", ""} {
					for _, context := range [][]byte{nil, {}, []byte("context"), make([]byte, 1000)} {
						for _, n := range []int{0, 1, 32, 1000} {
							want, wantErr := p.client.ExportKeyingMaterial(label, context, n)
							got, err := p.server.ExportKeyingMaterial(label, context, n)
							where := fmt.Sprintf("%v, %v, %q, context %d, %d bytes", version, mode, label, len(context), n)
							check(t, bytes.Equal(got, want) && fmt.Sprint(err) == fmt.Sprint(wantErr), "%s: %x (%v), want %x (%v)", where, got, err, want, wantErr)
							check(t, err != nil || n > 0 && len(got) == n, "%s: %d bytes", where, len(got))
							check(t, n < 32 || err != nil || len(context) == 0 || !exported[string(got)], "%q: as for another label", label)
							exported[string(got)] = true
						}
					}
				}
				if version == TLS12 { // which uses this label itself
					_, err := p.client.ExportKeyingMaterial("client finished", nil, 8)
					equal(t, fmt.Sprint(err), `exporter "client finished": SSL routines: tls illegal exporter label`, "error")
				}
				fails(p.server.ExportEarlyKeyingMaterial("EXPORTER-test", nil, 8))(t, "keying material of early data that was none")
			}
			check(t, reflect.DeepEqual(states[0], states[1]), "%v\nOpenSSL: %+v\ndirect: %+v", version, states[0], states[1])
		}
	}
}

// TestDirectSockets echoes over sockets with the smallest buffers, so that records come and go in parts.
func TestDirectSockets(t *testing.T) {
	for _, suite := range gcmSuites {
		c, s := socketEnds(t, "unix", true, mustClient(t, clientConfig()), directServer(t, suite, 0))
		c.out, s.echo, c.close, s.close = tlstest.Bytes(100_000, 1), true, true, true
		runSockets(t, c, s, finished(c, s))
		sameBytes(t, "echo", c.in, c.out)
	}
}

// TestDirectBytewise: records of data come over a socket byte by byte, with a read after each.
func TestDirectBytewise(t *testing.T) {
	for _, suite := range gcmSuites {
		fd, far := socketPair(t, "unix", false)
		c := engineConn(t, mustClient(t, clientConfig()), ConnConfig{ServerName: "localhost"})
		s := socketConn(t, directServer(t, suite, 0), far, ConnConfig{})
		buf := make([]byte, 20000)
		sent := func() []byte { return buf[:c.Take(buf)] }
		for cr, sr := c.Handshake(), s.Handshake(); cr.Want != tlsio.WantNone || sr.Want != tlsio.WantNone; cr, sr = c.Handshake(), s.Handshake() {
			noErrors(t, cr.Err, sr.Err)
			syscall.Write(fd, sent())
			s.Handshake()
			if n, _ := syscall.Read(fd, buf); n > 0 {
				c.Feed(buf[:n])
			}
		}
		isDirect(t, s)
		c.Write([]byte("some"))
		c.Write([]byte("data"))
		var got []byte
		for _, b := range bytes.Clone(sent()) {
			syscall.Write(fd, []byte{b})
			r := s.Read(buf)
			tlstest.Must(t, r.Err)
			got = append(got, buf[:r.N]...)
		}
		check(t, string(got) == "somedata", "%s: read %q", suite.name, got)
		s.Close()
		syscall.Close(fd)
		syscall.Close(far)
	}
}

// TestDirectChaCha20: OpenSSL's client reads and writes the records of ChaCha20-Poly1305, before and after new keys.
// A record that is forged ends the connection.
func TestDirectChaCha20(t *testing.T) {
	for _, suite := range chachaSuites {
		t.Run(suite.version.String(), func(t *testing.T) {
			p := newPair(t, mustClient(t, clientConfig()), directServer(t, suite, 0))
			p.exchange(tlstest.Bytes(100_000, 1))
			st := p.server.State()
			demand(t, st.Records == RecordsDirect && st.Cipher == suite.name, "%+v", st)
			if suite.version == TLS13 {
				tlstest.Must(t, p.server.KeyUpdate(true).Err)
				p.exchange(tlstest.Bytes(100_000, 2))
			}
			p.client.Write([]byte("forged"))
			n := p.client.Take(p.buf)
			p.buf[n-1] ^= 1
			p.server.Feed(p.buf[:n])
			tlstest.IsError(t, "the server reads", p.server.Read(p.buf).Err, tlsio.AlertBadRecordMAC)
			p.move(p.server, p.client)
			checkAlert(t, p.client.Read(p.buf).Err, tlsio.AlertReceived, tlsio.AlertBadRecordMAC)
		})
	}
}

// mask hides a secret from a search of the memory. It is the second half that is looked for: free overwrites the first bytes.
func mask(secret []byte) []byte {
	out := bytes.Clone(secret[len(secret)/2:])
	for i := range out {
		out[i] ^= 0x5a
	}
	return out
}

// findInMemory returns where the secret that mask returned is in the process's memory: the heaps of C and Go, globals, and stacks.
func findInMemory(t testing.TB, masked []byte) (addresses []int64) {
	t.Helper()
	maps := tlstest.Value(os.ReadFile("/proc/self/maps"))(t)
	memory := tlstest.Value(os.Open("/proc/self/mem"))(t)
	defer memory.Close()
	const size = 1 << 20
	buf := tlstest.Value(unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON))(t)
	defer unix.Munmap(buf)
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var access string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &access); err != nil || access != "rw-p" || to-from > 1<<30 {
			continue // a sanitizer's shadow is larger
		}
		for at := from; at < to; at += size - int64(len(masked)) {
			n, err := memory.ReadAt(buf[:min(size, to-at)], at)
			if err != nil && err != io.EOF {
				break
			}
			for i := 0; i+len(masked) <= n; i++ {
				k := bytes.IndexByte(buf[i:n-len(masked)+1], masked[0]^0x5a)
				if k < 0 {
					break
				}
				i += k
				same := true
				for j, b := range masked {
					same = same && buf[i+j]^0x5a == b
				}
				if same {
					addresses = append(addresses, at+int64(i))
				}
			}
		}
	}
	return addresses
}

// secretReplacer is a KeyLog that puts other secrets in the place of those that are logged, wherever the process has them.
type secretReplacer struct {
	t       testing.TB
	secrets map[string]string // by label, in hexadecimal
}

func (r secretReplacer) Write(line []byte) (int, error) {
	f := strings.Fields(string(line))
	if other := r.secrets[f[0]]; other != "" {
		secret, masked := unhex(other), mask(unhex(f[2]))
		half := int64(len(secret) - len(masked))
		memory := tlstest.Value(os.OpenFile("/proc/self/mem", os.O_RDWR, 0))(r.t)
		defer memory.Close()
		for _, at := range findInMemory(r.t, masked) {
			tlstest.Value(memory.WriteAt(secret, at-half))(r.t)
		}
	}
	return len(line), nil
}

// unhex decodes hexadecimal digits, with or without spaces.
func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// TestDirectRFC8448 gives a connection the traffic secrets of RFC 8448, section 3. Its records are then those of the
// RFC. The server's first record is there a ticket, and here data.
func TestDirectRFC8448(t *testing.T) {
	s := gcmSuites[0].server(RecordsDirect)
	s.NoTickets = true
	s.KeyLog = secretReplacer{t, map[string]string{
		"CLIENT_TRAFFIC_SECRET_0": "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
		"SERVER_TRAFFIC_SECRET_0": "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
	}}
	p := newPair(t, mustClient(t, clientConfig()), mustServer(t, s)).shaken()
	isDirect(t, p.server)
	payload := make([]byte, 50)
	for i := range payload {
		payload[i] = byte(i)
	}
	sends := func(r tlsio.Result, want string) {
		t.Helper()
		n := p.server.Take(p.buf)
		check(t, r.Err == nil && (want == "" || bytes.Equal(p.buf[:n], unhex(want))), "%v, record %x, want %s", r.Err, p.buf[:n], want)
	}
	sends(p.server.Write([]byte("ticket")), "")
	p.server.Feed(unhex("17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b" +
		"39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4"))
	reads(t, p.server, string(payload))
	sends(p.server.Write(payload), "17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d"+
		"90 e6 df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d")
	p.server.Feed(unhex("17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3"))
	tlstest.Equal(t, "after close_notify", p.server.Read(p.buf).Err, io.EOF)
	sends(p.server.Shutdown(), "17 03 03 00 13 b5 8f d6 71 66 eb f5 99 d2 47 20 cf be 7e fa 7a 88 64 a9")
}

// TestDirectProof: a connection whose derived keys are wrong keeps the SSL, and goes on.
func TestDirectProof(t *testing.T) {
	s := gcmSuites[0].server(RecordsDirect)
	s.KeyLog = secretReplacer{t, map[string]string{"SERVER_TRAFFIC_SECRET_0": strings.Repeat("07", 32)}}
	p := newPair(t, mustClient(t, clientConfig()), mustServer(t, s)).shaken()
	equal(t, p.server.State().Records, RecordsOpenSSL, "records")
	equal(t, p.server.State().RecordsReason, "the derived keys do not open our last record", "reason")
	p.exchange([]byte("data"))
}

// sizeOf returns where an object of malloc is and how large glibc made it; with another malloc, the size is more than that of an SSL.
func sizeOf(t testing.TB, p unsafe.Pointer) (at, size int64) {
	memory := tlstest.Value(os.Open("/proc/self/mem"))(t)
	defer memory.Close()
	at = int64(uintptr(p))
	var header [8]byte
	tlstest.Value(memory.ReadAt(header[:], at-8))(t)
	if size = int64(binary.NativeEndian.Uint64(header[:]) &^ 7); size < 1<<10 || size > 1<<14 {
		size = 1 << 14
	}
	return at, size
}

// TestPeerOfMemory is the client of TestDirectWipes, in a process of its own: this one must not know the secrets.
func TestPeerOfMemory(t *testing.T) {
	version := os.Getenv("PEER_OF_MEMORY")
	if version == "" {
		t.Skip("TestDirectWipes runs it")
	}
	var log bytes.Buffer
	cfg := clientConfig() // the server has one version
	cfg.KeyLog = &log
	conn := tlstest.Value(mustClient(t, cfg).NewBlockingConn(3, ConnConfig{ServerName: "localhost"}))(t)
	defer conn.Close()
	finish(t, conn.Handshake)
	out := os.NewFile(4, "secrets")
	for line := range strings.Lines(log.String()) {
		f := strings.Fields(line)
		secret, _ := hex.DecodeString(f[2])
		switch f[0] {
		case "CLIENT_RANDOM":
			fmt.Fprintf(out, "1 master-secret %x\n1 logged-secret %x\n", mask(secret), mask([]byte(f[2])))
		case "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0":
			p := protection{suite: gcmSuites[0]}
			p.setSecret(secret)
			for generation := range 2 {
				fmt.Fprintf(out, "%d %s-secret %x\n%d %s-key %x\n", generation, f[0][:6], mask(p.secret), generation, f[0][:6], mask(p.expand("key", 16)))
				p.update()
			}
			fmt.Fprintf(out, "0 %s-logged %x\n", f[0][:6], mask([]byte(f[2])))
		case "EXPORTER_SECRET":
			fmt.Fprintf(out, "1 exporter-secret %x\n", mask(secret))
		}
	}
	out.Close()
	buf := make([]byte, 100)
	finish(t, func() tlsio.Result { return conn.Write([]byte("one")) })
	finish(t, func() tlsio.Result { return conn.Read(buf) }) // and answers the KeyUpdate
	finish(t, func() tlsio.Result { return conn.Write([]byte("two")) })
	unix.Read(3, buf) // the end
}

// finish repeats an operation over a socket that blocks until it has ended.
func finish(t *testing.T, f func() tlsio.Result) tlsio.Result {
	t.Helper()
	r := f()
	for ; r.Want != tlsio.WantNone; r = f() {
		tlstest.Must(t, r.Err)
	}
	tlstest.Must(t, r.Err)
	return r
}

// TestDirectWipes searches the memory of the server's process: traffic secrets and keys are gone when a KeyUpdate has
// replaced them, and all are gone after Close.
func TestDirectWipes(t *testing.T) {
	for _, suite := range []gcmSuite{gcmSuites[0], gcmSuites[2]} {
		t.Run(suite.version.String(), func(t *testing.T) {
			s := suite.server(RecordsDirect)
			s.NoTickets = suite.version == TLS12 // OpenSSL leaves the master secret in what it makes the ticket of
			sx := mustServer(t, s)
			fds := tlstest.Value(unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(t)
			defer unix.Close(fds[0])
			secrets, w, err := os.Pipe()
			tlstest.Must(t, err)
			peer := exec.Command(os.Args[0], "-test.run=^TestPeerOfMemory$")
			peer.Env = append(os.Environ(), "PEER_OF_MEMORY="+suite.version.String())
			peer.ExtraFiles = []*os.File{os.NewFile(uintptr(fds[1]), "socket"), w}
			peer.Stderr = os.Stderr
			tlstest.Must(t, peer.Start())
			peer.ExtraFiles[0].Close()
			w.Close()
			c := tlstest.Value(sx.NewBlockingConn(fds[0], ConnConfig{}))(t)
			defer c.Close()
			ssl, size := sizeOf(t, unsafe.Pointer(c.ssl()))
			buf := make([]byte, 20000)
			read := func(want string) {
				t.Helper()
				n := finish(t, func() tlsio.Result { return c.Read(buf) }).N
				demand(t, string(buf[:n]) == want, "read %q, want %q", buf[:n], want)
			}
			finish(t, c.Handshake)
			read("one")
			isDirect(t, c)
			type secret struct {
				generation   int
				name, masked string
			}
			var all []secret
			for scan := bufio.NewScanner(secrets); scan.Scan(); {
				var s secret
				tlstest.Value(fmt.Sscan(scan.Text(), &s.generation, &s.name, &s.masked))(t)
				all = append(all, s)
			}
			demand(t, len(all) != 0, "the peer knows no secrets")
			check := func(when string, current int) {
				t.Helper()
				for _, s := range all {
					masked := tlstest.Value(hex.DecodeString(s.masked))(t)
					found := findInMemory(t, masked)
					if s.generation < current { // OpenSSL frees an SSL with the first traffic secrets in it
						found = slices.DeleteFunc(found, func(at int64) bool { return at >= ssl && at < ssl+size })
					}
					n := len(found)
					if s.generation == current && strings.HasSuffix(s.name, "secret") && !strings.HasPrefix(s.name, "logged") && n == 0 {
						t.Errorf("%s, %s of generation %d is nowhere: the search does not work", when, s.name, s.generation)
					} else if s.generation < current && n > 0 {
						t.Errorf("%s, %s of generation %d is in %d places %x", when, s.name, s.generation, n, found)
					}
				}
			}
			if suite.version == TLS13 {
				check("before a KeyUpdate", 0)
				finish(t, func() tlsio.Result { return c.KeyUpdate(true) })
			}
			finish(t, func() tlsio.Result { return c.Write([]byte("reply")) })
			read("two")
			check("after a KeyUpdate", 1)
			c.Close()
			unix.Shutdown(fds[0], unix.SHUT_RDWR)
			tlstest.Must(t, peer.Wait())
			check("after Close", 2)
		})
	}
}
