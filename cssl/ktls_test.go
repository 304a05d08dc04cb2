package cssl

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testktls"
	"github.com/spacemonad/go-openssl/tlsio"
)

// kernelEnds has a client and a server with the kernel's records behind their handshake, over TCP.
func kernelEnds(t *testing.T, version TLSVersion, small bool, change func(c, s *Config)) (c, s *endpoint) {
	t.Helper()
	cc, sc := clientConfig(), serverConfig("ecdsa")
	sc.Records = RecordsKernel
	cc.MinVersion, cc.MaxVersion = version, version
	if change != nil {
		change(&cc, &sc)
	}
	c, s = socketEnds(t, "tcp", small, mustClient(t, cc), mustServer(t, sc))
	runSockets(t, c, s, func() bool { return c.established() && s.established() })
	return c, s
}

func wantRecords(t *testing.T, s *endpoint, records Records, reason string) {
	t.Helper()
	if st := s.c.State(); st.Records != records || !strings.HasPrefix(st.RecordsReason, reason) || reason == "" && st.RecordsReason != "" {
		t.Errorf("records are %v (%q), want %v (%q)", st.Records, st.RecordsReason, records, reason)
	}
}

// kernelReads reports whether the kernel may open records. Otherwise those that a connection reads are direct.
func kernelReads(t *testing.T) bool {
	t.Helper()
	_, s := kernelEnds(t, TLS13, false, nil)
	return testktls.Reads(t, s.c.State().RecordsReason)
}

// wantKernel demands that the kernel has what it can have of the connection.
func wantKernel(t *testing.T, s *endpoint) {
	t.Helper()
	reason := ""
	if !testktls.Reads(t, s.c.State().RecordsReason) {
		reason = testktls.PartOfRecord
	}
	wantRecords(t, s, RecordsKernel, reason)
}

var kernelSuites = []struct {
	version TLSVersion
	suite   string
}{
	{TLS13, "TLS_AES_128_GCM_SHA256"}, {TLS13, "TLS_AES_256_GCM_SHA384"}, {TLS13, "TLS_CHACHA20_POLY1305_SHA256"},
	{TLS12, "ECDHE-ECDSA-AES128-GCM-SHA256"}, {TLS12, "ECDHE-ECDSA-AES256-GCM-SHA384"}, {TLS12, "ECDHE-ECDSA-CHACHA20-POLY1305"},
}

func only(version TLSVersion, suite string) func(c, s *Config) {
	return func(c, s *Config) {
		if version == TLS13 {
			c.CipherSuites = suite
		} else {
			c.CipherList = suite
		}
	}
}

// TestKernelEcho: data both ways, more than the buffers hold, and the close that each side begins.
func TestKernelEcho(t *testing.T) {
	testktls.Needs(t)
	for _, tt := range kernelSuites {
		for _, small := range []bool{false, true} {
			for _, clientFirst := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/small=%v/clientFirst=%v", tt.suite, small, clientFirst), func(t *testing.T) {
					c, s := kernelEnds(t, tt.version, small, only(tt.version, tt.suite))
					wantKernel(t, s)
					c.out, s.out = pattern(300000, 1), pattern(300001, 2)
					c.close, s.close = true, true
					c.expect, s.expect = len(s.out), len(c.out)
					c.last, s.last = !clientFirst, clientFirst
					runSockets(t, c, s, func() bool { return c.end != nil && s.end != nil })
					sameBytes(t, "client", c.in, s.out)
					sameBytes(t, "server", s.in, c.out)
					if c.end != io.EOF || s.end != io.EOF {
						t.Errorf("client's end: %v, server's: %v", c.end, s.end)
					}
				})
			}
		}
	}
}

// TestKernelCloseWrite: what the kernel took, but TCP did not yet, is not lost when a FIN follows close_notify. Each Flush that
// wants to write has filled TCP's buffer, so there are few, and no Flush waits.
func TestKernelCloseWrite(t *testing.T) {
	testktls.Needs(t)
	for _, version := range versions {
		most := 0
		for n := 100000; n < 160000; n += 3001 {
			c, s := kernelEnds(t, version, true, nil)
			s.out, s.close = pattern(n, 1), true
			fin := false
			runSockets(t, c, s, func() bool {
				if s.shut && !s.unsent && !fin {
					fin = true
					if err := s.c.CloseWrite(); err != nil {
						t.Fatal(err)
					}
				}
				return c.end != nil
			})
			sameBytes(t, "client", c.in, s.out)
			if c.end != io.EOF {
				t.Fatalf("%v, %d bytes: end %v", version, n, c.end)
			}
			most = max(most, s.seen[tlsio.OpFlush][tlsio.WantWrite])
		}
		if t.Logf("%v: at most %d flushes wanted to write", version, most); most > 50 {
			t.Errorf("%v: %d flushes wanted to write", version, most)
		}
	}
}

