package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/units/control"
	"bailiff/units/e2e/host"
)

// TestProveFleet does to a fleet, at random, what happens to fleets: the hub is killed, stopped, cut off, has no space, loses its store or
// gets an old copy of it back; hosts are cut off, singly, in pairs, all together or in one direction; connections are slow; daemons and
// bridges are killed, have no space, or live an hour ahead or behind; a member that was taken over lies. Meanwhile hosts ban and lift bans.
// After each round all hosts ban the same addresses, none has lost a ban of its own, and no ban lasts longer than its host permits. An
// address that failed a few times on each host stays banned. One that failed there only by the liar's word is never banned. Packets from
// allowed addresses arrive all the time.
func TestProveFleet(t *testing.T) {
	if *fleetTime == 0 {
		t.Skip("takes an hour: run `make prove`")
	}
	suites, tree, load := wanted(t, "trixie")
	p := &fleetProof{house: newHouse(t, suites[0], tree, load, []string{"a", "b", "c"}, "liar"), rand: rand.New(rand.NewPCG(*proveSeed, 0)), done: map[string]int{}, worst: map[string]float64{}}
	p.prepare(t)
	for _, name := range p.names {
		p.join(t, name)
	}
	p.taken = p.take(t, p.hub.Path(p.folder+"/hosts/liar.json"), func(o *nats.Options) error {
		o.AllowReconnect, o.MaxReconnect = true, -1
		return nil
	})
	p.countTogether(t)
	watched := p.watch(t)
	for begin := time.Now(); time.Since(begin) < *fleetTime; {
		p.round(t)
	}
	p.million(t)
	watched(t)
	slices.Sort(p.healed)
	late := 0
	for _, s := range p.healed {
		if s > 5 {
			late++
		}
	}
	t.Logf("%d rounds: %v; equal after the last fault was over: median %.1f s, 90th percentile %.1f, 99th %.1f, at most %.1f s; %d rounds took more than 5 s; the longest by fault: %v", len(p.healed), p.done,
		quantile(p.healed, 50), quantile(p.healed, 90), quantile(p.healed, 99), p.healed[len(p.healed)-1], late, p.worst)
}

type fleetProof struct {
	*house
	*taken
	rand   *rand.Rand
	lies   int          // addresses that the liar has banned
	joint  []netip.Addr // banned because of failures that hosts counted together
	done   map[string]int
	healed []float64          // seconds
	worst  map[string]float64 // of the rounds with a fault
}

// Addresses that every host allows. The liar bans them all the time.
var fleetAllowed = []netip.Addr{fleetOperator, netip.MustParseAddr("203.0.113.97"), host.Victim4, host.Member(1), netip.MustParseAddr("127.0.0.1")}

const (
	proofRules = `fleet: {rate: 100000, max_bans: 20000, max_ban_time: 2d}
allow: {addresses: [203.0.113.77, 203.0.113.96/28]}
`
	longestBan = 2 * 24 * 3600 // seconds, as above

	clockFolder = "/opt/clock" // on hosts: programs whose clock can be set
)

// lieRange holds the liar's bans that other hosts accept.
var lieRange = netip.MustParsePrefix("100.64.0.0/10")

