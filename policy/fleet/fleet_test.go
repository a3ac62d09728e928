package fleet

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"bailiff/policy/allow"
)

const (
	minute = int64(time.Minute / time.Microsecond)
	hour   = 60 * minute
	day    = 24 * hour
	start  = 1_800_000_000_000_000
)

func prefixOf(s string) netip.Prefix {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p
	}
	a := netip.MustParseAddr(s)
	return netip.PrefixFrom(a, a.BitLen())
}

func allowing(l ...string) *allow.List {
	var es []allow.Entry
	for _, s := range l {
		es = append(es, allow.Entry{Prefix: prefixOf(s), Origin: "test"})
	}
	return allow.NewList(es)
}

// rules accept hosts h0, h1, …, in groups of two.
func rules(hosts int) Rules {
	r := Rules{Hosts: make(map[string]string), Longest: 2 * 24 * time.Hour}
	for i := range hosts {
		r.Hosts[fmt.Sprintf("h%d", i)] = fmt.Sprintf("g%d", i/2)
	}
	return r
}

func news(host, p string, since, until int64) News {
	return News{Host: host, Prefix: prefixOf(p), Jail: "sshd", Since: since, Until: until, Reason: "failures", Failures: 5}
}

func inEffect(b *Bans, now int64) map[netip.Prefix]int64 {
	m := make(map[netip.Prefix]int64)
	for c := range b.Effects(now) {
		if c.Banned {
			m[c.Prefix] = c.Until
		}
	}
	return m
}

func TestBan(t *testing.T) {
	b := New(rules(2), nil)
	c, changed, err := b.Apply(news("h0", "192.0.2.1", start, start+hour), start, true)
	if want := (Change{Prefix: prefixOf("192.0.2.1"), Banned: true, Until: start + hour}); err != nil || !changed || c != want {
		t.Fatal(c, changed, err)
	}
	if _, changed, err = b.Apply(news("h0", "192.0.2.1", start, start+hour), start+1, true); changed || err != nil {
		t.Error("the same again changes something:", err)
	}
	if c, changed, _ = b.Apply(news("h0", "192.0.2.1", start, start+2*hour), start, true); !changed || c.Until != start+2*hour {
		t.Error("prolonged:", c)
	}
	if _, changed, _ = b.Apply(news("h0", "192.0.2.1", start, start+hour), start, true); changed {
		t.Error("older news shortens a ban")
	}
	lifted := news("h0", "192.0.2.1", start, start+2*hour)
	lifted.Lifted = true
	if c, changed, _ = b.Apply(lifted, start, true); !changed || c.Banned {
		t.Error("lifted:", c)
	}
	if c, changed, _ = b.Apply(news("h0", "192.0.2.1", start, start+2*hour), start, true); changed || c.Banned {
		t.Error("old news bans again:", c)
	}
	if n := b.Expire(start + 2*hour - 1); n != 0 || b.Len() != 1 {
		t.Error("forgotten too early", n)
	}
	if n := b.Expire(start + 2*hour); n != 1 || b.Len() != 0 || len(b.first) != 0 {
		t.Error("not forgotten", n)
	}
}

// TestReplayOfOldNews: a long ban was lifted, a short one followed and is over. The news of the long one is sent again.
func TestReplayOfOldNews(t *testing.T) {
	b := New(rules(2), nil)
	long, lifted, short := news("h0", "192.0.2.1", start, start+40*hour), news("h0", "192.0.2.1", start, start+40*hour), news("h0", "192.0.2.1", start+2*hour, start+3*hour)
	lifted.Lifted = true
	for _, n := range []News{long, lifted, short} {
		if _, _, err := b.Apply(n, start+2*hour, true); err != nil {
			t.Fatal(err)
		}
	}
	b.Expire(start + 4*hour)
	if c, _, _ := b.Apply(long, start+5*hour, true); c.Banned || len(inEffect(b, start+5*hour)) != 0 {
		t.Error("banned again:", c)
	}
}

