package jail

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
)

const sec = int64(1_000_000)

func v4(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func opts(limit int) Options {
	return Options{FindTime: 10 * time.Minute, MaxRetry: 5, Prefix4: 32, Prefix6: 64, Budget: NewBudget(limit), Seed: 42}
}

func TestTrip(t *testing.T) {
	c := NewCounter(opts(1000))
	a := netip.MustParseAddr("203.0.113.7")
	for i := range 4 {
		if v := add(c, a, int64(i)*sec, Ref(i), 1, 1); v.Tripped || v.Count != i+1 || v.Prefix.String() != "203.0.113.7/32" {
			t.Fatalf("failure %d: %+v", i, v)
		}
	}
	v := add(c, a, 4*sec, 4, 1, 1)
	if !v.Tripped || v.Aggregate {
		t.Fatalf("%+v", v)
	}
	f := c.Take(v.Prefix)
	if len(f) != 5 || f[0].Ref != 0 || f[4].Ref != 4 || f[4].At != 4*sec {
		t.Errorf("evidence: %+v", f)
	}
	if c.Tracked() != 0 || c.o.Budget.used != 0 || c.Take(v.Prefix) != nil {
		t.Error("not forgotten")
	}
}

func TestWindowSlides(t *testing.T) {
	c := NewCounter(opts(1000))
	a := netip.MustParseAddr("2001:db8::1")
	for i := range 20 { // one failure every three minutes: never five within ten
		if v := add(c, a, int64(i)*180*sec, 0, 0, 1); v.Tripped || v.Count > 4 || v.Prefix.String() != "2001:db8::/64" {
			t.Fatalf("failure %d: %+v", i, v)
		}
	}
	// Exactly FindTime apart is out, a microsecond less is in.
	c = NewCounter(opts(1000))
	add(c, a, 0, 0, 0, 1)
	if v := add(c, a, 600*sec, 0, 0, 1); v.Count != 1 {
		t.Errorf("on the edge: %+v", v)
	}
	add(c, a, 601*sec, 0, 0, 1)
	if v := add(c, a, 1200*sec-1, 0, 0, 1); v.Count != 3 {
		t.Errorf("before the edge: %+v", v)
	}
	// The clock was set back: failures further ahead than the window do not count, nearer ones do.
	if v := add(c, a, -10*sec, 0, 0, 1); v.Count != 1 {
		t.Errorf("clock set back: %+v", v)
	}
}

func TestInTurn(t *testing.T) {
	o := opts(1000)
	o.MaxRetry = 100
	c := NewCounter(o)
	k := c.Key(netip.MustParseAddr("203.0.113.7"))
	for user := range uint16(8) {
		at := int64(user) * sec
		if got, want := c.InTurn(k, user+1, at), user > manyNames; got != want {
			t.Errorf("after %d names: %v", user, got)
		}
		c.Add(k, Failure{At: at, User: user + 1, Unknown: true, Attempts: 1, Weight: 1}, Weighing{})
	}
	if c.InTurn(k, 8, 9*sec) {
		t.Error("the latest name again")
	}
	// Failures outside the window may still be kept. Here they have more names than the counter tells apart.
	if c.InTurn(k, 1, 3600*sec) {
		t.Error("names of an hour ago")
	}
}

func TestWeight(t *testing.T) {
	c := NewCounter(opts(1000))
	a := netip.MustParseAddr("203.0.113.7")
	if v := add(c, a, 0, 0, 0, 3); v.Count != 3 || v.Tripped {
		t.Errorf("%+v", v)
	}
	if v := add(c, a, 0, 0, 0, 2); !v.Tripped {
		t.Errorf("%+v", v)
	}
}

func TestSuccess(t *testing.T) {
	c := NewCounter(opts(1000))
	a := netip.MustParseAddr("203.0.113.7")
	const bob, mallory = 0x5678, 0x4321
	add(c, a, 0, 1, bob, 1)
	add(c, a, 1, 2, mallory, 1)
	add(c, a, 2, 3, bob, 1)
	c.Success(c.Key(a), mallory)
	if _, f := c.Look(a, 3); len(f) != 2 || f[0].Ref != 1 || f[1].Ref != 3 {
		t.Errorf("an attacker's own account helped him: %+v", f)
	}
	c.Success(c.Key(a), 0) // without a name nothing is cleared
	c.Success(c.Key(netip.MustParseAddr("203.0.113.8")), bob)
	if _, f := c.Look(a, 3); len(f) != 2 {
		t.Errorf("%+v", f)
	}
	c.Success(c.Key(a), bob)
	if c.Tracked() != 0 || c.o.Budget.used != 0 {
		t.Error("bob's own mistakes stay")
	}
}

func TestForget(t *testing.T) {
	c := NewCounter(opts(1000))
	for _, s := range []string{"203.0.113.1", "203.0.113.2", "198.51.100.1", "2001:db8::1"} {
		add(c, netip.MustParseAddr(s), 0, 0, 0, 1)
	}
	c.Forget(netip.MustParsePrefix("203.0.113.0/24"))
	if c.Tracked() != 2 {
		t.Errorf("%d are left", c.Tracked())
	}
	c.Forget(netip.MustParsePrefix("2001:db8::77/128")) // counted as part of the /64
	if c.Tracked() != 1 {
		t.Errorf("%d are left", c.Tracked())
	}
}

// TestForgetModel forgets prefixes of all lengths, down to the last, and compares with going through all of them.
func TestForgetModel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		o := opts(1 + r.IntN(400))
		o.Prefix4, o.Prefix6 = []int{32, 24, 16}[r.IntN(3)], []int{64, 128, 56}[r.IntN(3)]
		c := NewCounter(o)
		random := func() netip.Addr {
			if r.IntN(2) == 0 {
				return v4(0xcb007100 ^ r.Uint32N(4)<<r.IntN(31))
			}
			b := netip.MustParseAddr("2001:db8::").As16()
			b[r.IntN(16)] ^= byte(1 << r.IntN(8))
			return netip.AddrFrom16(b)
		}
		for range r.IntN(600) {
			if v := add(c, random(), 0, 0, 0, 1); r.IntN(3) == 0 {
				c.Take(v.Prefix)
			}
		}
		all := func() (l []netip.Prefix) {
			for _, t := range []*table{&c.prefixes, &c.aggregates} {
				for i := range t.len() {
					if e := t.at(i); e.used() {
						l = append(l, e.key.Prefix())
					}
				}
			}
			return l
		}
		for c.Tracked() > 0 {
			a := random()
			p, _ := a.Prefix(r.IntN(a.BitLen() + 1))
			want := slices.DeleteFunc(all(), p.Overlaps)
			c.Forget(p)
			if got := all(); !slices.Equal(got, want) || o.Budget.used != c.prefixes.n {
				t.Fatalf("forgot %s: %v are left, want %v; budget %d", p, got, want, o.Budget.used)
			}
		}
	}
}