// prepare gives the hosts disks that can be full and programs whose clock can be set.
func (p *fleetProof) prepare(t *testing.T) {
	dir := clockPrograms(t)
	small := func(m *victim, unit, dir string) {
		m.sh(t, `systemctl stop `+unit+`; mkdir -p /root/state `+dir+`; cp -a `+dir+`/. /root/state; mount -t tmpfs -o size=600m tmpfs `+dir+`
			cp -a /root/state/. `+dir+`; rm -r /root/state; systemctl start `+unit)
	}
	small(p.hub, "nats-server.service", "/var/lib/bailiff-hub")
	for _, name := range p.names {
		m := p.members[name]
		if err := m.Install(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		m.put(t, "50-fleet.yaml", proofRules)
		m.sh(t, `bailiff reload`)
		small(m.victim, "bailiff.service", "/var/lib/bailiff")
		small(m.victim, "bailiff-fleet.service", "/var/lib/bailiff-fleet")
		m.active(t)
	}
}

// A trouble is something that happens to a fleet. Each kind happens once at a time.
type trouble struct {
	kind  string
	begin func(t *testing.T) (heal func())
}

func nothing() {}

func (p *fleetProof) troubles() map[string]trouble {
	someone := func() *member { return p.members[p.names[p.rand.IntN(len(p.names))]] }
	hub := func(begin, heal string) trouble {
		return trouble{"hub", func(t *testing.T) func() {
			p.hub.sh(t, begin)
			return func() { p.hub.sh(t, heal) }
		}}
	}
	const stop, start = `systemctl stop nats-server.service; `, `systemctl start nats-server.service`
	const fill = `dd if=/dev/zero bs=64k of=`
	unit := func(begin, heal func(*member) string) trouble {
		return trouble{"host", func(t *testing.T) func() {
			m := someone()
			m.sh(t, begin(m))
			return func() { m.sh(t, heal(m)); m.active(t) }
		}}
	}
	const none = `:`
	script := func(s string) func(*member) string { return func(*member) string { return s } }
	cut := func(who func() []int) trouble {
		return trouble{"network", func(t *testing.T) func() {
			l := who()
			set := func(off bool) {
				for _, n := range l {
					if err := p.Cut(t.Context(), n, off); err != nil {
						t.Fatal(err)
					}
				}
			}
			set(true)
			return func() { set(false) }
		}}
	}
	shape := func(who func() int, gets, sends string) trouble {
		return trouble{"network", func(t *testing.T) func() {
			n := who()
			set := func(gets, sends string) {
				if err := p.Shape(t.Context(), n, gets, sends); err != nil {
					t.Fatal(err)
				}
			}
			set(gets, sends)
			return func() { set("", "") }
		}}
	}
	one := func() int { return someone().number }
	all := func() []int { return p.rand.Perm(len(p.names)) }
	numbers := func(n int) (l []int) {
		for _, i := range all()[:n] {
			l = append(l, p.members[p.names[i]].number)
		}
		return l
	}
	return map[string]trouble{
		"hub killed":       hub(`systemctl kill -s KILL nats-server.service`, start),
		"hub stopped":      hub(stop, start),
		"store lost":       hub(stop+`rm -rf /var/lib/bailiff-hub/*`, start),
		"hub's disk full":  hub(fill+`/var/lib/bailiff-hub/filler 2>/dev/null || :`, `rm /var/lib/bailiff-hub/filler`),
		"old store back":   hub(stop+`if test -e /root/copy; then rm -rf /var/lib/bailiff-hub/*; mv /root/copy/* /var/lib/bailiff-hub; rmdir /root/copy; else cp -a /var/lib/bailiff-hub /root/copy; fi`, start),
		"hub cut off":      cut(func() []int { return []int{1} }),
		"one cut off":      cut(func() []int { return numbers(1) }),
		"two cut off":      cut(func() []int { return numbers(2) }),
		"all cut off":      cut(func() []int { return numbers(3) }),
		"host hears none":  shape(one, host.Lost, ""),
		"host not heard":   shape(one, "", host.Lost),
		"slow line":        shape(one, host.Slow, host.Slow),
		"slow hub":         shape(func() int { return 1 }, host.Slow, host.Slow),
		"daemon killed":    unit(script(`systemctl kill -s KILL bailiff.service`), script(none)),
		"agent killed":     unit(script(`systemctl kill -s KILL bailiff-fleet.service`), script(none)),
		"daemon reloaded":  unit(script(`bailiff reload`), script(none)),
		"disk full":        unit(script(fill+`/var/lib/bailiff/filler 2>/dev/null || :`), script(`rm /var/lib/bailiff/filler`)),
		"disk full, death": unit(script(fill+`/var/lib/bailiff/filler 2>/dev/null || :; sleep 2; systemctl kill -s KILL bailiff.service`), script(`rm /var/lib/bailiff/filler`)),
		"agent's disk":     unit(script(fill+`/var/lib/bailiff-fleet/filler 2>/dev/null || :; systemctl kill -s KILL bailiff-fleet.service`), script(`rm /var/lib/bailiff-fleet/filler`)),
		"clock":            unit(func(*member) string { return setClock([]int{-3600, 0, 3600}[p.rand.IntN(3)]) }, script(none)), // and it stays so
		"flood": {"liar", func(t *testing.T) func() {
			p.flood(t, 5000)
			return nothing
		}},
	}
}

// round lets some things happen at once, and looks at the outcome.
func (p *fleetProof) round(t *testing.T) {
	all := p.troubles()
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	p.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	some, kinds := 1+p.rand.IntN(3), map[string]bool{}
	names = slices.DeleteFunc(names, func(name string) bool {
		if kinds[all[name].kind] || len(kinds) == some {
			return true
		}
		kinds[all[name].kind] = true
		return false
	})
	var heal []func()
	for _, name := range names {
		p.something(t)
		heal = append(heal, all[name].begin(t))
		p.done[name]++
		p.something(t)
	}
	time.Sleep(time.Duration(p.rand.IntN(15_000)) * time.Millisecond) // shorter and longer than it takes to notice that a hub is gone
	p.something(t)
	for _, f := range heal {
		f()
	}
	took := p.equal(t)
	p.healed = append(p.healed, took)
	for _, name := range names {
		p.worst[name] = max(p.worst[name], math.Round(10*took)/10)
	}
	t.Logf("%s %q: equal after %.1f s", time.Now().UTC().Format(time.TimeOnly), names, took)
	if took > 5 {
		t.Logf("hub:\n%s", p.hub.sh(t, `journalctl -q -o short-precise -u nats-server.service -u bailiff-hub.service --since -1min | tail -n 40`))
		for _, m := range p.members {
			t.Logf("%s:\n%s", m.name, m.sh(t, `journalctl -q -o short-precise -u bailiff-fleet.service --since -1min | tail -n 40`))
		}
	}
	if t.Failed() {
		t.Fatalf("after %q; seed %d", names, *proveSeed)
	}
}

// something makes hosts ban addresses and lift bans, and the liar lie. The hosts choose from the same addresses, so that several ban the
// same one, and a host bans again what it has lifted.
func (p *fleetProof) something(t *testing.T) {
	t.Helper()
	for range 1 + p.rand.IntN(4) {
		m := p.members[p.names[p.rand.IntN(len(p.names))]]
		if len(m.mine) > 0 && p.rand.IntN(2) == 0 {
			for range min(len(m.mine), 1+p.rand.IntN(40)) {
				i := p.rand.IntN(len(m.mine))
				m.surely(t, func(ctx context.Context) error {
					_, err := m.client.Unban(ctx, m.mine[i], "", false)
					if e := new(control.Error); errors.As(err, &e) && e.Status == http.StatusNotFound {
						return nil // the answer to the first call was lost
					}
					return err
				})
				m.mine = slices.Delete(m.mine, i, i+1)
			}
			continue
		}
		var l []string
		for range 1 + p.rand.IntN(100) {
			if a := sourceN(p.rand.IntN(3000)).String(); !slices.Contains(m.mine, a) && !slices.Contains(l, a) {
				l = append(l, a)
			}
		}
		if len(l) > 0 {
			m.surely(t, func(ctx context.Context) error {
				_, err := m.client.Ban(ctx, control.BanRequest{Prefixes: l, Duration: "1d"})
				return err
			})
			m.mine = append(m.mine, l...)
		}
	}
	p.lie(t)
}

// surely makes a call to a daemon that may have been killed.
func (m *member) surely(t *testing.T, call func(context.Context) error) {
	t.Helper()
	eventually(t, func() error {
		if err := call(t.Context()); err != nil && !strings.Contains(err.Error(), "done, but the state cannot be saved") { // its disk is full
			return fmt.Errorf("%s: %w", m.name, err)
		}
		return nil
	})
}

// lie sends the liar's bans of allowed addresses, in its own name and in others', with times from long ago to the far future.
func (p *fleetProof) lie(t *testing.T) {
	t.Helper()
	now := time.Now()
	prefixes := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("127.0.0.0/8")}
	for _, a := range fleetAllowed {
		prefixes = append(prefixes, netip.PrefixFrom(a, 32))
	}
	prefixes = append(prefixes, netip.PrefixFrom(p.lied(), 32)) // which no host allows
	for _, prefix := range prefixes {
		n := &fleet.News{Host: "liar", Prefix: prefix, Jail: "sshd", Since: now.UnixMicro(), Failures: 5}
		n.Since += []int64{-31 * 24 * 3600, -3600, 0, 3600}[p.rand.IntN(4)] * 1e6
		n.Until = []time.Time{now.Add(time.Hour), now.AddDate(8000-now.Year()%1000, 0, 0), now.Add(24 * time.Hour)}[p.rand.IntN(3)].UnixMicro()
		m := p.sign(t, n)
		switch p.rand.IntN(4) {
		case 0: // the hub is to write in another's name
			m.Reply = strings.Replace(m.Subject, ".liar.", "."+p.names[p.rand.IntN(len(p.names))]+".", 1)
		case 1:
			m.Subject = strings.Replace(m.Subject, ".liar.", "."+p.names[p.rand.IntN(len(p.names))]+".", 1)
		}
		_ = p.nc.PublishMsg(m) // the hub may be away
	}
	p.lieTogether()
}

