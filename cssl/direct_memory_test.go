package cssl

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/tlsio"
	"golang.org/x/sys/unix"
)

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

// TestDirectRFC8448 gives a connection the traffic secrets of RFC 8448, section 3. Its records are then those of the RFC. The server's first
// record is there a ticket, and here data.
func TestDirectRFC8448(t *testing.T) {
	s := gcmSuites[0].server(RecordsDirect)
	s.NoTickets = true
	s.KeyLog = secretReplacer{t, map[string]string{
		"CLIENT_TRAFFIC_SECRET_0": "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
		"SERVER_TRAFFIC_SECRET_0": "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
	}}
	p := newPair(t, mustClient(t, clientConfig()), mustServer(t, s))
	p.handshake()
	if st := p.server.State(); st.Records != RecordsDirect {
		t.Fatal(st.RecordsReason)
	}
	payload := make([]byte, 50)
	for i := range payload {
		payload[i] = byte(i)
	}
	sends := func(r tlsio.Result, want string) {
		t.Helper()
		n := p.server.Take(p.buf)
		if r.Err != nil || want != "" && !bytes.Equal(p.buf[:n], unhex(want)) {
			t.Errorf("%v, record %x, want %s", r.Err, p.buf[:n], want)
		}
	}
	sends(p.server.Write([]byte("ticket")), "")
	p.server.Feed(unhex("17 03 03 00 43 a2 3f 70 54 b6 2c 94 d0 af fa fe 82 28 ba 55 cb ef ac ea 42 f9 14 aa 66 bc ab 3f 2b 98 19 a8 a5 b4 6b" +
		"39 5b d5 4a 9a 20 44 1e 2b 62 97 4e 1f 5a 62 92 a2 97 70 14 bd 1e 3d ea e6 3a ee bb 21 69 49 15 e4"))
	if r := p.server.Read(p.buf); r.Err != nil || !bytes.Equal(p.buf[:r.N], payload) {
		t.Errorf("read %x, %v", p.buf[:r.N], r.Err)
	}
	sends(p.server.Write(payload), "17 03 03 00 43 2e 93 7e 11 ef 4a c7 40 e5 38 ad 36 00 5f c4 a4 69 32 fc 32 25 d0 5f 82 aa 1b 36 e3 0e fa f9 7d"+
		"90 e6 df fc 60 2d cb 50 1a 59 a8 fc c4 9c 4b f2 e5 f0 a2 1c 00 47 c2 ab f3 32 54 0d d0 32 e1 67 c2 95 5d")
	p.server.Feed(unhex("17 03 03 00 13 c9 87 27 60 65 56 66 b7 4d 7f f1 15 3e fd 6d b6 d0 b0 e3"))
	if r := p.server.Read(p.buf); r.Err != io.EOF {
		t.Errorf("after close_notify: %+v", r)
	}
	sends(p.server.Shutdown(), "17 03 03 00 13 b5 8f d6 71 66 eb f5 99 d2 47 20 cf be 7e fa 7a 88 64 a9")
}

// TestDirectProof: a connection whose derived keys are wrong keeps the SSL, and goes on.
func TestDirectProof(t *testing.T) {
	s := gcmSuites[0].server(RecordsDirect)
	s.KeyLog = secretReplacer{t, map[string]string{"SERVER_TRAFFIC_SECRET_0": strings.Repeat("07", 32)}}
	p := newPair(t, mustClient(t, clientConfig()), mustServer(t, s))
	p.handshake()
	if st := p.server.State(); st.Records != RecordsOpenSSL || st.RecordsReason != "the derived keys do not open our last record" {
		t.Errorf("%v: %s", st.Records, st.RecordsReason)
	}
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

// TestDirectWipes searches the memory of the server's process: traffic secrets and keys are gone when a KeyUpdate has replaced them, and all are
// gone after Close.
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
				if n := finish(t, func() tlsio.Result { return c.Read(buf) }).N; string(buf[:n]) != want {
					t.Fatalf("read %q, want %q", buf[:n], want)
				}
			}
			finish(t, c.Handshake)
			if read("one"); c.State().Records != RecordsDirect {
				t.Fatal(c.State().RecordsReason)
			}
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
			if len(all) == 0 {
				t.Fatal("the peer knows no secrets")
			}
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
			if err := peer.Wait(); err != nil {
				t.Error(err)
			}
			check("after Close", 2)
		})
	}
}