// TestLiars: what a compromised host may send, and its effect.
func TestLiars(t *testing.T) {
	now := int64(start)
	r := rules(2)
	r.Jails = []string{"sshd"}
	for _, c := range []struct {
		name string
		n    func(*News)
		err  error
	}{
		{"the whole Internet", func(n *News) { n.Prefix = prefixOf("0.0.0.0/0") }, ErrWide},
		{"half of it", func(n *News) { n.Prefix = prefixOf("128.0.0.0/1") }, ErrWide},
		{"a network", func(n *News) { n.Prefix = prefixOf("198.51.100.0/24") }, ErrWide},
		{"all of IPv6", func(n *News) { n.Prefix = prefixOf("::/0") }, ErrWide},
		{"a customer's IPv6", func(n *News) { n.Prefix = prefixOf("2001:db8::/48") }, ErrWide},
		{"loopback", func(n *News) { n.Prefix = prefixOf("127.0.0.1") }, ErrPrefix},
		{"loopback, IPv6", func(n *News) { n.Prefix = prefixOf("::1") }, ErrPrefix},
		{"around loopback, IPv6", func(n *News) { n.Prefix = prefixOf("::/64") }, ErrPrefix},
		{"the router", func(n *News) { n.Prefix = prefixOf("fe80::/64") }, ErrPrefix},
		{"multicast", func(n *News) { n.Prefix = prefixOf("224.0.0.5") }, ErrPrefix},
		{"DHCP", func(n *News) { n.Prefix = prefixOf("0.0.0.0") }, ErrPrefix},
		{"mapped", func(n *News) { n.Prefix = prefixOf("::ffff:127.0.0.1") }, ErrPrefix},
		{"host bits", func(n *News) {
			n.Prefix = netip.MustParsePrefix("192.0.2.1/32")
			n.Prefix = netip.PrefixFrom(n.Prefix.Addr(), 24)
		}, ErrPrefix},
		{"a zone", func(n *News) { n.Prefix = netip.Prefix{} }, ErrPrefix},
		{"another's name", func(n *News) { n.Host = "h9" }, ErrHost},
		{"nobody", func(n *News) { n.Host = "" }, ErrHost},
		{"another jail", func(n *News) { n.Jail = "postfix" }, ErrJail},
		{"a line end in the jail", func(n *News) { n.Jail = "sshd\nx" }, ErrText},
		{"colours in the reason", func(n *News) { n.Reason = "\x1b[31m" }, ErrText},
		{"a long reason", func(n *News) { n.Reason = string(make([]byte, 1000)) }, ErrText},
		{"last month", func(n *News) { n.Since, n.Until = now-30*day, now+30*day }, ErrOver},
		{"over", func(n *News) { n.Since, n.Until = now-hour, now }, ErrOver},
		{"next week", func(n *News) { n.Since, n.Until = now+7*day, now+8*day }, ErrTime},
		{"backwards", func(n *News) { n.Until = n.Since - 1 }, ErrTime},
		{"no time", func(n *News) { n.Since = 0 }, ErrTime},
	} {
		b := New(r, nil)
		n := news("h0", "192.0.2.1", now, now+hour)
		c.n(&n)
		if _, changed, err := b.Apply(n, now, true); !errors.Is(err, c.err) || changed || b.Len() != 0 {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if s := b.Hosts()[0]; !errors.Is(c.err, ErrHost) && len(s.Refused) != 1 {
			t.Errorf("%s: not shown: %+v", c.name, s)
		}
	}

	b := New(r, nil)
	for _, until := range []int64{now + 100*365*day, 253402300799_000000, Forever} { // until the year 9999
		n := news("h0", fmt.Sprintf("192.0.2.%d", until%250), now, until)
		if c, _, err := b.Apply(n, now, true); err != nil || c.Until != now+2*day {
			t.Errorf("until %d: %v %v", until, c, err)
		}
	}
	n := news("h0", "192.0.2.251", now+hour, Forever) // its clock is ahead
	if c, _, err := b.Apply(n, now, true); err != nil || c.Until != now+2*day || b.Hosts()[0].Ahead != time.Hour {
		t.Error("a clock that is ahead:", c, err, b.Hosts()[0])
	}
}

// TestAllowed: what this host allows is never banned, however the allow list and the news meet.
func TestAllowed(t *testing.T) {
	operators := allowing("192.0.2.0/28", "2001:db8:1::7")
	b := New(rules(2), operators)
	for _, p := range []string{"192.0.2.3", "2001:db8:1::/64"} {
		c, changed, err := b.Apply(news("h0", p, start, start+hour), start, true)
		if err != nil || changed && c.Banned || !c.Allowed {
			t.Errorf("%s: %+v %v", p, c, err)
		}
	}
	if n := b.Hosts()[0].Clashes; n != 2 || len(slices.Collect(b.Effects(start))) != 2 || len(inEffect(b, start)) != 0 {
		t.Error("clashes", n)
	}
	l := b.Configure(rules(2), allowing("2001:db8:1::7"), start)
	if len(l) != 1 || !l[0].Banned || l[0].Prefix != prefixOf("192.0.2.3") {
		t.Error("no longer allowed:", l)
	}
	if l = b.Configure(rules(2), operators, start); len(l) != 1 || l[0].Banned || !l[0].Allowed {
		t.Error("allowed again:", l)
	}
}

func TestFlood(t *testing.T) {
	r := rules(2)
	r.MaxBans, r.Rate = 500, 100
	b := New(r, nil)
	n := news("h0", "192.0.2.1", start, start+hour)
	accepted := 0
	for i := range 200_000 {
		n.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		if _, _, err := b.Apply(n, start+int64(i), true); err == nil { // all within a second
			accepted++
		}
	}
	if accepted < 100 || accepted > 102 {
		t.Error(accepted, "of 200,000 bans in a second")
	}
	for i := range 10_000 {
		n.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), 32)
		_, _, err := b.Apply(n, start+minute, false) // missed, and read again
		if err != nil && !errors.Is(err, ErrTooMany) {
			t.Fatal(err)
		}
	}
	if b.Len() != 500 {
		t.Error(b.Len(), "bans kept")
	}
	if _, _, err := b.Apply(news("h1", "192.0.2.77", start, start+hour), start, true); err != nil {
		t.Error("another host:", err)
	}
	lifted := n
	for p := range inEffect(b, start) { // what is known may still end
		lifted.Prefix, lifted.Lifted = p, true
		break
	}
	if c, changed, err := b.Apply(lifted, start, true); lifted.Prefix != prefixOf("192.0.2.77") && (err != nil || !changed || c.Banned) {
		t.Error("lifting:", c, err)
	}
}