// TestKernelKeyUpdate: KeyUpdates of both sides. A kernel that cannot change keys refuses our own. The peer's ends the connection
// with an alert, if it asks for ours, or if the kernel reads.
func TestKernelKeyUpdate(t *testing.T) {
	testktls.Needs(t)
	reads := kernelReads(t)
	for _, suite := range kernelSuites[:3] {
		for _, request := range []bool{false, true} {
			c, s := kernelEnds(t, TLS13, false, only(TLS13, suite.suite))
			own := s.c.KeyUpdate(request)
			can := own.Err == nil
			if !can {
				var e *tlsio.Error
				if !errors.Is(own.Err, tlsio.ErrState) || !errors.As(own.Err, &e) || !strings.Contains(fmt.Sprint(e), "the kernel cannot change the keys") {
					t.Fatalf("KeyUpdate: %v", own.Err)
				}
			}
			s.out, c.out = pattern(50000, 1), pattern(50000, 2)
			runSockets(t, c, s, func() bool { return len(c.in) == len(s.out) && len(s.in) == len(c.out) })
			sameBytes(t, "client", c.in, s.out)
			sameBytes(t, "server", s.in, c.out)
			for range 3 {
				c.in, s.in, c.sent, s.sent = nil, nil, 0, 0
				if r := c.c.KeyUpdate(request); r.Err != nil {
					t.Fatal(r.Err)
				}
				if !can && (reads || request) {
					wantKernelKeyError(t, c, s)
					break
				}
				runSockets(t, c, s, func() bool { return len(c.in) == len(s.out) && len(s.in) == len(c.out) })
				sameBytes(t, "client", c.in, s.out)
				sameBytes(t, "server", s.in, c.out)
			}
			t.Logf("%s: the kernel can change keys: %v", suite.suite, can)
		}
	}
}

func wantKernelKeyError(t *testing.T, c, s *endpoint) {
	t.Helper()
	await(t, s.c.fd)
	var e *tlsio.Error
	if r := s.c.Read(s.readBuf); !errors.As(r.Err, &e) || e.Alert != tlsio.AlertInternalError || e.AlertSide != tlsio.AlertSent ||
		!strings.Contains(e.Error(), "the kernel cannot change the keys") {
		t.Errorf("server: %+v", r)
	}
	wantAlert(t, c, tlsio.AlertInternalError)
}

// wantAlert demands that c reads this alert, and nothing before it.
func wantAlert(t *testing.T, c *endpoint, alert tlsio.Alert) {
	t.Helper()
	await(t, c.c.fd)
	r := c.c.Read(c.readBuf)
	if r.Want == tlsio.WantRead { // a ticket came first
		await(t, c.c.fd)
		r = c.c.Read(c.readBuf)
	}
	var e *tlsio.Error
	if !errors.As(r.Err, &e) || e.Alert != alert || e.AlertSide != tlsio.AlertReceived {
		t.Errorf("want alert %v, got %+v", alert, r)
	}
}

func await(t *testing.T, fd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 || err != nil {
			t.Fatalf("nothing arrives: %v", err)
		}
		return
	}
}

