// Package activation hands over the control socket: the one that systemd holds for us, or one of our own where there is
// no systemd. It serves nothing.
package activation

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Group may look through the control socket. units/systemd/bailiff.socket names it too.
const Group = "bailiff"

// passed takes the descriptors over once: they are closed and the environment is cleared on the way.
var passed = sync.OnceValues(func() (map[string][]net.Listener, error) { return activation.ListenersWithNames() })

// Listener returns the socket that systemd passed with FileDescriptorName=name, else a new one at path. from says which,
// for the log. An empty path allows systemd's only.
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
		u.SetUnlinkOnClose(false) // systemd's: clients that come during a restart wait in it
		return u, "systemd: " + u.Addr().String(), nil
	}
	if path == "" {
		return nil, "", fmt.Errorf("socket %q: systemd passed none of that name (is the socket unit active?)", name)
	}
	l, err = listen(path)
	return l, path, err
}

// listening tells whether connections come in; net does not look.
func listening(u *net.UnixListener) (yes bool) {
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

// listen makes a socket at path with mode 0660, of Group if there is such a group. A socket that nobody listens on any
// more, left by a crash, is replaced; one in use and anything that is no socket are not.
func listen(path string) (net.Listener, error) {
	if err := clear(path); err != nil {
		return nil, err
	}
	// Bound under another name first, so that nobody can connect before mode and group are right.
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+strconv.Itoa(os.Getpid()))
	u, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	u.SetUnlinkOnClose(false)
	err = os.Chmod(tmp, 0o660)
	if g, e := user.LookupGroup(Group); e == nil && err == nil {
		gid, _ := strconv.Atoi(g.Gid)
		if e := os.Chown(tmp, -1, gid); e != nil && !errors.Is(e, fs.ErrPermission) {
			err = e // without the right to give it away the owner's own group stays
		}
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		u.Close()
		os.Remove(tmp)
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &ownSocket{u, path}, nil
}

// clear removes a dead socket.
func clear(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	if st.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("control socket: %s is there already and no socket", path)
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return fmt.Errorf("control socket: another daemon listens on %s", path)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("control socket: %w", err)
	}
	return nil
}

// ownSocket is removed when it is closed.
type ownSocket struct {
	*net.UnixListener
	path string
}

// Addr is where clients find it, not the name it was bound under.
func (s *ownSocket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

func (s *ownSocket) Close() error {
	err := os.Remove(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.UnixListener.Close())
}
