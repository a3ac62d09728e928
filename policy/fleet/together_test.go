package fleet

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/bucket"
	"bailiff/policy/prefix"
)

const noon = int64(1_790_000_000_000_000)

// house is a fleet of h0, h1 and so on, each of a group of its own, that counts together.
func house(n int, t Together) Rules {
	r := Rules{Hosts: map[string]string{}, Together: t}
	for i := range n {
		r.Hosts[fmt.Sprint("h", i)] = fmt.Sprint("g", i)
	}
	return r
}

func keyOf(s string) prefix.Key { return SummaryPrefix(netip.MustParseAddr(s)) }

// told is a summary of one address that failed on these accounts.
func told(at int64, addr string, accounts ...uint8) *Summary {
	x := Seen{Prefix: keyOf(addr), Jail: "sshd"}
	for _, a := range accounts {
		x.Failures = append(x.Failures, SeenFailure{At: at, Account: a})
	}
	return &Summary{At: at, Seen: []Seen{x}}
}

func (b *Bans) mustCount(t *testing.T, host string, s *Summary, now int64) []Change {
	t.Helper()
	l, err := b.Count(host, s, now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// overTime calls Decide as often as a daemon does.
func (b *Bans) overTime(from, to int64) (l []Decision) {
	for now := from; now <= to; now += second {
		l = append(l, b.Decide(now)...)
		b.Expire(now)
	}
	return l
}

// TestTogether: two failures on each of twenty hosts lead to a ban in due time; fewer do not.
func TestTogether(t *testing.T) {
	rules := house(20, Together{Hosts: 20, Failures: 40, BanTime: time.Hour})
	const addr = "198.51.100.7"
	b := New(rules, nil)
	for i := range 20 {
		if l := b.overTime(noon, noon+5*minute); len(l) > 0 {
			t.Fatalf("banned for %d hosts: %+v", i, l)
		}
		b.mustCount(t, fmt.Sprint("h", i), told(noon, addr, uint8(i%5), 9), noon+int64(i))
	}
	if c := b.Effect(keyOf(addr).Prefix(), noon+second); c.Banned {
		t.Fatal("banned before a host could object")
	}
	l := b.overTime(noon, noon+minute)
	if len(l) != 1 || !l[0].Banned || !l[0].Differs || len(l[0].Hosts) != 20 || l[0].Failures != 40 || l[0].Prefix.String() != addr+"/32" {
		t.Fatalf("%+v", l)
	}
	c := b.Effect(l[0].Prefix, noon+minute)
	if wait := c.Until - noon - time.Hour.Microseconds(); !c.Banned || wait < settle.Microseconds() || wait > settle.Microseconds()+second {
		t.Errorf("%+v", c)
	}
	if got, ok := b.Counted(l[0].Prefix, noon+minute); !ok || got.HostsAll != 20 || got.Failures != 40 {
		t.Errorf("%+v", got)
	}
	// It stays in effect over a restart, and ends.
	again, err := Restore(b.Append(nil), rules, nil, noon+minute)
	if err != nil {
		t.Fatal(err)
	}
	if twice, err := Restore(again.Append(nil), rules, nil, noon+minute); err != nil || !bytes.Equal(again.Append(nil), twice.Append(nil)) {
		t.Errorf("the file is another one after it was read: %v", err)
	}
	if got, ok := again.Counted(l[0].Prefix, noon+minute); !ok || got.HostsAll != 20 || again.Effect(l[0].Prefix, noon+minute) != c {
		t.Errorf("%+v %+v", got, again.Effect(l[0].Prefix, noon+minute))
	}
	again.Expire(noon + 62*minute)
	if again.Len() != 0 || len(again.joint) != 0 || again.Effect(l[0].Prefix, noon+62*minute).Banned {
		t.Errorf("%d bans are left", again.Len())
	}
	// The failures of a host no longer count once it is not trusted, and none count without the rule.
	fewer := house(20, rules.Together)
	delete(fewer.Hosts, "h3")
	if l := b.Configure(fewer, nil, noon+minute); len(l) != 1 || l[0].Banned || len(b.joint) != 0 {
		t.Errorf("%+v", l)
	}
	off := house(20, Together{})
	if l := again.Configure(off, nil, noon); len(l) != 0 || again.Together() != (TogetherStats{}) {
		t.Errorf("%+v %+v", l, again.Together())
	}
}

// TestJointSaved: max_bans is the limit of a host's own bans. It does not apply to those for what was counted together, also at a restart.
func TestJointSaved(t *testing.T) {
	rules := house(3, Together{Hosts: 3, Failures: 6})
	rules.MaxBans = 1
	b := New(rules, nil)
	addrs := []string{"198.51.100.7", "198.51.100.8"}
	for h := range 3 {
		for i, addr := range addrs {
			b.mustCount(t, fmt.Sprint("h", h), told(noon+int64(i), addr, 1, 2, 3, 4), noon)
		}
		if _, _, err := b.Apply(news(fmt.Sprint("h", h), "203.0.113.1", noon, noon+hour), noon, true); err != nil {
			t.Fatal(err)
		}
	}
	if l := b.overTime(noon, noon+minute); len(l) != 2 {
		t.Fatalf("%+v", l)
	}
	again, err := Restore(b.Append(nil), rules, nil, noon+minute)
	if err != nil || again.Len() != 5 || again.Together().Bans != 2 {
		t.Fatalf("%d bans, %+v, %v", again.Len(), again.Together(), err)
	}
	for _, addr := range addrs {
		if !again.Effect(keyOf(addr).Prefix(), noon+minute).Banned {
			t.Errorf("%s is no longer banned", addr)
		}
	}
}

// TestNewestJoint: the newest bans, of how many hosts and groups.
func TestNewestJoint(t *testing.T) {
	rules := house(4, Together{Hosts: 2, Failures: 4})
	rules.Hosts["h1"] = "g0"
	b := New(rules, nil)
	at := int64(noon)
	for i := range 30 {
		addr := fmt.Sprintf("198.51.100.%d", i)
		b.mustCount(t, "h0", told(at, addr, 1, 2), at)
		b.mustCount(t, "h1", told(at, addr, 3, 4), at)
		b.mustCount(t, "h2", told(at, addr, 5, 6), at)
		at += minute
		if l := b.overTime(at-minute, at); len(l) != 1 {
			t.Fatalf("%s: %+v", addr, l)
		}
	}
	l := b.NewestJoint(20)
	if len(l) != 20 {
		t.Fatal(len(l))
	}
	for i, x := range l {
		if x.Prefix != prefixOf(fmt.Sprintf("198.51.100.%d", 29-i)) || x.Hosts != 3 || x.Groups != 2 || x.Failures != 6 || x.Until <= x.Since {
			t.Errorf("%d: %+v", i, x)
		}
	}
	if l := New(rules, nil).NewestJoint(20); len(l) != 0 {
		t.Errorf("%+v", l)
	}
}

// TestTogetherInnocents: people, monitors and offices that no single host bans are not banned by all hosts together either.
func TestTogetherInnocents(t *testing.T) {
	const hosts = 20
	rules := house(hosts, Together{Hosts: 10, Failures: 20})
	const addr = "198.51.100.7"
	everywhere := func(b *Bans, accounts func(host int) []uint8) {
		for i := range hosts {
			b.mustCount(t, fmt.Sprint("h", i), told(noon, addr, accounts(i)...), noon)
		}
	}
	many := func(int) []uint8 { return []uint8{1, 2, 3, 4} }
	for _, c := range []struct {
		name string
		run  func(b *Bans)
		bans int
	}{
		{"an attacker", func(b *Bans) { everywhere(b, many) }, 1},
		{"an administrator with an old password on all hosts", func(b *Bans) { everywhere(b, func(int) []uint8 { return []uint8{5, 5, 5, 5} }) }, 0},
		{"one who tries root, too", func(b *Bans) { everywhere(b, func(int) []uint8 { return []uint8{5, 5, 6, 6} }) }, 0},
		{"a monitor whose account was removed", func(b *Bans) {
			for at := noon; at < noon+30*minute; at += 5 * minute {
				for i := range hosts {
					b.mustCount(t, fmt.Sprint("h", i), told(at, addr, 7), at)
				}
			}
		}, 0},
		{"an office where many mistype, and somebody has logged in on one host", func(b *Bans) {
			everywhere(b, many)
			b.mustCount(t, "h4", &Summary{At: noon + 10*second, Good: []prefix.Key{keyOf(addr)}}, noon+10*second)
		}, 0},
		{"one whose host knew it before", func(b *Bans) {
			b.mustCount(t, "h4", &Summary{At: noon - 10*minute, Good: []prefix.Key{keyOf(addr)}}, noon-10*minute)
			everywhere(b, many)
		}, 0},
		{"failures of two hours", func(b *Bans) {
			for i := range hosts {
				at := noon + int64(i)*8*minute
				b.mustCount(t, fmt.Sprint("h", i), told(at, addr, many(i)...), at)
				b.overTime(at, at+minute)
			}
		}, 0},
		{"many failures on few hosts", func(b *Bans) {
			for i := range 9 {
				for at := noon; at < noon+10*minute; at += minute {
					b.mustCount(t, fmt.Sprint("h", i), told(at, addr, many(i)...), at)
				}
			}
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(rules, nil)
			c.run(b)
			var l []Decision
			for _, x := range b.overTime(noon, noon+40*minute) {
				if x.Banned {
					l = append(l, x)
				}
			}
			if len(l) != c.bans || b.Effect(keyOf(addr).Prefix(), noon+40*minute).Banned != (c.bans > 0) {
				t.Errorf("%+v", l)
			}
		})
	}

	// A login after the ban, from a host that the ban does not reach, ends it. An operator's pardon does, too.
	for name, end := range map[string]func(b *Bans) bool{
		"login": func(b *Bans) bool {
			l := b.mustCount(t, "h4", &Summary{At: noon + 2*minute, Good: []prefix.Key{keyOf(addr)}}, noon+2*minute)
			return len(l) == 1 && !l[0].Banned
		},
		"pardon": func(b *Bans) bool { c, ok := b.Pardon(keyOf(addr), noon+2*minute); return ok && !c.Banned },
	} {
		b := New(rules, nil)
		everywhere(b, many)
		if l := b.overTime(noon, noon+minute); len(l) != 1 {
			t.Fatalf("%+v", l)
		}
		if !end(b) || b.Effect(keyOf(addr).Prefix(), noon+2*minute).Banned {
			t.Errorf("%s: still banned", name)
		}
		if b.Expire(noon + 3*minute); b.Len() != 0 || b.Together().Bans != 0 {
			t.Errorf("%s: %d bans are left", name, b.Len())
		}
	}

	// An address that this host allows is not banned, and the decision says so.
	b := New(rules, allow.NewList([]allow.Entry{{Prefix: netip.MustParsePrefix("198.51.100.0/24")}}))
	everywhere(b, many)
	if l := b.overTime(noon, noon+minute); len(l) != 1 || !l[0].Allowed || l[0].Banned || b.Effect(keyOf(addr).Prefix(), noon+minute).Banned {
		t.Errorf("%+v", l)
	}
}

// TestTogetherLiar: a compromised host bans nobody by its counts, and stays within the memory bound.
func TestTogetherLiar(t *testing.T) {
	rules := house(5, Together{Hosts: 3, Failures: 6})
	const addr = "8.8.8.8"
	all := make([]uint8, 32)
	for i := range all {
		all[i] = uint8(i)
	}
	b := New(rules, nil)
	at := noon
	for range 10_000 { // a million failures, as fast as it may and faster
		at += second
		b.Count("h0", told(at, addr, all...), at)
	}
	if l := b.overTime(at, at+minute); len(l) != 0 || len(b.of[keyOf(addr)].seen) > MaxSeen {
		t.Errorf("%+v, %d failures kept", l, len(b.of[keyOf(addr)].seen))
	}
	// Two honest hosts have seen one account of an innocent; the liar adds all accounts.
	const innocent = "198.51.100.9"
	b = New(rules, nil)
	for _, h := range []string{"h1", "h2"} {
		b.mustCount(t, h, told(noon, innocent, 5, 5), noon)
	}
	b.mustCount(t, "h0", told(noon, innocent, 1, 2, 3, 4), noon)
	if l := b.overTime(noon, noon+minute); len(l) != 0 {
		t.Errorf("%+v", l)
	}
	// With two groups needed, hosts of one group are not enough.
	grouped := house(5, rules.Together)
	grouped.Votes = 2
	for h := range grouped.Hosts {
		grouped.Hosts[h] = "one"
	}
	b = New(grouped, nil)
	for h := range grouped.Hosts {
		b.mustCount(t, h, told(noon, addr, 1, 2, 3, 4), noon)
	}
	if l := b.overTime(noon, noon+minute); len(l) != 0 {
		t.Errorf("%+v", l)
	}

	b = New(rules, nil)
	for _, c := range []struct {
		name string
		host string
		s    *Summary
		want error
	}{
		{"of nobody", "h9", told(noon, addr, 1), ErrHost},
		{"of no name", "", told(noon, addr, 1), ErrHost},
		{"of last month", "h0", told(noon-30*24*60*minute, addr, 1), ErrTime},
		{"of an hour ago", "h0", told(noon-60*minute, addr, 1), ErrTime},
		{"of next year", "h0", told(noon+365*24*60*minute, addr, 1), ErrTime},
		{"good", "h0", told(noon, addr, 1), nil},
		{"again", "h0", told(noon, addr, 1), ErrOld},
		{"earlier", "h0", told(noon-second, addr, 1), ErrOld},
	} {
		if _, err := b.Count(c.host, c.s, noon); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	b = New(rules, nil)
	for _, p := range []string{"0.0.0.0/0", "127.0.0.1/32", "10.0.0.0/8", "224.0.0.1/32", "169.254.1.1/32", "::/0", "fe80::/64", "2001:db8::/48", "0.0.0.0/32"} {
		at += second
		s := &Summary{At: at, Seen: []Seen{{prefix.OfPrefix(netip.MustParsePrefix(p)), "sshd", []SeenFailure{{At: at}}}}, Good: []prefix.Key{prefix.OfPrefix(netip.MustParsePrefix(p))}}
		b.mustCount(t, "h0", s, at)
		at += minute
	}
	for _, jail := range []string{"", "a\nb", string(make([]byte, 33))} {
		at += minute
		b.mustCount(t, "h0", &Summary{At: at, Seen: []Seen{{keyOf(addr), jail, []SeenFailure{{At: at}}}}}, at)
	}
	if s := b.Together(); s.Watched != 0 || s.Good != 0 || s.Refused < 21 {
		t.Errorf("%+v", s)
	}
	// Memory: what one host reports is bounded, whatever it names.
	b = New(rules, nil)
	n := uint32(1 << 24)
	for i := range 2000 {
		at += 4 * second
		s := &Summary{At: at}
		for range 250 {
			n++
			k := SummaryPrefix(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}))
			s.Seen = append(s.Seen, Seen{k, fmt.Sprint("jail", i), []SeenFailure{{At: at}}})
			s.Good = append(s.Good, k)
		}
		b.Count("h0", s, at)
	}
	if s := b.Together(); s.Watched > maxOfHost || s.Good > maxVetoes || len(b.jails) > 1 || s.Watched < 1000 {
		t.Errorf("%+v, %d jails", s, len(b.jails))
	}
	// Honest hosts are counted all the same.
	for _, h := range []string{"h1", "h2", "h3"} {
		b.mustCount(t, h, told(at, "203.0.113.1", 1, 2, 3, 4), at)
	}
	if l := b.overTime(at, at+minute); len(l) != 1 {
		t.Errorf("%+v", l)
	}
	if b.Expire(at + 61*minute); b.Together().Watched != 0 || b.Together().Good != 0 || b.counted[1].seen != 0 || b.counted[1].vetoes != 0 {
		t.Errorf("left over: %+v %+v", b.Together(), b.counted)
	}
}

// TestPreventedOnce: a ban that a host prevents is reported once in a window, however often one host repeats its failures.
func TestPreventedOnce(t *testing.T) {
	rules := house(3, Together{Hosts: 3, Failures: 6})
	const addr = "198.51.100.7"
	b := New(rules, nil)
	reported := 0
	for at := noon; at < noon+110*minute; at += 4 * second {
		for h := range 3 {
			s := told(at, addr, 1, 2, 3, 4)
			if h == 0 {
				s.Good = []prefix.Key{keyOf(addr)}
			} else if at/minute%20 != 0 {
				continue
			}
			b.mustCount(t, fmt.Sprint("h", h), s, at)
		}
		for _, x := range b.Decide(at) {
			if x.Banned || len(x.Good) != 1 {
				t.Fatalf("%+v", x)
			}
			reported++
		}
	}
	if n := b.Together().Prevented; reported != 2 || n != 2 {
		t.Errorf("reported %d times, %d prevented", reported, n)
	}
}

// TestTogetherMany: an attacker of very many hosts is banned, however often each host sees a failure, and memory stays bounded.
func TestTogetherMany(t *testing.T) {
	const addr = "198.51.100.7"
	for _, c := range []struct {
		Together
		on, each int // failures on hosts
		banned   bool
	}{
		{Together{Hosts: 100, Failures: 100}, 200, 4, true},
		{Together{Hosts: 100, Failures: 400}, 200, 4, true},
		{Together{Hosts: 100, Failures: 400}, 200, 1, false},
		{Together{Hosts: 100, Failures: 100}, 99, 4, false},
		{Together{Hosts: 1000, Failures: 4000}, 1000, 4, true},
		{Together{Hosts: 1000, Failures: 1500}, 1000, 2, true},
		{Together{Hosts: 300, Failures: 300}, 300, 1, true},
		{Together{Hosts: 10, Failures: 20, Accounts: 33}, 2000, 4, false}, // there are 32 codes of accounts
	} {
		b := New(house(2000, c.Together), nil)
		for h := range c.on {
			var accounts []uint8
			for i := range c.each {
				accounts = append(accounts, uint8((h+i)%accountCodes))
			}
			b.mustCount(t, fmt.Sprint("h", h), told(noon+int64(h), addr, accounts...), noon+int64(h))
		}
		if n := len(b.of[keyOf(addr)].seen); n > maxOfSum+c.Hosts*MaxSeen {
			t.Errorf("%+v: %d failures are kept", c, n)
		}
		kept := 0
		for i := range b.counted {
			kept += b.counted[i].seen
		}
		if n := len(b.of[keyOf(addr)].seen); kept != n {
			t.Errorf("%+v: %d failures are kept, %d counted", c, n, kept)
		}
		if l := b.overTime(noon, noon+minute); len(l) > 1 || len(l) == 1 != c.banned {
			t.Errorf("%+v: %d decisions", c, len(l))
		}
	}
}

// TestTogetherModel compares decisions over random histories with a model that keeps everything and counts anew each time.
func TestTogetherModel(t *testing.T) {
	type failure struct {
		host, addr int
		at         int64
		account    uint8
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		rule := Together{Hosts: 2 + r.IntN(3), Accounts: 1 + r.IntN(3), Within: 10 * time.Minute, BanTime: 7 * time.Minute}
		rule.Failures = rule.Hosts * (1 + r.IntN(2))
		rules := house(5, rule)
		b := New(rules, nil)
		var seen []failure
		good := map[int]int64{}   // address → until
		banned := map[int]int64{} // address → until
		last := make([]int64, 5)
		addr := func(n int) string { return fmt.Sprintf("198.51.100.%d", n) }
		enough := func(a int, now int64) bool {
			per := map[int][]failure{}
			for _, f := range seen {
				if f.addr == a && f.at/second > (now-rule.Within.Microseconds())/second {
					per[f.host] = append(per[f.host], f)
				}
			}
			n, least := 0, 99
			for h, l := range per {
				n += min(len(l), (rule.Failures+rule.Hosts-1)/rule.Hosts)
				others := map[uint8]bool{}
				for o, l := range per {
					for _, f := range l {
						if o != h {
							others[f.account] = true
						}
					}
				}
				least = min(least, len(others))
			}
			return len(per) >= rule.Hosts && n >= rule.Failures && least >= rule.Accounts
		}
		now, waiting := noon, map[int]int64{}
		for step := range 400 {
			now += int64(1+r.IntN(20)) * second
			for a, from := range waiting {
				if now-from < settle.Microseconds() {
					continue
				}
				delete(waiting, a)
				if enough(a, now) && good[a] <= now {
					banned[a] = now + rule.BanTime.Microseconds()
					seen = slices.DeleteFunc(seen, func(f failure) bool { return f.addr == a })
				}
			}
			b.Decide(now)
			b.Expire(now)
			for a, until := range banned {
				if until <= now {
					delete(banned, a)
				}
			}
			for a := range 4 {
				if _, want := banned[a]; b.Effect(keyOf(addr(a)).Prefix(), now).Banned != want {
					t.Fatalf("seed %d, step %d, rule %+v: %s banned: %v", seed, step, rule, addr(a), !want)
				}
			}
			h, a := r.IntN(5), r.IntN(4)
			s := &Summary{At: now}
			if r.IntN(40) == 0 {
				s.Good = []prefix.Key{keyOf(addr(a))}
			} else {
				s = told(now-int64(r.IntN(60))*second, addr(a), uint8(r.IntN(4)))
				s.At = now
			}
			if r.IntN(10) == 0 {
				s.At = last[h] - int64(r.IntN(5)) // said again
			}
			_, err := b.Count(fmt.Sprint("h", h), s, now)
			if ok := s.At > last[h] && s.At > now-rule.Within.Microseconds(); ok != (err == nil) {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
			if err != nil {
				continue
			}
			last[h] = s.At
			if len(s.Good) > 0 {
				good[a] = now + rule.Within.Microseconds()
				delete(banned, a)
				continue
			}
			if _, is := banned[a]; is {
				continue
			}
			f := failure{h, a, s.Seen[0].Failures[0].At, s.Seen[0].Failures[0].Account}
			var of []int
			for i := range seen {
				if seen[i].host == h && seen[i].addr == a && seen[i].at > now-rule.Within.Microseconds() {
					of = append(of, i)
				}
			}
			if len(of) >= MaxSeen { // the oldest gives way
				slices.SortStableFunc(of, func(i, j int) int { return int(seen[i].at/second - seen[j].at/second) })
				seen[of[0]] = f
			} else {
				seen = append(seen, f)
			}
			if _, is := waiting[a]; !is && enough(a, now) {
				waiting[a] = now
			}
		}
	}
}

// TestTally: waiting failures are sent once, in order, in messages that fit; failures that no longer count are not sent.
func TestTally(t *testing.T) {
	var y Tally
	if s := y.Take(noon, time.Hour, nil); s != nil {
		t.Fatalf("%+v", s)
	}
	at := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}) }
	for n := range 6000 {
		y.Add(at(n), []string{"sshd", "postfix"}[n%2], 1+n%3, SeenFailure{At: noon, Account: uint8(n % 32)})
	}
	y.Add(netip.MustParseAddr("2001:db8::1"), "sshd", 1, SeenFailure{At: noon})
	y.Good(keyOf("203.0.113.1"), noon, time.Hour)
	y.Good(keyOf("203.0.113.1"), noon+minute, time.Hour)
	if y.Dropped != 1001 {
		t.Errorf("%d dropped", y.Dropped)
	}
	seen, last, bytes := 0, int64(0), 0
	for {
		s := y.Take(noon, time.Hour, func(k prefix.Key) bool { return k == SummaryPrefix(at(7)) })
		if s == nil {
			break
		}
		payload := s.Encode()
		bytes += len(payload)
		got, err := ParseSummary(payload)
		if err != nil || len(payload) > MaxSummary || s.At <= last || len(got.Seen) != len(s.Seen) || len(got.Good) != len(s.Good) {
			t.Fatalf("%v: %d bytes, %+v", err, len(payload), s)
		}
		if last == 0 && (len(s.Good) != 1 || len(s.Seen) < 150) {
			t.Errorf("%d good, %d seen", len(s.Good), len(s.Seen))
		}
		for i, x := range got.Seen {
			n := seen + i
			if n >= 7 {
				n++
			}
			if x.Prefix != SummaryPrefix(at(n)) || x.Jail != []string{"sshd", "postfix"}[n%2] || len(x.Failures) != 1+n%3 || x.Failures[0].Account != uint8(n%32) || s.At-x.Failures[0].At >= second {
				t.Fatalf("%d: %+v", n, x)
			}
		}
		last = s.At
		seen += len(s.Seen)
	}
	if seen != 4999 {
		t.Errorf("%d told", seen)
	}
	t.Logf("%.1f bytes an address", float64(bytes)/float64(seen))
	// Old failures are not sent, and a good prefix is reported again after half of the window.
	y.Add(at(1), "sshd", 1, SeenFailure{At: noon - 2*60*minute})
	y.Good(keyOf("203.0.113.1"), noon+31*minute, time.Hour)
	if s := y.Take(noon+31*minute, time.Hour, nil); s == nil || len(s.Seen) != 0 || len(s.Good) != 1 {
		t.Errorf("%+v", s)
	}
}

