package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/filter"
	"bailiff/policy/jail"
	"bailiff/policy/ledger"
)

// plain is a filter whose lines say nothing but what counts.
func plain(t testing.TB, name string) *filter.Filter {
	t.Helper()
	f, err := filter.Parse(name+".yaml", []byte(`
name: `+name+`
description: a service of tests
trust: {units: [`+name+`.service], uid: 0}
modes: {normal: []}
patterns:
  - {name: failed, text: 'failed <user:word> from <addr>'}
  - {name: unknown, text: 'unknown <user:word> from <addr>', unknown: true}
  - {name: heavy, text: 'heavy <user:word> from <addr>', weight: 3}
  - {name: exploit, text: 'exploit from <addr>', max_retry: 1}
  - {name: twice, text: 'twice from <addr>', max_retry: 2}
  - {name: login, kind: success, text: 'login <user:word> from <addr>'}
tests:
  - {line: 'failed bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'unknown bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'heavy bob from 192.0.2.1', address: 192.0.2.1}
  - {line: 'exploit from 192.0.2.1', address: 192.0.2.1}
  - {line: 'twice from 192.0.2.1', address: 192.0.2.1}
  - {line: 'login bob from 192.0.2.1', kind: success, address: 192.0.2.1}
`))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// plainConfig has jails of such filters and the built-in values.
func plainConfig(t testing.TB, jails ...string) *config.Config {
	c := config.Default()
	d := c.Defaults
	c.Jails = nil
	for _, name := range jails {
		f := plain(t, name)
		c.Jails = append(c.Jails, config.Jail{
			Name: name, Enabled: true, Filter: f, Mode: "normal", FindTime: d.FindTime, MaxRetry: d.MaxRetry, BanTime: d.BanTime,
			Prefix4: d.Prefix4, Prefix6: d.Prefix6, Slow: d.Slow, Weights: d.Weights,
		})
	}
	return c
}

// event is a line of such a service.
type event struct {
	at   int64
	jail string
	what string // the pattern
	user string
	addr netip.Addr
}

func (e *event) entry(n int) *filter.Entry {
	text := e.what + " " + e.user + " from " + e.addr.String()
	if e.what == "exploit" || e.what == "twice" {
		text = e.what + " from " + e.addr.String()
	}
	return &filter.Entry{Message: []byte(text), Unit: []byte(e.jail + ".service"), PID: uint32(n + 1), Realtime: e.at}
}

// model is the plainest engine there is: it keeps everything and looks at all of it each time.
type model struct {
	c      *config.Config
	allow  *allow.List
	fails  []*modelFail
	bans   []ledger.Ban
	times  map[netip.Prefix]*ledger.History
	logins []event
	parts  []*modelPart
	nets   []modelNet
}

type modelFail struct {
	event
	prefix netip.Prefix
	weight int
}

// modelPart is one failure on an account.
type modelPart struct {
	at     int64
	user   string
	id     netip.Prefix // what makes it different: of IPv6 the /64
	prefix netip.Prefix
	jail   string
	weight int // 0: an attacker that was banned, who still counts as different
}

type modelNet struct {
	at   int64
	net  netip.Prefix
	part netip.Prefix
}

func idOf(p netip.Prefix) netip.Prefix {
	if p.Addr().Is6() && p.Bits() > 64 {
		p, _ = p.Addr().Prefix(64)
	}
	return p
}

func us(d time.Duration) int64 { return d.Microseconds() }

func (m *model) prefix(a netip.Addr, bits4, bits6 int) netip.Prefix {
	if a.Is4() {
		p, _ := a.Prefix(bits4)
		return p
	}
	p, _ := a.Prefix(bits6)
	return p
}

func (m *model) ban(j *config.Jail, p netip.Prefix, addr netip.Addr, reason string, at int64, count int) (ledger.Ban, bool) {
	if m.allow.Overlaps(p, at) {
		if p = netip.PrefixFrom(addr, addr.BitLen()); reason == ledger.Neighbours {
			return ledger.Ban{}, false
		}
	}
	for _, b := range m.bans {
		if b.Prefix == p && b.Jail == j.Name && b.Since >= at {
			return b, false
		}
	}
	b := ledger.Ban{Prefix: p, Jail: j.Name, Since: at, Failures: count, Reason: reason, Count: 1}
	h := m.times[p]
	if h != nil && at-h.Last <= us(m.c.Escalate.Forget) {
		b.Count = h.Count + 1
	}
	long := time.Duration(float64(j.BanTime) * math.Pow(m.c.Escalate.Factor, float64(b.Count-1)))
	most := max(m.c.Escalate.Max, j.BanTime)
	long = min(long, most)
	if s := spread(&b, m.c.Escalate.Spread); long+s <= most {
		long += s
	} else {
		long = max(j.BanTime, most-s)
	}
	b.Until = at + us(long)
	m.times[p] = &ledger.History{Prefix: p, Count: b.Count, Last: b.Until}
	m.bans = append(m.bans, b)
	return b, true
}

func (m *model) neighbours(j *config.Jail, addr netip.Addr, narrow netip.Prefix, at int64) (out []ledger.Ban) {
	n := &m.c.Neighbours
	for _, s := range []struct{ bits, part, need int }{{24, 32, n.Net4}, {64, 128, n.Net6.Bits64}, {56, 64, n.Net6.Bits56}, {48, 64, n.Net6.Bits48}} {
		if addr.Is4() != (s.bits == 24) || s.need == 0 || s.bits >= narrow.Bits() {
			continue
		}
		net, _ := addr.Prefix(s.bits)
		part, _ := narrow.Addr().Prefix(min(s.part, narrow.Bits()))
		m.nets = slices.DeleteFunc(m.nets, func(x modelNet) bool { return x.net == net && x.part == part })
		m.nets = append(m.nets, modelNet{at, net, part})
		count := 0
		for _, x := range m.nets {
			if x.net == net && at-x.at < us(n.FindTime) {
				count++
			}
		}
		// More than are needed cannot be there but where a ban was refused; then the latest are kept.
		for k := 0; count > s.need; k++ {
			if x := m.nets[k]; x.net == net && at-x.at < us(n.FindTime) {
				m.nets = slices.Delete(m.nets, k, k+1)
				count--
				k--
			}
		}
		if count < s.need || m.allow.Overlaps(net, at) ||
			slices.ContainsFunc(m.logins, func(e event) bool { return net.Contains(e.addr) && at-e.at < us(n.Spare) }) {
			continue
		}
		m.nets = slices.DeleteFunc(m.nets, func(x modelNet) bool { return x.net == net })
		if b, ok := m.ban(j, net, addr, ledger.Neighbours, at, count); ok {
			out = append(out, b)
		}
	}
	return out
}

// has is whether anything counts against an address in some window.
func (m *model) has(j *config.Jail, addr netip.Addr, at int64) bool {
	p := m.prefix(addr, j.Prefix4, j.Prefix6)
	width := us(j.Slow.FindTime) / 8
	return slices.ContainsFunc(m.fails, func(f *modelFail) bool {
		return f.jail == j.Name && f.prefix == p && (at-f.at < us(j.FindTime) || at/width-f.at/width < 8)
	})
}

func (m *model) entry(e event) (out []ledger.Ban) {
	i := slices.IndexFunc(m.c.Jails, func(j config.Jail) bool { return j.Name == e.jail })
	j := &m.c.Jails[i]
	p := m.prefix(e.addr, j.Prefix4, j.Prefix6)
	at := e.at
	if e.what == "login" {
		m.fails = slices.DeleteFunc(m.fails, func(f *modelFail) bool { return f.jail == e.jail && f.prefix == p && f.user == e.user })
		m.parts = slices.DeleteFunc(m.parts, func(x *modelPart) bool { return x.user == e.user && x.id == idOf(p) })
		m.logins = append(m.logins, e)
		if e.addr.Is6() && !slices.ContainsFunc(m.c.Jails, func(j config.Jail) bool { return m.has(&j, e.addr, at) }) {
			m.nets = slices.DeleteFunc(m.nets, func(x modelNet) bool { return x.part.Contains(e.addr) })
		}
		return nil
	}
	if _, ok := m.allow.Contains(e.addr, at); ok {
		return nil
	}
	if slices.ContainsFunc(m.bans, func(b ledger.Ban) bool {
		return b.Prefix.Contains(e.addr) && b.Since < at && at < b.Until && (b.Jail == e.jail || len(m.ports(b.Jail)) == 0)
	}) {
		return nil
	}
	named := e.what != "exploit" && e.what != "twice"
	familiar := named && slices.ContainsFunc(m.logins, func(l event) bool {
		return l.user == e.user && m.prefix(l.addr, j.Prefix4, j.Prefix6) == p && at-l.at < us(m.c.Accounts.Spare)
	})
	base := map[string]int{"heavy": 3, "unknown": j.Weights.Unknown, "twice": (j.MaxRetry + 1) / 2, "exploit": j.MaxRetry}[e.what]
	base = max(base, 1)
	f := &modelFail{event: e, prefix: p, weight: base}
	if !named {
		f.user = ""
	}
	width := us(j.Slow.FindTime) / 8
	sum, long, same, other := 0, 0, false, false
	for _, x := range m.fails {
		if x.jail != e.jail || x.prefix != p {
			continue
		}
		in, slow := at-x.at < us(j.FindTime), at/width-x.at/width < 8
		if in {
			sum += x.weight
		}
		if slow {
			long += x.weight
		}
		if in || slow {
			same, other = same || x.user == e.user, other || x.user != "" && x.user != e.user
		}
	}
	if named && other && !same && !familiar {
		f.weight = max(f.weight, j.Weights.Account+map[string]int{"heavy": 3}[e.what])
		if e.what != "heavy" {
			f.weight = max(base, 1+j.Weights.Account)
		}
	}
	sum += f.weight
	long += f.weight
	m.fails = append(m.fails, f)
	take := func(jail string, p netip.Prefix) {
		m.fails = slices.DeleteFunc(m.fails, func(f *modelFail) bool { return f.jail == jail && f.prefix == p })
	}
	banned := false
	if sum >= j.MaxRetry || e.what == "exploit" || long >= j.Slow.MaxRetry {
		reason, count := ledger.Failures, sum
		if sum < j.MaxRetry && e.what != "exploit" {
			reason, count = ledger.Slow, long
		}
		take(e.jail, p)
		var b ledger.Ban
		if b, banned = m.ban(j, p, e.addr, reason, at, count); banned {
			out = append(out, b)
		}
	}
	if named && !familiar {
		out = append(out, m.account(j, p, e, base, take)...)
	}
	if banned || e.addr.Is6() {
		out = append(out, m.neighbours(j, e.addr, p, at)...)
	}
	return out
}

func (m *model) account(j *config.Jail, p netip.Prefix, e event, weight int, take func(string, netip.Prefix)) (out []ledger.Ban) {
	a := &m.c.Accounts
	at := e.at
	// An address that was quiet for the whole window is forgotten, with all that it did before.
	last := map[netip.Prefix]int64{}
	for _, x := range m.parts {
		if x.user == e.user {
			last[x.id] = max(last[x.id], x.at)
		}
	}
	m.parts = slices.DeleteFunc(m.parts, func(x *modelPart) bool {
		return x.user == e.user && x.id != idOf(p) && at-last[x.id] >= us(a.FindTime)
	})
	m.parts = append(m.parts, &modelPart{at, e.user, idOf(p), p, e.jail, weight})
	own := map[netip.Prefix][]*modelPart{}
	for _, x := range m.parts {
		if x.user == e.user && at-x.at < us(a.FindTime) {
			own[x.id] = append(own[x.id], x)
		}
	}
	if len(own) < a.Addresses {
		return nil
	}
	var ids []netip.Prefix // in the order in which they came
	for _, x := range m.parts {
		if x.user == e.user && own[x.id] != nil && !slices.Contains(ids, x.id) {
			ids = append(ids, x.id)
		}
	}
	for _, id := range ids {
		q := own[id][len(own[id])-1].prefix
		l := slices.DeleteFunc(own[id], func(x *modelPart) bool { return x.weight == 0 })
		sum, jail := 0, ""
		for i, last := range l { // of each jail the latest, the sums in the order in which the jails come to them
			var of []*modelPart
			for _, x := range l {
				if x.jail == last.jail {
					of = append(of, x)
				}
			}
			of = of[max(0, len(of)-a.MaxRetry):]
			n := 0
			for _, x := range of {
				if slices.Index(l, x) <= i {
					n += x.weight
				}
			}
			if slices.Contains(of, last) && n >= sum {
				sum, jail = n, last.jail
			}
		}
		need := a.MaxRetry
		if len(own) >= 2*a.Addresses {
			need--
		}
		if len(own) >= 4*a.Addresses {
			need--
		}
		if sum < max(need, 1) {
			continue
		}
		for _, x := range l {
			x.weight = 0
		}
		i := slices.IndexFunc(m.c.Jails, func(j config.Jail) bool { return j.Name == jail })
		if slices.ContainsFunc(m.bans, func(b ledger.Ban) bool {
			return b.Prefix.Contains(q.Addr()) && b.Since < at && at < b.Until && (b.Jail == jail || len(m.ports(b.Jail)) == 0)
		}) {
			continue
		}
		if _, ok := m.allow.Contains(q.Addr(), at); ok {
			continue
		}
		if b, ok := m.ban(&m.c.Jails[i], q, q.Addr(), ledger.Account, at, sum); ok {
			out = append(out, b)
			take(jail, q)
			out = append(out, m.neighbours(&m.c.Jails[i], q.Addr(), q, at)...)
		}
	}
	return out
}

func (m *model) ports(jail string) []config.Port {
	for _, j := range m.c.Jails {
		if j.Name == jail {
			return j.Ports
		}
	}
	return nil
}

// stream makes events of a few users and of addresses that lie close together, over some days.
func stream(r *rand.Rand, n int) []event {
	var l []event
	at := start
	nets := []string{"198.51.100.", "203.0.113.", "2001:db8:0:", "2001:db8:0:1", "2001:db8:7:"}
	for range n {
		switch r.IntN(60) {
		case 0:
			at += r.Int64N(3 * 3600 * sec)
		default:
			at += r.Int64N(90 * sec)
		}
		e := event{at: at, jail: []string{"alpha", "beta"}[r.IntN(2)], user: string(rune('a' + r.IntN(5)))}
		net := nets[r.IntN(len(nets))]
		if net[0] == '2' && net[1] == '0' && net[2] == '0' {
			e.addr = netip.MustParseAddr(fmt.Sprintf("%s%x::%x", net, r.IntN(7), 1+r.IntN(2)))
		} else {
			e.addr = netip.MustParseAddr(net + fmt.Sprint(r.IntN(8)))
		}
		switch k := r.IntN(100); {
		case k < 70:
			e.what = "failed"
		case k < 78:
			e.what = "unknown"
		case k < 80:
			e.what = "heavy"
		case k < 81:
			e.what = "exploit"
		case k < 83:
			e.what = "twice"
		default:
			e.what = "login"
		}
		l = append(l, e)
	}
	return l
}

func tell(n int, bans []ledger.Ban) (l []string) {
	for _, b := range bans {
		l = append(l, fmt.Sprintf("%d %s %s %s %d %s count %d until %d", n, b.Jail, b.Prefix, b.Reason, b.Failures, b.ID(), b.Count, b.Until-b.Since))
	}
	slices.Sort(l)
	return l
}

// TestModel compares the engine, entry by entry, with a model that keeps everything and has no tables, windows by buckets
// or snapshots, over random streams, while the engine is stopped and started again at random places: sometimes with what
// it knew, sometimes with what it had saved some entries before, as after a crash.
func TestModel(t *testing.T) {
	reasons := map[string]int{}
	for round := range 16 {
		r := rand.New(rand.NewPCG(uint64(round), 11))
		c := plainConfig(t, "alpha", "beta")
		c.Escalate = config.Escalate{Factor: 1.5, Max: 2 * time.Hour, Forget: 6 * time.Hour, Spread: time.Minute}
		c.Accounts = config.Accounts{Addresses: 4 + r.IntN(24), FindTime: time.Hour, MaxRetry: 1 + r.IntN(3), Spare: 30 * time.Minute}
		c.Neighbours = config.Neighbours{FindTime: 3 * time.Hour, Spare: time.Duration(1+r.IntN(20)) * time.Minute, Net4: 3 + r.IntN(3), Net6: config.Net6{Bits64: 2, Bits56: 3 + r.IntN(3), Bits48: 4 + r.IntN(4)}}
		for i := range c.Jails {
			j := &c.Jails[i]
			j.MaxRetry, j.BanTime = 3+r.IntN(5), time.Duration(1+r.IntN(30))*time.Minute // often shorter than the windows
			j.Slow = config.Slow{FindTime: time.Duration(1+r.IntN(5)) * time.Hour, MaxRetry: j.MaxRetry + 1 + r.IntN(10)}
			j.Weights = config.Weights{Unknown: 1 + r.IntN(3), Account: r.IntN(3)}
			if r.IntN(3) == 0 {
				j.Prefix6 = 128
				c.Jails[0].Prefix6 = 128
			}
			if r.IntN(4) == 0 {
				j.Ports = []config.Port{{From: 22, To: 22}}
			}
		}
		if c.Jails[0].Prefix6 != c.Jails[1].Prefix6 {
			c.Jails[1].Prefix6 = c.Jails[0].Prefix6
		}
		allowed := allow.NewList([]allow.Entry{{Prefix: netip.MustParsePrefix("203.0.113.5/32")}, {Prefix: netip.MustParsePrefix("2001:db8:7:1::1/128")}})
		events := stream(r, 1500)
		m := &model{c: c, allow: allowed, times: map[netip.Prefix]*ledger.History{}}
		var want []string
		for i, e := range events {
			for _, b := range m.entry(e) {
				reasons[b.Reason]++
				want = append(want, tell(i, []ledger.Ban{b})...)
			}
		}
		for _, stops := range []int{0, 12} {
			g, err := New(c, ledger.New())
			if err != nil {
				t.Fatal(err)
			}
			g.SetAllow(allowed, start)
			got := map[string]bool{}
			saved, snap := 0, g.Snapshot(nil)
			for i := 0; i < len(events); i++ {
				if stops > 0 && r.IntN(len(events)/stops) == 0 {
					if r.IntN(2) == 0 {
						saved, snap = i, g.Snapshot(nil) // an orderly stop
					}
					led, err := ledger.Decode(slices.Clone(snap))
					if err != nil {
						t.Fatal(err)
					}
					if g, err = New(c, led); err != nil {
						t.Fatal(err)
					}
					if g.Lost() != nil {
						t.Fatal(g.Lost())
					}
					g.SetAllow(allowed, start)
					g.Rebuild(true)
					for k := range saved {
						if events[saved].at-events[k].at < g.Window().Microseconds() {
							if o := g.Entry(events[k].entry(k), jail.Ref(k)); len(o.Bans)+len(o.Failures) > 0 {
								t.Fatalf("round %d: decided what lies before the cursor: %+v", round, o)
							}
						}
					}
					g.Rebuild(false)
					i = saved
				}
				e := &events[i]
				if r.IntN(5) == 0 {
					// The clock is ahead of what is read by up to a day.
					g.Expire(e.at+r.Int64N(24*3600*sec), e.at)
				}
				o := g.Entry(e.entry(i), jail.Ref(i))
				for k := range o.Bans {
					b := &o.Bans[k]
					for _, s := range tell(i, []ledger.Ban{b.Ban}) {
						got[s] = true
					}
					if len(b.Evidence) == 0 || b.Reason == ledger.Failures && b.Evidence[len(b.Evidence)-1].Ref != jail.Ref(i) {
						t.Fatalf("round %d: evidence of %+v", round, b)
					}
					if r.IntN(10) == 0 {
						g.Lapse(b.Ban)
					}
				}
				if r.IntN(30) == 0 {
					saved, snap = i+1, g.Snapshot(nil)
				}
			}
			for _, w := range want {
				if !got[w] {
					t.Fatalf("round %d, %d stops: %s is missing\n%+v", round, stops, w, c)
				}
			}
			for s := range got {
				if !slices.Contains(want, s) {
					t.Fatalf("round %d, %d stops: %s is not in the model", round, stops, s)
				}
			}
		}
	}
	for _, k := range []string{ledger.Failures, ledger.Slow, ledger.Account, ledger.Neighbours} {
		if reasons[k] < 30 {
			t.Errorf("%d bans for %s are too few to compare", reasons[k], k)
		}
	}
	t.Logf("%v", reasons)
}