// TestConfigureLast: the last prefix of the counter goes while slots before and behind it are free.
func TestConfigureLast(t *testing.T) {
	for last := range 3 {
		o := opts(10)
		c := NewCounter(o)
		for i := range 3 {
			add(c, v4(uint32(i)), 0, 0, 0, 1)
		}
		for i := range 3 {
			if i != last {
				c.Take(netip.PrefixFrom(v4(uint32(i)), 32))
			}
		}
		o.Prefix4 = 24
		c.Configure(o)
		if c.Tracked() != 0 || o.Budget.used != 0 {
			t.Errorf("%d are tracked, %d in the budget", c.Tracked(), o.Budget.used)
		}
	}
}

func TestConfigure(t *testing.T) {
	c := NewCounter(opts(1000))
	a4, a6 := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")
	add(c, a4, 0, 0, 0, 1)
	add(c, a6, 0, 0, 0, 1)
	o := c.o
	o.MaxRetry, o.Prefix6 = 2, 128
	c.Configure(o)
	if v := add(c, a6, 1, 0, 0, 1); v.Count != 1 || v.Prefix.Bits() != 128 {
		t.Errorf("another prefix length: %+v", v)
	}
	if v := add(c, a4, 1, 0, 0, 1); !v.Tripped {
		t.Errorf("a lower threshold: %+v", v)
	}
	c.Close()
	if o.Budget.used != 0 {
		t.Errorf("%d stay in the budget", o.Budget.used)
	}
}

