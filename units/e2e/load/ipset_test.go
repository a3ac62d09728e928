package main

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// The kernel's own answer, in a network namespace of the test's own.
func TestContains(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a set needs root")
	}
	runtime.LockOSThread() // the thread ends with the test, and the namespace with the thread
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("network namespace: %v", err)
	}
	s, err := dialIPSet()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"create", "have", "hash:net"}, {"add", "have", "198.18.0.0/24"}} {
		if out, err := exec.Command("ipset", args...).CombinedOutput(); err != nil {
			t.Fatalf("ipset %q: %v %s", args, err, out)
		}
	}
	for _, c := range []struct {
		set, addr string
		want      bool
	}{{"have", "198.18.0.7", true}, {"have", "198.18.1.7", false}, {"missing", "198.18.0.7", false}} {
		got, err := s.contains(c.set, netip.MustParseAddr(c.addr))
		if err != nil || got != c.want {
			t.Errorf("contains(%s, %s) = %v, %v; want %v", c.set, c.addr, got, err, c.want)
		}
	}
}
