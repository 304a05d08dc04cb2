package life

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Become makes the process run as a user and group, by names or numbers, for good. group may be empty for the user's own. Other groups are
// given up.
func Become(name, group string) error {
	uid, gid, err := ids(name, group)
	if err != nil {
		return err
	}
	if os.Geteuid() == uid && os.Getegid() == gid {
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("--user %s: only root can become another user, and this is user %d", name, os.Geteuid())
	}
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return fmt.Errorf("--user %s: setgroups: %w", name, err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("--user %s: setgid: %w", name, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("--user %s: setuid: %w", name, err)
	}
	return nil
}

// Known is why there is no such user or group, which is what Become would say of them.
func Known(name, group string) error {
	_, _, err := ids(name, group)
	return err
}

// ids looks a user and a group up.
func ids(name, group string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return 0, 0, fmt.Errorf("--user %s: there is no such user", name)
		}
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	id := u.Gid
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			if g, err = user.LookupGroupId(group); err != nil {
				return 0, 0, fmt.Errorf("--user %s:%s: there is no such group", name, group)
			}
		}
		id = g.Gid
	}
	gid, err = strconv.Atoi(id)
	return uid, gid, err
}