// TestTallyGood: a prefix known as good is named in three summaries in a row, so a lost one does not ban an innocent. New ones come first.
func TestTallyGood(t *testing.T) {
	none := func(prefix.Key) bool { return false }
	const addr = "198.51.100.7"
	for lost := range 3 {
		b := New(house(3, Together{Hosts: 3, Failures: 6}), nil)
		for h := range 3 {
			b.mustCount(t, fmt.Sprint("h", h), told(noon, addr, 1, 2, 3, 4), noon)
		}
		var y Tally
		y.Good(keyOf(addr), noon, time.Hour)
		for i := range 3 {
			at := noon + 1 + int64(i)*SummaryInterval.Microseconds()
			s := y.Take(at, time.Hour, none)
			if s == nil || !slices.Equal(s.Good, []prefix.Key{keyOf(addr)}) {
				t.Fatalf("summary %d: %+v", i, s)
			}
			if more := y.Take(at+second, time.Hour, none); more != nil {
				t.Errorf("named again at once: %+v", more)
			}
			if i != lost {
				b.mustCount(t, "h1", s, at)
			}
		}
		if s := y.Take(noon+minute, time.Hour, none); s != nil {
			t.Errorf("named a fourth time: %+v", s)
		}
		if l := b.overTime(noon, noon+minute); len(l) != 1 || l[0].Banned || len(l[0].Good) != 1 {
			t.Errorf("summary %d is lost: %+v", lost, l)
		}
	}

	at := func(n int) prefix.Key { return SummaryPrefix(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)})) }
	var y Tally
	for n := range 500 {
		y.Good(at(n), noon, time.Hour)
	}
	named := map[prefix.Key]int{}
	for now := noon; ; now += SummaryInterval.Microseconds() {
		if now == noon+3*SummaryInterval.Microseconds() {
			y.Good(at(500), now, time.Hour)
		}
		s := y.Take(now, time.Hour, none)
		if s == nil {
			break
		}
		if len(s.Encode()) > MaxSummary || now == noon+3*SummaryInterval.Microseconds() && s.Good[0] != at(500) {
			t.Errorf("%d bytes, %v is first", len(s.Encode()), s.Good[0].Prefix())
		}
		twice := map[prefix.Key]bool{}
		for _, k := range s.Good {
			if named[k]++; twice[k] {
				t.Errorf("%s is named twice", k.Prefix())
			}
			twice[k] = true
		}
	}
	for n := range 501 {
		if named[at(n)] != 3 {
			t.Fatalf("%d is named %d times", n, named[at(n)])
		}
	}
}

