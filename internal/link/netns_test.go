package link

import (
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/spacemonad/go-openssl/internal/testnet"
	"github.com/spacemonad/go-openssl/internal/tlstest"
	"golang.org/x/sys/unix"
)

// site is a network namespace with one TUN device.
type site struct {
	*testnet.Namespace
	tun *os.File
}

// newSite makes a namespace in which the device has the address.
func newSite(t *testing.T, addr [4]byte) *site {
	t.Helper()
	s := &site{Namespace: testnet.New(t, full)}
	var err error
	s.In(func() { s.tun, err = makeTUN(addr) })
	if !full && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)) {
		t.Skipf("needs CAP_NET_ADMIN and /dev/net/tun: %v", err)
	}
	tlstest.Must(t, err)
	t.Cleanup(func() { s.tun.Close() })
	return s
}

// makeTUN makes the device in the namespace of this thread.
func makeTUN(addr [4]byte) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	control, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(control)
	for _, step := range []struct {
		fd      int
		request uint
		set     func(*unix.Ifreq) error
	}{
		{fd, unix.TUNSETIFF, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI); return nil }},
		{control, unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(addr[:]) }},
		{control, unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr([]byte{255, 255, 255, 0}) }},
		{control, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }},
	} {
		r, err := unix.NewIfreq("link0")
		if err == nil {
			err = step.set(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(step.fd, step.request, r)
		}
		if err != nil {
			return nil, os.NewSyscallError("ioctl", err)
		}
	}
	return os.NewFile(uintptr(fd), "tun"), nil // once the device is there: it takes part in polling from then on
}

var (
	serverAddr = [4]byte{10, 77, 0, 1}
	clientAddr = [4]byte{10, 77, 0, 2}
)

// listen opens a port in the namespace. Sockets that are accepted give up after userTimeout milliseconds without
// an answer, if it is set.
func (s *site) listen(t *testing.T, userTimeout int) net.Listener {
	t.Helper()
	var l net.Listener
	var err error
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { tlstest.IsError(t, "options", options(int(fd), userTimeout), nil) })
	}}
	lc.SetMultipathTCP(false) // which does not know TCP_USER_TIMEOUT
	s.In(func() { l, err = lc.Listen(t.Context(), "tcp4", net.IP(serverAddr[:]).String()+":0") })
	tlstest.Must(t, err)
	return l
}

// options of both sides' sockets: small buffers, so that writes block soon.
func options(fd, userTimeout int) error {
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 16<<10),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeout))
}

// connect begins to connect to a port of the other site, and answers the socket and its own port.
func (s *site) connect(t *testing.T, port, userTimeout int) (fd int, own uint16) {
	t.Helper()
	var err error
	s.In(func() { fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0) })
	tlstest.Must(t, errors.Join(err, options(fd, userTimeout), unix.Bind(fd, &unix.SockaddrInet4{Addr: clientAddr})))
	name := tlstest.Value(unix.Getsockname(fd))(t)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: serverAddr, Port: port}); err != nil && err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	return fd, uint16(name.(*unix.SockaddrInet4).Port)
}
