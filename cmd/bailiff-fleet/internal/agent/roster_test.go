package agent

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// isAt waits until an agent has a roster, from a hub, and is not told of any other that it does not accept.
func isAt(t *testing.T, a *Agent, serial uint64, url string) {
	t.Helper()
	eventually(t, func() error {
		at, _, err := a.link.state()
		if r := a.roster.Load(); r.serial != serial || at != url || a.rosterErr.get() != nil {
			return fmt.Errorf("roster %d, connected to %q: %v, %v", r.serial, at, err, a.rosterErr.get())
		}
		return nil
	})
}

// TestRemovedOperator: hosts follow changes of the operators by themselves, even a host that was away all the time. A removed operator can
// still sign rosters and store them in the hub: hosts that know of the removal ignore them, also after a restart.
func TestRemovedOperator(t *testing.T) {
	h := newHub(t, "a", "b", "c")
	eve, eveTrust := h.op, h.trust // who will be removed
	pub, bob, _ := ed25519.GenerateKey(nil)
	a, b := newDaemon(t, rules("b", "c")), newDaemon(t, rules("a", "c"))
	agentA, _ := h.run("a", a)
	agentB, stopB := h.run("b", b)
	first := h.sign()

	change := func(by ed25519.PrivateKey, to ...hub.Operator) {
		t.Helper()
		next, c, err := h.trust.Change("test", to, by)
		if err != nil {
			t.Fatal(err)
		}
		h.trust, h.roster.Changes = *next, append(h.roster.Changes, *c)
		h.roster.Serial++
	}
	change(eve, h.trust.Operators[0], hub.Operator{Name: "bob", Key: hub.Key(pub)})
	second := h.sign()
	if said := h.store(second, h.trust); !strings.HasSuffix(said, "roster 2 stored") {
		t.Error(said)
	}
	isAt(t, agentA, 2, h.server.URL())
	isAt(t, agentB, 2, h.server.URL())
	secondTrust, secondChanges := h.trust, h.roster.Changes

	change(bob, h.trust.Operators[1])
	h.op = bob
	third := h.sign()
	h.store(third, h.trust)
	isAt(t, agentA, 3, h.server.URL())
	isAt(t, agentB, 3, h.server.URL())
	if now := agentA.roster.Load().trust; now.Number != 3 || len(now.Operators) != 1 || now.Operators[0].Name != "bob" {
		t.Errorf("%+v", now)
	}

	// eve still has the hub's key, and stores rosters that she signs: without the change that removed her, with one of her own in its
	// place, with all changes and one more, and old rosters again. Even the greatest serial number does not help.
	say := func(s *hub.Sealed) {
		t.Helper()
		nc := h.connect(h.admin.NKey)
		m := &nats.Msg{Subject: hub.Subject, Data: s.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(s.Signature)}}}
		if _, err := nc.RequestMsg(m, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	forged := func(serial uint64, changes []hub.Sealed) *hub.Sealed {
		t.Helper()
		r := h.roster
		r.Serial, r.Changes, r.Hosts = serial, changes, map[string]hub.RosterHost{"evil": h.roster.Hosts["a"]}
		s, err := r.Sign(eve)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	_, hers, err := secondTrust.Change("test", eveTrust.Operators, eve)
	if err != nil {
		t.Fatal(err)
	}
	rejected := agentB.rejected.Load()
	lies := []*hub.Sealed{forged(4, nil), forged(5, secondChanges), forged(6, append(secondChanges[:1:1], *hers)), forged(7, h.roster.Changes), first, second, forged(1<<64-1, nil)}
	for _, s := range lies {
		say(s)
	}
	eventually(t, func() error {
		if n := agentB.rejected.Load() - rejected; n < int64(len(lies)) {
			return fmt.Errorf("%d of %d lies were rejected", n, len(lies))
		}
		if err := agentB.rosterErr.get(); err == nil || !strings.Contains(agentB.state().Error, "the hub's roster is not accepted: ") {
			return fmt.Errorf("the status does not show it: %v", err)
		}
		return nil
	})
	a.ban("192.0.2.1", time.Hour)
	b.wait("192.0.2.1")
	for _, x := range []*Agent{agentA, agentB} {
		if r := x.roster.Load(); r.serial != 3 || r.groups["evil"] != "" || r.trust.Number != 3 {
			t.Errorf("%s takes roster %d of who was removed", x.Member.Host, r.serial)
		}
	}
	// After a restart, with its original file, b knows no less.
	stopB()
	agentB, _ = h.run("b", b)
	eventually(t, func() error {
		if agentB.rosterErr.get() == nil {
			return errors.New("it has not seen the hub's roster")
		}
		return nil
	})
	if r := agentB.roster.Load(); r.serial != 3 || r.trust.Number != 3 {
		t.Errorf("after a restart: roster %d", r.serial)
	}
	// The right roster replaces hers, though its number is smaller.
	if said := h.store(third, h.trust); !strings.HasSuffix(said, "roster 3 stored") {
		t.Error(said)
	}
	// c starts with its original file, and nothing else.
	agentC := New(Options{Member: h.members["c"], State: t.TempDir(), Daemon: control.Dial(newDaemon(t, rules("a")).path), Log: func(string) {}})
	done := make(chan error, 1)
	go func() { done <- agentC.Run(t.Context()) }()
	for _, x := range []*Agent{agentA, agentB, agentC} {
		isAt(t, x, 3, h.server.URL())
	}
	if now := agentC.roster.Load().trust; now.Number != 3 || now.Operators[0].Name != "bob" {
		t.Errorf("who was away: %+v", now)
	}
}

// TestMovedHub: the hub moves to another server, with another authority. Hosts follow by themselves, and still do after a restart. The
// previous server keeps running, but nobody listens to it.
func TestMovedHub(t *testing.T) {
	h := newHub(t, "a", "b")
	a, b := newDaemon(t, rules("b")), newDaemon(t, rules("a"))
	agentA, _ := h.run("a", a)
	agentB, stopB := h.run("b", b)
	a.ban("192.0.2.1", time.Hour)
	b.wait("192.0.2.1")

	other := h.another()
	h.roster.Servers, h.roster.CA = other.admin.Servers, h.admin.CA+other.admin.CA
	h.roster.Serial++
	moved := h.sign()
	other.store(moved, h.trust)
	h.store(moved, h.trust)
	isAt(t, agentA, 2, other.server.URL())
	isAt(t, agentB, 2, other.server.URL())
	if !agentA.link.needs(netip.MustParsePrefix("127.0.0.1/32")) {
		t.Error("the new server could be banned")
	}
	a.ban("192.0.2.2", time.Hour)
	b.wait("192.0.2.1", "192.0.2.2")

	// Nobody accepts what only the old server sends: a ban signed by a, and a roster of an operator.
	p := netip.MustParsePrefix("192.0.2.3/32")
	now := time.Now()
	h.publish("a", h.message("a", &fleet.News{Host: "a", Prefix: p, Jail: "sshd", Since: now.UnixMicro(), Until: now.Add(time.Hour).UnixMicro(), Failures: 5}))
	h.roster.Serial = 9
	h.store(h.sign(), h.trust)
	// The new server goes away and comes back. Meanwhile hosts could go to the old one, which has all names and keys.
	other.stop()
	eventually(t, func() error {
		for _, x := range []*Agent{agentA, agentB} {
			if x.link.connected() {
				return fmt.Errorf("%s is connected to %s", x.Member.Host, x.state().Hub)
			}
		}
		return nil
	})
	a.ban("192.0.2.4", time.Hour)
	other.start()
	b.wait("192.0.2.1", "192.0.2.2", "192.0.2.4")
	stopB()
	agentB, _ = h.run("b", b) // with its file from before
	isAt(t, agentB, 2, other.server.URL())
	isAt(t, agentA, 2, other.server.URL())
	a.ban("192.0.2.5", time.Hour)
	b.wait("192.0.2.1", "192.0.2.2", "192.0.2.4", "192.0.2.5")

	// In the end only the new authority is trusted.
	h.roster.CA, h.roster.Serial = other.admin.CA, 3
	other.store(h.sign(), h.trust)
	isAt(t, agentA, 3, other.server.URL())
	isAt(t, agentB, 3, other.server.URL())
	a.ban("192.0.2.6", time.Hour)
	b.wait("192.0.2.1", "192.0.2.2", "192.0.2.4", "192.0.2.5", "192.0.2.6")
}

// TestMissedRoster: a host takes a list of hosts that it was not sent, though its connection stays and nothing else is missed.
func TestMissedRoster(t *testing.T) {
	h := newHub(t, "a", "b")
	h.rosterInterval = 100 * time.Millisecond
	agent, _ := h.run("b", newDaemon(t, rules("a")))
	isAt(t, agent, 1, h.server.URL())
	js := h.jetStream()
	silent := streams(1, hasBatches(natsVersion(t, h.connect(h.admin.NKey))))[1]
	silent.RePublish = nil
	h.remove(js, rosterStream)
	if _, err := js.CreateStream(t.Context(), silent); err != nil {
		t.Fatal(err)
	}
	h.roster.Serial++
	s := h.sign()
	if _, err := js.PublishMsg(t.Context(), &nats.Msg{Subject: hub.Subject, Data: s.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(s.Signature)}}}); err != nil {
		t.Fatal(err)
	}
	isAt(t, agent, 2, h.server.URL())
}

