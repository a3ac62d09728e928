package check

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"bailiff/policy/config"
	"bailiff/policy/diag"
	"bailiff/units/configdir"
)

// daemonUser is the account that bailiffd runs as: User= in bailiff.service.
const daemonUser = "bailiff"

// fileUser is a user as the kernel judges access to files.
type fileUser struct {
	uid, gid int
	groups   []int
}

// daemonFiles returns the daemon's user; nil if this process cannot act as it, or the daemon is not installed.
func daemonFiles() *fileUser {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(daemonUser)
	if err != nil {
		return nil
	}
	f := &fileUser{}
	if f.uid, err = strconv.Atoi(u.Uid); err != nil {
		return nil
	}
	if f.gid, err = strconv.Atoi(u.Gid); err != nil {
		return nil
	}
	ids, err := u.GroupIds()
	if err != nil {
		ids = []string{u.Gid}
	}
	for _, id := range ids {
		if n, err := strconv.Atoi(id); err == nil {
			f.groups = append(f.groups, n)
		}
	}
	return f
}

// do runs a function with the user's access to files. The kernel decides, so access control lists and security modules
// count as well.
func (u *fileUser) do(f func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, which has another user's rights, ends with this goroutine
		if err := unix.Setgroups(u.groups); err != nil {
			done <- fmt.Errorf("setgroups: %w", err)
			return
		}
		// These return the previous ID instead of an error; a second call shows what the first one did.
		unix.SetfsgidRetGid(u.gid)
		unix.SetfsuidRetUid(u.uid)
		if now, _ := unix.SetfsuidRetUid(u.uid); now != u.uid {
			done <- fmt.Errorf("setfsuid: %w", unix.EPERM)
			return
		}
		f()
		done <- nil
	}()
	return <-done
}

// loadAs loads the host's configuration with the user's access to files. A file that the user may not read is an error
// with a hint.
func loadAs(l *configdir.Loader, u *fileUser) (c *config.Config, err error) {
	if u == nil {
		return l.Load()
	}
	if err := u.do(func() { c, err = l.Load() }); err != nil {
		return nil, err
	}
	for _, y := range diag.Errors(err) {
		if y.Hint == "" && strings.Contains(y.Text, unix.EACCES.Error()) {
			y.Hint = "bailiffd reads it as user " + daemonUser + ": " + openUp(y.File)
		}
	}
	return c, err
}

// openUp is the command that lets everybody read a file: for the first folder above it that prevents it, or the file.
func openUp(file string) string {
	var above []string
	for dir := filepath.Dir(file); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		above = append(above, dir)
	}
	for _, dir := range slices.Backward(above) {
		if st, err := os.Stat(dir); err == nil && st.Mode().Perm()&0o005 != 0o005 {
			return "chmod 0755 " + dir
		}
	}
	if st, err := os.Stat(file); err == nil && st.Mode()&fs.ModeDir != 0 {
		return "chmod 0755 " + file
	}
	return "chmod 0644 " + file
}
