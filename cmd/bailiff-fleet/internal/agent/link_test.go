package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
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
	if !l.isHub(local) || l.isHub(netip.MustParsePrefix("192.0.2.1/32")) {
		t.Errorf("the addresses of the hub are %v", l.addresses())
	}
	away.Store(true)
	l.knowAll([]string{"tls://localhost:1"})
	for range 2 {
		<-asked
	}
	if !l.isHub(local) {
		t.Error("the addresses are forgotten when no name server answers")
	}
	l.knowAll([]string{"tls://192.0.2.1:4222"})
	if l.isHub(local) || !l.isHub(netip.MustParsePrefix("192.0.2.0/24")) {
		t.Errorf("after a move, the addresses of the hub are %v", l.addresses())
	}
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
	if peer := netip.MustParsePrefix("127.0.0.1/32"); !l.isHub(peer) || len(l.addresses()) > maxHubs {
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
