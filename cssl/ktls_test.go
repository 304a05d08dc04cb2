package cssl

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/internal/testktls"
	"github.com/spacemonad/go-openssl/internal/tlstest"
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
	return readyEnds(t, "tcp", small, mustClient(t, cc), mustServer(t, sc))
}

// bothWays sends n bytes to the server and one more to the client.
func bothWays(t *testing.T, c, s *endpoint, n int, run func(stop func() bool)) {
	t.Helper()
	c.out, s.out = tlstest.Bytes(n, 1), tlstest.Bytes(n+1, 2)
	c.in, s.in, c.sent, s.sent = nil, nil, 0, 0
	c.expect, s.expect = len(s.out), len(c.out)
	if run == nil {
		run = func(stop func() bool) { runSockets(t, c, s, stop) }
	}
	run(func() bool {
		return len(c.in) == len(s.out) && len(s.in) == len(c.out) && (!c.close || c.end != nil && s.end != nil)
	})
	sameBytes(t, "client", c.in, s.out)
	sameBytes(t, "server", s.in, c.out)
	check(t, !c.close || (c.end == io.EOF && s.end == io.EOF), "client's end: %v, server's: %v", c.end, s.end)
}

func wantRecords(t *testing.T, s *endpoint, records Records, reason string) {
	t.Helper()
	st := s.c.State()
	check(t, st.Records == records && strings.HasPrefix(st.RecordsReason, reason) && (reason != "" || st.RecordsReason == ""),
		"records are %v (%q), want %v (%q)", st.Records, st.RecordsReason, records, reason)
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

// kernelSuites are all that direct records have.
var kernelSuites = slices.Concat(gcmSuites, chachaSuites)

// TestKernelEcho: data both ways, more than the buffers hold, and the close that each side begins.
func TestKernelEcho(t *testing.T) {
	testktls.Needs(t)
	for _, suite := range kernelSuites {
		for _, small := range []bool{false, true} {
			for _, clientFirst := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/small=%v/clientFirst=%v", suite.name, small, clientFirst), func(t *testing.T) {
					c, s := kernelEnds(t, suite.version, small, func(c, s *Config) { suite.apply(c) })
					wantKernel(t, s)
					c.close, s.close = true, true
					c.last, s.last = !clientFirst, clientFirst
					bothWays(t, c, s, 300000, nil)
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
			s.out, s.close = tlstest.Bytes(n, 1), true
			fin := false
			runSockets(t, c, s, func() bool {
				if s.shut && !s.unsent && !fin {
					fin = true
					tlstest.Must(t, s.c.CloseWrite())
				}
				return c.end != nil
			})
			sameBytes(t, "client", c.in, s.out)
			demand(t, c.end == io.EOF, "%v, %d bytes: end %v", version, n, c.end)
			most = max(most, s.seen[tlsio.OpFlush][tlsio.WantWrite])
		}
		check(t, most <= 50, "%v: %d flushes wanted to write", version, most)
	}
}

// TestKernelKeyUpdate: KeyUpdates of both sides. A kernel that cannot change keys refuses our own. The peer's ends the connection
// with an alert, if it asks for ours, or if the kernel reads.
func TestKernelKeyUpdate(t *testing.T) {
	testktls.Needs(t)
	reads := kernelReads(t)
	for _, suite := range kernelSuites {
		if suite.version != TLS13 {
			continue
		}
		for _, request := range []bool{false, true} {
			c, s := kernelEnds(t, TLS13, false, func(c, s *Config) { suite.apply(c) })
			own := s.c.KeyUpdate(request)
			can := own.Err == nil
			badState := errors.Is(own.Err, tlsio.ErrState)
			demand(t, can || (badState && strings.Contains(own.Err.Error(), "the kernel cannot change the keys")), "KeyUpdate: %v", own.Err)
			bothWays(t, c, s, 50000, nil)
			for range 3 {
				tlstest.Must(t, c.c.KeyUpdate(request).Err)
				if !can && (reads || request) {
					await(t, s.c.fd)
					err := s.c.Read(s.readBuf).Err
					kernelAlert(t, err, tlsio.AlertSent, tlsio.AlertInternalError)
					says(t, "server", err, "the kernel cannot change the keys")
					wantAlert(t, c, tlsio.AlertInternalError)
					break
				}
				bothWays(t, c, s, 50000, nil)
			}
		}
	}
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
	kernelAlert(t, r.Err, tlsio.AlertReceived, alert)
}

// kernelAlert demands an error with this alert of this side.
func kernelAlert(t *testing.T, err error, side tlsio.AlertSide, alert tlsio.Alert) {
	t.Helper()
	var e *tlsio.Error
	check(t, errors.As(err, &e) && e.Alert == alert && e.AlertSide == side, "want alert %v of side %d, got %v", alert, side, err)
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
				tlstest.Value(syscall.Write(c.c.fd, []byte(tt.record)))(t)
				await(t, s.c.fd)
				err := s.c.Read(s.readBuf).Err
				kernelAlert(t, err, tlsio.AlertSent, alert)
				errs[kind] = fmt.Sprint(err)
				wantAlert(t, c, alert)
			}
			check(t, errs[RecordsDirect] == errs[RecordsKernel],
				"%s, %v: direct: %s, kernel: %s", tt.name, version, errs[RecordsDirect], errs[RecordsKernel])
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
		tlstest.Value(unix.SendmsgN(s.c.fd, []byte("record"), oob, nil, 0))(t)
		await(t, c.c.fd)
		for range 2 { // a ticket comes first
			c.c.Read(c.readBuf)
		}
		await(t, s.c.fd)
		kernelAlert(t, s.c.Read(s.readBuf).Err, tlsio.AlertReceived, tlsio.AlertUnexpectedMessage)
	}
}

