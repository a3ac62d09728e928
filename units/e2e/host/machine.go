package host

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// machine is a host in qemu, with a kernel and a clock of its own. Its clock can be set; a host in systemd-nspawn shares that of the
// outer machine. It starts from the same kind of root, copied to a disk image. Its only network is a tap device in the attacker's
// namespace. Commands run over one ssh connection there, to an sshd for this purpose only.
//
// The processor is emulated (TCG), so that the test runs everywhere: within a virtual machine, /dev/kvm may exist and not work.
// BAILIFF_E2E_ACCEL=kvm uses it.
type machine struct {
	root   string // the Debian root that it is a copy of
	master *exec.Cmd
	closed chan error
	rtc    time.Duration // see SetRTC
}

// setupMachine is run after setup, for what only a machine needs.
//
//go:embed machine.sh
var setupMachine string

// machinePackages are those that MachineRoot adds to those of Root.
var machinePackages = []string{"linux-image-cloud-amd64", "udev", "kmod"}

const (
	machineBoot   = 10 * time.Minute // limit for a boot, which takes 25 s on an idle machine and four minutes on a very busy one
	machineMemory = "1024"           // MiB
	machineDisk   = 4 << 30          // bytes; the image is sparse
	controlPort   = "2222"
)

// MachinePossible returns what is missing here for booting a virtual machine.
func MachinePossible() error {
	if err := Possible(); err != nil {
		return err
	}
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("booting a virtual machine: needs amd64, this is %s", runtime.GOARCH)
	}
	for _, tool := range []string{"qemu-system-x86_64", "mkfs.ext4", "ssh"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("booting a virtual machine: %w (make deps-prove installs it)", err)
		}
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("booting a virtual machine: %w", err)
	}
	return nil
}

// MachineRoot is Root for BootMachine.
func MachineRoot(ctx context.Context, suite string, progress io.Writer, extra ...string) (string, error) {
	return root(ctx, suite, progress, setup+setupMachine, append(extra, machinePackages...)...)
}

// BootMachine starts a virtual machine with a copy of root (from MachineRoot) and waits until it is up. Path, Attack, SSH and
// ListenUDP do not work with it.
func BootMachine(ctx context.Context, root string) (_ *Host, err error) {
	if err := MachinePossible(); err != nil {
		return nil, err
	}
	h := newHost()
	h.machine = &machine{root: root}
	defer func() {
		if err != nil {
			h.Stop()
		}
	}()
	if h.dir, err = os.MkdirTemp("/tmp", h.name+"-"); err != nil {
		return nil, err
	}
	// It ends a moment after us, and removes the image then.
	h.holder = exec.Command("/bin/sh", "-c", `cat >/dev/null; rm -rf "$0"`, h.dir)
	if h.hold, err = h.holder.StdinPipe(); err != nil {
		return nil, err
	}
	if err := h.holder.Start(); err != nil {
		return nil, err
	}
	if err := build(ctx, nil, "mkfs.ext4", "-q", "-F", "-d", root, h.image(), fmt.Sprint(machineDisk>>10)); err != nil {
		return nil, err
	}
	if h.attacker, err = newNamespace(); err != nil {
		return nil, err
	}
	if err := disguise(ctx, h.attacker); err != nil {
		return nil, err
	}
	err = h.attacker.ip(ctx, fmt.Sprintf("tuntap add att0 mode tap\nlink set att0 up\naddr add %s/24 dev att0\naddr add %s/64 dev att0 nodad\n", Attacker4, Attacker6))
	if err != nil {
		return nil, err
	}
	if err := h.startMachine(ctx); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *Host) image() string { return filepath.Join(h.dir, "disk") }
func (h *Host) mux() string   { return filepath.Join(h.dir, "ssh") }

// SetRTC sets by how much the hardware clock of a virtual machine is ahead of the outer machine's (negative: behind) from its next
// boot on.
func (h *Host) SetRTC(ahead time.Duration) { h.machine.rtc = ahead }

