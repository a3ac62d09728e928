// Package activation returns listening sockets: those that systemd passes, or a new one for a start by hand, with the right mode and
// group. It accepts no connections. go-systemd receives the descriptors; this package checks that they are listening unix sockets.
package activation

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"strconv"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Group is the group whose members may read through the control socket. It is also named in units/systemd/bailiff.socket.
const Group = "bailiff"

// passed takes the descriptors over. That is possible only once: the environment is cleared.
var passed = sync.OnceValues(func() (map[string][]net.Listener, error) { return activation.ListenersWithNames() })

// Listener returns the socket that systemd passed with FileDescriptorName=name, else a new one at path. from says for the
// log where it comes from. With an empty path, a socket that systemd did not pass is an error.
func Listener(name, path string) (l net.Listener, from string, err error) {
	all, err := passed()
	if err != nil {
		return nil, "", fmt.Errorf("sockets from systemd: %w", err)
	}
	if ls := all[name]; len(ls) > 0 {
		u, ok := ls[0].(*net.UnixListener)
		if !ok || !listening(u) {
			return nil, "", fmt.Errorf("socket %q from systemd: is %s, not a unix stream socket", name, ls[0].Addr().Network())
		}
		u.SetUnlinkOnClose(false) // it is systemd's: clients wait in it during a restart
		return u, "systemd: " + u.Addr().String(), nil
	}
	if path == "" {
		return nil, "", fmt.Errorf("socket %q: systemd passed none of that name (is the socket unit active?)", name)
	}
	l, err = listen(path)
	return l, path, err
}

// All returns every socket that systemd passed with FileDescriptorName=name, unix and TCP; none if it passed none of that name.
func All(name string) ([]net.Listener, error) {
	all, err := passed()
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	for _, l := range all[name] {
		if s, ok := l.(syscall.Conn); !ok || !listening(s) {
			return nil, fmt.Errorf("socket %q from systemd: %s does not accept connections", name, l.Addr())
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // it is systemd's
		}
	}
	return all[name], nil
}

// listening reports whether a socket accepts connections; net does not check that.
func listening(u syscall.Conn) (yes bool) {
	raw, err := u.SyscallConn()
	if err != nil {
		return false
	}
	raw.Control(func(fd uintptr) {
		v, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		yes = err == nil && v != 0
	})
	return yes
}

// listen creates a socket at path with mode 0660, for Group if it exists. It replaces a socket that a crash has left, but not one in
// use, nor anything else. The umask is that of the whole process, so this is for its start.
func listen(path string) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("control socket: %s exists and is not a socket", path)
		}
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("control socket: another daemon listens on %s", path)
		} else if !errors.Is(err, unix.ECONNREFUSED) {
			return nil, fmt.Errorf("control socket: %w", err)
		}
		os.Remove(path) // if it stays, so does the error of the next line
	}
	umask := unix.Umask(0o177) // nobody connects before the group is set
	l, err := net.Listen("unix", path)
	unix.Umask(umask)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if g, e := user.LookupGroup(Group); e == nil {
		gid, _ := strconv.Atoi(g.Gid)
		if e := os.Chown(path, -1, gid); e != nil && !errors.Is(e, fs.ErrPermission) {
			err = e // a user who may not change the group keeps their own
		}
	}
	if err = errors.Join(err, os.Chmod(path, 0o660)); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}
