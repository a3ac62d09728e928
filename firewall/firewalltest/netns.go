package firewalltest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	nsEnv   = "BAILIFF_TEST_NETNS"  // set in the child with a network namespace of its own
	peerEnv = "BAILIFF_TEST_REMOTE" // set in the child that acts as the remote hosts
	bareEnv = "BAILIFF_TEST_BARE"   // set in the child with CAP_NET_ADMIN only
)

// Main is for TestMain; its result is for os.Exit. As root it runs the tests in a child process with a network namespace of its
// own. (A namespace per thread would need goroutines locked to threads, from which netlink is slow.) The same program acts as
// the remote hosts.
func Main(m *testing.M) int {
	switch {
	case os.Getenv(peerEnv) != "":
		remote(os.Stdin, os.Stdout)
		return 0
	case os.Geteuid() != 0 || os.Getenv(nsEnv) != "":
		return m.Run()
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), nsEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode()
	case err != nil:
		fmt.Fprintln(os.Stderr, "run in a network namespace:", err)
		return 1
	}
	return 0
}

// NeedNetns skips tests that need the kernel's firewall when there is no network namespace for it.
func NeedNetns(t testing.TB) {
	t.Helper()
	if os.Getenv(nsEnv) == "" {
		t.Skip("needs root, for a network namespace of its own")
	}
	for _, p := range []string{"ip", "nft", "ipset"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("needs the program %s", p)
		}
	}
}

// Bare runs f as another user with CAP_NET_ADMIN only, like the service: it runs the calling test, by its name, in a copy of
// the test program.
func Bare(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if os.Getenv(bareEnv) != "" {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("CapEff:\t%016x\n", 1<<unix.CAP_NET_ADMIN); !strings.Contains(string(status), want) || os.Getuid() == 0 {
			t.Fatalf("not with CAP_NET_ADMIN alone:\n%s", status)
		}
		f(t)
		return
	}
	NeedNetns(t)
	Run(t, "ip", "link", "set", "lo", "up")
	dir, err := os.MkdirTemp("", "bailiff-test") // t.TempDir is accessible to root only
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program, err := os.ReadFile("/proc/self/exe")
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.WriteFile(dir+"/test", program, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir+"/test", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), bareEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: 65534, Gid: 65534},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN},
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
}

// Run runs a program and returns its output.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The addresses of this side. The remote side has every address in Remotes.
var (
	Local4  = netip.MustParseAddr("203.0.113.1")
	Local6  = netip.MustParseAddr("2001:db8:1::1")
	Remotes = []netip.Prefix{
		netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
		netip.MustParsePrefix("2001:db8:a::/48"), netip.MustParsePrefix("2001:db8:b::/48"),
	}
)

// Wire is a veth pair to a second network namespace, which has every address in Remotes, and listeners in this one.
type Wire struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// patience is how long a connection attempt may take before it counts as blocked. Both ends are in one kernel, which answers in
// less than a millisecond.
const patience = 250 * time.Millisecond

