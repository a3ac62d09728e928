package conn

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(firewalltest.Main(m)) }

var (
	banned4, near4 = netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	banned6, near6 = netip.MustParseAddr("2001:db8:a:1::7"), netip.MustParseAddr("2001:db8:a:2::7")
	everyone       = []netip.Addr{banned4, near4, banned6, near6}
)

// TestKill opens connections from several prefixes and closes those of some, for few prefixes and for many.
func TestKill(t *testing.T) {
	const port = 80
	w := firewalltest.NewWire(t, port)
	for name, more := range map[string]int{"few": 0, "many": 128} {
		t.Run(name, func(t *testing.T) {
			want := []netip.Prefix{netip.PrefixFrom(banned4, 32), netip.MustParsePrefix("2001:db8:a:1::/64"), netip.MustParsePrefix("2001:db8:a:1::/64")}
			for i := range more {
				want = append(want, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
			}
			all(t, w.Hold(t, port, everyone...), "open", "open", "open", "open")
			n, err := Kill(t.Context(), want)
			if n != 2 || err != nil {
				t.Errorf("Kill: %d, %v, want 2", n, err)
			}
			all(t, w.Echo(t, port, everyone...), "refused", "open", "refused", "open")
			if n, err := Kill(t.Context(), want); n != 0 || err != nil {
				t.Errorf("once more: %d, %v, want 0", n, err)
			}
		})
	}
	if n, err := Kill(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("Kill of nothing: %d, %v", n, err)
	}
}

// TestMapped: a daemon that listens on :: has IPv4 connections as IPv6 sockets.
func TestMapped(t *testing.T) {
	w := firewalltest.NewWire(t, 80)
	l, err := net.Listen("tcp", "[::]:8080")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, more := range []int{0, 128} {
		all(t, w.Hold(t, 8080, banned4), "open")
		in, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		want := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		for i := range more {
			want = append(want, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
		}
		if n, err := Kill(t.Context(), want); n != 1 || err != nil {
			t.Errorf("Kill: %d, %v, want 1", n, err)
		}
		if _, err := in.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNABORTED) {
			t.Errorf("the accepted side reads %v, want that it was aborted", err)
		}
	}
}

// TestLength: prefixes shorter than a byte boundary, of addresses and of connections.
func TestLength(t *testing.T) {
	p := newMatcher([]netip.Prefix{netip.MustParsePrefix("192.0.2.4/30"), netip.MustParsePrefix("2001:db8:a::/47")})
	for a, want := range map[string]bool{
		"192.0.2.7": true, "192.0.2.8": false, "::ffff:192.0.2.7": true, "2001:db8:b::1": true, "2001:db8:c::1": false,
	} {
		if got := p.has(netip.MustParseAddr(a)); got != want {
			t.Errorf("has(%s) is %v", a, got)
		}
	}
	const port = 80
	w := firewalltest.NewWire(t, port)
	all(t, w.Hold(t, port, everyone...), "open", "open", "open", "open")
	n, err := Kill(t.Context(), []netip.Prefix{netip.MustParsePrefix("192.0.2.4/30"), netip.MustParsePrefix("2001:db8:a::/63")})
	if n != 2 || err != nil {
		t.Errorf("Kill: %d, %v, want 2", n, err)
	}
	all(t, w.Echo(t, port, everyone...), "refused", "open", "refused", "open")
}

// local is a connection of this host to itself.
func local(t *testing.T) (net.Listener, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return l, c
}

// TestCapabilities: the rights of the service are enough.
func TestCapabilities(t *testing.T) {
	firewalltest.Bare(t, func(t *testing.T) {
		_, c := local(t)
		if n, err := Kill(t.Context(), []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}); n == 0 || err != nil {
			t.Errorf("Kill: %d, %v", n, err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNABORTED) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("reads %v, want that the connection is gone", err)
		}
	})
}

// TestNoRights: without the capability both name it as missing, and give a hint.
func TestNoRights(t *testing.T) {
	firewalltest.Bare(t, func(t *testing.T) {
		l, _ := local(t)
		here := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		if _, err := Forget(t.Context(), here); err != nil {
			t.Errorf("with the capability: %v", err)
		}
		runtime.LockOSThread() // for good: the thread ends with the test
		none := [2]unix.CapUserData{}
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &none[0]); err != nil {
			t.Fatal(err)
		}
		for name, f := range map[string]func(context.Context, []netip.Prefix) (int, error){"Kill": Kill, "Forget": Forget} {
			var lack *firewall.UnsupportedError
			n, err := f(t.Context(), here)
			if n != 0 || !errors.As(err, &lack) || !errors.Is(err, unix.EPERM) || !strings.Contains(lack.Hint, "CAP_NET_ADMIN") {
				t.Errorf("%s: %d, %v; want that the right is missing, and a hint", name, n, err)
			}
		}
		if _, err := l.Accept(); err != nil {
			t.Error(err)
		}
	})
}

func all(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("connections: %v, want %v", got, want)
	}
}
