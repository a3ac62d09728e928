package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/units/control"
	"bailiff/units/e2e/host"
	"bailiff/units/hub"
)

// fleetLimits lets the test ban faster than people do. The operators' address is allowed on every host.
const fleetLimits = `fleet: {rate: 100000, max_bans: 200000}
allow: {addresses: [203.0.113.77]}
`

var fleetOperator = netip.MustParseAddr("203.0.113.77")

// A house is a hub and hosts that share bans.
type house struct {
	*host.Network
	hub     *victim
	members map[string]*member
	names   []string
	folder  string // of the operator, on the hub
}

// member is a host of the fleet.
type member struct {
	*victim
	name   string
	number int
	client *control.Client
	mine   []string // prefixes that it has banned itself
}

// TestFleet: three hosts share bans through a real nats-server, and a liar among them harms nobody.
func TestFleet(t *testing.T) {
	suites, tree, load := wanted(t, "trixie")
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			h := newHouse(t, suite, tree, load, []string{"a", "b", "c"})
			for _, c := range []struct {
				name string
				run  func(*house, *testing.T)
			}{
				{"shared", (*house).shared},
				{"late", (*house).late},
				{"hub", (*house).hubGone},
				{"cut", (*house).cutOff},
				{"liar", (*house).liar},
				{"equal", (*house).equal},
				{"together", (*house).together},
				{"evidence", (*house).evidence},
				{"forgeries", (*house).forgeries},
				{"allowed", (*house).allowed},
				{"rotated", (*house).rotated},
				{"left", (*house).left},
				{"operators", (*house).operators},
				{"revoked", (*house).revoked},
				{"servers", (*house).servers},
				{"moved", (*house).moved},
			} {
				if !t.Run(c.name, func(t *testing.T) { c.run(h, t) }) {
					return
				}
			}
		})
	}
}

