package host_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bailiff/units/e2e/host"
)

// TestMain is also the child of TestNothingStays: it boots a host and waits to be killed.
func TestMain(m *testing.M) {
	root := os.Getenv("E2E_CHILD_ROOT")
	if root == "" {
		os.Exit(m.Run())
	}
	h, err := host.Boot(context.Background(), root)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(h.Leader())
	io.Copy(io.Discard, os.Stdin) // until we are killed, or our parent ends
}

// However the process that booted a host ends, the host ends with it and leaves nothing on the machine.
func TestNothingStays(t *testing.T) {
	suites, err := host.Wanted()
	if errors.Is(err, host.ErrNotWanted) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	root, err := host.Root(t.Context(), suites[len(suites)-1], os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "E2E_CHILD_ROOT="+root)
	child.Stderr = os.Stderr
	stdin, _ := child.StdinPipe()
	defer stdin.Close()
	stdout, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	var leader int
	if _, serr := fmt.Sscan(line, &leader); serr != nil {
		t.Fatalf("child did not boot: %q %v", line, err)
	}
	if left := traces(t, child.Process.Pid); len(left) < 2 {
		t.Fatalf("a running host should show its folder and its cgroup, found %q", left)
	}
	child.Process.Kill()
	child.Wait()

	deadline := time.Now().Add(20 * time.Second)
	for {
		left := traces(t, child.Process.Pid)
		if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", leader)); err == nil && string(comm) == "systemd\n" {
			left = append(left, fmt.Sprintf("process %d", leader))
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left on the machine after the owner was killed: %q", left)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// traces lists what the hosts of a process leave on the outer machine: folders and cgroups.
func traces(t *testing.T, pid int) []string {
	t.Helper()
	id := fmt.Sprintf("bailiff-e2e-%d-", pid)
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "/bin/sh", "-euc",
		`mount -t cgroup2 cgroup2 /sys/fs/cgroup; ls -d /sys/fs/cgroup/`+id+`* /tmp/`+id+`* 2>/dev/null || :`).Output()
	if err != nil {
		t.Fatalf("look for traces: %v", err)
	}
	return strings.Fields(string(out))
}