// lied is the next address that the liar bans.
func (p *fleetProof) lied() netip.Addr {
	p.lies++
	return netip.AddrFrom4([4]byte{100, 64 + byte(p.lies>>16&63), byte(p.lies >> 8), byte(p.lies)})
}

// flood has the liar ban many addresses.
func (p *fleetProof) flood(t *testing.T, n int) {
	t.Helper()
	now := time.Now()
	for i := range n {
		m := p.sign(t, &fleet.News{Host: "liar", Prefix: netip.PrefixFrom(p.lied(), 32), Jail: "sshd", Since: now.UnixMicro() + int64(i), Until: now.AddDate(7000, 0, 0).UnixMicro(), Failures: 5})
		_ = p.nc.PublishMsg(m)
	}
	_ = p.nc.FlushTimeout(10 * time.Second)
}

// million has the liar ban a million addresses. The others' bans get through.
func (p *fleetProof) million(t *testing.T) {
	n := 1_000_000
	if *fleetTime < 10*time.Minute {
		n = 50_000
	}
	begin, arrived := time.Now(), p.arrivals(t)
	for range n / 10_000 {
		p.flood(t, 10_000)
		p.something(t)
	}
	sent := time.Since(begin)
	l := arrived()
	if t.Failed() {
		return
	}
	t.Logf("a liar banned %d addresses in %.0f s; all hosts are equal %.1f s later; meanwhile a ban took a median of %.2f s to another host, 90th percentile %.2f, at most %.2f s (%d bans)", n, sent.Seconds(), p.equal(t),
		quantile(l, 50), quantile(l, 90), l[len(l)-1], len(l))
}