// TestVotes: hosts of one group have one vote.
func TestVotes(t *testing.T) {
	r := rules(6)
	r.Votes = 2
	b := New(r, nil)
	apply := func(host string, until int64) Change {
		c, _, err := b.Apply(news(host, "192.0.2.1", start, until), start, true)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if apply("h0", start+9*hour).Banned || apply("h1", start+9*hour).Banned {
		t.Error("one group bans")
	}
	if c := apply("h2", start+2*hour); !c.Banned || c.Until != start+2*hour {
		t.Error("two groups:", c)
	}
	if c := apply("h4", start+5*hour); !c.Banned || c.Until != start+5*hour {
		t.Error("three groups:", c)
	}
	if len(inEffect(b, start+5*hour)) != 0 || len(inEffect(b, start+5*hour-1)) != 1 {
		t.Error("ends at another time than the second latest vote")
	}
	r.Votes = 3
	if l := b.Configure(r, nil, start); len(l) != 1 || l[0].Until != start+2*hour {
		t.Error("three votes needed:", l)
	}
}

// model is the simplest form of Bans: it keeps all news and judges them again for each question.
type model struct {
	r       Rules
	allowed *allow.List
	all     []News
}

type banKey struct {
	host, jail string
	p          netip.Prefix
}

// forget drops the news about bans of a prefix, host and jail that are all over.
func (m *model) forget(now int64) {
	keep := make(map[banKey]int64)
	for _, n := range m.all {
		k := banKey{n.Host, n.Jail, n.Prefix}
		keep[k] = max(keep[k], m.r.end(&n, now))
	}
	m.all = slices.DeleteFunc(m.all, func(n News) bool { return keep[banKey{n.Host, n.Jail, n.Prefix}] <= now })
}

func (m *model) inEffect(now int64) map[netip.Prefix]int64 {
	latest := make(map[banKey]News)
	for _, n := range m.all {
		k := banKey{n.Host, n.Jail, n.Prefix}
		o, ok := latest[k]
		if !ok || n.Since > o.Since || n.Since == o.Since && (n.Lifted && !o.Lifted || n.Lifted == o.Lifted && n.Until > o.Until) {
			latest[k] = n
		}
	}
	groups := make(map[netip.Prefix]map[string]int64)
	for k, n := range latest {
		end := min(n.Until, n.Since+m.r.Longest.Microseconds())
		if n.Lifted || end <= now || m.r.refuses(&n) != nil {
			continue
		}
		if groups[k.p] == nil {
			groups[k.p] = make(map[string]int64)
		}
		g := m.r.Hosts[n.Host]
		groups[k.p][g] = max(groups[k.p][g], end)
	}
	bans := make(map[netip.Prefix]int64)
	for p, g := range groups {
		ends := slices.Sorted(maps.Values(g))
		if len(ends) >= m.r.Votes && !m.allowed.Overlaps(p, now) {
			bans[p] = ends[len(ends)-m.r.Votes]
		}
	}
	return bans
}

// TestModel: random news in random order, some twice, with changes of rules and allow list, time that passes, and restarts.
// The changes that are returned, applied to a firewall, always lead to what the model has.
func TestModel(t *testing.T) {
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		r := rules(6)
		r.Votes, r.Rate = 1+rnd.IntN(3), 1000
		r = r.withDefaults()
		lists := []*allow.List{nil, allowing("192.0.2.0/30"), allowing("192.0.2.9", "2001:db8::1")}
		m := &model{r: r, allowed: lists[0]}
		b := New(r, m.allowed)
		now := int64(start)
		firewall := make(map[netip.Prefix]int64)
		enforce := func(c Change) {
			delete(firewall, c.Prefix)
			if c.Banned {
				firewall[c.Prefix] = c.Until
			}
		}
		var sent []News
		for step := range 400 {
			switch what := rnd.IntN(40); {
			case what == 0:
				now += rnd.Int64N(6 * hour)
				b.Expire(now)
				m.forget(now)
			case what == 1:
				m.allowed = lists[rnd.IntN(len(lists))]
				for _, c := range b.Configure(m.r, m.allowed, now) {
					enforce(c)
				}
			case what == 2:
				saved := b.Append(nil)
				again, err := Restore(saved, m.r, m.allowed, now)
				if err != nil {
					t.Fatal(err)
				}
				b.Expire(now)
				m.forget(now)
				if !reflect.DeepEqual(again.Append(nil), mustRestore(t, b.Append(nil), m, now).Append(nil)) {
					t.Fatal("what was saved and read is different when it is saved again")
				}
				b = again
			default:
				n := News{Host: fmt.Sprintf("h%d", rnd.IntN(6)), Jail: []string{"sshd", "postfix"}[rnd.IntN(2)], Reason: "slow"}
				n.Prefix = prefixOf(fmt.Sprintf("192.0.2.%d", rnd.IntN(12)))
				if rnd.IntN(4) == 0 {
					n.Prefix = prefixOf(fmt.Sprintf("2001:db8:0:%d::/64", rnd.IntN(3)))
				}
				n.Since = now - rnd.Int64N(3)*hour - 1
				n.Until = n.Since + (1+rnd.Int64N(5))*hour
				n.Lifted = rnd.IntN(5) == 0
				if len(sent) > 0 && rnd.IntN(3) == 0 {
					n = sent[rnd.IntN(len(sent))] // late, or a second time
					switch rnd.IntN(4) {
					case 0:
						n.Until += hour
					case 1:
						n.Lifted = true
					}
				}
				sent = append(sent, n)
				c, changed, err := b.Apply(n, now, rnd.IntN(2) == 0)
				if err != nil && !errors.Is(err, ErrOver) {
					t.Fatal(err)
				}
				if err == nil {
					m.all = append(m.all, n)
				}
				if changed {
					enforce(c)
				}
			}
			maps.DeleteFunc(firewall, func(_ netip.Prefix, until int64) bool { return until <= now })
			want := m.inEffect(now)
			if got := inEffect(b, now); !maps.Equal(got, want) || !maps.Equal(firewall, want) {
				t.Fatalf("seed %d, step %d:\n has      %v\n firewall %v\n want     %v", seed, step, got, firewall, want)
			}
		}
	}
}