// TestSummaryClock: after a host's clock was ahead, its summaries count again at once, on other hosts and on itself, however far it was. What
// it knew as good then is not good for longer than else.
func TestSummaryClock(t *testing.T) {
	const addr = "198.51.100.7"
	none := func(prefix.Key) bool { return false }
	for _, ahead := range []int64{hour, 3 * hour, 365 * day} {
		own, other := New(house(2, Together{Hosts: 2, Failures: 2}), nil), New(house(2, Together{Hosts: 2, Failures: 2}), nil)
		var y Tally
		y.Good(keyOf(addr), noon+ahead, time.Hour)
		s := y.Take(noon+ahead, time.Hour, none)
		own.mustCount(t, "h0", s, noon+ahead)
		if _, err := other.Count("h0", s, noon); ahead <= MaxAhead.Microseconds() != (err == nil) {
			t.Errorf("%v ahead: %v", time.Duration(ahead)*time.Microsecond, err)
		}
		for i := range int64(3) {
			now := noon + minute + i*SummaryInterval.Microseconds()
			y.Add(netip.MustParseAddr("203.0.113.1"), "sshd", 1, SeenFailure{At: now})
			s := y.Take(now, time.Hour, none)
			for name, b := range map[string]*Bans{"itself": own, "another": other} {
				if _, err := b.Count("h0", s, now); err != nil {
					t.Errorf("%v ahead, then %s: %v", time.Duration(ahead)*time.Microsecond, name, err)
				}
			}
		}
		own.Expire(noon + 5*minute)
		if own.Expire(noon + 70*minute); own.Together().Good != 0 || own.counted[own.hostNo["h0"]].vetoes != 0 {
			t.Errorf("%v ahead: still good: %v", time.Duration(ahead)*time.Microsecond, own.vetoes(keyOf(addr), noon+70*minute))
		}
	}
}

