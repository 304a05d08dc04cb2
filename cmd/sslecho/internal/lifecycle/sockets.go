// Package lifecycle is what a daemon owes to its surroundings: sockets that it
// inherits and hands on, systemd, and the user that it runs as.
package lifecycle

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
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
// pidFile may be empty. It is an error if another daemon has it.
func NewSockets(upgradeTimeout time.Duration, pidFile string) (*Sockets, error) {
	upgrader, err := tableflip.New(tableflip.Options{UpgradeTimeout: upgradeTimeout, PIDFile: pidFile})
	s := &Sockets{upgrader, pidFile}
	if err != nil || s.HasParent() {
		return s, err
	}
	return s, s.inUse()
}

// inUse returns an error if the pid file names another process of this program.
// A file that a crash or another boot left behind may name any process.
func (s *Sockets) inUse() error {
	pid := s.pid()
	if pid <= 0 || pid == os.Getpid() {
		return nil
	}
	theirs, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if ours, _ := os.ReadFile("/proc/self/comm"); err != nil || !bytes.Equal(theirs, ours) {
		return nil
	}
	return fmt.Errorf("--pid-file %s: process %d, which runs, has it: stop that one, or use another file", s.pidFile, pid)
}

// pid is what the pid file has, or 0.
func (s *Sockets) pid() int {
	p, _ := os.ReadFile(s.pidFile)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(p)))
	return pid
}

// activated is the name of the sockets that systemd has opened.
const activated = "systemd"

// Activated returns the sockets that systemd has opened for this daemon, if
// any.
func (s *Sockets) Activated() ([]net.Listener, error) {
	return s.take("tcp", activated, func() ([]net.Listener, error) { // the network is only a part of the name
		if s.HasParent() {
			return nil, nil
		}
		all, err := activation.Listeners()
		if err != nil {
			return nil, fmt.Errorf("sockets of systemd: %w", err)
		}
		if i := slices.Index(all, nil); i >= 0 {
			return nil, fmt.Errorf("sockets of systemd: number %d is no listening stream socket", i)
		}
		return all, nil
	})
}

// Listen returns the sockets of an address, "host:port" or "unix:/path": those
// that were inherited under this name, or else those that open opens. name
// tells apart two of the same address.
func (s *Sockets) Listen(name, address string, open func() ([]net.Listener, error)) ([]net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return s.take("unix", path, open)
	}
	return s.take("tcp", name, open)
}

// take returns the inherited sockets of a name, or else opens them and makes
// them part of what is handed on.
func (s *Sockets) take(network, name string, open func() ([]net.Listener, error)) (all []net.Listener, err error) {
	key := func(i int) string { // the first one of a unix socket is its path, by which it is removed
		if i == 0 {
			return name
		}
		return fmt.Sprintf("%s#%d", name, i)
	}
	for {
		l, err := s.Fds.Listener(network, key(len(all)))
		if err != nil {
			return all, err
		} else if l == nil {
			break
		}
		all = append(all, l)
	}
	if len(all) > 0 {
		return all, nil
	}
	if all, err = open(); err != nil {
		return nil, err
	}
	for i, l := range all {
		t, ok := l.(tableflip.Listener)
		if !ok {
			return all, fmt.Errorf("a listener of type %T cannot be handed on", l)
		}
		if err := s.add(network, key(i), t); err != nil {
			return all, err
		}
	}
	return all, nil
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
	if s.pid() == os.Getpid() {
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