// TestKernelEarlyInput: data that arrives together with the end of the handshake, and of which the kernel sees nothing, or a part.
func TestKernelEarlyInput(t *testing.T) {
	testktls.Needs(t)
	for _, version := range versions {
		for _, n := range []int{1, 3000, 16384, 20000} {
			sc := serverConfig("ecdsa")
			sc.Records = RecordsKernel
			cc := clientUpTo(version)
			cc.MinVersion = version
			c, s := socketEnds(t, "tcp", false, mustClient(t, cc), mustServer(t, sc))
			c.out, s.out = tlstest.Bytes(n, 1), tlstest.Bytes(100000, 2)
			for turns := 0; !c.established(); turns++ {
				if c.turn(readable); c.established() {
					break
				}
				await(t, s.c.fd)
				s.turn(readable)
				demand(t, turns != 10, "no handshake")
			}
			runSockets(t, c, s, func() bool { return len(s.in) == n && len(c.in) == len(s.out) })
			sameBytes(t, "server", s.in, c.out)
			sameBytes(t, "client", c.in, s.out)
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
			c.close, s.close = true, true
			bothWays(t, c, s, 100000, nil)
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
	reasons := map[string]string{"unix": "the kernel has no TLS for this socket: ", "none": "the connection has no socket"}
	if !testktls.Available() {
		reasons["tcp"] = reasons["unix"]
	}
	for _, version := range versions {
		cc := clientUpTo(version)
		cc.MinVersion = version
		cx, sx := mustClient(t, cc), mustServer(t, sc)
		for network, reason := range reasons {
			var c, s *endpoint
			run := func(stop func() bool) { runSockets(t, c, s, stop) }
			if network == "none" {
				c, s = engineEnds(t, cx, sx)
				run = func(stop func() bool) { runEngine(t, c, s, 5000, stop) }
			} else {
				c, s = socketEnds(t, network, false, cx, sx)
			}
			c.close, s.close = true, true
			bothWays(t, c, s, 50000, run)
			wantRecords(t, s, RecordsDirect, reason)
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
			tlstest.Value(syscall.Write(c.c.fd, []byte(part)))(t)
			wants(t, "read", s.c.Read(s.readBuf), tlsio.WantRead)
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.c.fd), Events: unix.POLLIN}}, 0)
			check(t, n == 0 && err == nil, "%v: the socket is readable before the record is whole: %v", version, err)
		}
	}
}