// TestKernelBadRecords: what the kernel refuses ends the connection with direct records' alert and error.
func TestKernelBadRecords(t *testing.T) {
	testktls.Needs(t)
	for _, tt := range []struct {
		name, record string
		alert        tlsio.Alert
	}{
		{"forged", "\x17\x03\x03\x00\x40" + strings.Repeat("x", 64), tlsio.AlertBadRecordMAC},
		{"short", "\x17\x03\x03\x00\x04abcd" + strings.Repeat("\x17\x03\x03", 10), tlsio.AlertBadRecordMAC},
		{"long", "\x17\x03\x03\x60\x00" + strings.Repeat("x", 100), tlsio.AlertRecordOverflow},
		{"version", "\x17\x02\x03\x00\x40" + strings.Repeat("x", 64), tlsio.AlertProtocolVersion}, // decode_error in TLS 1.3
	} {
		for _, version := range versions {
			alert := tt.alert
			if version == TLS13 && alert == tlsio.AlertProtocolVersion {
				alert = tlsio.AlertDecodeError
			}
			errs := map[Records]string{}
			for _, kind := range []Records{RecordsDirect, RecordsKernel} {
				c, s := kernelEnds(t, version, false, func(c, s *Config) { s.Records = kind })
				if kind == RecordsKernel {
					wantKernel(t, s)
				}
				if _, err := syscall.Write(c.c.fd, []byte(tt.record)); err != nil {
					t.Fatal(err)
				}
				await(t, s.c.fd)
				var e *tlsio.Error
				r := s.c.Read(s.readBuf)
				if !errors.As(r.Err, &e) || e.Alert != alert || e.AlertSide != tlsio.AlertSent {
					t.Errorf("%s, %v, %v: %+v", tt.name, version, kind, r)
				}
				errs[kind] = fmt.Sprint(r.Err)
				wantAlert(t, c, alert)
			}
			if errs[RecordsDirect] != errs[RecordsKernel] {
				t.Errorf("%s, %v: direct: %s, kernel: %s", tt.name, version, errs[RecordsDirect], errs[RecordsKernel])
			}
		}
	}
}

// TestKernelAlert: the peer's fatal alert. The peer sends it because of a record that it does not know.
func TestKernelAlert(t *testing.T) {
	testktls.Needs(t)
	for _, version := range versions {
		c, s := kernelEnds(t, version, false, nil)
		oob := make([]byte, unix.CmsgSpace(1))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		h.Level, h.Type = unix.SOL_TLS, 1 // TLS_SET_RECORD_TYPE
		h.SetLen(unix.CmsgLen(1))
		oob[unix.CmsgLen(0)] = 99
		if _, err := unix.SendmsgN(s.c.fd, []byte("record"), oob, nil, 0); err != nil {
			t.Fatal(err)
		}
		await(t, c.c.fd)
		for range 2 { // a ticket comes first
			c.c.Read(c.readBuf)
		}
		await(t, s.c.fd)
		var e *tlsio.Error
		if r := s.c.Read(s.readBuf); !errors.As(r.Err, &e) || e.Alert != tlsio.AlertUnexpectedMessage || e.AlertSide != tlsio.AlertReceived {
			t.Errorf("%v: %+v", version, r)
		}
	}
}

// TestKernelEarlyInput: data that arrives together with the end of the handshake, and of which the kernel sees nothing, or a part.
func TestKernelEarlyInput(t *testing.T) {
	testktls.Needs(t)
	for _, version := range versions {
		for _, n := range []int{1, 3000, 16384, 20000} {
			cc, sc := clientConfig(), serverConfig("ecdsa")
			sc.Records = RecordsKernel
			cc.MinVersion, cc.MaxVersion = version, version
			c, s := socketEnds(t, "tcp", false, mustClient(t, cc), mustServer(t, sc))
			c.out, s.out = pattern(n, 1), pattern(100000, 2)
			for turns := 0; !c.established(); turns++ {
				if c.turn(readable); c.established() {
					break
				}
				await(t, s.c.fd)
				s.turn(readable)
				if turns == 10 {
					t.Fatal("no handshake")
				}
			}
			runSockets(t, c, s, func() bool { return len(s.in) == n && len(c.in) == len(s.out) })
			sameBytes(t, "server", s.in, c.out)
			sameBytes(t, "client", c.in, s.out)
			t.Logf("%v, %d bytes: %v, %q", version, n, s.c.State().Records, s.c.State().RecordsReason)
		}
	}
}

