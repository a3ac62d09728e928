package host_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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
	start := host.Boot
	if os.Getenv("E2E_CHILD_MACHINE") != "" {
		start = host.BootMachine
	}
	h, err := start(context.Background(), root)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(h.Leader(), os.Getpid())
	h.Attack(context.Background(), nil, "sleep", clientsLife) // until we are killed, or our parent is
	h.Run(context.Background(), "sleep", clientsLife)         // on a virtual machine, where Attack fails
}

// clientsLife is longer than a test may take, and distinguishes our client from other programs.
const clientsLife = "86399.25"

// A host ends with the process that booted it, or with that process's parent, such as go test, however they end. It leaves nothing on the
// machine.
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
	for name, command := range map[string][]string{
		"killed":        {os.Args[0]},
		"parent killed": {"/bin/sh", "-c", `"$0" & wait`, os.Args[0]},
	} {
		t.Run(name, func(t *testing.T) { nothingStays(t, root, command) })
	}
}

// TestNoMachineStays is TestNothingStays for a virtual machine.
func TestNoMachineStays(t *testing.T) {
	if os.Getenv("BAILIFF_E2E_MACHINE") == "" {
		t.Skip("boots a virtual machine: run `make prove-clock`, or set BAILIFF_E2E_MACHINE")
	}
	if err := host.MachinePossible(); err != nil {
		t.Skip(err)
	}
	root, err := host.MachineRoot(t.Context(), "trixie", os.Stderr, "postfix") // the same as in TestProveClock
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("E2E_CHILD_MACHINE", "1")
	child := exec.Command("/bin/sh", "-c", `"$0" & wait`, os.Args[0])
	owner, qemu := begin(t, child, root)
	networks := []string{network(qemu)}
	if left := traces(t, owner, networks); len(left) < 3 {
		t.Fatalf("a running machine should show its folder, qemu and ssh, found %q", left)
	}
	child.Process.Kill()
	child.Wait()
	await(t, "left on the machine after the owner was killed", func() (string, bool) {
		left := traces(t, owner, networks)
		return fmt.Sprintf("%q", left), len(left) == 0
	})
}

// begin starts a child that boots a host, and waits until it has.
func begin(t *testing.T, child *exec.Cmd, root string) (owner, leader int) {
	t.Helper()
	child.Env = append(os.Environ(), "E2E_CHILD_ROOT="+root)
	child.Stderr = os.Stderr
	stdout, _ := child.StdoutPipe()
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { child.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if _, serr := fmt.Sscan(line, &leader, &owner); serr != nil {
		t.Fatalf("child did not boot: %q %v", line, err)
	}
	return owner, leader
}

func nothingStays(t *testing.T, root string, command []string) {
	child := exec.Command(command[0], command[1:]...)
	owner, leader := begin(t, child, root)
	client := 0
	await(t, "the client runs", func() (string, bool) {
		client = running("sleep", clientsLife)
		return "none", client != 0
	})
	networks := []string{network(leader), network(client)}
	if left := traces(t, owner, networks); len(left) < 5 {
		t.Fatalf("a running host should show its folder, its cgroup, its processes and the client, found %q", left)
	}
	child.Process.Kill()
	child.Wait()
	await(t, "left on the machine after the owner was killed", func() (string, bool) {
		left := traces(t, owner, networks)
		return fmt.Sprintf("%q", left), len(left) == 0
	})
}

func await(t *testing.T, what string, done func() (string, bool)) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		found, ok := done()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: found %s", what, found)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// traces lists what the hosts of a process have on the outer machine: folders, cgroups, and processes in their networks.
// A network without a name is gone when nobody is in it.
func traces(t *testing.T, owner int, networks []string) []string {
	t.Helper()
	id := fmt.Sprintf("bailiff-e2e-%d-", owner)
	out, err := exec.Command("unshare", "--mount", "--propagation", "private", "/bin/sh", "-euc",
		`mount -t cgroup2 cgroup2 /sys/fs/cgroup; ls -d /sys/fs/cgroup/`+id+`* /tmp/`+id+`* 2>/dev/null || :`).Output()
	if err != nil {
		t.Fatalf("look for traces: %v", err)
	}
	left := strings.Fields(string(out))
	for _, pid := range processes() {
		if slices.Contains(networks, network(pid)) {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			left = append(left, fmt.Sprintf("process %d (%s)", pid, bytes.TrimSpace(comm)))
		}
	}
	return left
}

func processes() (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		pids = append(pids, pid)
	}
	return pids
}

// network names the network namespace that a process is in; a zombie is in none.
func network(pid int) string {
	n, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return fmt.Sprintf("none of %d", pid)
	}
	return n
}

// running finds a process by its command line; 0 when there is none.
func running(args ...string) int {
	for _, pid := range processes() {
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); string(b) == strings.Join(args, "\x00")+"\x00" {
			return pid
		}
	}
	return 0
}