// NewWire creates the pair and echoes on each port, over TCP and UDP, IPv4 and IPv6.
func NewWire(t testing.TB, ports ...uint16) *Wire {
	t.Helper()
	NeedNetns(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), peerEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &Wire{in, bufio.NewReader(out)}
	if line, err := w.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("remote side: %q, %v", line, err)
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	Run(t, "ip", "link", "set", "lo", "up")
	Run(t, "ip", "link", "add", "wire0", "type", "veth", "peer", "name", "wire1", "netns", pid)
	t.Cleanup(func() {
		if t.Failed() {
			const show = "ip addr; ip route; ip -6 route; ip neigh; ip -6 neigh; nft list ruleset | head -n 200; nstat -as | grep -iE 'drop|discard|error|noroute|filter'"
			here, _ := exec.Command("sh", "-c", show).CombinedOutput()
			there, _ := exec.Command("nsenter", "-t", pid, "-n", "sh", "-c", show).CombinedOutput()
			t.Logf("this side of the wire:\n%s\nthe other:\n%s", here, there)
		}
		in.Close()
		_ = cmd.Wait()
		_ = exec.Command("ip", "link", "del", "wire0").Run()
	})
	Run(t, "ip", "link", "set", "wire0", "up")
	for _, limit := range []string{"/proc/sys/net/ipv4/icmp_ratelimit", "/proc/sys/net/ipv6/icmp/ratelimit"} { // the default is one a second for an address
		if err := os.WriteFile(limit, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	Run(t, "ip", "addr", "add", Local4.String()+"/24", "dev", "wire0")
	Run(t, "ip", "addr", "add", Local6.String()+"/64", "dev", "wire0", "nodad")
	far := func(args ...string) { Run(t, "nsenter", append([]string{"-t", pid, "-n", "ip"}, args...)...) }
	far("link", "set", "lo", "up")
	far("link", "set", "wire1", "up")
	far("addr", "add", "203.0.113.2/24", "dev", "wire1")
	far("addr", "add", "2001:db8:1::2/64", "dev", "wire1", "nodad")
	for _, r := range Remotes {
		via := "203.0.113.2"
		if r.Addr().Is6() {
			via = "2001:db8:1::2"
		}
		far("route", "add", "local", r.String(), "dev", "lo")
		Run(t, "ip", "route", "add", r.String(), "via", via)
	}
	for _, p := range ports {
		for _, a := range []netip.Addr{Local4, Local6} {
			serve(t, listen(t, netip.AddrPortFrom(a, p)))
			u, err := net.ListenPacket("udp", netip.AddrPortFrom(a, p).String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { u.Close() })
			go func() {
				b := make([]byte, 16)
				for n, from, err := u.ReadFrom(b); err == nil; n, from, err = u.ReadFrom(b) {
					_, _ = u.WriteTo(b[:n], from)
				}
			}()
		}
	}
	for _, r := range Remotes { // the first packets resolve link addresses
		w.until(t, ports[0], r.Addr().Next())
	}
	return w
}

func listen(t testing.TB, at netip.AddrPort) net.Listener {
	t.Helper()
	var l net.Listener
	var err error
	for range 100 { // an IPv6 address may be tentative for a moment
		if l, err = net.Listen("tcp", at.String()); err == nil {
			return l
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatal(err)
	return nil
}

// serve echoes what comes over each connection.
func serve(t testing.TB, l net.Listener) {
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); c.Close() }()
		}
	}()
}

func (w *Wire) until(t testing.TB, port uint16, from netip.Addr) {
	t.Helper()
	var s string
	for range 20 {
		if s = w.Connect(t, port, from)[0]; s == "open" {
			return
		}
	}
	t.Fatalf("no way from %v to port %d: %s", from, port, s)
}

// Connect tries to open TCP connections from remote addresses to a port of this host, all at once, and returns for each of them
// "open", "silent", "refused", or another error.
func (w *Wire) Connect(t testing.TB, port uint16, from ...netip.Addr) []string {
	t.Helper()
	return w.ask(t, "connect", port, from)
}

// Hold opens connections like Connect, and keeps them open.
func (w *Wire) Hold(t testing.TB, port uint16, from ...netip.Addr) []string {
	t.Helper()
	return w.ask(t, "hold", port, from)
}

// Echo returns whether bytes still pass in both directions over the connections that Hold opened.
func (w *Wire) Echo(t testing.TB, port uint16, from ...netip.Addr) []string {
	t.Helper()
	return w.ask(t, "echo", port, from)
}

// Ask sends a UDP datagram from remote addresses to a port of this host, and returns for each of them "open" if it was
// echoed, "silent", "refused" if the host answered that it is prohibited, or another error.
func (w *Wire) Ask(t testing.TB, port uint16, from ...netip.Addr) []string {
	t.Helper()
	return w.ask(t, "ask", port, from)
}

func (w *Wire) ask(t testing.TB, verb string, port uint16, from []netip.Addr) []string {
	t.Helper()
	line := fmt.Sprintf("%s %d", verb, port)
	for _, a := range from {
		line += " " + a.String()
	}
	if _, err := fmt.Fprintln(w.in, line); err != nil {
		t.Fatal(err)
	}
	answer, err := w.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Split(strings.TrimSuffix(answer, "\n"), "\t")
	if len(words) != len(from) {
		t.Fatalf("%s: remote side answers %q", line, answer)
	}
	return words
}

