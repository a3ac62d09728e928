// Package host boots a real systemd host and attacks it: a fresh Debian under an overlay, systemd as PID 1 in
// systemd-nspawn, and a second network namespace from which real ssh clients come, from any address of the networks that
// are reserved for tests. It needs root, mmdebstrap, systemd-container and iproute2, and a kernel with ipset.
//
// Nothing stays on the outer machine but the cached root: mounts are in a mount namespace of the host's own, network namespaces have no
// names, and changes go to a tmpfs. All of it ends with the process that made it, which ends with its parent (go test). The host does not
// get all capabilities, so it cannot set the machine's clock or load modules.
//
// Root makes the root, Boot starts the host; Run, Unit and Attack do something there. Start reading at Boot. Tests that need a
// kernel or a clock of their own use a virtual machine instead: see BootMachine.
package host

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed mounts.sh
var mounts string

// A killed `go test` would leave its test program and its hosts running. The kernel keeps this setting for each thread; init runs on the
// main thread, which lives as long as the process.
func init() {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		panic(err)
	}
}

// bootTime bounds how long a host may take to come up or go down. It takes 1–3 s on an idle machine.
const bootTime = 5 * time.Minute

// A Host is a booted Debian. Its methods may be called from any goroutine, except Reboot and Stop.
type Host struct {
	name     string
	dir      string // mount point of the tmpfs
	holder   *exec.Cmd
	hold     io.Closer // the holder's stdin: closing it ends the mount namespace
	mnt      *os.File  // that namespace
	clients  *os.File  // the cgroup of what runs in the attacker's network, which ends with the host's
	attacker *namespace
	victim   *namespace
	machine  *machine   // nil for a host in systemd-nspawn
	process  *exec.Cmd  // nspawn or qemu
	exited   chan error // closed after its exit status was put in
	console  *console
	leader   int // PID 1 of the host, as seen from here
}

var counter atomic.Int64

