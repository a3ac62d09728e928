package top

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal (pty(7)), seen from the user's side.
type terminal struct {
	t      testing.TB
	master *os.File
	Line   *os.File // the program's side
	mu     sync.Mutex
	shown  bytes.Buffer
}

// openTerminal makes a terminal of a size. It is closed when the test ends.
func openTerminal(t testing.TB, columns, lines int) *terminal {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	x := &terminal{t: t, master: os.NewFile(uintptr(fd), "ptmx")}
	t.Cleanup(func() { x.master.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if x.Line, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Line.Close() })
	x.Resize(columns, lines)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := x.master.Read(b)
			if err != nil {
				return
			}
			x.mu.Lock()
			x.shown.Write(b[:n])
			x.mu.Unlock()
		}
	}()
	return x
}

// Resize changes the size. The program learns of it by SIGWINCH, which is sent to the terminal's foreground group only.
func (x *terminal) Resize(columns, lines int) {
	x.t.Helper()
	if err := unix.IoctlSetWinsize(int(x.Line.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(lines), Col: uint16(columns)}); err != nil {
		x.t.Fatal(err)
	}
}

// Type types.
func (x *terminal) Type(s string) {
	x.t.Helper()
	if _, err := x.master.WriteString(s); err != nil {
		x.t.Fatal(err)
	}
}

// Modes are the terminal's settings.
func (x *terminal) Modes() unix.Termios {
	x.t.Helper()
	m, err := unix.IoctlGetTermios(int(x.Line.Fd()), unix.TCGETS)
	if err != nil {
		x.t.Fatal(err)
	}
	return *m
}

// Shown is everything that was written since the terminal was opened.
func (x *terminal) Shown() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.shown.String()
}

// Await waits until a text has been written after byte from of Shown, for ten seconds at most, and returns where it ends.
func (x *terminal) Await(text string, from int) int {
	x.t.Helper()
	for limit := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		s := x.Shown()
		if i := strings.Index(s[min(from, len(s)):], text); i >= 0 {
			return from + i + len(text)
		}
		if time.Now().After(limit) {
			x.t.Fatalf("%q was not shown behind byte %d, but %q", text, from, s[min(from, len(s)):])
		}
	}
}