// newHouse boots a hub and hosts that have not joined yet. more names members of the fleet for which no host is booted.
func newHouse(t *testing.T, suite, tree, load string, names []string, more ...string) *house {
	t.Helper()
	h := &house{members: map[string]*member{}, names: names, folder: "/root/fleet"}
	var hosts []*host.Host
	for i, name := range append([]string{"hub"}, names...) {
		v := boot(t, suite, tree, load, "nats-server")
		v.sh(t, `hostname `+name+`; systemctl disable -q --now nats-server.service`)
		hosts = append(hosts, v.Host)
		t.Cleanup(func() {
			if t.Failed() {
				log, _ := v.Run(context.Background(), "journalctl", "-o", "short-precise", "-u", "bailiff-fleet.service", "-u", "nats-server.service", "-u", "bailiff-hub.service", "-n", "160")
				t.Logf("bailiff-fleet of %s, and its nats-server:\n%s", name, log)
			}
		})
		if i == 0 {
			h.hub = v
			continue
		}
		v.put(t, "50-fleet.yaml", fleetLimits)
		v.sh(t, `systemctl start bailiff.service`)
		v.active(t)
		h.members[name] = &member{victim: v, name: name, number: i + 1, client: control.Dial(v.Path("/run/bailiff/control"))}
	}
	var err error
	if h.Network, err = host.Join(t.Context(), hosts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	h.hub.sh(t, `bailiff fleet init `+h.folder+` --server `+host.Member(1).String()+` `+strings.Join(append(slices.Clone(names), more...), " ")+`
		bailiff fleet hub `+h.folder+`/servers/*`)
	return h
}

// join makes a host a member as its administrator would.
func (h *house) join(t *testing.T, name string) {
	t.Helper()
	data, err := os.ReadFile(h.hub.Path(h.folder + "/hosts/" + name + ".json"))
	if err != nil {
		t.Fatal(err)
	}
	m := h.members[name]
	if err := m.WriteFile("/root/fleet.json", data, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log(m.sh(t, `bailiff fleet join /root/fleet.json`))
}

// ban bans prefixes by hand.
func (m *member) ban(t testing.TB, prefixes ...string) {
	t.Helper()
	m.mine = append(m.mine, prefixes...)
	for some := range slices.Chunk(prefixes, 2000) {
		if _, err := m.client.Ban(t.Context(), control.BanRequest{Prefixes: some, Duration: "1d"}); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
	}
}

// status is what the daemon knows of the fleet.
func (m *member) status(t testing.TB) *control.FleetStatus {
	t.Helper()
	s, err := m.client.Fleet(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	return s
}

// has waits until n prefixes are banned here because of other hosts, and returns the time.
func (m *member) has(t testing.TB, n int) time.Time {
	t.Helper()
	eventually(t, func() error {
		if s := m.status(t); s.InEffect != n {
			return fmt.Errorf("%s: %d prefixes of others are banned, want %d: %+v %+v", m.name, s.InEffect, n, s.Agent, s.Hosts)
		}
		return nil
	})
	return time.Now()
}

// others is how many prefixes other hosts ban.
func (h *house) others(name string) int {
	all := map[string]bool{}
	for _, m := range h.members {
		if m.name != name {
			for _, p := range m.mine {
				all[p] = true
			}
		}
	}
	return len(all)
}

// shared: a ban of one host drops packets on another.
func (h *house) shared(t *testing.T) {
	a, b := h.members["a"], h.members["b"]
	a.ban(t, "198.51.100.1")
	h.join(t, "a")
	h.join(t, "b")
	b.has(t, 1)
	if !b.inKernel(t, netip.MustParseAddr("198.51.100.1")) {
		t.Error("not in the kernel")
	}
	p := b.prober(t, time.Millisecond)
	defer p.close()
	trials := 20
	if os.Getenv("BAILIFF_BENCH") != "" {
		trials = 300
	}
	var ms []float64
	for i := range trials {
		x := sourceN(20_000 + i)
		p.watch(x)
		eventually(t, func() error {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.of[x].first < 0 {
				return fmt.Errorf("%s does not come through", x)
			}
			return nil
		})
		begin := time.Now()
		a.ban(t, x.String())
		var at time.Time
		eventually(t, func() (err error) {
			var ok bool
			if at, _, ok = p.blocked(x); !ok {
				return fmt.Errorf("%s still comes through", x)
			}
			return nil
		})
		ms = append(ms, float64(at.Sub(begin).Microseconds())/1e3)
		p.leave()
	}
	slices.Sort(ms)
	t.Logf("ban on a → first packet dropped on b, %d bans: median %.1f ms, 99th %.1f ms, all from %.1f to %.1f ms", len(ms), quantile(ms, 50), quantile(ms, 99), ms[0], ms[len(ms)-1])
	if out := b.sh(t, `bailiff why 198.51.100.1`); !strings.Contains(out, "by host a (group a)") {
		t.Errorf("why: %s", out)
	}
	// Lifted there, lifted here; a host's own bans are its own.
	if _, err := a.client.Unban(t.Context(), "198.51.100.1", "", false); err != nil {
		t.Fatal(err)
	}
	a.mine = slices.DeleteFunc(a.mine, func(p string) bool { return p == "198.51.100.1" })
	b.has(t, len(a.mine))
	if l, err := b.client.Bans(t.Context(), control.BanQuery{}); err != nil || l.Total != 0 {
		t.Errorf("own bans of b: %+v, %v", l, err)
	}
}

// late: a host that joins late gets all bans.
func (h *house) late(t *testing.T) {
	many := 10_000
	if os.Getenv("BAILIFF_BENCH") != "" {
		many = 50_000
	}
	for i, name := range []string{"a", "b"} {
		var l []string
		for n := range many {
			l = append(l, sourceN(30_000+i*many+n).String())
		}
		h.members[name].ban(t, l...)
	}
	h.members["a"].has(t, h.others("a"))
	h.members["b"].has(t, h.others("b"))
	if many > 10_000 { // a host writes its bans to pages within a minute, 64 pages a second
		time.Sleep(80 * time.Second)
	}
	c := h.members["c"]
	before := c.sh(t, `systemctl show -P MainPID bailiff.service | xargs -I{} grep RssAnon /proc/{}/status`)
	begin := time.Now()
	h.join(t, "c")
	at := c.has(t, h.others("c"))
	connected := c.status(t).Agent.Since
	t.Logf("a new host has %d bans %.2f s after it has connected, %.2f s after bailiff fleet join was called", h.others("c"), at.Sub(connected).Seconds(), at.Sub(begin).Seconds())
	c.sh(t, `systemctl restart bailiff-fleet.service`)
	t.Logf("memory of the daemon before %s, with them %s, of bailiff-fleet %s", before, c.sh(t, `systemctl show -P MainPID bailiff.service | xargs -I{} grep RssAnon /proc/{}/status`),
		c.sh(t, `systemctl show -P MainPID bailiff-fleet.service | xargs -I{} grep RssAnon /proc/{}/status`))
}

// hubGone: the hub stops, and comes back without its store. Nothing is lost.
func (h *house) hubGone(t *testing.T) {
	a, b, c := h.members["a"], h.members["b"], h.members["c"]
	h.hub.sh(t, `systemctl stop nats-server.service`)
	a.ban(t, "198.51.100.11")
	b.ban(t, "198.51.100.12")
	eventually(t, func() error {
		s, err := c.client.Status(t.Context())
		if err != nil {
			return err
		}
		if !strings.Contains(s.Problems.String(), "the hub of the fleet cannot be reached since ") {
			return fmt.Errorf("problems: %s", s.Problems)
		}
		return nil
	})
	if out := c.sh(t, `bailiff fleet status`); !strings.Contains(out, "not connected to the hub since ") {
		t.Errorf("status: %s", out)
	}
	h.hub.sh(t, `systemctl start nats-server.service`)
	h.allEqual(t, "the hub's return")
	h.hub.sh(t, `systemctl stop nats-server.service; rm -rf /var/lib/bailiff-hub/*; systemctl start nats-server.service`)
	a.ban(t, "198.51.100.13")
	h.allEqual(t, "the loss of its store")
	h.hub.sh(t, `systemctl kill -s KILL nats-server.service`)
	a.ban(t, "198.51.100.14")
	h.allEqual(t, "its death")
	if out := c.sh(t, `bailiff fleet status`); !strings.Contains(out, "connected to tls://"+host.Member(1).String()) {
		t.Errorf("status: %s", out)
	}
}

// allEqual waits until each host bans what the others ban.
func (h *house) allEqual(t *testing.T, what string) {
	t.Helper()
	begin := time.Now()
	for _, name := range h.names {
		h.members[name].has(t, h.others(name))
	}
	t.Logf("after %s, all hosts are equal within %.1f s", what, time.Since(begin).Seconds())
}

// cutOff: a host without a network goes on alone, and is equal again when it is back.
func (h *house) cutOff(t *testing.T) {
	a, b := h.members["a"], h.members["b"]
	if err := h.Cut(t.Context(), b.number, true); err != nil {
		t.Fatal(err)
	}
	a.ban(t, "198.51.100.21")
	b.ban(t, "198.51.100.22")
	eventually(t, func() error {
		if s := b.status(t); s.Agent == nil || s.Agent.Hub != "" {
			return fmt.Errorf("agent: %+v", s.Agent)
		}
		return nil
	})
	if b.inKernel(t, netip.MustParseAddr("198.51.100.21")) {
		t.Error("b is not cut off")
	}
	if err := h.Cut(t.Context(), b.number, false); err != nil {
		t.Fatal(err)
	}
	h.allEqual(t, "a host was cut off")
}

// liar: c was taken over. Nothing that it does with its keys harms an address that the others protect.
func (h *house) liar(t *testing.T) {
	a, b, c := h.members["a"], h.members["b"], h.members["c"]
	// c banned this earlier and has lifted the ban since.
	c.ban(t, "198.51.100.31")
	b.has(t, h.others("b"))
	js := h.take(t, c.Path("/root/fleet.json"))
	old, err := js.last("ban.c.manual.198_51_100_31/32")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.Unban(t.Context(), "198.51.100.31", "", false); err != nil {
		t.Fatal(err)
	}
	c.mine = slices.DeleteFunc(c.mine, func(p string) bool { return p == "198.51.100.31" })
	b.has(t, h.others("b"))
	c.sh(t, `systemctl stop bailiff-fleet.service`)

	p := b.prober(t, 5*time.Millisecond)
	defer p.close()
	p.watch(fleetOperator)
	now := time.Now()
	ban := func(host, prefix string, until time.Time) *nats.Msg {
		return js.sign(t, &fleet.News{Host: host, Prefix: netip.MustParsePrefix(prefix), Jail: "sshd", Since: now.UnixMicro(), Until: until.UnixMicro(), Reason: "failures", Failures: 5})
	}
	hour := now.Add(time.Hour)
	lies := []*nats.Msg{
		ban("c", "0.0.0.0/0", hour), ban("c", "::/0", hour), ban("c", "127.0.0.1/32", hour), ban("c", "198.18.0.0/15", hour),
		ban("c", fleetOperator.String()+"/32", hour),        // allowed on every host
		ban("c", host.Victim4.String()+"/32", hour),         // each host itself
		ban("c", host.Member(1).String()+"/32", hour),       // the hub
		ban("c", "198.51.100.33/32", now.Add(-time.Minute)), // over before it began
		ban("a", "198.51.100.34/32", hour),                  // in another's name, refused by the hub
		old,                                                 // sent again
	}
	forged := ban("c", "198.51.100.35/32", hour)
	forged.Data = []byte(strings.Replace(string(forged.Data), `"failures":5`, `"failures":6`, 1)) // not what was signed
	twice := ban("c", "198.51.100.36/32", hour)
	twice.Header.Add("Nats-Sequence", "1000000")
	twice.Header.Add("Nats-Subject", "ban.a.sshd.198_51_100_36/32")
	for _, m := range append(lies, forged, twice) {
		js.publish(t, m)
	}
	// An attempt to make the hub write in a's name, by the reply subject of a request.
	for _, reply := range []string{"ban.a.sshd.198_51_100_37/32", "fleet.ban.a.sshd.198_51_100_37/32"} {
		m := ban("c", "198.51.100.38/32", hour)
		m.Reply = reply
		js.publish(t, m)
		js.publish(t, &nats.Msg{Subject: "hub.DIRECT.GET.BANS." + lies[4].Subject, Reply: reply})
	}
	forever := js.sign(t, &fleet.News{Host: "c", Prefix: netip.MustParsePrefix("198.51.100.39/32"), Jail: "sshd", Since: now.UnixMicro(), Until: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), Failures: 5})
	js.publish(t, forever)
	// Of all these messages, only three bans are accepted: those of 36, 38 and 39.
	want := map[string]bool{"198.51.100.36/32": true, "198.51.100.38/32": true, "198.51.100.39/32": true}
	for p := range want {
		c.mine = append(c.mine, p)
	}
	for _, m := range []*member{a, b} {
		m.has(t, h.others(m.name))
		for _, no := range []string{"127.0.0.1", fleetOperator.String(), host.Victim4.String(), host.Member(1).String(), "198.51.100.31", "198.51.100.33", "198.51.100.34", "198.51.100.35", "198.51.100.37"} {
			if m.inKernel(t, netip.MustParseAddr(no)) {
				t.Errorf("%s bans %s", m.name, no)
			}
		}
		eventually(t, func() error {
			s := m.status(t)
			at := slices.IndexFunc(s.Hosts, func(x control.FleetHost) bool { return x.Name == "c" })
			if x := s.Hosts[at]; x.Clashes < 2 || x.Refused[fleet.ErrWide.Error()] < 2 || x.Refused[fleet.ErrPrefix.Error()] < 1 || x.Refused[fleet.ErrTime.Error()] < 1 ||
				!slices.Contains(s.Clashes.Some, fleetOperator.String()+"/32") || s.Agent.Rejected < 3 {
				return fmt.Errorf("%s: %+v, agent %+v, clashes %+v", m.name, x, s.Agent, s.Clashes)
			}
			return nil
		})
		var w control.Why
		if err := json.Unmarshal([]byte(m.sh(t, `bailiff why --json 198.51.100.39`)), &w); err != nil || len(w.Fleet) != 1 {
			t.Errorf("%s: %+v, %v", m.name, w.Fleet, err)
		}
	}
	if set := b.sh(t, `nft list ruleset; ipset list 2>/dev/null || :`); strings.Contains(set, fleetOperator.String()) {
		t.Error("the operators' address is in the firewall")
	}
	p.mu.Lock()
	q := p.of[fleetOperator]
	sent, arrived := len(q.sent), q.last+1
	p.mu.Unlock()
	if _, _, blocked := p.blocked(fleetOperator); blocked || arrived < sent-200 {
		t.Errorf("of %d packets of the operators the last that arrived was number %d", sent, arrived)
	}

	// The host is under its owner's control again: it withdraws the bans that its daemon does not have.
	js.nc.Close()
	c.mine = slices.DeleteFunc(c.mine, func(p string) bool { return want[p] })
	c.sh(t, `systemctl start bailiff-fleet.service`)
	h.allEqual(t, "the return of a host that lied")
}

// taken is an attacker who has a host's file.
type taken struct {
	nc     *nats.Conn
	member *hub.Member
}

func (h *house) take(t *testing.T, member string, o ...nats.Option) *taken {
	t.Helper()
	file, err := hub.ReadMember(member)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := h.client(t, file, o...)
	if err != nil {
		t.Fatal(err)
	}
	return &taken{nc, file}
}

// last asks the hub for the latest message of a subject.
func (x *taken) last(subject string) (*nats.Msg, error) {
	m, err := x.nc.Request("hub.DIRECT.GET.BANS."+subject, nil, time.Minute)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: subject, Data: m.Data, Header: nats.Header{hub.SignatureHeader: m.Header.Values(hub.SignatureHeader)}}, nil
}

// sign signs with the key of the host that was taken over.
func (x *taken) sign(t *testing.T, n *fleet.News) *nats.Msg {
	t.Helper()
	m, err := fleet.Sign(n, x.member.Key.Private())
	if err != nil {
		t.Fatal(err)
	}
	return &nats.Msg{Subject: m.Subject, Data: m.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}}
}

func (x *taken) publish(t *testing.T, m *nats.Msg) {
	t.Helper()
	if err := x.nc.PublishMsg(m); err != nil {
		t.Fatal(err)
	}
	if err := x.nc.FlushTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
}

// equal: at the end no host has lost a ban of its own, no allowed address is banned, and all are equal.
func (h *house) equal(t *testing.T) {
	h.allEqual(t, "all of this")
	for _, m := range h.members {
		l, err := m.client.Bans(t.Context(), control.BanQuery{})
		if err != nil || l.Total != len(m.mine) {
			t.Errorf("%s: %d own bans, want %d: %v", m.name, l.Total, len(m.mine), err)
		}
		if m.inKernel(t, fleetOperator) {
			t.Errorf("%s bans the operators", m.name)
		}
		if f, err := m.client.Firewall(t.Context()); err != nil || !f.Intact {
			t.Errorf("%s: firewall %+v, %v", m.name, f, err)
		}
	}
}
