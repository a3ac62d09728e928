package activation

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestMain: as a child of TestFromSystemd this program is the service, and prints what it got.
func TestMain(m *testing.M) {
	if name := os.Getenv("TEST_LISTENER"); name != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		l, from, err := Listener(name, os.Getenv("TEST_PATH"))
		if err != nil {
			os.Stdout.WriteString(err.Error())
			os.Exit(0)
		}
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		c.Write([]byte(from + " " + os.Getenv("LISTEN_FDS")))
		c.Close()
		l.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child starts this program with sockets passed as systemd does it: from descriptor 3 on, named in $LISTEN_FDNAMES.
func child(t *testing.T, ask, path, names string, files ...*os.File) (wait func() string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "TEST_LISTENER="+ask, "TEST_PATH="+path, "LISTEN_FDNAMES="+names, "LISTEN_FDS="+strconv.Itoa(len(files)))
	cmd.ExtraFiles = files
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
}

func socket(t *testing.T, path string) *os.File {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFromSystemd(t *testing.T) {
	dir := t.TempDir()
	other, control := filepath.Join(dir, "other"), filepath.Join(dir, "control")
	fo, fc := socket(t, other), socket(t, control)
	for range 2 { // the second service takes the same socket: the first one has not removed it
		wait := child(t, "control", "", "other:control", fo, fc)
		c, err := net.Dial("unix", control)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 256)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if got := string(b[:n]); got != "systemd: "+control+" " { // $LISTEN_FDS is gone, for children of ours
			t.Errorf("got %q", got)
		}
		if out := wait(); out != "" {
			t.Error(out)
		}
	}
}

func TestNotPassed(t *testing.T) {
	dir := t.TempDir()
	if got := child(t, "control", "", "other", socket(t, filepath.Join(dir, "other")))(); !strings.Contains(got, `"control": systemd passed none`) {
		t.Errorf("wrong name: %q", got)
	}
	u, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "dgram"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	f, err := u.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := child(t, "control", "", "control", f)(); !strings.Contains(got, "is unixgram, not a unix stream socket") {
		t.Errorf("datagram socket: %q", got)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	g, err := tcp.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if got := child(t, "control", "", "control", g)(); !strings.Contains(got, "is tcp, not a unix stream socket") {
		t.Errorf("TCP socket: %q", got)
	}
}

func TestOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	l, from, err := Listener("control", path)
	if err != nil {
		t.Fatal(err)
	}
	if from != path || l.Addr().String() != path {
		t.Errorf("from %q, at %q", from, l.Addr())
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if _, _, err := Listener("control", path); err == nil || !strings.Contains(err.Error(), "another daemon listens on "+path) {
		t.Errorf("in use: %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("after the refusal: %v", err)
	} else {
		c.Close()
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	socket(t, path).Close()
	l, _, err := Listener("control", path)
	if err != nil {
		t.Fatalf("a dead socket is in the way: %v", err)
	}
	l.Close()
}

func TestNoSocketInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Listener("control", path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("%q, %v", b, err)
	}
	if _, _, err := Listener("control", filepath.Join(path, "x", "y")); err == nil {
		t.Error("a folder that is none: no error")
	}
}
