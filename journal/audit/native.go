package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram is one entry, "NAME=value\n" is a field. It is implemented
// here because journal.Send of go-systemd takes a map, so a field cannot occur twice; passes long entries as a file in /dev/shm instead of
// a memfd; and waits forever for a journald that hangs.

// maxFieldName is journald's limit (journal_field_valid in systemd's journal-file.c).
const maxFieldName = 64

// validName reports whether journald accepts a field name from a client: A–Z, 0–9 and _, not beginning with a digit or with _, which is
// reserved for journald.
func validName(name string) bool {
	if name == "" || len(name) > maxFieldName || name[0] == '_' || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}

// appendField appends a field. A value with a newline is written with its length, so that a value cannot inject fields. A field whose name
// journald would reject is left out: the entry matters more than the field.
func appendField(b []byte, name, value string) []byte {
	if !validName(name) {
		return b
	}
	b = append(b, name...)
	if strings.IndexByte(value, '\n') < 0 {
		b = append(b, '=')
	} else {
		b = append(b, '\n')
		b = binary.LittleEndian.AppendUint64(b, uint64(len(value)))
	}
	b = append(b, value...)
	return append(b, '\n')
}

// conn is a datagram socket, used by one goroutine. It is not connected, since journald may restart.
type conn struct {
	fd   int
	addr unix.SockaddrUnix
}

// sendLimit is how long one datagram waits for room in journald's queue before the writer checks whether to give up.
const sendLimit = time.Second

func dial(path string) (*conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("journal socket: %w", err)
	}
	tv := unix.NsecToTimeval(int64(sendLimit))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("journal socket: %w", err)
	}
	return &conn{fd, unix.SockaddrUnix{Name: path}}, nil
}

func (c *conn) close() { unix.Close(c.fd) }

// send sends one entry. An entry that does not fit into a datagram is sent as a sealed memfd, as the protocol requires.
func (c *conn) send(data []byte) error {
	err := c.sendmsg(data, nil)
	if !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.ENOBUFS) {
		return err
	}
	fd, err := sealed(data)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return c.sendmsg(nil, unix.UnixRights(fd))
}

func (c *conn) sendmsg(data, oob []byte) error {
	for {
		err := unix.Sendmsg(c.fd, data, oob, &c.addr, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			if err != nil {
				return fmt.Errorf("send to %s: %w", c.addr.Name, err)
			}
			return nil
		}
	}
}

// sealed returns a memfd with data that can no longer be changed; journald accepts no other kind from an unprivileged process.
func sealed(data []byte) (fd int, err error) {
	const name, flags = "bailiff-journal", unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err = unix.MemfdCreate(name, flags)
	if errors.Is(err, unix.EACCES) {
		// Needed if sysctl vm.memfd_noexec=2. Not tried first, since systemd before 253 accepts exactly the four seals below.
		fd, err = unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	}
	if err != nil {
		return -1, fmt.Errorf("memory file for a long journal entry: %w", err)
	}
	for rest := data; len(rest) > 0 && err == nil; {
		var n int
		n, err = unix.Write(fd, rest)
		if errors.Is(err, unix.EINTR) {
			n, err = 0, nil
		}
		rest = rest[max(n, 0):]
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("memory file for a long journal entry: %w", err)
	}
	return fd, nil
}
