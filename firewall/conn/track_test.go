package conn

import (
	"net"
	"net/netip"
	"testing"

	"bailiff/firewall/firewalltest"
	"bailiff/firewall/internal/request"

	"golang.org/x/sys/unix"
)

func known(t testing.TB) uint32 {
	t.Helper()
	c := request.New(unix.NETLINK_NETFILTER)
	defer c.Close()
	n, err := entries(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestForget: connections that pass through this host to one behind it, their addresses translated, live on behind an
// "established" rule, until conntrack forgets those of banned prefixes. Others are left alone.
func TestForget(t *testing.T) {
	const port = 8080
	w := firewalltest.NewWire(t, 80)
	firewalltest.Behind(t)
	firewalltest.Run(t, "nft", `table inet through {
		chain pre { type nat hook prerouting priority dstnat; meta nfproto ipv4 tcp dport 8080 dnat ip to 10.9.0.2:80; meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd09::2]:80; }
		chain forward { type filter hook forward priority filter; ct state established,related accept; ip saddr 192.0.2.7 drop; ip6 saddr 2001:db8:a:1::/64 drop; }
	}`)
	t.Cleanup(func() { firewalltest.Run(t, "nft", "delete table inet through") })
	firewalltest.Run(t, "nft", "insert rule inet through forward ct state new ct mark set 1 accept") // as long as nobody is banned
	all(t, w.Hold(t, port, everyone...), "open", "open", "open", "open")
	handle := firewalltest.Run(t, "sh", "-c", "nft -a list chain inet through forward | sed -n 's/.*mark set.*handle //p'")
	firewalltest.Run(t, "sh", "-c", "nft delete rule inet through forward handle "+handle)
	all(t, w.Echo(t, port, everyone...), "open", "open", "open", "open") // the rule for established ones comes first

	if n := known(t); n < 4 {
		t.Errorf("conntrack has %d entries", n)
	}
	want := []netip.Prefix{netip.PrefixFrom(banned4, 32), netip.MustParsePrefix("2001:db8:a:1::/64")}
	for i := range 128 {
		want = append(want, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
	}
	if n, err := Forget(t.Context(), want); n != 2 || err != nil {
		t.Errorf("Forget: %d, %v, want 2", n, err)
	}
	all(t, w.Echo(t, port, everyone...), "silent", "open", "silent", "open")
	if n, err := Forget(t.Context(), want[:2]); n != 0 || err != nil {
		t.Errorf("once more: %d, %v, want 0", n, err)
	}
	if n, err := Forget(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("Forget of nothing: %d, %v", n, err)
	}
}

// TestForgetAnswered: an outgoing connection to an address that is banned later counts as well.
func TestForgetAnswered(t *testing.T) {
	firewalltest.NewWire(t, 80)
	firewalltest.Run(t, "nft", "table inet watch { chain out { type filter hook output priority filter; ct state new accept; }; }")
	t.Cleanup(func() { firewalltest.Run(t, "nft", "delete table inet watch") })
	c, err := net.Dial("udp", net.JoinHostPort(banned4.String(), "53"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	defer func(old string) { tracker = old }(tracker)
	tracker = t.TempDir() + "/hidden/nf_conntrack" // in a container that does not show modules
	if n, err := Forget(t.Context(), []netip.Prefix{netip.PrefixFrom(banned6, 64).Masked()}); n != 0 || err != nil {
		t.Errorf("Forget of an IPv6 network: %d, %v, want 0", n, err)
	}
	if n, err := Forget(t.Context(), []netip.Prefix{netip.PrefixFrom(banned4, 32)}); n != 1 || err != nil {
		t.Errorf("Forget: %d, %v, want 1", n, err)
	}
}

// TestNoConntrack: where the kernel tracks nothing there is nothing to do.
func TestNoConntrack(t *testing.T) {
	defer func(old string) { tracker = old }(tracker)
	tracker = t.TempDir() + "/none"
	if n, err := Forget(t.Context(), []netip.Prefix{netip.PrefixFrom(banned4, 32)}); n != 0 || err != nil {
		t.Errorf("Forget: %d, %v", n, err)
	}
}

// BenchmarkForget walks a table of many connections, none of them from a banned prefix.
func BenchmarkForget(b *testing.B) {
	firewalltest.NewWire(b, 80)
	firewalltest.Run(b, "nft", "table inet watch { chain out { type filter hook output priority filter; ct state new accept; }; }")
	defer firewalltest.Run(b, "nft", "delete table inet watch")
	c, err := net.ListenPacket("udp4", ":0")
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	for i := range 100_000 {
		_, _ = c.WriteTo([]byte("?"), &net.UDPAddr{IP: net.IPv4(192, 0, 2, byte(1+i/50_000)), Port: 1 + i%50_000})
	}
	for b.Loop() {
		if n, err := Forget(b.Context(), []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(known(b)), "entries")
}