// arrivals measures, until the returned function is called, how long bans take from one host to the next. That returns them in seconds,
// sorted.
func (p *fleetProof) arrivals(t *testing.T) func() []float64 {
	var took []float64
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; ctx.Err() == nil; i++ {
			from, to := p.members[p.names[i%len(p.names)]], p.members[p.names[(i+1)%len(p.names)]]
			a := netip.AddrFrom4([4]byte{100, 127, byte(i >> 8), byte(i)}) // of lieRange
			begin := time.Now()
			from.surely(t, func(ctx context.Context) error {
				_, err := from.client.Ban(ctx, control.BanRequest{Prefixes: []string{a.String()}, Duration: "1h"})
				return err
			})
			to.bansInKernel(t, a)
			took = append(took, time.Since(begin).Seconds())
			from.surely(t, func(ctx context.Context) error {
				_, err := from.client.Unban(ctx, a.String(), "", false)
				return err
			})
			time.Sleep(200 * time.Millisecond)
		}
	}()
	return func() []float64 { cancel(); wg.Wait(); slices.Sort(took); return took }
}

// equal waits until all hosts hold the same bans, and checks them. It returns how long that took, in seconds.
func (p *fleetProof) equal(t *testing.T) float64 {
	t.Helper()
	want := map[netip.Addr]bool{}
	for _, m := range p.members {
		for _, a := range m.mine {
			want[netip.MustParseAddr(a)] = true
		}
	}
	for _, a := range p.joint {
		want[a] = true
	}
	begin := time.Now()
	for _, name := range p.names {
		for {
			odd, err := p.members[name].differs(t, want)
			if err == nil && len(odd) == 0 {
				break
			}
			if time.Since(begin) > 3*time.Minute {
				for _, a := range odd[:min(len(odd), 3)] {
					for _, m := range p.members {
						t.Logf("%s of %s: %s", m.name, a, m.sh(t, `bailiff why --json `+a.String()+`; date; systemctl cat bailiff.service | grep CLOCK || :; bailiff fleet status || :`))
						if held, err := p.last("ban." + m.name + ".manual." + strings.ReplaceAll(a.String(), ".", "_") + "/32"); err == nil {
							t.Logf("the hub holds of %s: %s", m.name, held.Data)
						}
					}
				}
				t.Fatalf("%s: %d of %d bans are missing or too many, such as %v: %v", name, len(odd), len(want), odd[:min(len(odd), 5)], err)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	took := time.Since(begin).Seconds()
	for _, name := range p.names {
		p.members[name].keeps(t)
	}
	return took
}

// differs returns the addresses that this host bans and should not, or the other way round.
func (m *member) differs(t *testing.T, want map[netip.Addr]bool) (odd []netip.Addr, err error) {
	have, err := m.kernel(t)
	for a := range want {
		if _, ok := have[a]; !ok {
			odd = append(odd, a)
		}
	}
	for a := range have {
		if !want[a] && !lieRange.Contains(a) {
			odd = append(odd, a)
		}
	}
	return odd, err
}

// kernel reads the sets of bans, with the remaining seconds of each.
func (m *member) kernel(t *testing.T) (map[netip.Addr]int, error) {
	out, err := m.Run(t.Context(), "ipset", "save")
	if err != nil {
		return nil, err
	}
	have := map[netip.Addr]int{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] != "add" || !strings.HasPrefix(f[1], "bailiff4") || f[3] != "timeout" {
			continue
		}
		a, err := netip.ParseAddr(f[2])
		if err != nil {
			t.Errorf("%s bans %s", m.name, f[2])
			continue
		}
		left, err := strconv.Atoi(f[4])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		have[a] = max(have[a], left)
	}
	return have, nil
}

// keeps: a host has its own bans, and none lasts longer than its rules permit.
func (m *member) keeps(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		f, err := m.client.Firewall(t.Context())
		if err != nil || !f.Intact {
			return fmt.Errorf("%s: firewall %+v, %v", m.name, f, err)
		}
		return nil
	})
	if l, err := m.client.Bans(t.Context(), control.BanQuery{}); err != nil || l.Total != len(m.mine) {
		t.Errorf("%s: %+v own bans, want %d: %v", m.name, l, len(m.mine), err)
	}
	have, err := m.kernel(t)
	if err != nil {
		t.Error(err)
	}
	for a, left := range have {
		if left > longestBan+1 { // the kernel counts whole seconds
			t.Errorf("%s bans %s for another %d s", m.name, a, left)
		}
	}
}

