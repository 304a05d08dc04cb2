package interop

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spacemonad/go-openssl/cssl"
	"github.com/spacemonad/go-openssl/internal/testcerts"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"github.com/spacemonad/go-openssl/sslnet"
)

// The tests of this file are of what TLS 1.3 has besides, one line there and one back.

var extrasPSK = cssl.PSK{Identity: []byte("meter 17"), Key: bytes.Repeat([]byte{0x5a}, 32)}

// extrasServer serves each connection with serve, whose error the channel receives.
func extrasServer(t *testing.T, c cssl.Config, serve func(*sslnet.Conn) error) (addr string, ended <-chan error) {
	t.Helper()
	x := tlstest.Value(cssl.NewServerContext(c))(t)
	t.Cleanup(x.Close)
	l := tlstest.Value(sslnet.Listen("tcp", "127.0.0.1:0", x))(t)
	t.Cleanup(func() { l.Close() })
	outcomes := make(chan error, 10)
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			c.SetDeadline(time.Now().Add(tlstest.Hang))
			outcomes <- serve(c.(*sslnet.Conn))
			c.Close()
		}
	}()
	return l.Addr().String(), outcomes
}

// served waits for the end of a connection of our server, which must go well.
func served(t *testing.T, ended <-chan error) {
	t.Helper()
	tlstest.Must(t, tlstest.Receive(t, ended, "our server"))
}

// answer reads a line and says "seen" and the line.
func answer(c *sslnet.Conn) error {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil {
		_, err = io.WriteString(c, "seen "+line)
	}
	return err
}

// sees says line to a program, if it is not empty, waits for what must come back, and answers all that has come.
func (c *program) sees(line, want string) (all []byte) {
	c.t.Helper()
	tlstest.Value(io.WriteString(c.in, line))(c.t)
	tlstest.Must(c.t, tlstest.Receive(c.t, tlstest.Later(func() error {
		buf := make([]byte, 4096)
		for !bytes.Contains(all, []byte(want)) {
			n, err := c.out.Read(buf)
			if all = append(all, buf[:n]...); err != nil {
				return errors.New("it printed " + string(all))
			}
		}
		return nil
	}), c.cmd.Args[0]))
	return all
}

func extrasConfig() cssl.Config {
	return cssl.Config{Certificates: []cssl.Certificate{certificate("ecdsa")}}
}

// TestExtrasPSK: s_client with our server and s_server with our client, with a key and no certificates.
func TestExtrasPSK(t *testing.T) {
	flags := []string{"-tls1_3", "-psk_identity", string(extrasPSK.Identity), "-psk", hex.EncodeToString(extrasPSK.Key)}
	identity := func(c *sslnet.Conn) error {
		if id := c.State().PSK; !bytes.Equal(id, extrasPSK.Identity) {
			return errors.New("identity " + string(id))
		}
		return nil
	}
	addr, ended := extrasServer(t, cssl.Config{PSKs: []cssl.PSK{extrasPSK}}, func(c *sslnet.Conn) error {
		return errors.Join(answer(c), identity(c))
	})
	start(t, append([]string{"s_client", "-quiet", "-connect", addr}, flags...)...).sees("hello\n", "seen hello\n")
	served(t, ended)

	_, addr = startServer(t, append([]string{"-nocert", "-rev"}, flags...)...)
	x := clientContext(t, cssl.Config{PSKs: []cssl.PSK{extrasPSK}})
	c := tlstest.Value(sslnet.Client(tlstest.Value(net.Dial("tcp", addr))(t), x, cssl.ConnConfig{}))(t)
	defer c.Close()
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	tlstest.Value(io.WriteString(c, "hello\n"))(t)
	tlstest.Equal(t, "the line reversed", tlstest.Value(bufio.NewReader(c).ReadString('\n'))(t), "olleh\n")
	tlstest.Must(t, identity(c))
}