// Boot starts a host over root (from Root) and waits until it runs.
func Boot(ctx context.Context, root string) (_ *Host, err error) {
	if err := Possible(); err != nil {
		return nil, err
	}
	h := newHost()
	defer func() {
		if err != nil {
			h.Stop()
		}
	}()
	if h.dir, err = os.MkdirTemp("/tmp", h.name+"-"); err != nil {
		return nil, err
	}
	if err := h.mount(root); err != nil {
		return nil, err
	}
	if h.attacker, err = newNamespace(); err != nil {
		return nil, err
	}
	if err := disguise(ctx, h.attacker); err != nil {
		return nil, err
	}
	if err := h.start(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

func newHost() *Host {
	return &Host{name: fmt.Sprintf("bailiff-e2e-%d-%d", os.Getpid(), counter.Add(1))}
}

// mount makes the host's mount namespace, held by a shell that waits for its stdin to end.
func (h *Host) mount(root string) error {
	cmd := exec.Command("/bin/sh", "-c", mounts)
	cmd.Env = append(os.Environ(), "ROOT="+root, "DIR="+h.dir, "GROUP="+h.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	h.holder, h.hold = cmd, in
	if line, _ := io.ReadAll(io.LimitReader(out, int64(len("ready\n")))); string(line) != "ready\n" {
		return fmt.Errorf("mounts of the host: %s", bytes.TrimSpace(stderr.Bytes()))
	}
	if h.mnt, err = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", cmd.Process.Pid)); err != nil {
		return err
	}
	h.clients, err = os.Open(fmt.Sprintf("/proc/%d/root/sys/fs/cgroup/%s/clients", cmd.Process.Pid, h.name))
	return err
}

// start boots what is mounted, with a fresh network: no rule or set of an earlier boot is left, as after a real reboot.
func (h *Host) start(ctx context.Context) (err error) {
	if h.victim, err = newNamespace(); err != nil {
		return err
	}
	if err := wire(ctx, h.attacker, h.victim); err != nil {
		return err
	}
	h.console = &console{}
	args := []string{
		"--mount=" + fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), h.mnt.Fd()), "--", "/bin/sh", "-c",
		`echo $$ >"/sys/fs/cgroup/$0/cgroup.procs" && exec systemd-nspawn "$@"`, h.name,
		"--directory=" + h.dir + "/root", "--boot", "--register=no", "--keep-unit", "--console=pipe",
		"--machine=" + h.name, "--hostname=victim", "--link-journal=no", "--resolv-conf=off", "--timezone=off",
		"--network-namespace-path=" + h.victim.path(),
		// CAP_NET_ADMIN for firewalls; the others and the system calls for the sandbox options that systemd makes of BPF.
		"--capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON,CAP_IPC_LOCK",
		"--system-call-filter=bpf perf_event_open add_key keyctl request_key",
	}
	cmd := exec.Command("nsenter", args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network")
	cmd.Stdout, cmd.Stderr = h.console, h.console
	cmd.WaitDelay = 5 * time.Second
	if h.exited, err = startHeld(cmd); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	h.process = cmd

	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	var state string
	for {
		if h.leader == 0 {
			h.leader = childNamed(cmd.Process.Pid, "systemd")
		}
		if h.leader != 0 {
			out, _ := h.Run(ctx, "systemctl", "is-system-running")
			if state = strings.TrimSpace(out); state == "running" || state == "degraded" {
				return nil
			}
		}
		select {
		case err := <-h.exited:
			return fmt.Errorf("boot: systemd-nspawn ended: %v\n%s", err, h.console.tail())
		case <-ctx.Done():
			return fmt.Errorf("boot: not running after %s (state %q)\n%s", bootTime, state, h.console.tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Leader is the process id of the host's PID 1 on the outer machine, or that of qemu for a virtual machine.
func (h *Host) Leader() int {
	if h.machine != nil {
		return h.process.Process.Pid
	}
	return h.leader
}

// Path is where a file of the host is found on the outer machine.
func (h *Host) Path(p string) string {
	return filepath.Join("/proc", strconv.Itoa(h.leader), "root", p)
}

// WriteFile puts a file into the host, and makes the directories on the way.
func (h *Host) WriteFile(path string, data []byte, mode os.FileMode) error {
	if h.machine != nil {
		cmd := h.command(context.Background(), "/bin/sh", "-euc", `mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1"`, "sh", path, fmt.Sprintf("%o", mode.Perm()))
		cmd.Stdin = bytes.NewReader(data)
		_, err := output(cmd)
		return err
	}
	p := h.Path(path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(p, data, mode); err != nil {
		return err
	}
	return os.Chmod(p, mode)
}

// Install copies a tree, such as that of make install, into the host's root.
func (h *Host) Install(ctx context.Context, tree string) error {
	tar := exec.CommandContext(ctx, "tar", "-C", tree, "-cf", "-", ".")
	var err error
	untar := h.command(ctx, "tar", "-C", "/", "--no-overwrite-dir", "--no-same-owner", "-xf", "-")
	if untar.Stdin, err = tar.StdoutPipe(); err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return fmt.Errorf("install %s: %w", tree, err)
	}
	out, err := untar.CombinedOutput()
	if err := errors.Join(err, tar.Wait()); err != nil {
		return fmt.Errorf("install %s: %w\n%s", tree, err, out)
	}
	return nil
}

// Run runs a command as root on the host, outside of any unit, and returns its stdout. When it fails, the error holds its
// stderr.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	return output(h.command(ctx, args...))
}

// Sh runs a shell script as Run does.
func (h *Host) Sh(ctx context.Context, script string) (string, error) {
	return h.Run(ctx, "/bin/sh", "-euc", script)
}

// Command returns a command as Run would run it, for the caller to start.
func (h *Host) Command(ctx context.Context, args ...string) *exec.Cmd { return h.command(ctx, args...) }

// Unit runs a command on the host as a transient service with the given properties ("User=bob").
func (h *Host) Unit(ctx context.Context, properties []string, args ...string) (string, error) {
	run := []string{"systemd-run", "--quiet", "--pipe", "--wait", "--collect"}
	for _, p := range properties {
		run = append(run, "--property="+p)
	}
	return h.Run(ctx, append(append(run, "--"), args...)...)
}

// Attack runs one of the host's own programs in the attacker's network.
func (h *Host) Attack(ctx context.Context, env []string, args ...string) (string, error) {
	if h.machine != nil {
		return "", errNoMachine
	}
	enter := []string{fmt.Sprintf("--target=%d", h.leader), "--mount", "--net=" + h.attacker.path(), "--"}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root"}, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(h.clients.Fd())}
	cmd.WaitDelay = 5 * time.Second
	return output(cmd)
}

// SSH tries to log in from an address with one password, tries times in one connection. A nil error means that it was let in and ran
// `true`.
func (h *Host) SSH(ctx context.Context, from netip.Addr, user, password string, tries int) error {
	to := Victim4
	if from.Is6() {
		to = Victim6
	}
	// On a busy machine, sshd takes long to greet. A client that gives up then has not tried a password.
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	_, err := h.Attack(ctx, []string{"E2E_PASSWORD=" + password, "SSH_ASKPASS=/usr/local/bin/askpass", "SSH_ASKPASS_REQUIRE=force"},
		"ssh", "-n", "-F", "none", "-b", from.String(), "-l", user, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "LogLevel=ERROR", "-o", "ConnectTimeout=60", "-o", "PreferredAuthentications=password", "-o", "PubkeyAuthentication=no",
		"-o", fmt.Sprintf("NumberOfPasswordPrompts=%d", tries), to.String(), "true")
	return err
}

func (h *Host) command(ctx context.Context, args ...string) (cmd *exec.Cmd) {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/root", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
	if h.machine != nil {
		cmd = h.overSSH(ctx, env, args)
	} else {
		cmd = exec.CommandContext(ctx, "nsenter", append([]string{fmt.Sprintf("--target=%d", h.leader), "--all", "--"}, args...)...)
		cmd.Env = env
	}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func output(cmd *exec.Cmd) (string, error) {
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out.String(), nil
}

// Reboot shuts the host down and boots it again. Files stay; the kernel's sets and rules do not.
func (h *Host) Reboot(ctx context.Context) error {
	if err := h.powerOff(); err != nil {
		return err
	}
	if h.machine != nil {
		return h.startMachine(ctx)
	}
	// The old end of the wire goes with the old namespace, but only when the kernel gets round to it. An error here means that it is
	// already gone.
	_ = h.attacker.ip(ctx, "link del att0\n")
	h.victim.close()
	return h.start(ctx)
}

// powerOff asks the host's systemd to halt (SIGRTMIN+4, systemd(1)), and ends it by force when it does not in time.
func (h *Host) powerOff() error {
	if h.machine != nil {
		return h.powerOffMachine()
	}
	if h.leader == 0 {
		return nil
	}
	if err := syscall.Kill(h.leader, sigPowerOff); err != nil {
		return fmt.Errorf("power off: %w", err)
	}
	h.leader = 0
	select {
	case <-h.exited:
		return nil
	case <-time.After(bootTime):
		h.process.Process.Kill()
		<-h.exited
		return fmt.Errorf("power off: still up after %s, killed\n%s", bootTime, h.console.tail())
	}
}

// sigPowerOff is SIGRTMIN+4 as glibc counts, which keeps two real-time signals (32, 33) for itself.
const sigPowerOff = syscall.Signal(34 + 4)

// Stop takes the host away as a power cut would: nothing of it is kept, and an orderly shutdown, which Reboot has, takes seconds.
func (h *Host) Stop() {
	h.endMaster()
	if h.process != nil {
		h.process.Process.Kill() // no effect when it has ended already
		<-h.exited
	}
	if h.holder != nil {
		h.hold.Close()
		h.holder.Wait()
	}
	if h.machine == nil && h.holder != nil {
		h.mnt.Close()
		h.clients.Close()
	}
	h.victim.close()
	h.attacker.close()
	if h.dir != "" {
		os.Remove(h.dir)
	}
}

// childNamed finds the child of a process by its name; 0 when there is none (yet).
func childNamed(parent int, name string) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range stats {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended meanwhile
		}
		var pid, ppid int
		var state string
		open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
		if open < 0 || end < open || string(b[open+1:end]) != name {
			continue
		}
		if _, err := fmt.Sscanf(string(b[:open]), "%d", &pid); err != nil {
			continue
		}
		if _, err := fmt.Sscanf(string(b[end+1:]), "%s %d", &state, &ppid); err == nil && ppid == parent {
			return pid
		}
	}
	return 0
}

// console keeps the end of what the host prints at boot, for error messages.
type console struct {
	mu  sync.Mutex
	buf []byte
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, p...)
	if n := len(c.buf) - 16<<10; n > 0 {
		c.buf = append(c.buf[:0], c.buf[n:]...)
	}
	return len(p), nil
}

func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return tail(c.buf, 15)
}