// watch checks all the time whether an allowed address is banned anywhere: by its packets, and once a second in the kernel's sets. The
// returned function ends the check and reports its result.
func (p *fleetProof) watch(t *testing.T) func(*testing.T) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	probers, looks := map[string]*prober{}, 0
	for _, name := range p.names {
		probers[name] = p.members[name].prober(t, 20*time.Millisecond)
		probers[name].watch(fleetAllowed[:2]...)
	}
	script := `for s in $(ipset list -n | grep '^bailiff4'); do for a in`
	for _, a := range fleetAllowed {
		script += " " + a.String()
	}
	script += `; do if ipset -q test "$s" "$a"; then echo "$a in $s"; fi; done; done`
	wg.Add(1)
	go func() {
		defer wg.Done()
		for ; ctx.Err() == nil; time.Sleep(time.Second) {
			for _, name := range p.names {
				out, err := p.members[name].Sh(ctx, script)
				if ctx.Err() == nil && (err != nil || out != "") {
					t.Errorf("%s bans who is allowed: %s %v", name, out, err)
				}
			}
			looks++
		}
	}()
	return func(t *testing.T) {
		cancel()
		wg.Wait()
		all := 0
		for name, q := range probers {
			for _, a := range fleetAllowed[:2] {
				lost, sent := q.lost(a)
				if all += sent; lost > 0 {
					t.Errorf("%s: %d of %d packets of %s, who is allowed, did not arrive", name, lost, sent, a)
				}
			}
		}
		t.Logf("those who are allowed: %d packets, of which all had to arrive, and %d looks at the sets of each host", all, looks)
	}
}