// TestExtrasExtension: s_client and s_server exchange an extension with ours that Go code writes and reads.
func TestExtrasExtension(t *testing.T) {
	var parsed atomic.Pointer[string]
	extension := cssl.Extension{Type: 65280, Messages: cssl.InClientHello | cssl.InServerHello,
		Add:   func(c cssl.ExtensionCall) ([]byte, bool, error) { return []byte("from us"), c.Server, nil },
		Parse: func(_ cssl.ExtensionCall, data []byte) error { s := string(data); parsed.Store(&s); return nil }}
	config := extrasConfig()
	config.Extensions = []cssl.Extension{extension}
	addr, ended := extrasServer(t, config, answer)
	client := cssl.Config{CAFile: testcerts.Path("root.pem"), Extensions: []cssl.Extension{{Type: 65280, Messages: extension.Messages, Parse: extension.Parse}}}
	data := []byte("\xff\x00\x00\x04data")
	info := filepath.Join(t.TempDir(), "info")
	// For the ClientHello, the ServerHello of TLS 1.2 and the EncryptedExtensions (SSL_CTX_use_serverinfo_ex(3)).
	tlstest.Must(t, os.WriteFile(info, pem.EncodeToMemory(&pem.Block{Type: "SERVERINFOV2 FOR 65280", Bytes: append([]byte{0, 0, 5, 0x80}, data...)}), 0o600))
	for _, version := range []cssl.TLSVersion{cssl.TLS12, cssl.TLS13} {
		parsed.Store(nil)
		if version == cssl.TLS12 { // s_client knows none in TLS 1.3
			got := start(t, "s_client", versionFlag(version), "-connect", addr, "-serverinfo", "65280").sees("hello\n", "seen hello\n")
			served(t, ended)
			want := base64.StdEncoding.EncodeToString([]byte("\xff\x00\x00\x07from us"))
			if text := parsed.Load(); text == nil || *text != "" || !bytes.Contains(got, []byte(want)) {
				t.Errorf("s_client sent %v, and printed no %s:\n%s", text, want, got)
			}
		}
		_, addr := startServer(t, append([]string{"-serverinfo", info, "-rev", versionFlag(version)}, certFlags("ecdsa")...)...)
		c := tlstest.Value(sslnet.Client(tlstest.Value(net.Dial("tcp", addr))(t), clientContext(t, client), cssl.ConnConfig{ServerName: "localhost"}))(t)
		defer c.Close()
		tlstest.Must(t, c.Handshake())
		tlstest.Equal(t, "what s_server sent", *parsed.Load(), "data")
	}
}

// TestExtrasECH: s_client and s_server with ours and an Encrypted Client Hello, with a key of openssl ech.
func TestExtrasECH(t *testing.T) {
	if v := cssl.Version().Run; v.Number < 0x40000000 {
		t.Skipf("OpenSSL %v has no Encrypted Client Hello: 4.0 does", v)
	}
	file := filepath.Join(t.TempDir(), "ech.pem")
	if out, err := exec.Command("openssl", "ech", "-public_name", "front.example", "-out", file).CombinedOutput(); err != nil {
		t.Fatalf("openssl ech: %v: %s", err, out)
	}
	_, rest := pem.Decode(tlstest.Value(os.ReadFile(file))(t))
	block, _ := pem.Decode(rest)
	accepted := func(c *sslnet.Conn) error {
		if s := c.State(); s.ECH != cssl.ECHAccepted || s.ServerName != "localhost" || s.OuterServerName != "front.example" {
			return fmt.Errorf("%v, %s, outside %s", s.ECH, s.ServerName, s.OuterServerName)
		}
		return nil
	}
	config := extrasConfig()
	config.ECHKeys = []cssl.ECHKey{{File: file}}
	addr, ended := extrasServer(t, config, func(c *sslnet.Conn) error { return errors.Join(answer(c), accepted(c)) })
	start(t, "s_client", "-quiet", "-connect", addr, "-servername", "localhost", "-ech_config_list", base64.StdEncoding.EncodeToString(block.Bytes)).
		sees("hello\n", "seen hello\n")
	served(t, ended)

	_, addr = startServer(t, append([]string{"-ech_key", file, "-rev"}, certFlags("ecdsa")...)...)
	x := clientContext(t, cssl.Config{CAFile: testcerts.Path("root.pem")})
	c := tlstest.Value(sslnet.Client(tlstest.Value(net.Dial("tcp", addr))(t), x, cssl.ConnConfig{ServerName: "localhost", ECHConfigList: block.Bytes}))(t)
	defer c.Close()
	tlstest.Must(t, c.Handshake())
	tlstest.Must(t, accepted(c))
}

