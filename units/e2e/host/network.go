package host

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Addresses of the host, and of the attacker's end of the wire. The attacker can also use any address in Sources.
var (
	Victim4   = netip.MustParseAddr("10.77.0.1")
	Victim6   = netip.MustParseAddr("fd77::1")
	Attacker4 = netip.MustParseAddr("10.77.0.2")
	Attacker6 = netip.MustParseAddr("fd77::2")
)

// Sources are the networks for tests and documentation (RFC 5737, 2544, 3849) from which an attacker may send.
var Sources = []netip.Prefix{
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("2001:db8::/32"),
}

// A namespace is a network namespace without a name: it ends when nobody uses it any more.
type namespace struct{ file *os.File }

func newNamespace() (*namespace, error) {
	type result struct {
		f   *os.File
		err error
	}
	c := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine, in the namespace it made
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- result{nil, fmt.Errorf("unshare network: %w", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		c <- result{f, err}
	}()
	r := <-c
	if r.err != nil {
		return nil, r.err
	}
	return &namespace{r.f}, nil
}

// path names the namespace to other processes while we live.
func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

func (n *namespace) close() {
	if n != nil {
		n.file.Close()
	}
}

// do runs f on a thread inside the namespace. Sockets that f opens stay there.
func (n *namespace) do(f func() error) error {
	c := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, as above
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			c <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		c <- f()
	}()
	return <-c
}

// ip runs iproute2 commands, one a line, in the namespace.
func (n *namespace) ip(ctx context.Context, batch string) error {
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+n.path(), "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip -batch: %w\n%s", err, out)
	}
	return nil
}

// wire joins the attacker's namespace to the host's.
func wire(ctx context.Context, attacker, victim *namespace) error {
	var b strings.Builder
	fmt.Fprintf(&b, "link add att0 type veth peer name host0 netns %s\n", victim.path())
	fmt.Fprintf(&b, "link set lo up\nlink set att0 up\naddr add %s/24 dev att0\naddr add %s/64 dev att0 nodad\n", Attacker4, Attacker6)
	if err := attacker.ip(ctx, b.String()); err != nil {
		return err
	}
	b.Reset()
	fmt.Fprintf(&b, "link set lo up\nlink set host0 up\naddr add %s/24 dev host0\naddr add %s/64 dev host0 nodad\n", Victim4, Victim6)
	fmt.Fprintf(&b, "route add default via %s\nroute add default via %s\n", Attacker4, Attacker6)
	return victim.ip(ctx, b.String())
}

// disguise lets the attacker's namespace send from any address of Sources, and take the answers.
func disguise(ctx context.Context, n *namespace) error {
	var b strings.Builder
	b.WriteString("link set lo up\n")
	for _, p := range Sources {
		fmt.Fprintf(&b, "route add local %s dev lo\n", p)
	}
	if err := n.ip(ctx, b.String()); err != nil {
		return err
	}
	return n.do(func() error {
		for _, f := range []string{"ipv4", "ipv6"} {
			if err := os.WriteFile("/proc/sys/net/"+f+"/ip_nonlocal_bind", []byte("1"), 0); err != nil {
				return err
			}
		}
		return nil
	})
}

// ListenUDP opens a UDP socket of the host's own, at Victim4.
func (h *Host) ListenUDP(port uint16) (c *net.UDPConn, err error) {
	if h.machine != nil {
		return nil, errNoMachine
	}
	err = h.victim.do(func() error {
		c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(Victim4, port)))
		return err
	})
	return c, err
}

// A Sender sends datagrams to one port of the host from any IPv4 address of Sources.
type Sender struct {
	conn *net.UDPConn
	to   netip.AddrPort
}

// Sender opens a UDP socket of the attacker's.
func (h *Host) Sender(port uint16) (*Sender, error) {
	s := &Sender{to: netip.AddrPortFrom(Victim4, port)}
	err := h.attacker.do(func() (err error) {
		s.conn, err = net.ListenUDP("udp4", &net.UDPAddr{})
		return err
	})
	return s, err
}