// TestModel compares with the simplest possible counter, over random streams.
func TestModel(t *testing.T) {
	type fail struct {
		at  int64
		ref Ref
	}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		o := opts(1 << 20)
		o.MaxRetry = 1 + r.IntN(8)
		o.Prefix4, o.Prefix6 = []int{32, 24, 16}[r.IntN(3)], []int{64, 128, 48, 56, 96}[r.IntN(5)]
		c := NewCounter(o)
		model := map[netip.Prefix][]fail{}
		var now int64
		for i := range 20000 {
			now += int64(r.ExpFloat64() * float64(20*sec))
			at := now
			if r.IntN(20) == 0 {
				at -= r.Int64N(1200 * sec) // a late one
			}
			a := v4(0xcb007100 + uint32(r.IntN(40))*uint32(1+r.IntN(300)))
			bits := o.Prefix4
			if r.IntN(3) == 0 {
				b := netip.MustParseAddr("2001:db8::").As16()
				b[5], b[7], b[11], b[15] = byte(r.IntN(2)), byte(r.IntN(3)), byte(r.IntN(2)), byte(r.IntN(2))
				a, bits = netip.AddrFrom16(b), o.Prefix6
			}
			p, _ := a.Prefix(bits)
			window := o.FindTime.Microseconds()
			fs := slices.DeleteFunc(model[p], func(f fail) bool { return f.at <= at-window })
			fs = append(fs, fail{at, Ref(i)})
			var in, ahead int
			for k := len(fs) - 1; k >= 0; k-- { // of each kind the latest are kept, as many as trip
				n := &in
				if fs[k].at >= at+window {
					n = &ahead
				}
				if *n++; *n > o.MaxRetry+lightRetries {
					fs = slices.Delete(fs, k, k+1)
				}
			}
			model[p] = fs
			fs = slices.DeleteFunc(slices.Clone(fs), func(f fail) bool { return f.at >= at+window })
			v := add(c, a, at, Ref(i), 0, 1)
			if v.Prefix != p || v.Count != len(fs) || v.Tripped != (len(fs) >= o.MaxRetry) {
				t.Fatalf("round %d, failure %d of %s: %+v, want %d", round, i, a, v, len(fs))
			}
			if v.Tripped {
				got := c.Take(p)
				if len(got) != len(fs) {
					t.Fatalf("took %d, want %d", len(got), len(fs))
				}
				for k := range got {
					if got[k].Ref != fs[k].ref || got[k].At != fs[k].at {
						t.Fatalf("evidence %d: %+v, want %+v", k, got[k], fs[k])
					}
				}
				delete(model, p)
			}
			if r.IntN(500) == 0 {
				c.Expire(now, 1<<20)
				for p, fs := range model {
					if !slices.ContainsFunc(fs, func(f fail) bool { d := now - f.at; return max(d, -d) < o.FindTime.Microseconds() }) {
						delete(model, p)
					}
				}
			}
		}
		if c.o.Budget.used != c.prefixes.n {
			t.Fatalf("budget %d, tracked %d", c.o.Budget.used, c.prefixes.n)
		}
		c.Expire(now+1e12, 1<<30)
		c.Expire(now+1e12, 1<<30)
		if c.Tracked() != 0 || *c.o.Budget != *NewBudget(1 << 20) || c.prefixes.live != 0 {
			t.Fatalf("after all is over: %d tracked, budget %+v, %d nodes", c.Tracked(), *c.o.Budget, c.prefixes.live)
		}
	}
}