// readerFunc is an io.Reader.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestExtrasEarlyData: s_client comes back with early data.
func TestExtrasEarlyData(t *testing.T) {
	config := extrasConfig()
	config.MaxEarlyData = 1000
	addr, ended := extrasServer(t, config, func(c *sslnet.Conn) error {
		early, err := io.ReadAll(readerFunc(c.ReadEarlyData))
		if err != nil {
			return err
		}
		if len(early) == 0 {
			return answer(c)
		}
		if _, err = io.WriteString(c, "early "+string(early)); err == nil {
			_, err = io.Copy(io.Discard, c) // to the client's end
		}
		return err
	})
	dir := t.TempDir()
	saved, data := filepath.Join(dir, "session"), filepath.Join(dir, "data")
	tlstest.Must(t, os.WriteFile(data, []byte("hello\n"), 0o600))
	o := start(t, ecdsa13.clientFlags(addr, "-quiet", "-sess_out", saved)...)
	o.sees("hello\n", "seen hello\n")
	served(t, ended)
	o.end()
	o = start(t, ecdsa13.clientFlags(addr, "-sess_in", saved, "-early_data", data)...)
	o.sees("", "early hello\n")
	o.stdin.Close()
	served(t, ended)
}

// TestExtrasCertificate: s_client answers a request after the handshake.
func TestExtrasCertificate(t *testing.T) {
	config := extrasConfig()
	config.PostHandshakeAuth, config.Verify, config.CAFile = true, cssl.VerifyRequire, testcerts.Path("root.pem")
	addr, ended := extrasServer(t, config, func(c *sslnet.Conn) error {
		if err := errors.Join(c.Handshake(), c.RequestCertificate()); err != nil {
			return err
		}
		line, err := bufio.NewReader(c).ReadString('\n') // which may come first
		if err == nil {
			err = c.AwaitCertificate()
		}
		if chain, _ := c.State().VerifiedChain(); err == nil && len(chain) == 0 {
			err = errors.New("no certificate")
		}
		if err == nil {
			_, err = io.WriteString(c, "seen "+line)
		}
		return err
	})
	args := append(ecdsa13.clientFlags(addr, "-quiet", "-enable_pha"), certFlags("client")...)
	start(t, args...).sees("hello\n", "seen hello\n")
	served(t, ended)
}

// TestExtrasRecordSize: gnutls-cli announces a limit, to which our server keeps; it would end the connection otherwise.
func TestExtrasRecordSize(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-bin")
	config := extrasConfig()
	config.RecordSizeLimit = 16385
	addr, ended := extrasServer(t, config, func(c *sslnet.Conn) error {
		_, err := io.WriteString(c, strings.Repeat("x", 30000)+"\n")
		return errors.Join(err, answer(c))
	})
	for _, c := range []combo{ecdsa12, ecdsa13} {
		startProgram(t, c.gnutlsClient(t, addr, "--recordsize", "600")).sees("hello\n", "\nseen hello\n")
		served(t, ended)
	}
}

// TestExtrasExporter: s_client derives the same as our server, and our server nothing where a connection of TLS 1.2 has no
// extended master secret, of which gnutls-cli knows how to do without.
func TestExtrasExporter(t *testing.T) {
	need(t, "gnutls-cli", "gnutls-bin")
	const label = "EXPORTER-test"
	keys := make(chan string, 10)
	addr, ended := extrasServer(t, extrasConfig(), func(c *sslnet.Conn) error {
		if err := c.Handshake(); err != nil {
			return err
		}
		key, err := c.ExportKeyingMaterial(label, nil, 20)
		if err != nil {
			keys <- err.Error()
		} else {
			keys <- "Keying material: " + strings.ToUpper(hex.EncodeToString(key))
		}
		return answer(c)
	})
	for _, c := range []combo{ecdsa12, ecdsa13} {
		printed := start(t, c.clientFlags(addr, "-keymatexport", label)...).sees("hello\n", "seen hello\n")
		served(t, ended)
		if key := <-keys; !bytes.Contains(printed, []byte(key)) {
			t.Errorf("%v: ours is %q", c.version, key)
		}
	}
	without := ecdsa12.gnutlsClient(t, addr)
	without.Args[slices.Index(without.Args, gnutlsPriority(cssl.TLS12))] += ":%NO_SESSION_HASH"
	startProgram(t, without).sees("hello\n", "seen hello\n")
	served(t, ended)
	if err := <-keys; !strings.Contains(err, "extended master secret") {
		t.Errorf("without an extended master secret: %s", err)
	}
}

