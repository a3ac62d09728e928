package journaltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// newerFlag is an incompatible flag that no systemd uses.
const newerFlag = 1 << 30

// newerEnv is the environment variable with the folder that Newer has put first in PATH.
const newerEnv = "BAILIFF_JOURNALTEST_NEWER"

// Newer makes journal files look like those of a later systemd, with an incompatible flag that nothing here knows. From then on the
// journalctl in PATH is one that knows it: this test binary, whose TestMain must call Journalctl, in front of the real journalctl. The
// files may still be written to.
func Newer(t testing.TB, paths ...string) {
	t.Helper()
	if os.Getenv(newerEnv) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.Symlink(self, filepath.Join(dir, "journalctl")); err != nil {
			t.Fatal(err)
		}
		setenv(t, newerEnv, dir)
		setenv(t, "PATH", dir+":"+os.Getenv("PATH"))
	}
	for _, path := range paths {
		if err := flip(path, true); err != nil {
			t.Fatal(err)
		}
	}
}

// setenv is t.Setenv for parallel tests.
func setenv(t testing.TB, name, value string) {
	old, had := os.LookupEnv(name)
	os.Setenv(name, value)
	t.Cleanup(func() {
		if had {
			os.Setenv(name, old)
		} else {
			os.Unsetenv(name)
		}
	})
}

func flip(path string, on bool) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var b [4]byte
	if _, err := f.ReadAt(b[:], offIncompatible); err != nil {
		return err
	}
	flags := binary.LittleEndian.Uint32(b[:]) &^ newerFlag
	if on {
		flags |= newerFlag
	}
	binary.LittleEndian.PutUint32(b[:], flags)
	_, err = f.WriteAt(b[:], offIncompatible)
	return err
}

// Journalctl is the journalctl of Newer if this process was started as one; otherwise it does nothing. It passes copies of the files
// without the flag to the real journalctl.
func Journalctl() {
	dir := os.Getenv(newerEnv)
	if dir == "" || filepath.Base(os.Args[0]) != "journalctl" {
		return
	}
	if err := journalctl(dir); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func journalctl(dir string) error {
	copies, err := os.MkdirTemp(dir, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(copies)
	args := make([]string, 0, len(os.Args))
	for i, a := range os.Args[1:] {
		if path, ok := strings.CutPrefix(a, "--file="); ok {
			to := filepath.Join(copies, fmt.Sprint(i, ".journal"))
			if err := copyFile(to, path); err != nil {
				return err
			}
			a = "--file=" + to
		}
		args = append(args, a)
	}
	os.Setenv("PATH", strings.TrimPrefix(os.Getenv("PATH"), dir+":"))
	cmd := exec.Command("journalctl", args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	runtime.LockOSThread() // Pdeathsig comes when the thread ends
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return flip(to, false)
}
