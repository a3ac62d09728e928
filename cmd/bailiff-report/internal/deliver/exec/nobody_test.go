package exec

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestMain lets the test's own binary be a client with another user.
func TestMain(m *testing.M) {
	if socket := os.Getenv("EXEC_TEST_SOCKET"); socket != "" {
		c, err := net.Dial("unix", socket)
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		io.WriteString(c, "{\"destination\":\"tell\"}\n{}")
		c.(*net.UnixConn).CloseWrite()
		io.Copy(os.Stdout, c)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// asNobody asks as user 65534, for whom the folders on the way and the socket are made accessible.
func asNobody(t *testing.T, socket string) string {
	t.Helper()
	for p := socket; len(p) > len(os.TempDir()); p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(filepath.Dir(socket), "client")
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(bin, self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin)
	cmd.Env = []string{"EXEC_TEST_SOCKET=" + socket}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
