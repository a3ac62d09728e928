package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/policy/config"
	"bailiff/policy/state"
)

// Bans of different jails escalate together, by a count that is kept with the state. fail2ban needs a jail for that,
// recidive, which reads fail2ban's own log.
func TestEscalateOverJails(t *testing.T) {
	s := newSite(t, nil)
	const day = 24 * 3600 * sec
	for i, want := range []int64{2 * day, 4 * day, 8 * day, 16 * day, 28 * day, 28 * day} {
		j := []string{"alpha", "beta"}[i%2]
		var bans []Ban
		for range 5 {
			bans = append(bans, s.say(j+" failed bob 203.0.113.7")...)
		}
		if len(bans) != 1 || bans[0].Count != i+1 || bans[0].Jail != j || bans[0].Until-bans[0].Since != want {
			t.Fatalf("ban %d: %+v", i+1, bans)
		}
		s.now = bans[0].Until
		s.g.Expire(s.now, s.now)
		s.restart()
	}
	s.now += 31 * day
	for range 4 {
		s.say("alpha failed bob 203.0.113.7")
	}
	if b := s.say("alpha failed bob 203.0.113.7"); len(b) != 1 || b[0].Count != 1 || b[0].Until-b[0].Since != 2*day {
		t.Errorf("after forgetting: %+v", b)
	}
}

// The length of a ban cannot be predicted, and is the same in every replay.
func TestSpread(t *testing.T) {
	lengths := map[int64]bool{}
	var first []string
	for round := range 2 {
		s := newSite(t, func(c *config.Config) { c.Escalate.RandomExtra = time.Hour })
		var all []string
		for i := range 40 {
			for k := range 5 {
				for _, b := range s.say(fmt.Sprintf("alpha failed u%d 203.0.%d.7", i, i)) {
					if long := b.Until - b.Since; long < us(48*time.Hour) || long > us(49*time.Hour) || k != 4 {
						t.Fatalf("%d: %+v", k, b)
					}
					lengths[b.Until-b.Since] = true
					all = append(all, fmt.Sprint(b.ID(), b.Until))
				}
			}
		}
		if round == 1 && !slices.Equal(all, first) {
			t.Errorf("%q, then %q", first, all)
		}
		first = all
	}
	if len(lengths) < 30 {
		t.Errorf("40 bans of %d lengths", len(lengths))
	}
	s := newSite(t, func(c *config.Config) {
		c.Escalate = config.Escalate{Factor: 10, Max: 72 * time.Hour, Forget: config.Forever, RandomExtra: time.Hour}
	})
	for range 5 {
		s.say("alpha failed a 203.0.113.7")
	}
	for i := range 20 {
		s.now += us(73 * time.Hour)
		s.g.Expire(s.now, s.now)
		for range 5 {
			for _, b := range s.say("beta failed a 203.0.113.7") {
				if long := b.Until - b.Since; long > us(72*time.Hour) || long < us(71*time.Hour) {
					t.Fatalf("ban %d lasts %v, more than the cap, or less than the cap without the spread", i, time.Duration(long)*1000)
				}
			}
		}
	}
}

// A ban that has lapsed still covers entries that were logged while it lasted.
func TestLapse(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Jails[0].BanTime = time.Hour })
	var b Ban
	for range 5 {
		for _, b = range s.say("alpha failed bob 203.0.113.7") {
		}
	}
	s.g.ExpireBan(b.Ban)
	if s.g.State().Len() != 0 {
		t.Fatal("it is still in force")
	}
	s.restart()
	e := event{at: b.Until - 1, jail: "alpha", what: "failed", user: "bob", addr: b.Addr}
	if o := s.g.Entry(e.entry(9), 9); len(o.Failures) != 0 {
		t.Errorf("%+v", o)
	}
	s.g.Expire(b.Until+us(time.Hour), b.Until-1)
	if o := s.g.Entry(e.entry(9), 9); len(o.Failures) != 0 {
		t.Errorf("%+v", o)
	}
	e.at = b.Until
	if o := s.g.Entry(e.entry(9), 9); len(o.Failures) != 1 {
		t.Errorf("%+v", o)
	}
}

// One attack that several jails see is one ban, which does not escalate.
func TestIncident(t *testing.T) {
	ssh, mail := []config.Port{{Proto: "tcp", From: 22, To: 22}}, []config.Port{{Proto: "tcp", From: 25, To: 25}}
	fives := func(s *site, j string) (bans []Ban) {
		for range 5 {
			bans = append(bans, s.say(j+" failed bob 203.0.113.7")...)
		}
		return bans
	}
	for _, c := range []struct {
		name        string
		alpha, beta []config.Port
		wait        string
		want        string // scope of the ban for beta's five failures; "-": no ban
		extended    bool
		count       int
	}{
		{"all ports", nil, nil, "", "-", false, 0},
		{"beta's are among alpha's", nil, mail, "", "-", false, 0},
		{"other ports", ssh, mail, "", state.JoinScopes(config.ScopeText(ssh), config.ScopeText(mail)), true, 1},
		{"more ports", ssh, nil, "", "", true, 1},
		{"other ports, much later", ssh, mail, "1h", config.ScopeText(mail), false, 2},
	} {
		for _, stop := range []bool{false, true} {
			s := newSite(t, func(cf *config.Config) { cf.Jails[0].Ports, cf.Jails[1].Ports = c.alpha, c.beta })
			first := fives(s, "alpha")
			if len(first) != 1 || first[0].Count != 1 {
				t.Fatalf("%+v", first)
			}
			if c.wait != "" {
				s.say("+" + c.wait + " beta mail 192.0.2.1")
			}
			if stop {
				s.restart()
			}
			bans := fives(s, "beta")
			if c.want == "-" {
				if len(bans) != 0 {
					t.Errorf("%s: %+v", c.name, bans)
				}
				continue
			}
			if len(bans) != 1 || bans[0].Extended != c.extended || bans[0].Count != c.count || bans[0].Scope != c.want {
				t.Errorf("%s: %+v", c.name, bans)
				continue
			}
			b := bans[0].Ban
			if c.extended && (b.Jail != "alpha" || b.Since != first[0].Since || b.Until != first[0].Until || s.g.State().Len() != 1) {
				t.Errorf("%s: %+v is not the ban that was there, %+v", c.name, b, first[0])
			}
			if c.extended {
				if l := fives(s, "beta"); len(l) != 0 {
					t.Errorf("%s: extended again: %+v", c.name, l)
				}
			}
		}
	}
	// The same entries read twice, after the ban and after it has lapsed, ban and escalate nothing.
	s := newSite(t, nil)
	first := fives(s, "alpha")
	for _, lapse := range []bool{false, true} {
		if lapse {
			s.g.ExpireBan(first[0].Ban)
		}
		s.now = start
		if b := fives(s, "alpha"); len(b) != 0 {
			t.Errorf("banned twice (lapsed: %v): %+v", lapse, b)
		}
	}
}

