package control

import (
	"errors"
	"fmt"
	"net"
	"os/user"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// caller is who stands at the other end of a connection, as the kernel noted it when it was made.
type caller struct {
	Peer
	groups []uint32 // supplementary
}

// callerOf asks the kernel (SO_PEERCRED, SO_PEERGROUPS: socket(7)). What the other side says about itself never counts.
func callerOf(c *net.UnixConn) (caller, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return caller{}, err
	}
	var who caller
	var inner error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner != nil {
			return
		}
		who.Peer = Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}
		who.groups, inner = peerGroups(int(fd))
	})
	if err = errors.Join(err, inner); err != nil {
		return caller{}, fmt.Errorf("credentials of the caller: %w", err)
	}
	return who, nil
}

// peerGroups reads SO_PEERGROUPS (Linux 4.13). x/sys has no call for an option that is a list of numbers.
func peerGroups(fd int) ([]uint32, error) {
	for n := 32; ; {
		buf := make([]uint32, n)
		size := uint32(len(buf)) * 4
		_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case e == 0:
			return buf[:size/4], nil
		case e == unix.ERANGE && int(size/4) > n: // the kernel says how many there are
			n = int(size / 4)
		case e == unix.ENOPROTOOPT || e == unix.ENODATA:
			return nil, nil
		default:
			return nil, e
		}
	}
}

// in tells whether the caller is of a group.
func (c *caller) in(gid uint32) bool { return c.GID == gid || slices.Contains(c.groups, gid) }

// userName is the name of a user, or the number where it has none.
func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if uid == 0 {
		return "root"
	}
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}