// TestSummarySigned: only the host that the subject names can sign a summary, and no other message passes for one.
func TestSummarySigned(t *testing.T) {
	pub, key, _ := ed25519.GenerateKey(nil)
	_, other, _ := ed25519.GenerateKey(nil)
	keys := func(host string) []ed25519.PublicKey {
		if host == "web1" {
			return []ed25519.PublicKey{pub}
		}
		return nil
	}
	payload := told(noon, "192.0.2.1", 1).Encode()
	if host, err := OpenSummary(SignSummary("web1", payload, key), keys); host != "web1" || err != nil {
		t.Fatal(host, err)
	}
	ban, err := Sign(&News{Host: "web1", Prefix: netip.MustParsePrefix("192.0.2.1/32"), Jail: "sshd", Since: noon, Until: noon + minute}, key)
	if err != nil {
		t.Fatal(err)
	}
	moved := SignSummary("web2", payload, key)
	moved.Subject = "count.web1"
	asCount := &Message{Subject: "count.web1", Payload: ban.Payload, Signature: ban.Signature}
	for want, l := range map[error][]*Message{
		ErrSignature: {SignSummary("web1", payload, other), moved, asCount, {Subject: "count.web1", Payload: payload}, SignSummary("web1", make([]byte, MaxSummary+1), key)},
		ErrHost:      {SignSummary("web2", payload, key)},
		ErrSubject:   {ban, {Subject: "count."}, {Subject: "count.a.b"}, {Subject: "count.*"}},
	} {
		for i, m := range l {
			if _, err := OpenSummary(m, keys); !errors.Is(err, want) {
				t.Errorf("%d: %v, want %v", i, err, want)
			}
		}
	}
	if _, err := Open(SignSummary("web1", payload, key), keys); !errors.Is(err, ErrSubject) {
		t.Error(err)
	}
}

