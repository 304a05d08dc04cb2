package cssl

import (
	"bytes"
	"io"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/spacemonad/go-openssl/tlsio"
)

// TestWriteMore: records of which each says that another follows leave in one segment, with the one that does not.
// What a write that is never followed left in the kernel arrives all the same.
func TestWriteMore(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa"))
	cfd, sfd := socketPair(t, "tcp", false)
	cc, sc := overSockets(t, cx, sx, cfd, sfd)
	c, s := newEndpoint(t, "client", cc), newEndpoint(t, "server", sc)
	runSockets(t, c, s, func() bool { return c.established() && s.established() })
	sc.Flush()
	var want []byte
	write := func(f func([]byte) tlsio.Result) {
		t.Helper()
		if r := f([]byte("record")); r.N != 6 || r.Unsent {
			t.Fatalf("%+v", r)
		}
		want = append(want, "record"...)
	}
	more := func(p []byte) tlsio.Result { return sc.WriteBuffers([][]byte{p}, true) }
	together := false
	for i := 0; i < 20 && !together; i++ { // the kernel waits 200 ms, a machine may stand still for longer
		before := segmentsOut(t, sfd)
		write(more)
		write(more)
		write(sc.Write)
		together = segmentsOut(t, sfd) == before+1
	}
	if !together {
		t.Error("the records left one by one")
	}
	write(more)
	var got []byte
	for len(got) < len(want) {
		r := cc.Read(c.readBuf)
		got = append(got, c.readBuf[:r.N]...)
		if r.Want == tlsio.WantRead {
			waitFor(t, cfd)
		} else if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%q arrived", got)
	}
}

// TestShutdownMore: data, close_notify and FIN leave in one segment.
func TestShutdownMore(t *testing.T) {
	cx, sx := mustClient(t, clientConfig()), mustServer(t, serverConfig("ecdsa"))
	together := false
	for i := 0; i < 20 && !together; i++ { // as in TestWriteMore
		cfd, sfd := socketPair(t, "tcp", false)
		cc, sc := overSockets(t, cx, sx, cfd, sfd)
		c, s := newEndpoint(t, "client", cc), newEndpoint(t, "server", sc)
		runSockets(t, c, s, func() bool { return c.established() && s.established() })
		sc.Flush()
		before := segmentsOut(t, sfd)
		if r := sc.WriteBuffers([][]byte{[]byte("end")}, true); r.N != 3 || r.Unsent {
			t.Fatalf("%+v", r)
		}
		if r := sc.ShutdownMore(); r.Err != nil || r.Want != tlsio.WantNone || r.Unsent {
			t.Fatalf("%+v", r)
		}
		if err := sc.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		together = segmentsOut(t, sfd) == before+1
		var got []byte
		for {
			r := cc.Read(c.readBuf)
			got = append(got, c.readBuf[:r.N]...)
			if r.Want == tlsio.WantRead {
				waitFor(t, cfd)
			} else if r.Err == io.EOF {
				break
			} else if r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		if string(got) != "end" {
			t.Fatalf("%q arrived", got)
		}
	}
	if !together {
		t.Error("they left one by one")
	}
}

// segmentsOut is how many segments fd has sent.
func segmentsOut(t *testing.T, fd int) uint32 {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return info.Segs_out
}

// waitFor waits until fd can be read.
func waitFor(t *testing.T, fd int) {
	t.Helper()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if err == syscall.EINTR {
			continue
		}
		if n != 1 {
			t.Fatalf("nothing came: %v", err)
		}
		return
	}
}
