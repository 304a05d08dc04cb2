// Package lifecycle is what a daemon owes to its surroundings: sockets that it
// inherits and hands on, systemd, and the user that it runs as.
package lifecycle

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets are the listening sockets of the daemon, which outlive a process: an
// upgrade hands them to the next one.
type Sockets struct {
	*tableflip.Upgrader
	pidFile string
}

// NewSockets takes over what this process has inherited. There can be one of it
// in a process. upgradeTimeout is how long a new process may take to be ready;
// pidFile may be empty.
func NewSockets(upgradeTimeout time.Duration, pidFile string) (*Sockets, error) {
	upgrader, err := tableflip.New(tableflip.Options{UpgradeTimeout: upgradeTimeout, PIDFile: pidFile})
	return &Sockets{upgrader, pidFile}, err
}

// activated is the name of the sockets that systemd has opened.
const activated = "systemd"

// Activated returns the sockets that systemd has opened for this daemon, if
// any.
func (s *Sockets) Activated() ([]net.Listener, error) {
	if s.HasParent() {
		return s.inherited("tcp", activated) // the network is only a part of the name
	}
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets of systemd: %w", err)
	}
	for i, l := range all {
		if l == nil {
			return nil, fmt.Errorf("sockets of systemd: number %d is no listening stream socket", i)
		}
	}
	return all, s.keep("tcp", activated, all)
}

// Listen returns the sockets of an address, "host:port" or "unix:/path": those
// that were inherited under this name, or else those that open opens. name
// tells apart two of the same address.
func (s *Sockets) Listen(name, address string, open func() ([]net.Listener, error)) ([]net.Listener, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, name = "unix", path
	}
	ls, err := s.inherited(network, name)
	if err != nil || len(ls) > 0 {
		return ls, err
	}
	if ls, err = open(); err != nil {
		return nil, err
	}
	return ls, s.keep(network, name, ls)
}

// key is the name of one of several sockets. The first one of a unix socket is
// its path, by which it is removed.
func key(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s#%d", name, i)
}

func (s *Sockets) inherited(network, name string) (out []net.Listener, _ error) {
	for {
		l, err := s.Fds.Listener(network, key(name, len(out)))
		if l == nil || err != nil {
			return out, err
		}
		out = append(out, l)
	}
}

// keep makes ls part of what is handed on.
func (s *Sockets) keep(network, name string, ls []net.Listener) error {
	for i, l := range ls {
		t, ok := l.(tableflip.Listener)
		if !ok {
			return fmt.Errorf("a listener of type %T cannot be handed on", l)
		}
		if err := s.add(network, key(name, i), t); err != nil {
			return err
		}
	}
	return nil
}

// add makes l part of what is handed on. The os.File that Fds makes of it must
// not get into Go's own poller: that would wake a thread for every connection
// that comes. os.NewFile leaves descriptors that block out. Nobody accepts yet.
// (A socket that was inherited is in that poller: the process before accepts
// from it meanwhile, so it cannot be made to block.)
func (s *Sockets) add(network, name string, l tableflip.Listener) error {
	rc, err := l.SyscallConn()
	if err != nil {
		return err
	}
	block := func(yes bool) error {
		var serr error
		err := rc.Control(func(fd uintptr) { serr = syscall.SetNonblock(int(fd), !yes) })
		return errors.Join(err, serr)
	}
	if err := block(true); err != nil {
		return err
	}
	err = s.Fds.AddListener(network, name, l)
	return errors.Join(err, block(false))
}

// Ready writes the pid file and says that this process serves: one that waits
// for it may go now.
func (s *Sockets) Ready() error {
	err := s.Upgrader.Ready()
	if err == nil {
		return nil
	}
	if why, ok := strings.CutPrefix(err.Error(), "tableflip: can't write PID file: "); ok {
		return fmt.Errorf("--pid-file %s: %s", s.pidFile, why)
	}
	return err
}

// RemovePIDFile removes it unless it names another process, such as one that
// has taken over. Where that is not allowed, it stays.
func (s *Sockets) RemovePIDFile() {
	if p, err := os.ReadFile(s.pidFile); err == nil && string(p) == strconv.Itoa(os.Getpid()) {
		os.Remove(s.pidFile)
	}
}

// Upgrade starts the program anew, which inherits the sockets, and waits until
// that one is ready. If it is, Exit's channel is closed; otherwise nothing has
// changed.
func (s *Sockets) Upgrade() error {
	err := s.Upgrader.Upgrade()
	if err != nil && strings.Contains(err.Error(), "parent hasn't exited") {
		return errors.New("the process before this one is still draining; try again when it has gone")
	}
	return err
}

// Stop gives the sockets up for good and removes those of the file system.
func (s *Sockets) Stop() {
	s.Upgrader.Stop()
	<-s.Exit()
}