func mustRestore(t *testing.T, data []byte, m *model, now int64) *Bans {
	b, err := Restore(data, m.r, m.allowed, now)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOrder: the same news in another order leads to the same.
func TestOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	var all []News
	for i := range 200 {
		n := news(fmt.Sprintf("h%d", i%4), fmt.Sprintf("192.0.2.%d", rnd.IntN(20)), start-rnd.Int64N(3)*minute, 0)
		n.Until, n.Lifted = n.Since+(1+rnd.Int64N(3))*hour, rnd.IntN(4) == 0
		all = append(all, n)
	}
	var first map[netip.Prefix]int64
	for range 20 {
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		b := New(rules(4), nil)
		for _, n := range all {
			if _, _, err := b.Apply(n, start, false); err != nil {
				t.Fatal(err)
			}
		}
		got := inEffect(b, start)
		if first == nil {
			first = got
		}
		if !maps.Equal(got, first) {
			t.Fatal(got, first)
		}
	}
}

// TestRestoreRules: bans that the rules no longer accept are not read.
func TestRestoreRules(t *testing.T) {
	b := New(rules(4), nil)
	for i := range 4 {
		if _, _, err := b.Apply(news(fmt.Sprintf("h%d", i), fmt.Sprintf("192.0.2.%d", i), start, start+hour), start, true); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Restore(b.Append(nil), rules(2), allowing("192.0.2.1"), start)
	if err != nil || !maps.Equal(inEffect(again, start), map[netip.Prefix]int64{prefixOf("192.0.2.0"): start + hour}) {
		t.Error(inEffect(again, start), err)
	}
	if got := again.Of(prefixOf("192.0.2.1")); len(got) != 1 || got[0] != news("h1", "192.0.2.1", start, start+hour) {
		t.Error(got)
	}
	if l := again.Configure(Rules{}, nil, start); len(l) != 1 || l[0].Banned || again.Len() != 0 {
		t.Error("without hosts:", l)
	}
}

func FuzzRestore(f *testing.F) {
	b := New(rules(4), nil)
	for i := range 4 {
		if _, _, err := b.Apply(news(fmt.Sprintf("h%d", i), fmt.Sprintf("192.0.2.%d", i), start, start+hour), start, true); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Append(nil))
	f.Add([]byte{2, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Restore(data, rules(4), nil, start)
		if err != nil {
			return
		}
		for c := range b.Effects(start) {
			if c.Banned && c.Until <= start {
				t.Error(c)
			}
		}
		if _, err := Restore(b.Append(nil), rules(4), nil, start); err != nil {
			t.Error(err)
		}
	})
}

// large is 100,000 bans by ten hosts.
func large(tb testing.TB) *Bans {
	r := rules(10)
	b := New(r, nil)
	for i := range 100_000 {
		n := news(fmt.Sprintf("h%d", i%10), "192.0.2.1", start, start+hour)
		n.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		if _, _, err := b.Apply(n, start, false); err != nil {
			tb.Fatal(err)
		}
	}
	return b
}

// TestMemory: 100,000 bans take less than 15 MiB.
func TestMemory(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := large(t)
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / float64(b.Len())
	t.Logf("%.0f bytes a ban", each)
	if each > 150 {
		t.Error("too much")
	}
	runtime.KeepAlive(b)
}

func BenchmarkApply(b *testing.B) {
	for b.Loop() {
		large(b)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/news")
}