// TestTwoClocks: two machines whose clocks are further apart than the window see one attacker in turn. Neither machine's
// failures, nor sweeping, make the counter forget the other's.
func TestTwoClocks(t *testing.T) {
	c := NewCounter(opts(1000))
	a := netip.MustParseAddr("203.0.113.7")
	for i := range 4 {
		at := int64(i+1000) * sec
		if v := add(c, a, at+3600*sec, Ref(10+i), 0, 1); v.Count != i+1 || v.Tripped {
			t.Fatalf("ahead, failure %d: %+v", i, v)
		}
		if v := add(c, a, at, Ref(i), 0, 1); v.Count != 1 || v.Tripped {
			t.Fatalf("behind, failure %d: %+v", i, v)
		}
		c.Expire(at+3600*sec, 100)
		c.Expire(at, 100)
	}
	v := add(c, a, 4604*sec, 14, 0, 1)
	if !v.Tripped || v.Count != 5 {
		t.Fatalf("%+v", v)
	}
	for i, f := range c.Take(v.Prefix) {
		if f.Ref != Ref(10+i) {
			t.Errorf("evidence %d: %+v", i, f)
		}
	}
}

// TestNodesBounded: a jail with a long window and a high threshold keeps no more failures than the budget has room for,
// and still counts each of them. Folded failures count no longer than they would have separately.
func TestNodesBounded(t *testing.T) {
	o := opts(1000)
	o.MaxRetry = 200
	c := NewCounter(o)
	var at int64
	for i := range 199 {
		for n := range 1000 {
			at += 1000
			if v := add(c, v4(uint32(n)), at, 0, 1, 1); v.Tripped || v.Count != i+1 {
				t.Fatalf("round %d, address %d: %+v", i, n, v)
			}
		}
	}
	if n := int(c.prefixes.live); n > nodeShare*1000 || n != o.Budget.nodes {
		t.Errorf("%d failures are kept, the budget has %d", n, o.Budget.nodes)
	}
	if v := add(c, v4(7), at+1, 0, 1, 1); !v.Tripped {
		t.Errorf("%+v", v)
	}
	if v := add(c, v4(8), at+700*sec, 0, 1, 1); v.Count != 1 {
		t.Errorf("after the window: %+v", v)
	}
}

// TestWideShared: all counters share one bound on wider prefixes, and each counter may have some.
func TestWideShared(t *testing.T) {
	o := opts(10_000)
	a, b := NewCounter(o), NewCounter(o)
	for i := range 100_000 {
		add(a, v4(uint32(i)<<8), 0, 0, 0, 1)
	}
	if a.aggregates.n != o.Budget.limit/aggregateShare {
		t.Errorf("%d wider prefixes, want %d", a.aggregates.n, o.Budget.limit/aggregateShare)
	}
	for i := range 100_000 {
		add(b, v4(uint32(i)<<8), 0, 0, 0, 1)
	}
	if b.aggregates.n != leastAggregates {
		t.Errorf("%d wider prefixes in the other, want %d", b.aggregates.n, leastAggregates)
	}
	if v := add(b, v4(200_000<<8), 0, 0, 0, 20); !v.Tripped || !v.Aggregate {
		t.Errorf("%+v", v)
	}
	a.Close()
	b.Close()
	if *o.Budget != *NewBudget(10_000) {
		t.Errorf("stays in the budget: %+v", *o.Budget)
	}
}

// TestFlood: a million addresses take turns under a limit of 100,000, so that none fails twice before all others have
// failed once. An LRU catches none; the wider prefixes catch them.
func TestFlood(t *testing.T) {
	o := opts(100_000)
	c := NewCounter(o)
	banned := map[netip.Prefix]bool{}
	attackers := func(i int) netip.Addr { return v4(0xc6120000 + uint32(i)) } // a million neighbours
	caught := 0
	noisy := netip.MustParseAddr("203.0.113.7")
	var at int64
	for round := range 6 {
		for i := range 1_000_000 {
			at += 100 // 10,000 a second
			// An address that was seen before the table was full is still counted.
			if round == 0 && !banned[netip.PrefixFrom(noisy, 32)] && (i == 10 || i > 500_000 && i%100_000 == 1) {
				if v := add(c, noisy, at, 0, 0, 1); v.Aggregate {
					t.Fatal("pushed out by a flood")
				} else if v.Tripped {
					banned[v.Prefix] = true
					c.Take(v.Prefix)
				}
			}
			a := attackers(i)
			if p, _ := a.Prefix(24); banned[p] {
				continue
			}
			v := add(c, a, at, Ref(i), 0, 1)
			if v.Tripped {
				if v.Count < o.MaxRetry {
					t.Fatalf("%+v", v)
				}
				if v.Aggregate && v.Count < 4*o.MaxRetry {
					t.Fatalf("a wide ban for %d failures", v.Count)
				}
				banned[v.Prefix] = true
				caught++
				c.Take(v.Prefix)
			}
		}
	}
	free := 0
	for i := range 1_000_000 {
		wide, _ := attackers(i).Prefix(24)
		if !banned[wide] && !banned[netip.PrefixFrom(attackers(i), 32)] {
			free++
		}
	}
	t.Logf("%d bans, %d of 1,000,000 attackers are free, %d failures counted wide, budget %d of %d, %d tracked", caught, free, c.Aggregated(), o.Budget.used, o.Budget.Limit(), c.Tracked())
	if free > 10_000 {
		t.Errorf("%d of 1,000,000 attackers are still free", free)
	}
	if !banned[netip.PrefixFrom(noisy, 32)] {
		t.Error("a noisy address got away in the flood")
	}
	if o.Budget.used > o.Budget.Limit() {
		t.Errorf("budget %d of %d", o.Budget.used, o.Budget.Limit())
	}
}

