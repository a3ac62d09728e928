package jail

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// TestSlowModel compares the slow window with a list of all failures, over random streams with late entries, successes and
// counters that are saved and read again. With late entries the counter may have dropped more than the window requires,
// so its count lies between those of two lists: one drops failures outside any failure's window, the other drops nothing.
func TestSlowModel(t *testing.T) {
	type fail struct {
		at     int64
		user   uint16
		weight int
		gone   bool
	}
	r := rand.New(rand.NewPCG(7, 8))
	exact, between := 0, 0
	for range 30 {
		o := opts(1 << 16)
		o.SlowTime, o.SlowRetry, o.MaxRetry = time.Duration(1+r.IntN(48))*time.Hour, 60, 50
		width := o.SlowTime.Microseconds() / buckets
		c := NewCounter(o)
		model := map[netip.Addr][]*fail{}
		now := int64(r.IntN(1e15))
		late := r.IntN(2) == 0
		for i := range 3000 {
			now += int64(r.ExpFloat64() * float64(o.SlowTime.Microseconds()) / 200)
			at := now
			if late && r.IntN(10) == 0 {
				at -= r.Int64N(2 * o.SlowTime.Microseconds())
			}
			a, user := v4(uint32(r.IntN(6))), uint16(1+r.IntN(6))
			if r.IntN(40) == 0 {
				c.Success(c.Key(a), user)
				var l []*fail
				for _, f := range model[a] {
					if f.user != user {
						l = append(l, f)
					}
				}
				model[a] = l
				continue
			}
			f := &fail{at, user, 1 + r.IntN(3), false}
			least, most := f.weight, f.weight
			some, all := map[uint16]bool{user: true}, map[uint16]bool{user: true} // accounts: each but the first counts one more
			for _, x := range model[a] {
				d := at/width - x.at/width
				if d >= buckets {
					x.gone = true
				}
				if d < buckets && -d < buckets {
					most += x.weight
					all[x.user] = true
					if !x.gone {
						least += x.weight
						some[x.user] = true
					}
				}
			}
			least, most = least+len(some)-1, most+len(all)-1
			model[a] = append(model[a], f)
			v := c.Add(c.Key(a), Failure{Ref: Ref(i), At: at, User: user, Weight: f.weight, Attempts: f.weight}, Weighing{})
			if late {
				most *= 2 // a user may have two cells then, and those beyond maxTallies count as of different accounts
			}
			if v.Long < least || v.Long > most {
				t.Fatalf("failure %d: %d in the slow window, want %d to %d", i, v.Long, least, most)
			}
			if least == most {
				exact++
			} else {
				between++
			}
			if v.Slow != (v.Long >= o.SlowRetry && v.Count < o.MaxRetry) {
				t.Fatalf("failure %d: %+v", i, v)
			}
			if sum, need, l, until := c.LookSlow(a, at, 0); need != o.SlowRetry || sum != v.Long || until <= at || len(l) == 0 {
				t.Fatalf("failure %d: looks like %d until %d, %+v", i, sum, until, l)
			}
			if v.Slow || v.Tripped {
				sum, accounts := 0, map[uint16]bool{}
				for _, f := range c.TakeSlow(v.Prefix) {
					sum += f.Attempts
					accounts[f.User] = true
				}
				if sum += len(accounts) - 1; sum != v.Long && v.Slow && !late {
					t.Fatalf("failure %d: %d taken, want %d", i, sum, v.Long)
				}
				model[a] = nil
			}
			if r.IntN(300) == 0 {
				d := NewCounter(Options{FindTime: o.FindTime, MaxRetry: o.MaxRetry, SlowTime: o.SlowTime, SlowRetry: o.SlowRetry, Prefix4: 32, Prefix6: 64, Budget: NewBudget(1 << 16), Seed: 9})
				if err := read(write(c.Stream), d.Stream); err != nil {
					t.Fatal(err)
				}
				c = d
			}
			if !late && r.IntN(100) == 0 {
				c.Expire(now, 1<<20)
			}
		}
	}
	if exact < between/2 || between < 500 {
		t.Errorf("%d counts were compared exactly, %d between two", exact, between)
	}
}

// What one prefix keeps for the slow window is bounded, however many accounts it tries.
func TestSlowBounded(t *testing.T) {
	o := opts(100)
	o.SlowTime, o.SlowRetry, o.MaxRetry = 24*time.Hour, 60, 59
	c := NewCounter(o)
	a := netip.MustParseAddr("203.0.113.7")
	for i := range 30 { // each account but the first counts two
		if v := c.Add(c.Key(a), Failure{At: int64(i) * 1200 * sec, User: uint16(i + 1), Weight: 1, Attempts: 1}, Weighing{}); v.Long != 2*i+1 || v.Slow {
			t.Fatalf("%+v", v)
		}
		if n := c.prefixes.live; n > maxTallies+2 {
			t.Fatalf("%d nodes", n)
		}
	}
	if v := c.Add(c.Key(a), Failure{At: 30 * 1200 * sec, User: 100, Weight: 1, Attempts: 1}, Weighing{}); !v.Slow || v.Long != 61 {
		t.Errorf("%+v", v)
	}
}

// Changing the length of the slow window keeps its counts; turning it off drops them.
func TestSlowConfigure(t *testing.T) {
	o := opts(100)
	o.SlowTime, o.SlowRetry = 24*time.Hour, 20
	c := NewCounter(o)
	a := netip.MustParseAddr("203.0.113.7")
	for i := range 12 {
		c.Add(c.Key(a), Failure{At: int64(i) * 3600 * sec, User: 1, Weight: 1, Attempts: 1}, Weighing{})
	}
	o.SlowTime = 48 * time.Hour
	c.Configure(o)
	if v := c.Add(c.Key(a), Failure{At: 12 * 3600 * sec, User: 1, Weight: 1, Attempts: 1}, Weighing{}); v.Long != 13 {
		t.Errorf("twice as long: %+v", v)
	}
	o.SlowTime = 8 * time.Hour
	c.Configure(o)
	if v := c.Add(c.Key(a), Failure{At: 13 * 3600 * sec, User: 1, Weight: 1, Attempts: 1}, Weighing{}); v.Long < 6 || v.Long > 10 {
		t.Errorf("a third: %+v", v)
	}
	o.SlowRetry = 0
	c.Configure(o)
	if v := c.Add(c.Key(a), Failure{At: 14 * 3600 * sec, User: 1, Weight: 1, Attempts: 1}, Weighing{}); v.Long != 0 || c.prefixes.live != 1 {
		t.Errorf("none: %+v, %d nodes", v, c.prefixes.live)
	}
}

// Slow counts give way when there is no room: a flood is counted address by address as long as without the slow window.
func TestSlowGivesWay(t *testing.T) {
	o := opts(1000)
	o.SlowTime, o.SlowRetry = 24*time.Hour, 20
	c := NewCounter(o)
	for i := range 1000 {
		add(c, v4(uint32(i)), 0, 0, 0, 1)
	}
	for i := range 1000 {
		if v := add(c, v4(uint32(5000+i)), 3600*sec, 0, 0, 1); v.Aggregate {
			t.Fatalf("address %d is counted as part of its network", i)
		}
	}
	if c.Cut() != 1000 || c.Tracked() != 1000 {
		t.Errorf("%d were cut short, %d are tracked", c.Cut(), c.Tracked())
	}
}