// remote answers each line with a line, from within its own network namespace.
func remote(in io.Reader, out io.Writer) {
	// Without it IPv6 does not accept addresses of a local route as source.
	if err := os.WriteFile("/proc/sys/net/ipv6/ip_nonlocal_bind", []byte("1"), 0); err != nil {
		fmt.Fprintln(out, err)
		return
	}
	fmt.Fprintln(out, "ready")
	var mu sync.Mutex
	held := make(map[string]net.Conn)
	for s := bufio.NewScanner(in); s.Scan(); {
		ask := strings.Fields(s.Text())
		verb, port, from := ask[0], ask[1], ask[2:]
		words := make([]string, len(from))
		var all sync.WaitGroup
		for i, a := range from {
			all.Add(1)
			go func() {
				defer all.Done()
				if verb == "ask" {
					words[i] = askUDP(netip.MustParseAddr(a), port)
					return
				}
				if verb == "echo" {
					mu.Lock()
					c := held[a+" "+port]
					mu.Unlock()
					words[i] = word(echo(c))
					return
				}
				c, err := open(netip.MustParseAddr(a), port)
				words[i] = word(err)
				switch {
				case err == nil && verb == "hold":
					mu.Lock()
					held[a+" "+port] = c
					mu.Unlock()
				case err == nil:
					c.Close()
				}
			}()
		}
		all.Wait()
		fmt.Fprintln(out, strings.Join(words, "\t"))
	}
}

// ourPort is a port of this side, in the family of the remote address.
func ourPort(from netip.Addr, port string) string {
	if from.Is6() {
		return net.JoinHostPort(Local6.String(), port)
	}
	return net.JoinHostPort(Local4.String(), port)
}

func open(from netip.Addr, port string) (net.Conn, error) {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	c, err := d.DialContext(ctx, "tcp", ourPort(from, port))
	if err != nil {
		return nil, err
	}
	return c, c.(*net.TCPConn).SetLinger(0)
}

// askUDP distinguishes a port on which nothing listens (port unreachable) from one that is prohibited: "administratively
// prohibited" is EHOSTUNREACH over IPv4 and EACCES over IPv6.
func askUDP(from netip.Addr, port string) string {
	d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	c, err := d.Dial("udp", ourPort(from, port))
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	switch err = echo(c); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EACCES):
		return "refused"
	}
	return word(err)
}

func echo(c net.Conn) error {
	if c == nil {
		return errors.New("no such connection")
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// word classifies an error: "silent" if nothing answered, "refused" if the host refused.
func word(err error) string {
	var timeout net.Error
	switch {
	case err == nil:
		return "open"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "silent"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF):
		return "refused"
	}
	return err.Error()
}

// Reaches is for Host.Reaches, with a backend that drops or rejects.
func (w *Wire) Reaches(block string) func(testing.TB, uint16, []netip.Addr) []bool {
	return words(block, w.Connect)
}

// Answered is for Host.Answered, with a backend that drops or rejects.
func (w *Wire) Answered(block string) func(testing.TB, uint16, []netip.Addr) []bool {
	return words(block, w.Ask)
}

func words(block string, try func(testing.TB, uint16, ...netip.Addr) []string) func(testing.TB, uint16, []netip.Addr) []bool {
	blocked := map[string]string{"drop": "silent", "reject": "refused"}[block]
	return func(t testing.TB, port uint16, from []netip.Addr) []bool {
		t.Helper()
		r := make([]bool, len(from))
		for i, s := range try(t, port, from...) {
			if s != "open" && s != blocked {
				t.Errorf("%v to port %d: %s", from[i], port, s)
			}
			r[i] = s == "open"
		}
		return r
	}
}

// Wait waits for a condition, for a minute at most.
func Wait(t testing.TB, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("not within a minute")
		}
	}
}

// Damage is for Host.Damage: it runs a program.
func Damage(name string, args ...string) func(testing.TB) {
	return func(t testing.TB) { t.Helper(); Run(t, name, args...) }
}

// Squat is for Host.Squat: it runs a program, and undo to remove what that created.
func Squat(undo []string, name string, args ...string) func(testing.TB) (func(), string) {
	return func(t testing.TB) (func(), string) {
		Run(t, args[0], args[1:]...)
		return func() { Run(t, undo[0], undo[1:]...) }, name
	}
}