// TestKernelRefuses: a direction that the kernel does not take stays with direct records.
func TestKernelRefuses(t *testing.T) {
	testktls.Needs(t)
	defer func() { kernelRefuses = 0 }()
	reads := kernelReads(t)
	for refuses, tt := range []struct {
		records Records
		reason  string
	}{
		1: {RecordsKernel, "reading is direct: the kernel does not take the key: protocol not available"},
		2: {RecordsKernel, "writing is direct: the kernel does not take the key: protocol not available"},
		3: {RecordsDirect, "reading is direct: the kernel does not take the key: protocol not available"},
	} {
		if kernelRefuses = refuses; refuses == 0 {
			continue
		}
		if !reads {
			tt.records, tt.reason = RecordsKernel, testktls.PartOfRecord
			if refuses&2 != 0 {
				tt.records = RecordsDirect
			}
		}
		for _, version := range versions {
			c, s := kernelEnds(t, version, true, nil)
			wantRecords(t, s, tt.records, tt.reason)
			c.out, s.out = pattern(100000, 1), pattern(100001, 2)
			c.close, s.close = true, true
			runSockets(t, c, s, func() bool { return c.end != nil && s.end != nil })
			sameBytes(t, "client", c.in, s.out)
			sameBytes(t, "server", s.in, c.out)
			if c.end != io.EOF || s.end != io.EOF {
				t.Errorf("client's end: %v, server's: %v", c.end, s.end)
			}
		}
	}
}

// TestKernelShortRecords: the kernel has no limit on a record's length, so that a direction that needs one stays direct.
func TestKernelShortRecords(t *testing.T) {
	testktls.Needs(t)
	sending, reading := RecordsKernel, "reading is direct: the kernel has no limit"
	writing := "writing is direct: the kernel has no limit"
	if !kernelReads(t) {
		sending, reading, writing = RecordsDirect, testktls.PartOfRecord, testktls.PartOfRecord
	}
	_, s := kernelEnds(t, TLS13, false, func(c, s *Config) { s.MaxSendFragment = 1000 })
	wantRecords(t, s, sending, writing)
	_, s = kernelEnds(t, TLS13, false, func(c, s *Config) { c.MaxFragment = 1024 })
	wantRecords(t, s, RecordsDirect, reading)
}

// TestKernelRecordsFallBack: without TLS in the kernel, records are direct, and State says why. It runs on every machine: no
// kernel has TLS for what is not TCP.
func TestKernelRecordsFallBack(t *testing.T) {
	sc := serverConfig("ecdsa")
	sc.Records = RecordsKernel
	ends := map[string]func(c, s *Context) (*endpoint, *endpoint){
		"unix": func(c, s *Context) (*endpoint, *endpoint) { return socketEnds(t, "unix", false, c, s) },
		"none": func(c, s *Context) (*endpoint, *endpoint) { return engineEnds(t, c, s) },
	}
	reasons := map[string]string{"unix": "the kernel has no TLS for this socket: ", "none": "the connection has no socket"}
	if !testktls.Available() {
		ends["tcp"] = func(c, s *Context) (*endpoint, *endpoint) { return socketEnds(t, "tcp", false, c, s) }
		reasons["tcp"] = reasons["unix"]
	}
	for _, version := range versions {
		cc := clientConfig()
		cc.MinVersion, cc.MaxVersion = version, version
		for name, make := range ends {
			c, s := make(mustClient(t, cc), mustServer(t, sc))
			c.out, s.out = pattern(50000, 1), pattern(50001, 2)
			c.close, s.close = true, true
			end := func() bool { return c.end != nil && s.end != nil }
			if name == "none" {
				runEngine(t, c, s, 5000, end)
			} else {
				runSockets(t, c, s, end)
			}
			wantRecords(t, s, RecordsDirect, reasons[name])
			sameBytes(t, name, c.in, s.out)
			sameBytes(t, name, s.in, c.out)
		}
	}
}

// TestKernelPartialRecord: a record that arrives in parts. After a Read the socket is not readable until the next part is there, so
// that no loop spins, whoever opens the records.
func TestKernelPartialRecord(t *testing.T) {
	testktls.Needs(t)
	for _, version := range versions {
		c, s := kernelEnds(t, version, false, nil)
		s.c.Read(s.readBuf)
		for _, part := range []string{"\x17\x03", "\x03\x00\x40", strings.Repeat("x", 20)} {
			if _, err := syscall.Write(c.c.fd, []byte(part)); err != nil {
				t.Fatal(err)
			}
			if r := s.c.Read(s.readBuf); r.Want != tlsio.WantRead {
				t.Errorf("%v: read: %+v", version, r)
			}
			if n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.c.fd), Events: unix.POLLIN}}, 0); n != 0 || err != nil {
				t.Errorf("%v: the socket is readable before the record is whole: %v", version, err)
			}
		}
		t.Logf("%v: %v, %q", version, s.c.State().Records, s.c.State().RecordsReason)
	}
}
