package lifecycle

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Become makes the process run as a user and group, by names or numbers, for
// good. group may be empty for the user's own. Other groups are given up.
func Become(name, group string) error {
	uid, gid, err := Lookup(name, group)
	if err != nil || os.Geteuid() == uid && os.Getegid() == gid {
		return err
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("--user %s: only root can become another user, and this is user %d", name, os.Geteuid())
	}
	if err := cmp.Or(os.NewSyscallError("setgroups", syscall.Setgroups([]int{gid})), os.NewSyscallError("setgid", syscall.Setgid(gid)),
		os.NewSyscallError("setuid", syscall.Setuid(uid))); err != nil {
		return fmt.Errorf("--user %s: %w", name, err)
	}
	return nil
}

// Lookup returns the numbers of a user and a group.
func Lookup(name, group string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("--user %s: there is no such user", name)
	}
	id := u.Gid
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			g, err = user.LookupGroupId(group)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("--user %s:%s: there is no such group", name, group)
		}
		id = g.Gid
	}
	uid, err = strconv.Atoi(u.Uid)
	gid, groupErr := strconv.Atoi(id)
	return uid, gid, errors.Join(err, groupErr)
}
