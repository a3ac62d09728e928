// Package peer asks the kernel which process is at the other end of a unix socket. What the other side says about itself is not
// used. The answer describes the process as it was when it connected.
package peer

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Credentials identify a process, as SO_PEERCRED and SO_PEERGROUPS report it (socket(7), unix(7)).
type Credentials struct {
	PID    int32
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary groups
}

// Of returns the credentials of the process that opened the other end of c.
func Of(c *net.UnixConn) (Credentials, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Credentials{}, err
	}
	var p Credentials
	var inner error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner != nil {
			return
		}
		p = Credentials{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}
		p.Groups, inner = groups(int(fd))
	})
	if err = errors.Join(err, inner); err != nil {
		return Credentials{}, fmt.Errorf("credentials of the caller: %w", err)
	}
	return p, nil
}

// In reports whether the process belongs to a group.
func (p *Credentials) In(gid uint32) bool { return p.GID == gid || slices.Contains(p.Groups, gid) }

// groups reads SO_PEERGROUPS (Linux 4.13). x/sys has no call for an option that is a list of numbers.
func groups(fd int) ([]uint32, error) {
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
