package nlhelper

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/firewall/conn"
	"bailiff/firewall/firewalltest"
)

func TestMain(m *testing.M) { os.Exit(firewalltest.Main(m)) }

// helper serves until the test ends, and returns its path and what Serve returned.
func helper(t *testing.T, idle time.Duration, h Handlers) (path string, ended <-chan error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "netlink")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	c := make(chan error, 1)
	go func() { c <- Serve(t.Context(), ln, idle, h) }()
	return path, c
}

// TestKill: the helper closes the connections of a prefix and no others, and lists the addresses of its network namespace.
func TestKill(t *testing.T) {
	const port = 80
	w := firewalltest.NewWire(t, port)
	path, _ := helper(t, time.Minute, Handlers{Kill: conn.Kill, Addresses: Addresses})
	c := New(path)
	bad, good := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	if got := w.Hold(t, port, bad, good); !slices.Equal(got, []string{"open", "open"}) {
		t.Fatal(got)
	}
	if n, err := c.Kill(t.Context(), []netip.Prefix{netip.PrefixFrom(bad, 32)}); n != 1 || err != nil {
		t.Errorf("Kill: %d, %v; want 1", n, err)
	}
	if got := w.Echo(t, port, bad, good); !slices.Equal(got, []string{"refused", "open"}) {
		t.Errorf("connections: %v", got)
	}
	own, err := c.Addresses(t.Context())
	if err != nil || !slices.Contains(own, firewalltest.Local4) || !slices.Contains(own, firewalltest.Local6) {
		t.Errorf("addresses: %v, %v", own, err)
	}
}

// TestRefuses: only prefixes that may be banned, in one valid object, get to the kernel. Other input does not end the helper.
func TestRefuses(t *testing.T) {
	failed := errors.New("no such thing here")
	path, _ := helper(t, time.Minute, Handlers{
		Kill: func(_ context.Context, l []netip.Prefix) (int, error) {
			if len(l) != 1 || l[0] != netip.MustParsePrefix("192.0.2.0/24") {
				t.Errorf("asked to close %v", l)
			}
			return 0, failed
		},
		Addresses: func() ([]netip.Addr, error) { return nil, nil },
	})
	for request, want := range map[string]string{
		`{"close":["0.0.0.0/0"]}`:                       "refusing to ban every address",
		`{"close":["192.0.2.0/24","::/0"]}`:             "refusing to ban every address",
		`{"close":["192.0.2.7/24"]}`:                    "host bits",
		`{"close":["example.org"]}`:                     "example.org",
		`{"open":["192.0.2.0/24"]}`:                     `unknown field "open"`,
		`["192.0.2.0/24"]`:                              "cannot unmarshal",
		`{"close":["192.0.2.0/24"]}`:                    failed.Error(),
		strings.Repeat(" ", maxMessage+1) + `{}`:        "EOF",
		`{"close":["` + strings.Repeat("1", maxMessage): "unexpected EOF",
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan struct{})
		go func() { io.WriteString(conn, request); conn.(*net.UnixConn).CloseWrite(); close(sent) }()
		var a answer
		if err := json.NewDecoder(conn).Decode(&a); err != nil || !strings.Contains(a.Error, want) || a.Closed > 0 {
			t.Errorf("%.40q: %+v, %v; want %q", request, a, err, want)
		}
		conn.Close()
		<-sent
	}
	if _, err := New(path).Kill(t.Context(), []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}); err == nil || !strings.Contains(err.Error(), failed.Error()) {
		t.Errorf("the client does not tell: %v", err)
	}
}

// TestRemove: the answer names what was removed, and the error what could not be.
func TestRemove(t *testing.T) {
	failed := errors.New("no such thing here")
	path, _ := helper(t, time.Minute, Handlers{Remove: func(context.Context) ([]string, error) { return []string{"nftables"}, failed }})
	if l, err := New(path).Remove(t.Context()); !slices.Equal(l, []string{"nftables"}) || err == nil || !strings.Contains(err.Error(), failed.Error()) {
		t.Errorf("Remove: %q, %v", l, err)
	}
}

// TestIdle: the helper ends without requests, and later requests fail.
func TestIdle(t *testing.T) {
	path, ended := helper(t, 10*time.Millisecond, Handlers{})
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	if _, err := New(path).Addresses(t.Context()); err == nil {
		t.Error("somebody answers")
	}
}
