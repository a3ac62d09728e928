package notify

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen opens a notify socket and returns a function that reads one datagram.
func listen(t *testing.T, name string) func() string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return func() string {
		t.Helper()
		b := make([]byte, 4096)
		c.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestMessages(t *testing.T) {
	read := listen(t, filepath.Join(t.TempDir(), "notify"))
	for _, c := range []struct {
		call func() error
		want string
	}{
		{func() error { return Ready("2 jails") }, "READY=1\nSTATUS=2 jails\n"},
		{func() error { return Ready("") }, "READY=1\n"},
		{func() error { return Stopping("saving") }, "STOPPING=1\nSTATUS=saving\n"},
		{Ping, "WATCHDOG=1\n"},
		{func() error { return Extend(90 * time.Second) }, "EXTEND_TIMEOUT_USEC=90000000\n"},
		{func() error { return Status("a\nMAINPID=1\r\x00b\u2028c\xff") }, "STATUS=a MAINPID=1  b c�\n"},
	} {
		if err := c.call(); err != nil {
			t.Fatal(err)
		}
		if got := read(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	if err := Status(strings.Repeat("é", 4000)); err != nil {
		t.Fatal(err)
	}
	if got := read(); len(got) > maxStatus+20 || strings.ContainsRune(got, '�') {
		t.Errorf("long status: %d bytes, %q", len(got), got[len(got)-10:])
	}
}

func TestReloadingHoldsTheTime(t *testing.T) {
	read := listen(t, filepath.Join(t.TempDir(), "notify"))
	now := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano() / 1000
	}
	before := now()
	if err := Reloading("reading"); err != nil {
		t.Fatal(err)
	}
	got := read()
	rest, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
	num, tail, _ := strings.Cut(rest, "\n")
	usec, err := strconv.ParseInt(num, 10, 64)
	if !ok || err != nil || tail != "STATUS=reading\n" {
		t.Fatalf("got %q", got)
	}
	if usec < before || usec > now() {
		t.Errorf("MONOTONIC_USEC=%d, want between %d and now", usec, before)
	}
}

func TestAbstractSocket(t *testing.T) {
	read := listen(t, "@bailiff-notify-test-"+strconv.Itoa(os.Getpid()))
	if err := Ready(""); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "READY=1\n" {
		t.Errorf("got %q", got)
	}
}

func TestWithoutSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	for _, err := range []error{Ready("x"), Reloading(""), Stopping(""), Ping()} {
		if err != nil {
			t.Error(err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if Ready("") == nil {
		t.Error("a socket that is gone: no error")
	}
}

func TestWatchdog(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
		fails     bool
	}{
		{"", "", 0, false},
		{"30000000", strconv.Itoa(os.Getpid()), 15 * time.Second, false},
		{"30000000", "", 15 * time.Second, false},
		{"30000000", "1", 0, false}, // another process's
		{"soon", "", 0, true},
		{"-5", "", 0, true},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		d, ok, err := Watchdog()
		if d != c.want || ok != (c.want > 0) || (err != nil) != c.fails {
			t.Errorf("%q %q: %v %v %v", c.usec, c.pid, d, ok, err)
		}
	}
}