// Send sends one datagram. It does not report whether the datagram was refused.
func (s *Sender) Send(from netip.Addr, payload []byte) error {
	_, _, err := s.conn.WriteMsgUDPAddrPort(payload, unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: from.As4()}), s.to)
	return err
}

// Close closes the socket.
func (s *Sender) Close() error { return s.conn.Close() }

// Dial opens a TCP connection to a port of the host from any address of Sources.
func (h *Host) Dial(from netip.Addr, port uint16, timeout time.Duration) (net.Conn, error) {
	to := Victim4
	if from.Is6() {
		to = Victim6
	}
	var c net.Conn
	err := h.attacker.do(func() error {
		d := net.Dialer{Timeout: timeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		var err error
		c, err = d.Dial("tcp", netip.AddrPortFrom(to, port).String())
		return err
	})
	return c, err
}

// Listen opens a TCP socket at the attacker's end, at one of its addresses or any of Sources, for the host to connect to.
func (h *Host) Listen(at netip.AddrPort) (net.Listener, error) {
	var l net.Listener
	err := h.attacker.do(func() error {
		var err error
		l, err = net.Listen("tcp", at.String())
		return err
	})
	return l, err
}

// A Network joins hosts by a bridge. The n-th host has the address Member(n) on it, and the process that made it has Member(0).
type Network struct {
	bridge *namespace
	hosts  []*Host
}

// Member is an address on a Network.
func Member(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 78, 0, byte(n + 1)}) }

// Join makes a network of hosts. It ends with its last user.
func Join(ctx context.Context, hosts ...*Host) (*Network, error) {
	bridge, err := newNamespace()
	if err != nil {
		return nil, err
	}
	n := &Network{bridge, hosts}
	var b strings.Builder
	fmt.Fprintf(&b, "link set lo up\nlink add br0 type bridge\naddr add %s/24 dev br0\nlink set br0 up\n", Member(0))
	for i, h := range hosts {
		fmt.Fprintf(&b, "link add %s type veth peer name fleet0 netns %s\nlink set %s master br0 up\n", port(i), h.victim.path(), port(i))
	}
	if err := bridge.ip(ctx, b.String()); err != nil {
		bridge.close()
		return nil, err
	}
	for i, h := range hosts {
		if err := h.victim.ip(ctx, fmt.Sprintf("addr add %s/24 dev fleet0\nlink set fleet0 up\n", Member(i+1))); err != nil {
			bridge.close()
			return nil, err
		}
	}
	return n, nil
}

func port(i int) string { return fmt.Sprintf("port%d", i+1) }

// Cut takes the n-th host off the network without notice, or puts it back.
func (n *Network) Cut(ctx context.Context, member int, off bool) error {
	return n.bridge.ip(ctx, fmt.Sprintf("link set %s %s\n", port(member-1), map[bool]string{true: "down", false: "up"}[off]))
}

// Shape sets the tc(8) queues for what the n-th host receives and for what it sends, such as Slow or Lost; "" means none.
func (n *Network) Shape(ctx context.Context, member int, gets, sends string) error {
	for _, end := range []struct {
		at         *namespace
		dev, queue string
	}{{n.bridge, port(member - 1), gets}, {n.hosts[member-1].victim, "fleet0", sends}} {
		do := "tc qdisc replace dev " + end.dev + " root " + end.queue
		if end.queue == "" {
			do = "tc qdisc del dev " + end.dev + " root 2>/dev/null || :"
		}
		if out, err := exec.CommandContext(ctx, "nsenter", "--net="+end.at.path(), "/bin/sh", "-c", do).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", do, err, out)
		}
	}
	return nil
}

// Queues for Shape. Packets that would wait longer than two seconds on a slow line are lost.
const (
	Slow = "tbf rate 128kbit burst 3000 latency 2s"
	Lost = "pfifo limit 0"
)

// Dial connects to a host as one more member. It has the form that NATS' client asks for.
func (n *Network) Dial(network, address string) (c net.Conn, err error) {
	err = n.bridge.do(func() error {
		c, err = net.DialTimeout(network, address, 10*time.Second)
		return err
	})
	return c, err
}

// Close ends the network.
func (n *Network) Close() { n.bridge.close() }