// TestFloodApart: the same with addresses from all over the world, hardly two of them in one /24. Not all of them fit
// into the table; those that do are caught, and memory stays bounded.
func TestFloodApart(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	o := opts(100_000)
	c := NewCounter(o)
	var at int64
	banned := map[netip.Prefix]bool{}
	addr := func(i int) netip.Addr { return v4(uint32(i)*2654435761 | 1) } // a permutation of the 32-bit numbers
	for range 5 {
		for i := range 1_000_000 {
			a := addr(i)
			if n, _ := a.Prefix(24); banned[n] || banned[netip.PrefixFrom(a, 32)] {
				continue
			}
			at += 50
			if v := add(c, a, at, 0, 0, 1); v.Tripped {
				banned[v.Prefix] = true
				c.Take(v.Prefix)
			}
			if c.Tracked() > o.Budget.Limit()+o.Budget.Limit()/aggregateShare {
				t.Fatalf("%d are tracked", c.Tracked())
			}
		}
	}
	t.Logf("%d bans", len(banned))
	if len(banned) < 100_000 {
		t.Errorf("%d bans", len(banned))
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMillion fills a counter with a million prefixes of one and of four failures each.
func BenchmarkMillion(b *testing.B) {
	for _, failures := range []int{1, 4} {
		b.Run(map[int]string{1: "1failure", 4: "4failures"}[failures], func(b *testing.B) {
			for range b.N {
				before := heap()
				c := NewCounter(opts(1_000_000))
				start := time.Now()
				for k := range failures {
					for i := range 1_000_000 {
						add(c, v4(uint32(i)*2654435761), int64(k), Ref(i), 7, 1)
					}
				}
				d := time.Since(start)
				b.ReportMetric(float64(heap()-before)/1e6, "B/prefix")
				b.ReportMetric(float64(d.Nanoseconds())/float64(failures*1_000_000), "ns/failure")
				start = time.Now()
				runtime.GC()
				b.ReportMetric(float64(time.Since(start).Microseconds()), "µs/GC")
				c.Expire(1e15, 1<<30)
				b.ReportMetric(float64(int64(heap())-int64(before))/1e6, "B/prefix-after")
				runtime.KeepAlive(c)
			}
		})
	}
}

// BenchmarkForgetAll is an operator who lifts 100,000 bans while a million prefixes are tracked.
func BenchmarkForgetAll(b *testing.B) {
	c := NewCounter(opts(1_000_000))
	for i := range 1_000_000 {
		add(c, v4(uint32(i)), 0, 0, 0, 1)
	}
	n := uint32(0)
	for b.Loop() {
		p, _ := v4(n << 8).Prefix(24 + 8*int(n&1))
		c.Forget(p)
		n++
	}
}

func add(c *Counter, a netip.Addr, at int64, ref Ref, user uint16, weight int) Verdict {
	return c.Add(c.Key(a), Failure{Ref: ref, At: at, User: user, Weight: weight, Attempts: weight}, Weighing{})
}