// publicKeyFile is a file with the public key of one of testdata/certs.
func publicKeyFile(t *testing.T, name string) string {
	t.Helper()
	block, _ := pem.Decode(testcerts.Read(t, name+".pem"))
	key := tlstest.Value(x509.ParseCertificate(block.Bytes))(t).RawSubjectPublicKeyInfo
	file := filepath.Join(t.TempDir(), name+".pub")
	tlstest.Must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key}), 0o600))
	return file
}

// optional makes a server's Context of a setting that not every OpenSSL has, and skips the test where the linked one lacks it.
func optional(t *testing.T, c cssl.Config) {
	t.Helper()
	x, err := cssl.NewServerContext(c)
	if err != nil {
		t.Skip(err)
	}
	x.Close()
}

// reversed sends a line to s_server -rev with our client, and returns the client.
func reversed(t *testing.T, addr string, config cssl.Config) *sslnet.Conn {
	t.Helper()
	c := tlstest.Value(sslnet.Client(tlstest.Value(net.Dial("tcp", addr))(t), clientContext(t, config), cssl.ConnConfig{ServerName: "localhost"}))(t)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(tlstest.Hang))
	tlstest.Value(io.WriteString(c, "hello\n"))(t)
	tlstest.Equal(t, "the line reversed", tlstest.Value(bufio.NewReader(c).ReadString('\n'))(t), "olleh\n")
	return c
}

// TestExtrasRawPublicKey: s_client with our server and s_server with our client, with raw public keys on both sides.
func TestExtrasRawPublicKey(t *testing.T) {
	config := extrasConfig()
	config.RawPublicKey, config.PeerKeysFile, config.Verify = true, publicKeyFile(t, "client"), cssl.VerifyRequire
	optional(t, config)
	raw := func(c *sslnet.Conn) error {
		if st := c.State(); st.PeerPublicKey == nil || st.VerifyError != nil {
			return fmt.Errorf("key %x, %v", st.PeerPublicKey, st.VerifyError)
		}
		return nil
	}
	addr, ended := extrasServer(t, config, func(c *sslnet.Conn) error { return errors.Join(answer(c), raw(c)) })
	flags := []string{"-enable_server_rpk", "-enable_client_rpk"}
	args := append([]string{"s_client", "-connect", addr}, append(flags, certFlags("client")...)...)
	if all := start(t, args...).sees("hello\n", "seen hello\n"); !bytes.Contains(all, []byte("raw public key")) {
		t.Errorf("s_client has got no raw public key: %s", all)
	}
	served(t, ended)

	_, addr = startServer(t, append(append(flags, "-rev", "-Verify", "1"), certFlags("ecdsa")...)...)
	tlstest.Must(t, raw(reversed(t, addr, cssl.Config{
		Certificates: []cssl.Certificate{certificate("client")}, RawPublicKey: true, PeerKeysFile: publicKeyFile(t, "ecdsa"),
	})))
}

// stapledChain makes, below a root, a chain of three certificates in a directory, with an OCSP response about each, in order, and chain.pem.
func stapledChain(t *testing.T) (dir string, responses [][]byte) {
	t.Helper()
	dir = t.TempDir()
	openssl := func(args string) string {
		t.Helper()
		cmd := exec.Command("openssl", strings.Fields(args)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", args, err, out)
		}
		return string(out)
	}
	const new = "req -x509 -newkey EC -pkeyopt ec_paramgen_curve:P-256 -nodes -days 10 -subj /CN=%[1]s -keyout %[1]s.key -out %[1]s.pem "
	openssl(fmt.Sprintf(new, "root"))
	chain := []byte(nil)
	for issuer, name := "root", "upper"; name != ""; {
		use := "-addext basicConstraints=critical,CA:TRUE"
		if name == "localhost" {
			use = "-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost"
		}
		openssl(fmt.Sprintf(new+"-CA %[2]s.pem -CAkey %[2]s.key "+use, name, issuer))
		serial := strings.TrimPrefix(strings.TrimSpace(openssl("x509 -noout -serial -in "+name+".pem")), "serial=")
		tlstest.Must(t, os.WriteFile(filepath.Join(dir, "index"), []byte("V\t491231235959Z\t\t"+serial+"\tunknown\t/CN="+name+"\n"), 0o600))
		openssl(fmt.Sprintf("ocsp -index index -CA %[2]s.pem -issuer %[2]s.pem -rsigner %[2]s.pem -rkey %[2]s.key -cert %[1]s.pem -ndays 5 -respout %[1]s.der",
			name, issuer))
		responses = slices.Insert(responses, 0, tlstest.Value(os.ReadFile(filepath.Join(dir, name+".der")))(t))
		chain = append(tlstest.Value(os.ReadFile(filepath.Join(dir, name+".pem")))(t), chain...)
		issuer, name = name, map[string]string{"upper": "lower", "lower": "localhost"}[name]
	}
	tlstest.Must(t, os.WriteFile(filepath.Join(dir, "chain.pem"), chain, 0o600))
	return dir, responses
}