// FuzzSummary: whatever a host signs, reading it neither panics nor makes a daemon count what the rules forbid.
func FuzzSummary(f *testing.F) {
	s := told(noon, "192.0.2.1", 1, 2, 3)
	s.Good = []prefix.Key{keyOf("2001:db8::1")}
	f.Add(s.Encode())
	f.Add((&Summary{At: noon}).Encode())
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := ParseSummary(payload)
		if err != nil {
			return
		}
		again, err := ParseSummary(s.Encode())
		if err != nil && len(s.Encode()) <= MaxSummary {
			t.Fatalf("%v: %+v", err, s)
		}
		if err == nil && len(again.Seen) != len(s.Seen) {
			t.Fatalf("%+v", again)
		}
		b := New(house(2, Together{Hosts: 2, Failures: 2}), nil)
		b.Count("h0", s, noon)
		b.Count("h1", s, noon)
		for _, d := range b.overTime(noon, noon+minute) {
			if b.rules.refusesPrefix(d.Prefix) != nil {
				t.Fatalf("%+v", d)
			}
		}
		b.Expire(noon + 120*minute)
		if b.Together().Watched != 0 {
			t.Fatal("left over")
		}
	})
}

// watching returns a daemon that has counted one failure of each address, and the summaries that reported them.
func watching(b *testing.B, addresses, hosts int) (x *Bans, payloads [][]byte, from []string) {
	x = New(house(hosts, Together{Hosts: 10, Failures: 20}), nil)
	for h := range hosts {
		var y Tally
		for n := h; n < addresses; n += hosts {
			y.Add(netip.AddrFrom4([4]byte{198, byte(n >> 16), byte(n >> 8), byte(n)}), "sshd", 1, SeenFailure{At: noon, Account: uint8(n % 32)})
			if n+hosts < addresses && (n/hosts+1)%250 != 0 {
				continue
			}
			for s := y.Take(noon, time.Hour, func(prefix.Key) bool { return false }); s != nil; s = y.Take(noon, time.Hour, func(prefix.Key) bool { return false }) {
				payloads, from = append(payloads, s.Encode()), append(from, fmt.Sprint("h", h))
			}
		}
	}
	x.countAll(b, payloads, from)
	return x, payloads, from
}

