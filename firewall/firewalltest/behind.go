package firewalltest

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Behind creates a host behind this one, 10.9.0.2 and fd09::2, which is reached by address translation only, like a container.
// It echoes on port 80. This host forwards.
func Behind(t *testing.T) {
	t.Helper()
	cmd := exec.Command("sleep", "300")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	Run(t, "ip", "link", "add", "behind0", "type", "veth", "peer", "name", "behind1", "netns", pid)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = exec.Command("ip", "link", "del", "behind0").Run()
	})
	for _, args := range [][]string{
		{"sysctl", "-qw", "net.ipv6.conf.behind0.accept_dad=0"}, {"nsenter", "-t", pid, "-n", "sysctl", "-qw", "net.ipv6.conf.behind1.accept_dad=0"},
		{"ip", "link", "set", "behind0", "up"}, {"ip", "addr", "add", "10.9.0.1/24", "dev", "behind0"}, {"ip", "addr", "add", "fd09::1/64", "dev", "behind0", "nodad"},
		{"nsenter", "-t", pid, "-n", "ip", "link", "set", "behind1", "up"},
		{"nsenter", "-t", pid, "-n", "ip", "addr", "add", "10.9.0.2/24", "dev", "behind1"}, {"nsenter", "-t", pid, "-n", "ip", "addr", "add", "fd09::2/64", "dev", "behind1", "nodad"},
		{"nsenter", "-t", pid, "-n", "ip", "route", "add", "default", "via", "10.9.0.1"}, {"nsenter", "-t", pid, "-n", "ip", "-6", "route", "add", "default", "via", "fd09::1"},
	} {
		Run(t, args[0], args[1:]...)
	}
	for _, s := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := os.WriteFile(s, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	theirs, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "[::]:80") // a socket stays in the namespace in which it was created
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil || err != nil {
		t.Fatal(back, err)
	}
	serve(t, l)
	for _, addr := range []string{"10.9.0.2:80", "[fd09::2]:80"} { // the first packets resolve link addresses
		reached := func() bool {
			c, err := net.DialTimeout("tcp", addr, patience)
			if err == nil {
				c.Close()
			}
			return err == nil
		}
		Wait(t, reached)
	}
}