// TestExtrasStaples: s_client verifies an OCSP response about each certificate of our server, and ours gets those of s_server.
func TestExtrasStaples(t *testing.T) {
	dir, responses := stapledChain(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	config := cssl.Config{Certificates: []cssl.Certificate{{ChainFile: file("chain.pem"), KeyFile: file("localhost.key"), OCSP: bytes.Join(responses, nil)}}}
	optional(t, config)
	addr, ended := extrasServer(t, config, answer)
	flags := []string{"-servername", "localhost", "-CAfile", file("root.pem"), "-verify_return_error", "-ocsp_check_all"}
	all := start(t, append([]string{"s_client", "-connect", addr}, flags...)...).sees("hello\n", "seen hello\n")
	served(t, ended)
	for _, want := range []string{"number of responses: 3", "Verification: OK"} {
		if !bytes.Contains(all, []byte(want)) {
			t.Errorf("s_client has not printed %q: %s", want, all)
		}
	}
	config.Certificates[0].OCSP = bytes.Join(responses[:2], nil)
	addr, ended = extrasServer(t, config, answer)
	start(t, append([]string{"s_client", "-connect", addr}, flags...)...).end()
	if err := tlstest.Receive(t, ended, "our server"); err == nil {
		t.Error("s_client misses no response")
	}

	args := []string{"-rev", "-cert", file("localhost.pem"), "-key", file("localhost.key"), "-cert_chain", file("chain.pem"), "-status_all"}
	for _, name := range []string{"localhost", "lower", "upper"} {
		args = append(args, "-status_file", file(name+".der"))
	}
	_, addr = startServer(t, args...)
	st := reversed(t, addr, cssl.Config{CAFile: file("root.pem"), Staples: true}).State()
	if got := append([][]byte{st.OCSP}, st.ChainOCSP...); !slices.EqualFunc(got, responses, bytes.Equal) {
		t.Errorf("from s_server %q, want %q", got, responses)
	}
}

// TestExtrasCertificateCompression: s_client with our server and s_server with our client; each side's certificate is compressed.
func TestExtrasCertificateCompression(t *testing.T) {
	for _, name := range []string{"zlib", "brotli", "zstd"} {
		t.Run(name, func(t *testing.T) {
			config := extrasConfig()
			config.CertificateCompression, config.Verify, config.CAFile = []string{name}, cssl.VerifyRequire, testcerts.Path("root.pem")
			optional(t, config)
			const seen = "CompressedCertificate"
			addr, ended := extrasServer(t, config, answer)
			args := append(ecdsa13.clientFlags(addr, "-msg"), certFlags("client")...)
			if all := start(t, args...).sees("hello\n", "seen hello\n"); bytes.Count(all, []byte(seen)) != 2 {
				t.Errorf("not both are compressed: %s", all)
			}
			served(t, ended)

			o, addr := startServer(t, append([]string{"-tls1_3", "-cert_comp", "-msg", "-rev", "-Verify", "2", "-CAfile", testcerts.Path("root.pem")}, certFlags("ecdsa")...)...)
			reversed(t, addr, cssl.Config{
				Certificates: []cssl.Certificate{certificate("client")}, CAFile: testcerts.Path("root.pem"), CertificateCompression: []string{name},
			})
			if all := o.sees("", "NewSessionTicket"); bytes.Count(all, []byte(seen)) != 2 {
				t.Errorf("not both are compressed: %s", all)
			}
		})
	}
}