// startMachine is start for a machine.
func (h *Host) startMachine(ctx context.Context) error {
	kernels, _ := filepath.Glob(filepath.Join(h.machine.root, "boot", "vmlinuz-*"))
	if len(kernels) != 1 {
		return fmt.Errorf("boot: %d kernels in %s/boot", len(kernels), h.machine.root)
	}
	accel := cmp.Or(os.Getenv("BAILIFF_E2E_ACCEL"), "tcg")
	h.console = &console{}
	cmd := exec.Command("nsenter", "--net="+h.attacker.path(), "qemu-system-x86_64",
		"-accel", accel, "-cpu", "max", "-smp", "2", "-m", machineMemory,
		"-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
		"-rtc", "base="+time.Now().UTC().Add(h.machine.rtc).Format("2006-01-02T15:04:05"),
		"-kernel", kernels[0], "-append", "console=ttyS0 root=/dev/nvme0n1 rw quiet net.ifnames=0 mitigations=off panic=-1",
		"-drive", "file="+h.image()+",if=none,id=disk,format=raw,cache=unsafe,discard=unmap", "-device", "nvme,serial=1,drive=disk",
		"-netdev", "tap,id=net,ifname=att0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=net",
		"-device", "virtio-rng-pci")
	cmd.Stdout, cmd.Stderr = h.console, h.console
	cmd.WaitDelay = 5 * time.Second
	var err error
	if h.exited, err = startHeld(cmd); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	h.process = cmd
	ctx, cancel := context.WithTimeout(ctx, machineBoot)
	defer cancel()
	var state string
	for {
		if state, err = h.controlled(ctx); err == nil {
			var out string
			out, err = h.Run(ctx, "systemctl", "is-system-running")
			if state = strings.TrimSpace(out); state == "running" || state == "degraded" {
				return nil
			}
		}
		select {
		case err := <-h.exited:
			return fmt.Errorf("boot: qemu ended: %v\n%s", err, h.console.tail())
		case <-ctx.Done():
			return fmt.Errorf("boot: not running after %s (state %q, %v)\n%s", machineBoot, state, err, h.console.tail())
		case <-time.After(time.Second):
		}
	}
}

// controlled opens the connection that commands use, unless it is open.
func (h *Host) controlled(ctx context.Context) (state string, err error) {
	m := h.machine
	if m.master != nil {
		select {
		case <-m.closed:
			m.master = nil
		default:
			return "", nil
		}
	}
	c, err := h.Dial(Attacker4, 2222, time.Second)
	if err != nil {
		return "no network", err
	}
	c.Close()
	cmd := exec.Command("nsenter", append([]string{"--net=" + h.attacker.path(), "ssh", "-M", "-N", "-p", controlPort}, h.sshOptions()...)...)
	cmd.Stderr = h.console
	if m.closed, err = startHeld(cmd); err != nil {
		return "no ssh", err
	}
	m.master = cmd
	for {
		if exec.CommandContext(ctx, "ssh", append([]string{"-O", "check"}, h.clientOptions()...)...).Run() == nil {
			return "connected", nil
		}
		select {
		case err := <-m.closed:
			m.master = nil
			return "no ssh", fmt.Errorf("ssh ended: %v", err)
		case <-ctx.Done():
			return "no ssh", ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (h *Host) sshOptions() []string {
	return []string{"-F", "none", "-S", h.mux(), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "BatchMode=no", "-o", "PreferredAuthentications=none", "-o", "ServerAliveInterval=60", "root@" + Victim4.String()}
}

// clientOptions are those of an ssh that uses the open connection. It must not open one of its own, which would go through the outer
// machine's network.
func (h *Host) clientOptions() []string {
	return append([]string{"-o", "ControlMaster=no", "-o", "ProxyCommand=false"}, h.sshOptions()...)
}

// overSSH is command for a machine.
func (h *Host) overSSH(ctx context.Context, env, args []string) *exec.Cmd {
	var line strings.Builder
	for _, a := range append(append([]string{"env", "-i"}, env...), args...) {
		line.WriteString(" '" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	return exec.CommandContext(ctx, "ssh", append(h.clientOptions(), line.String())...)
}

// powerOffMachine is powerOff for a machine.
func (h *Host) powerOffMachine() error {
	if h.process == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), machineBoot)
	defer cancel()
	if _, err := h.Run(ctx, "systemctl", "poweroff", "--no-block"); err != nil {
		return fmt.Errorf("power off: %w", err)
	}
	select {
	case <-h.exited:
		h.process = nil
	case <-ctx.Done():
		return fmt.Errorf("power off: still up after %s\n%s", machineBoot, h.console.tail())
	}
	h.endMaster()
	return nil
}

func (h *Host) endMaster() {
	if m := h.machine; m != nil && m.master != nil {
		m.master.Process.Kill()
		<-m.closed
		m.master = nil
	}
}

// errNoMachine is returned by methods that need a host in systemd-nspawn.
var errNoMachine = errors.New("not on a virtual machine")

// startHeld starts a command that is killed when this process ends, however it ends. The kernel does that when the thread that
// started the command ends, so the thread is kept until the command has ended. exited receives the exit status and is closed.
func startHeld(cmd *exec.Cmd) (exited chan error, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	exited = make(chan error, 1)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			exited <- cmd.Wait()
			close(exited)
		}
	}()
	return exited, <-started
}