// A jail that only observes reports the bans that it would make, and has no part in what is blocked.
func TestObserve(t *testing.T) {
	watch := func(c *config.Config) { c.Jails[1].Observe = true }
	s := newSite(t, watch)
	var bans []Ban
	for range 7 {
		bans = append(bans, s.say("beta failed bob 203.0.113.7")...)
	}
	if len(bans) != 1 || !bans[0].Observed || bans[0].Count != 1 || s.g.State().Len() != 0 || s.g.Observed().Len() != 1 {
		t.Errorf("%+v", bans)
	}
	if n, _ := s.attempts(); n != 5 {
		t.Errorf("%d attempts are counted, though it would be banned after five", n)
	}
	s.restart()
	if s.g.Observed().Len() != 1 {
		t.Error("what was observed is forgotten")
	}
	bans = nil
	for range 5 {
		bans = append(bans, s.say("alpha failed bob 203.0.113.7")...)
	}
	if len(bans) != 1 || bans[0].Observed || bans[0].Count != 1 || s.g.State().Len() != 1 {
		t.Errorf("the observed ban has a part in %+v", bans)
	}
	// Nor do its failures count for networks or for accounts under attack.
	s = newSite(t, func(c *config.Config) { watch(c); c.Networks.Net6.Bits56 = 3 })
	for i := range 9 {
		for range 3 {
			s.say(fmt.Sprintf("+1s beta failed bob 2001:db8:0:%x::1", i))
			s.say(fmt.Sprintf("+1s beta failed bob 203.0.%d.7", i))
		}
	}
	for range 4 {
		if b := s.say("alpha failed bob 2001:db8:0:ff::1"); len(b) != 0 {
			t.Errorf("%+v", b)
		}
	}
	// Switched to observe, a jail lifts its bans; switched back, it forgets what it would have done.
	s = newSite(t, nil)
	for range 5 {
		s.say("beta failed bob 203.0.113.7")
		s.say("alpha failed bob 203.0.113.8")
	}
	s.g.State().Add(state.Ban{Prefix: netip.MustParsePrefix("203.0.113.9/32"), Jail: "beta", Since: s.now, By: "admin"})
	c := plainConfig(t, "alpha", "beta", ":gamma")
	watch(c)
	if err := s.g.Configure(c); err != nil {
		t.Fatal(err)
	}
	none := func(string) bool { return false }
	if l := s.g.TakeOrphans(none); len(l) != 1 || l[0].Jail != "beta" || l[0].By != "" {
		t.Errorf("%+v", l)
	}
	c.Jails[0].Enabled = false
	if err := s.g.Configure(c); err != nil {
		t.Fatal(err)
	}
	if l := s.g.TakeOrphans(none); len(l) != 1 || l[0].Jail != "alpha" || s.g.State().Len() != 1 {
		t.Errorf("%+v", l)
	}
}

// One line that is enough bans its address, also while there is no room to count it by itself.
func TestOneLineWithoutRoom(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Limits.MaxTracked = 1000 })
	for i := range 3000 {
		e := event{at: s.now, jail: "alpha", what: "end", n: 1, addr: netip.AddrFrom4([4]byte{10, byte(i >> 4), byte(i << 4), 1})}
		s.g.Entry(e.entry(i), 1)
	}
	b := s.say("alpha exploit 203.0.113.7")
	if len(b) != 1 || b[0].Prefix.String() != "203.0.113.7/32" || b[0].Failures != 1 || len(b[0].Evidence) != 1 {
		t.Errorf("%+v", b)
	}
}

// What an operator has forgiven does not count on an account under attack, either.
func TestPardonAccount(t *testing.T) {
	s := newSite(t, nil)
	spray(s, 12, 2, "root")
	s.g.Pardon(netip.MustParsePrefix("198.51.0.1/32"), s.now)
	for i := range 2 {
		if b := s.say("+11m alpha failed root 198.51.0.1"); len(b) != 0 {
			t.Errorf("failure %d after the pardon: %+v", i+1, b)
		}
	}
	if b := s.say("+11m alpha failed root 198.51.0.2"); len(b) != 1 {
		t.Errorf("pardoned, too: %+v", b)
	}
}
