package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bailiff/policy/fleet"
)

// TestHubNames: the addresses of servers that the roster names by their host names are known, and stay known while no name server answers.
func TestHubNames(t *testing.T) {
	l := newLink(func(s string) {
		if t.Context().Err() == nil {
			t.Log(s)
		}
	})
	l.resolvConfs = nil
	resolver, away := l.lookup, atomic.Bool{}
	asked := make(chan string)
	l.lookup = func(ctx context.Context, network, name string) ([]netip.Addr, error) {
		select {
		case asked <- name:
		case <-ctx.Done():
		}
		if away.Load() {
			return nil, errors.New("no name server answers")
		}
		return resolver(ctx, network, name)
	}
	changed := make(chan struct{}, 10)
	go l.resolve(t.Context(), func() { changed <- struct{}{} })
	l.knowAll([]string{"tls://localhost:1"})
	local := netip.MustParsePrefix("127.0.0.1/32")
	if name := <-asked; name != "localhost" {
		t.Error(name)
	}
	<-changed
	if !l.needs(local) || l.needs(netip.MustParsePrefix("192.0.2.1/32")) {
		t.Errorf("the addresses of the hub are %v", l.addresses())
	}
	away.Store(true)
	l.knowAll([]string{"tls://localhost:1"})
	for range 2 {
		<-asked
	}
	if !l.needs(local) {
		t.Error("the addresses are forgotten when no name server answers")
	}
	l.knowAll([]string{"tls://192.0.2.1:4222"})
	if l.needs(local) || !l.needs(netip.MustParsePrefix("192.0.2.0/24")) {
		t.Errorf("after a move, the addresses of the hub are %v", l.addresses())
	}
}

// TestNameServers: the name servers of this host are protected as the hub is, whose names it could not look up without them. They follow the
// files that name them, and are not forgotten while a file is being written.
func TestNameServers(t *testing.T) {
	l := newLink(func(string) {})
	resolved, etc := filepath.Join(t.TempDir(), "resolved"), filepath.Join(t.TempDir(), "resolv.conf")
	l.resolvConfs = []string{resolved, etc}
	write := func(file, text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	looked := make(chan struct{})
	l.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
		select {
		case looked <- struct{}{}:
		case <-ctx.Done():
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.9")}, nil
	}
	changed := make(chan struct{}, 10)
	protects := func(change bool, want ...string) {
		t.Helper()
		<-looked
		var have []string
		for _, a := range l.addresses() {
			have = append(have, a.String())
		}
		if !slices.Equal(have, want) || len(changed) != 0 != change {
			t.Errorf("protected are %v, want %v; told of a change: %v", have, want, len(changed) != 0)
		}
		for len(changed) > 0 {
			<-changed
		}
	}
	write(resolved, "# by systemd-resolved\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver 2001:db8::53 # comment\nnameserver x\nnameserver\nsearch nameserver 192.0.2.1\n")
	write(etc, "options edns0\nnameserver 127.0.0.53\nnameserver 192.0.2.53\n nameserver\t::ffff:198.51.100.53")
	l.knowAll([]string{"tls://192.0.2.9:4222"})
	<-l.ask
	go l.resolve(t.Context(), func() { changed <- struct{}{} })
	protects(true, "127.0.0.53", "192.0.2.9", "192.0.2.53", "198.51.100.53", "2001:db8::53", "fe80::1")
	if !l.needs(netip.MustParsePrefix("2001:db8::/64")) || l.needs(netip.MustParsePrefix("192.0.2.1/32")) {
		t.Error("another address is protected, or a name server is not")
	}
	write(resolved, "nameserver 192.0.2.54\n")
	write(etc, "")
	signal(l.ask)
	protects(true, "192.0.2.9", "192.0.2.54")
	write(resolved, "")
	signal(l.ask)
	protects(false, "192.0.2.9", "192.0.2.54")
	write(etc, strings.Repeat("nameserver 192.0.2.55\n", maxNameServers)+"nameserver 192.0.2.56\n")
	signal(l.ask)
	protects(true, "192.0.2.9", "192.0.2.55")
}

// TestHubPeer: where the addresses of a server change all the time, the one that the host is connected to is protected, however many there
// were before.
func TestHubPeer(t *testing.T) {
	h := newHub(t, "a")
	l := h.reader("a").link
	defer l.nc.Close()
	eventually(t, func() error {
		if !l.connected() {
			return errors.New("not connected")
		}
		return nil
	})
	l.mu.Lock()
	clear(l.hubs)
	for i := range maxHubs {
		l.know(fmt.Sprintf("192.0.2.%d:4222", i))
	}
	l.mu.Unlock()
	l.up(l.nc)
	if peer := netip.MustParsePrefix("127.0.0.1/32"); !l.needs(peer) || len(l.addresses()) > maxHubs {
		t.Errorf("connected to %s; the addresses of the hub are %v", peer, l.addresses())
	}
}

// TestHubNamedLate: a host bans a server of the hub while no name server answers. The ban is lifted when the server's address is known, and
// not passed on again.
func TestHubNamedLate(t *testing.T) {
	t.Parallel()
	h := newHub(t, "a", "b", "liar")
	away := atomic.Bool{}
	away.Store(true)
	h.lookup = func(ctx context.Context, _, name string) ([]netip.Addr, error) {
		if name == "hub2.invalid" && !away.Load() {
			return []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.77"), netip.MustParseAddr("2001:db8::77")}, nil
		}
		return nil, errors.New("no name server answers")
	}
	h.roster.Servers = append(h.roster.Servers, "tls://hub2.invalid:4222")
	h.roster.Serial++
	h.store(h.sign(), h.trust)
	a, b := newDaemon(t, rules("b", "liar")), newDaemon(t, rules("a", "liar"))
	h.run("a", a)
	agentB, _ := h.run("b", b)
	say := func(addr, jail string) {
		p, now := netip.MustParseAddr(addr), time.Now()
		h.publish("liar", h.message("liar", &fleet.News{Host: "liar", Prefix: netip.PrefixFrom(p, p.BitLen()), Jail: jail, Since: now.UnixMicro(), Until: now.Add(time.Hour).UnixMicro()}))
	}
	say("192.0.2.77", "sshd")
	say("192.0.2.77", "postfix")
	say("2001:db8::77", "sshd")
	b.wait("192.0.2.77", "2001:db8::77")
	away.Store(false)
	b.wait()
	say("192.0.2.77", "dovecot")
	a.ban("192.0.2.1", time.Hour)
	b.wait("192.0.2.1")
	eventually(t, func() error {
		if err := agentB.hubBanned.get(); err == nil || !strings.Contains(err.Error(), "host liar bans 192.0.2.77/32, an address of the hub") {
			return fmt.Errorf("the state does not say that the hub was banned: %v", err)
		}
		return nil
	})
}