// countAll takes summaries as fast as the processor permits.
func (b *Bans) countAll(tb testing.TB, payloads [][]byte, from []string) {
	for i, p := range payloads {
		s, err := ParseSummary(p)
		if err != nil {
			tb.Fatal(err)
		}
		for j := range b.counted {
			b.counted[j].rate, b.counted[j].last = bucket.Bucket{}, 0
		}
		if _, err := b.Count(from[i], s, noon+second); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkTogether measures what 100,000 watched addresses of ten hosts cost a daemon: to count each once, and to look every
// minute for failures that no longer count.
func BenchmarkTogether(b *testing.B) {
	const addresses = 100_000
	b.Run("told", func(b *testing.B) {
		_, payloads, from := watching(b, addresses, 10)
		total := 0
		for _, p := range payloads {
			total += len(p)
		}
		b.ResetTimer()
		for range b.N {
			New(house(10, Together{Hosts: 10, Failures: 20}), nil).countAll(b, payloads, from)
		}
		b.ReportMetric(float64(total)/addresses, "bytes/address")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/addresses, "ns/address")
	})
	b.Run("swept", func(b *testing.B) {
		before := heap()
		x, _, _ := watching(b, addresses, 10)
		kept := heap() - before
		b.ResetTimer()
		for i := range b.N {
			x.expireSums(noon + int64(i)*second/1000 + second)
			x.swept = 0
		}
		b.ReportMetric(float64(kept)/addresses, "bytes/address")
		if x.Together().Watched != addresses {
			b.Errorf("%+v", x.Together())
		}
	})
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
