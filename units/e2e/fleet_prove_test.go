package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/policy/fleet"
	"bailiff/units/e2e/host"
)

// TestProveFleet does to a fleet, at random, what happens to fleets: the hub is killed, stopped, or loses its store; hosts are cut off,
// alone or all of them; daemons and bridges are killed; a member that was taken over lies. Meanwhile hosts ban and lift bans. After
// each round all hosts are equal, none has lost a ban of its own, and nobody who is allowed is banned.
func TestProveFleet(t *testing.T) {
	if *fleetRounds == 0 {
		t.Skip("takes an hour: run `make prove`")
	}
	suites, tree, load := wanted(t, "trixie")
	p := &fleetProof{house: newHouse(t, suites[0], tree, load, []string{"a", "b", "c"}, "liar"), rand: rand.New(rand.NewPCG(*proveSeed, 0)), done: map[string]int{}}
	for _, name := range p.names {
		p.join(t, name)
	}
	p.taken = p.take(t, p.hub.Path(p.folder+"/hosts/liar.json"))
	for range *fleetRounds {
		p.round(t)
	}
	slices.Sort(p.healed)
	t.Logf("%d rounds: %v; equal after the last fault was over: median %.1f s, at most %.1f s", *fleetRounds, p.done, quantile(p.healed, 50), p.healed[len(p.healed)-1])
}

type fleetProof struct {
	*house
	*taken
	rand   *rand.Rand
	next   int // number of the next address
	done   map[string]int
	healed []float64 // seconds
}

// faults are what can happen, and how it ends.
func (p *fleetProof) faults() map[string]func(t *testing.T) (heal func()) {
	someone := func() *member { return p.members[p.names[p.rand.IntN(len(p.names))]] }
	kill := func(unit string) func(t *testing.T) func() {
		return func(t *testing.T) func() {
			m := someone()
			m.sh(t, `systemctl kill -s KILL `+unit)
			return func() { m.active(t) }
		}
	}
	cut := func(t *testing.T, l ...*member) func() {
		for _, m := range l {
			if err := p.Cut(t.Context(), m.number, true); err != nil {
				t.Fatal(err)
			}
		}
		return func() {
			for _, m := range l {
				if err := p.Cut(t.Context(), m.number, false); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return map[string]func(t *testing.T) func(){
		"hub killed": func(t *testing.T) func() {
			p.hub.sh(t, `systemctl kill -s KILL nats-server.service`)
			return func() { p.hub.sh(t, `systemctl start nats-server.service`) }
		},
		"hub stopped": func(t *testing.T) func() {
			p.hub.sh(t, `systemctl stop nats-server.service`)
			return func() { p.hub.sh(t, `systemctl start nats-server.service`) }
		},
		"store lost": func(t *testing.T) func() {
			p.hub.sh(t, `systemctl stop nats-server.service; rm -rf /var/lib/bailiff-hub/*`)
			return func() { p.hub.sh(t, `systemctl start nats-server.service`) }
		},
		"one cut off":     func(t *testing.T) func() { return cut(t, someone()) },
		"all cut off":     func(t *testing.T) func() { return cut(t, p.members["a"], p.members["b"], p.members["c"]) },
		"daemon killed":   kill("bailiff.service"),
		"agent killed":    kill("bailiff-fleet.service"),
		"daemon reloaded": func(t *testing.T) func() { someone().sh(t, `bailiff reload`); return func() {} },
	}
}

// round lets some things happen at once, and looks at the outcome.
func (p *fleetProof) round(t *testing.T) {
	faults := p.faults()
	names := make([]string, 0, len(faults))
	for name := range faults {
		names = append(names, name)
	}
	slices.Sort(names)
	p.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:1+p.rand.IntN(2)]
	if slices.Contains(names, "hub killed") && (slices.Contains(names, "hub stopped") || slices.Contains(names, "store lost")) {
		names = names[:1]
	}
	var heal []func()
	for _, name := range names {
		p.something(t)
		heal = append(heal, faults[name](t))
		p.done[name]++
		p.something(t)
	}
	time.Sleep(time.Duration(p.rand.IntN(15)) * time.Second) // shorter and longer than it takes to notice that a hub is gone
	p.something(t)
	for _, f := range heal {
		f()
	}
	begin := time.Now()
	for _, name := range p.names {
		p.members[name].has(t, p.others(name))
	}
	p.healed = append(p.healed, time.Since(begin).Seconds())
	t.Logf("%q: equal after %.1f s", names, p.healed[len(p.healed)-1])
	for _, m := range p.members {
		m.keeps(t)
	}
	if t.Failed() {
		t.Fatalf("after %q", names)
	}
}

// something has hosts ban and lift bans, and the liar lie.
func (p *fleetProof) something(t *testing.T) {
	t.Helper()
	for range 1 + p.rand.IntN(4) {
		m := p.members[p.names[p.rand.IntN(len(p.names))]]
		m.active(t)
		if len(m.mine) > 0 && p.rand.IntN(3) == 0 {
			i := p.rand.IntN(len(m.mine))
			if _, err := m.client.Unban(t.Context(), m.mine[i], "", false); err != nil {
				t.Fatal(err)
			}
			m.mine = slices.Delete(m.mine, i, i+1)
			continue
		}
		var l []string
		for range 1 + p.rand.IntN(200) {
			l = append(l, sourceN(p.next%120_000).String())
			p.next++
		}
		m.ban(t, l...)
	}
	now := time.Now()
	for _, prefix := range []string{"0.0.0.0/0", "127.0.0.1/32", fleetOperator.String() + "/32", host.Victim4.String() + "/32", host.Member(1).String() + "/32"} {
		n := &fleet.News{Host: "liar", Prefix: netip.MustParsePrefix(prefix), Jail: "sshd", Since: now.UnixMicro(), Until: now.AddDate(8000, 0, 0).UnixMicro(), Failures: 5}
		if p.rand.IntN(2) == 0 {
			n.Until = now.Add(time.Hour).UnixMicro()
		}
		_ = p.nc.PublishMsg(p.sign(t, n)) // the hub may be away
	}
}

// keeps: a host has its own bans, and nobody who is allowed is banned or banned for longer than its rules permit.
func (m *member) keeps(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		f, err := m.client.Firewall(t.Context())
		if err != nil || !f.Intact {
			return fmt.Errorf("%s: firewall %+v, %v", m.name, f, err)
		}
		return nil
	})
	own := 0
	for line := range strings.Lines(m.sh(t, `bailiff bans --json`)) {
		own += strings.Count(line, `"prefix"`)
	}
	if own != len(m.mine) {
		t.Errorf("%s: %d own bans, want %d", m.name, own, len(m.mine))
	}
	for _, a := range []netip.Addr{fleetOperator, host.Victim4, host.Member(1), netip.MustParseAddr("127.0.0.1")} {
		if m.inKernel(t, a) {
			t.Errorf("%s bans %s", m.name, a)
		}
	}
	if out := m.sh(t, `ipset list | awk '/ timeout [0-9]/ { for (i = 1; i < NF; i++) if ($i == "timeout" && $(i+1) > most) most = $(i+1) } END { print most+0 }'`); true {
		if n, err := strconv.Atoi(strings.TrimSpace(out)); err != nil || n > 28*24*3600 {
			t.Errorf("%s: a ban of %s seconds: %v", m.name, out, err)
		}
	}
}