// TestDropped: when messages of the hub were dropped, since too many waited, a host looks for what it missed.
func TestDropped(t *testing.T) {
	l := newLink(func(string) {})
	l.again = make(chan struct{}, 1)
	l.failed(nil, &nats.Subscription{Subject: "_INBOX.x"}, nats.ErrSlowConsumer)
	l.failed(nil, &nats.Subscription{Subject: republished + ">"}, nats.ErrMaxPayload)
	if len(l.again) != 0 {
		t.Error("other errors count as missed messages")
	}
	l.failed(nil, &nats.Subscription{Subject: republished + ">"}, nats.ErrSlowConsumer)
	if len(l.again) != 1 {
		t.Error("nothing is looked for")
	}
}

// TestRosterInterval: a larger fleet has a longer list, which is read less often.
func TestRosterInterval(t *testing.T) {
	for hosts, want := range map[int]time.Duration{0: 5 * time.Minute, 100: 5 * time.Minute, 1000: 500 * time.Second, fleet.MaxHosts: 5000 * time.Second} {
		if got := rosterInterval(hosts); got != want {
			t.Errorf("%d hosts: %v, want %v", hosts, got, want)
		}
	}
}

// TestFirstRoster: a host's file names the hub and the operators, not the other hosts. Until the hub sends a roster that is as new as
// the file, nobody is believed, the daemon keeps the hosts that it knows, and the status says what is to be done.
func TestFirstRoster(t *testing.T) {
	h := newHub(t, "a", "b")
	h.members["b"].Serial = 2
	a, b := newDaemon(t, rules("b")), newDaemon(t, rules("a"))
	h.run("a", a)
	agentB, _ := h.run("b", b)
	a.ban("192.0.2.1", time.Hour)
	eventually(t, func() error {
		if s := agentB.state(); s.Hub == "" || !strings.Contains(s.Error, "on the hub: bailiff fleet hub DIR") {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	b.mu.Lock()
	if b.serial != 0 || b.others.Len() != 0 || agentB.rejected.Load() != 0 {
		t.Errorf("roster %d, %d bans, %d rejected", b.serial, b.others.Len(), agentB.rejected.Load())
	}
	b.mu.Unlock()
	h.roster.Serial = 2
	h.store(h.sign(), h.trust)
	isAt(t, agentB, 2, h.server.URL())
	b.wait("192.0.2.1")
	eventually(t, func() error {
		if s := agentB.state(); strings.Contains(s.Error, "list of hosts") {
			return errors.New(s.Error)
		}
		return nil
	})
}
