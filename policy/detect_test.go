package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/state"
)

// How many lines lead to a ban, and its number of failures, which counts attempts and not weights.
func TestWeights(t *testing.T) {
	times := func(n int, line string) string { return strings.TrimSuffix(strings.Repeat(line+"|", n), "|") }
	spelled := func(c *config.Config) { c.Jails[0].Weights.NewAccount = 1 }
	for _, c := range []struct {
		name, lines string
		change      func(*config.Config)
		want        string // of the last line; the others must ban nobody
	}{
		{"five on one account", times(5, "failed a"), nil, "failures 5"},
		{"three prompts for a wrong local name, then the right one", "unknown bbo|unknown bbo|unknown bbo|failed bob|failed bob|login bob", nil, ""},
		{"twice three prompts", times(6, "unknown a"), nil, ""},
		{"one unknown account again and again", times(9, "unknown a"), nil, "failures 9"},
		{"unknown, without that weight", times(5, "unknown a"), func(c *config.Config) { c.Jails[0].Weights.InvalidUser = 1 }, "failures 5"},
		{"two unknown accounts", times(5, "unknown a") + "|" + times(8, "unknown b"), nil, "failures 13"},
		{"three unknown accounts, three prompts each", times(3, "unknown a") + "|" + times(3, "unknown b") + "|" + times(3, "unknown c"), nil, "failures 9"},
		{"two misspelt names, three prompts each, and a slip", times(3, "unknown bbo") + "|" + times(3, "unknown bobb") + "|failed bob|login bob", nil, ""},
		{"unknown accounts, the fourth and further ones twice", "unknown a|unknown b|unknown c|unknown d", nil, "failures 4"},
		{"the same after the fourth", "unknown a|unknown b|unknown c|failed d|unknown a", nil, "failures 5"},
		{"another account each time", "failed a|failed b|failed c|failed d|failed e", nil, "failures 5"},
		{"another account each time, with a weight", "failed a|failed b|failed c", spelled, "failures 3"},
		{"two accounts in turn, with a weight", "failed a|failed b|failed a|failed b", spelled, "failures 4"},
		{"three names of the own computer, each followed by a login", "unknown pc1|login a|unknown pc2|login b|unknown pc3|login c|unknown pc4|login d|failed e|failed f", nil, ""},
		{"two slips of a name, then the password", "unknown bbo|unknown bobb|login bob", nil, ""},
		{"by the pattern", "heavy a|heavy a", nil, "failures 2"},
		{"several attempts in a line", "final 4 a|failed a", nil, "failures 5"},
		{"all attempts in a line", "final 7 a", nil, "failures 7"},
		{"one line is enough", "exploit", nil, "failures 1"},
		{"two lines are enough", "twice|twice", nil, "failures 2"},
		// Several people behind one address mistype at once. All have logged in from there recently.
		{"an office", "login a|login b|login c|login d|" + times(3, "failed a|failed b|failed c|failed d"), nil, ""},
		{"an office with a thief", "login a|login b|" + times(9, "failed a") + "|failed v|failed w|failed x|failed y|failed z", nil, "failures 5"},
		// Logins to the attacker's own account do not help.
		{"an insider", "login eve|failed a|login eve|failed b|login eve|failed c|login eve|failed d|login eve|failed e", nil, "failures 5"},
		// The more people log in, the more forget their passwords, but no single account fails more often.
		{"people who give up", "login a|login b|login c|login d|login e|failed v|failed w|failed x|failed v|failed w|failed x|failed y|failed z", nil, "failures 8"},
		{"an attacker among people", "login a|login b|login c|login d|login e|failed w|" + times(5, "failed v"), nil, "failures 6"},
		{"an insider who probes", "login eve|failed eve|exploit", nil, "failures 1"},
	} {
		s := newSite(t, c.change)
		lines := strings.Split(c.lines, "|")
		for i, l := range lines {
			got := strings.Join(names(s.say("alpha "+l+" 203.0.113.7")), "; ")
			want := ""
			if i == len(lines)-1 && c.want != "" {
				want = "alpha 203.0.113.7/32 " + c.want
			}
			if got != want {
				t.Errorf("%s: line %d leads to %q, want %q", c.name, i+1, got, want)
			}
		}
	}
}

// A device with an old password may fail deviceFailures times a day at an address from which its owner logged in.
func TestDevice(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Jails[0].Slow.MaxRetry, c.Accounts.Addresses = 0, 0 })
	s.now = start / (86400 * sec) * 86400 * sec // the days are of UTC
	s.say("alpha login bob 203.0.113.7")
	for i := range deviceFailures {
		if b := s.say("+20s alpha failed bob 203.0.113.7"); len(b) > 0 {
			t.Fatalf("failure %d: %+v", i+1, b)
		}
		if i == 400 {
			s.restart()
		}
	}
	var bans []Ban
	for range 5 {
		bans = append(bans, s.say("+20s alpha failed bob 203.0.113.7")...)
	}
	if len(bans) != 1 {
		t.Errorf("%d bans after %d failures", len(bans), deviceFailures)
	}
	s.g.State().Remove(netip.MustParsePrefix("203.0.113.7/32"), "alpha")
	for range 30 {
		if b := s.say("+24h alpha failed bob 203.0.113.7"); len(b) > 0 {
			t.Errorf("a day later: %+v", b)
		}
		if f, within := s.failures[len(s.failures)-1], s.now < start/(86400*sec)*86400*sec+4*7*86400*sec; f.Excused != within {
			t.Errorf("%v after the login: excused %v", time.Duration(s.now-start)*time.Microsecond, f.Excused)
		}
	}
	s.say("alpha login bob 203.0.113.7")
	s.say("+648h alpha failed bob 203.0.113.7")
	if f := s.failures[len(s.failures)-1]; !f.Excused {
		t.Error("counted 27 days after the login: it was switched off for the holidays")
	}
	s.say("+48h alpha failed bob 203.0.113.7")
	if f := s.failures[len(s.failures)-1]; f.Excused {
		t.Error("excused 29 days after the login")
	}
}

// One failure an hour: never five in ten minutes, but twenty in a day.
func TestSlow(t *testing.T) {
	for _, stop := range []bool{false, true} {
		s := newSite(t, nil)
		for i := range 20 {
			b := s.say("+1h alpha failed root 203.0.113.7")
			if want := map[bool][]string{true: {"alpha 203.0.113.7/32 slow 20"}}[i == 19]; !slices.Equal(names(b), want) {
				t.Fatalf("restarts %v, failure %d: %+v", stop, i+1, b)
			}
			if i < 19 {
				c := s.g.Counted(netip.MustParseAddr("203.0.113.7"), s.now)
				k := slices.IndexFunc(c, func(c Counted) bool { return c.Window == WindowSlow })
				if i > 0 && (k < 0 || c[k].Have != i+1 || c[k].Need != 20 || c[k].Until < s.now || c[k].Filter != "alpha") {
					t.Fatalf("failure %d: %+v", i+1, c)
				}
			}
			if stop {
				s.restart()
			}
		}
	}
	for _, c := range []struct {
		name, before, lines string // of a round
		every               string
		rounds, want        int // the attempt that leads to a ban; 0: none
	}{
		{"one account, seldom", "", "failed root", "80m", 200, 0},
		{"two accounts", "", "failed a|failed b", "1h", 20, 19},
		{"no account", "", "end 1", "1h", 20, 20},
		{"nine accounts", "", "failed a|failed b|failed c|failed d|failed e|failed f|failed g|failed h|failed bob", "30m", 3, 12},
		{"an account that does not exist", "", "unknown a", "6m", 240, 0},
		{"one that does not exist, all day", "", "unknown a", "4m", 360, 300},
		{"somebody's account, from elsewhere", "login bob 192.0.2.9", "failed bob", "6m", 240, 0},
		{"somebody's account, all day", "login bob 192.0.2.9", "failed bob", "4m", 360, 300},
		{"somebody's account, and one more", "login bob 192.0.2.9", "failed bob|failed bob|failed bob|failed eve", "1h", 10, 19},
	} {
		s := newSite(t, nil)
		if c.before != "" {
			s.say("alpha " + c.before)
		}
		got, n := 0, 0
		lines := strings.Split(c.lines, "|")
		for i := range c.rounds * len(lines) {
			n++
			for _, b := range s.say("+" + c.every + " alpha " + lines[i%len(lines)] + " 203.0.113.7") {
				if got == 0 {
					got = n
				}
				if b.Reason != state.Slow || got == n && b.Failures > n {
					t.Errorf("%s: %+v", c.name, b)
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: banned at attempt %d, want %d", c.name, got, c.want)
		}
	}
	// A success clears its user's failures from the slow window, but not those on other accounts.
	s := newSite(t, nil)
	for range 9 {
		s.say("+30m alpha failed bob 203.0.113.7")
		s.say("+30m alpha failed eve 203.0.113.7")
	}
	s.restart()
	if b := s.say("alpha login bob 203.0.113.7"); len(b) > 0 {
		t.Fatal(b)
	}
	s.restart()
	c := s.g.Counted(netip.MustParseAddr("203.0.113.7"), s.now)
	if len(c) != 2 || c[0].Have != 1 || c[1].Window != WindowSlow || c[1].Have != 9 {
		t.Errorf("after bob's success: %+v", c)
	}
}

func spray(s *site, addrs, each int, account string) (bans []Ban) {
	for range each {
		for i := range addrs {
			bans = append(bans, s.say(fmt.Sprintf("alpha failed %s 198.51.%d.%d", account, i/100, i%100+1))...)
		}
	}
	return bans
}

// Many addresses attack one account, each less often than max_retry.
func TestAccount(t *testing.T) {
	off := func(c *config.Config) { c.Networks.Net4 = 0 }
	s := newSite(t, off)
	if b := spray(s, 9, 3, "root"); len(b) > 0 { // nine are too few
		t.Fatalf("%+v", b)
	}
	// Two failures ban no address, however many addresses there are.
	for _, c := range []struct{ addrs, each, bans int }{{10, 2, 0}, {10, 4, 10}, {40, 2, 0}, {200, 2, 0}, {200, 3, 200}, {600, 4, 600}} { // more than are kept of one account
		bans := spray(newSite(t, off), c.addrs, c.each, "root")
		if len(bans) != c.bans || c.bans > 0 && bans[0].Failures != 3 {
			t.Errorf("%+v: %d bans, %+v", c, len(bans), bans[:min(1, len(bans))])
		}
	}
	// Not even with accounts.max_retry below three.
	if bans := spray(newSite(t, func(c *config.Config) { off(c); c.Accounts.MaxRetry = 1 }), 20, 2, "root"); len(bans) > 0 {
		t.Errorf("%+v", bans[0])
	}
	// Failures from before the account was under attack ban an address when it fails there again, not earlier.
	s = newSite(t, off)
	spray(s, 9, 4, "root")
	if b := s.say("+11m alpha failed root 192.0.2.9"); len(b) > 0 {
		t.Errorf("the tenth bans %+v", b)
	}
	if b := s.say("alpha failed other 198.51.0.1"); len(b) > 0 {
		t.Errorf("a failure on another account bans %+v", b)
	}
	if b := s.say("alpha failed root 198.51.0.1"); len(b) != 1 || b[0].Prefix.String() != "198.51.0.1/32" || b[0].Failures != 5 || b[0].Reason != state.Account {
		t.Errorf("%+v", b)
	}
	// All IPv6 addresses of one /48 count as one.
	s = newSite(t, func(c *config.Config) { c.Networks.Net6 = config.Net6{} })
	for k := range 3 {
		for i := range 200 {
			if b := s.say(fmt.Sprintf("alpha failed root 2001:db8:0:%x::1", i)); len(b) > 0 {
				t.Fatalf("round %d, /64 %d: %+v", k, i, b)
			}
		}
	}
	s = newSite(t, off)
	bans := spray(s, 15, 4, "root")
	if len(bans) != 15 {
		t.Fatalf("%d of 15 attackers are banned", len(bans))
	}
	for _, b := range bans {
		if b.Reason != state.Account || b.Failures != 3 || len(b.Evidence) != 3 {
			t.Fatalf("%+v", b)
		}
		for _, f := range b.Evidence { // only its own failures
			if e := s.seen[f.Ref]; e.addr != b.Addr || e.user != "root" {
				t.Fatalf("%s is banned for %+v", b.Addr, e)
			}
		}
	}
	// An address that logged in to the account recently neither counts nor is banned, however often others fail. A new
	// address may fail twice, so attackers cannot lock out the owner.
	s = newSite(t, off)
	s.say("alpha login bob 203.0.113.7")
	spray(s, 15, 3, "bob")
	for _, l := range []string{"alpha failed bob 203.0.113.7", "alpha failed bob 203.0.113.7", "alpha failed bob 203.0.113.7", "alpha failed bob 203.0.113.7", "alpha failed bob 192.0.2.9", "alpha failed bob 192.0.2.9", "alpha login bob 192.0.2.9"} {
		if b := s.say(l); len(b) > 0 {
			t.Fatalf("%s: %+v", l, b)
		}
	}
	// The login clears earlier failures from the account's window, too.
	s.now += us(time.Hour)
	for i := range 4 {
		if b := s.say("+4h alpha failed bob 192.0.2.9"); len(b) > 0 {
			t.Fatalf("failure %d after the login: %+v", i+1, b)
		}
	}
	// An allowed address is not banned, and does not count.
	s = newSite(t, off)
	s.g.SetAllow(allow.NewList([]allow.Entry{{Prefix: netip.MustParsePrefix("198.51.0.0/27")}}), s.now, nil)
	for _, b := range spray(s, 40, 3, "bob") {
		if netip.MustParsePrefix("198.51.0.0/27").Contains(b.Addr) {
			t.Fatalf("%+v", b)
		}
	}
	// Across jails, although each address fails in one jail only.
	s = newSite(t, off)
	n := 0
	for k := range 3 {
		for i := range 10 {
			for _, b := range s.say(fmt.Sprintf("%s failed Info 198.51.100.%d", []string{"alpha", "beta"}[i%2], i)) {
				if n++; k != 2 || b.Jail != []string{"alpha", "beta"}[i%2] {
					t.Errorf("%+v", b)
				}
			}
		}
	}
	if n != 10 {
		t.Errorf("%d bans over jails", n)
	}
	c := s.g.Counted(netip.MustParseAddr("198.51.100.3"), s.now)
	s.say("beta failed info 192.0.2.77")
	c = append(c, s.g.Counted(netip.MustParseAddr("192.0.2.77"), s.now)...)
	if k := slices.IndexFunc(c, func(c Counted) bool { return c.Window == WindowAccount }); k < 0 || c[k].Have != 1 || c[k].Need != 3 || c[k].Others != 11 || c[k].OthersNeed != 10 || c[k].Jail != "beta" {
		t.Errorf("%+v", c)
	}
}

// Where two jails see each attempt, as dovecot's and postfix's do, it counts once for the account.
func TestAccountSeenTwice(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Networks.Net4 = 0 })
	for k := range 3 {
		for i := range 15 {
			var bans []Ban
			for _, j := range []string{"alpha", "beta"} {
				bans = append(bans, s.say(fmt.Sprintf("+2s %s failed info 198.51.100.%d", j, i))...)
			}
			if want := map[bool]int{true: 1}[k == 2]; len(bans) != want || want > 0 && (bans[0].Failures != 3 || bans[0].Reason != state.Account || len(bans[0].Evidence) != 3) {
				t.Fatalf("attempt %d of address %d: %+v", k+1, i, bans)
			}
		}
	}
}

// A flood of invented names stays within the memory bound, and does not hide an attack on a real account.
func TestAccountFlood(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Limits.MaxTracked, c.Networks.Net4 = 100_000, 0 })
	banned := 0
	n := 0
	for range 3 {
		for i := range 60 {
			for range 200 {
				n++
				e := event{at: s.now + int64(n), jail: "beta", what: "failed", user: fmt.Sprint("x", n), addr: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})}
				s.g.Entry(e.entry(0), 0)
			}
			banned += len(s.say(fmt.Sprintf("alpha failed root 198.51.100.%d", i)))
		}
	}
	sp := s.g.Distributed(s.now)
	if sp.Accounts > 100_000/detectorShare || sp.Crowded == 0 || sp.Attacked != 1 || banned < 55 {
		t.Errorf("%d of 60 are banned; %+v", banned, sp)
	}
}

func TestNeighbours(t *testing.T) {
	attack := func(s *site, what string, lines int, addrs ...string) (bans []Ban) {
		for i, a := range addrs {
			for range lines {
				bans = append(bans, s.say(fmt.Sprintf("alpha %s u%d %s", what, i, a))...)
			}
		}
		return bans
	}
	list := func(n int, format string) (l []string) {
		for i := range n {
			l = append(l, fmt.Sprintf(format, i+1))
		}
		return l
	}
	wide := func(bans []Ban) (l []string) {
		for _, b := range bans {
			if b.Reason == state.Network {
				l = append(l, b.Prefix.String())
			}
		}
		return l
	}
	for _, c := range []struct {
		name   string
		before string
		addrs  []string
		lines  int
		allow  string
		want   []string
	}{
		{"nine of a /24", "", list(9, "198.51.100.%d"), 5, "", nil},
		{"ten of a /24", "", list(10, "198.51.100.%d"), 5, "", []string{"198.51.100.0/24"}},
		{"ten that only failed", "", list(10, "198.51.100.%d"), 4, "", nil},
		{"around an allowed address", "", list(12, "198.51.100.%d"), 5, "198.51.100.200/32", nil},
		{"within an allowed network", "", list(12, "198.51.100.%d"), 5, "198.51.0.0/16", nil},
		{"from where somebody logs in", "alpha login bob 198.51.100.99", list(12, "198.51.100.%d"), 5, "", nil},
		{"nine /64 of a /56", "", list(9, "2001:db8:0:%x::1"), 1, "", nil},
		{"ten /64 of a /56", "", list(10, "2001:db8:0:%x::1"), 1, "", []string{"2001:db8::/56"}},
		{"one /64", "", list(40, "2001:db8::%x"), 1, "", nil},
		{"forty /64 of a /48", "", list(40, "2001:db8:0:%x00::1"), 1, "", []string{"2001:db8::/48"}},
		{"a /48 with an allowed address", "", list(40, "2001:db8:0:%x00::1"), 1, "2001:db8:0:ffff::1/128", nil},
		{"a /56 with one, in a /48", "", list(10, "2001:db8:0:%x::1"), 1, "2001:db8:0:ff::1/128", nil},
	} {
		s := newSite(t, func(c *config.Config) { c.Accounts.Addresses = 0 })
		if c.allow != "" {
			s.g.SetAllow(allow.NewList([]allow.Entry{{Prefix: netip.MustParsePrefix(c.allow)}}), s.now, nil)
		}
		if c.before != "" {
			s.say(c.before)
		}
		half := len(c.addrs) / 2
		bans := attack(s, "failed", c.lines, c.addrs[:half]...)
		s.restart()
		bans = append(bans, attack(s, "failed", c.lines, c.addrs[half:]...)...)
		if got := wide(bans); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
			continue
		}
		if c.lines == 5 && c.allow != "198.51.0.0/16" && len(bans) != len(c.addrs)+len(c.want) {
			t.Errorf("%s: %d bans: those of the addresses themselves stay", c.name, len(bans))
		}
		for _, b := range bans {
			if b.Reason != state.Network {
				continue
			}
			var parts, addrs []string
			for _, p := range b.Parts {
				parts = append(parts, p.Addr().String())
			}
			for _, a := range c.addrs {
				p, _ := netip.MustParseAddr(a).Prefix(map[bool]int{true: 64, false: 32}[b.Prefix.Addr().Is6()])
				addrs = append(addrs, p.Addr().String())
			}
			slices.Sort(parts)
			slices.Sort(addrs)
			if !b.Wide || !slices.Equal(parts, addrs) || len(b.Evidence) != len(addrs) {
				t.Errorf("%s: the ban names %q and %d lines, want %q", c.name, parts, len(b.Evidence), addrs)
			}
			for _, f := range b.Evidence {
				if f.Ref == jail.NoRef || !b.Prefix.Contains(s.seen[f.Ref].addr) {
					t.Errorf("%s: evidence %+v", c.name, f)
				}
			}
			if o := s.g.Entry((&event{at: b.Since + 1, jail: "beta", what: "failed", user: "z", addr: b.Addr.Next()}).entry(1), 1); len(o.Failures) != 0 {
				t.Errorf("%s: a neighbour is not held: %+v", c.name, o)
			}
		}
	}
	// With single addresses counted, a /64 is what they have in common.
	s := newSite(t, func(c *config.Config) { c.Jails[0].Prefix6 = 128 })
	if got := wide(attack(s, "failed", 2, list(10, "2001:db8::%x")...)); got != nil {
		t.Errorf("%q: each may be somebody who has mistyped the own password", got)
	}
	if got := wide(attack(s, "unknown", 1, list(10, "2001:db8::%x")...)); !slices.Equal(got, []string{"2001:db8::/64"}) {
		t.Errorf("%q", got)
	}
	s = newSite(t, nil)
	if got := wide(attack(s, "failed", 1, list(64, "2001:db8:0:%x::1")...)); !slices.Equal(got, []string{"2001:db8::/56", "2001:db8::/48"}) {
		t.Errorf("%q: sixty-four are no coincidence", got)
	}
	// A login clears the /64 that it comes from.
	s = newSite(t, nil)
	for i := range 30 {
		s.say(fmt.Sprintf("alpha failed u%d 2001:db8:0:%x::1", i, i))
		if b := s.say(fmt.Sprintf("alpha login u%d 2001:db8:0:%x::1", i, i)); len(b) > 0 {
			t.Fatal(b)
		}
	}
	s.now += us(8 * 24 * time.Hour) // the logins no longer protect anybody
	if got := wide(attack(s, "failed", 1, list(9, "2001:db8:0:%x::1")...)); got != nil {
		t.Errorf("%q", got)
	}
}

// The clock is wrong for a while: nothing known before is lost, and nothing is excused forever.
func TestWrongClock(t *testing.T) {
	for _, jump := range []time.Duration{-40 * 365 * 24 * time.Hour, -10 * 24 * time.Hour, 10 * 24 * time.Hour, 2 * 365 * 24 * time.Hour} {
		for _, stop := range []bool{false, true} {
			s := newSite(t, nil)
			s.say("alpha login bob 203.0.113.7")
			s.say("alpha failed eve 203.0.113.8")
			right := s.now
			s.now += us(jump)
			s.say("alpha login eve 192.0.2.1")
			s.say("alpha failed eve 192.0.2.2")
			s.say("alpha step /x eve 192.0.2.2")
			s.g.Pardon(netip.MustParsePrefix("203.0.113.9/32"), s.now)
			if stop {
				s.restart()
			}
			s.now = right
			s.say("alpha login eve 192.0.2.1")
			for range 9 {
				if b := s.say("alpha failed bob 203.0.113.7"); len(b) != 0 {
					t.Errorf("%v: the login from before is not known any more: %+v", jump, b)
				}
			}
			var bans []Ban
			for range 5 {
				bans = append(bans, s.say("+1s alpha failed eve 203.0.113.9")...)
			}
			if len(bans) != 1 {
				t.Errorf("%v: the pardon of another time forgives: %+v", jump, bans)
			}
			if c := s.g.Counted(netip.MustParseAddr("203.0.113.8"), s.now); len(c) == 0 || c[0].Attempts != 1 {
				t.Errorf("%v: %+v", jump, c)
			}
			if s.g.pending.Len() != 0 {
				t.Errorf("%v: an attempt waits for another time", jump)
			}
		}
	}
}

// hold returns the bytes in use on the heap.
func hold() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An attacker with 10,000 addresses and a whole /48, who invents user names, process ids and steps, gets nobody else
// banned, locks no owner out of an account, and stays within the memory bounds.
func TestHostile(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Limits.MaxTracked = 100_000 })
	const owner, colleague, neighbour = "192.0.2.7", "2001:db8:ff::7", "203.0.113.200"
	innocent := []string{owner, colleague, neighbour}
	s.say("alpha login bob " + owner)
	s.say("alpha login eve " + neighbour) // in the /24 of some of the attackers
	before := hold()
	r := rand.New(rand.NewPCG(3, 5))
	what := []string{"failed", "unknown", "step", "nobody", "final", "lone", "void", "join", "some"}
	for i := range 300_000 {
		e := event{at: s.now + int64(i)*20_000, jail: []string{"alpha", "beta", "gamma"}[i%3], what: what[r.IntN(len(what))], source: string(rune('a' + r.IntN(20))), n: 1 + r.IntN(3), pid: r.Uint32()>>r.IntN(20) + 1}
		if e.user = "bob"; i%4 > 0 {
			e.user = fmt.Sprint("x", r.Uint32())
		}
		if i%2 == 0 {
			e.addr = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 0, 1, byte(r.Uint32()), byte(r.Uint32()), 15: byte(r.Uint32())})
		} else if k := r.IntN(10_000); k < 150 {
			e.addr = netip.AddrFrom4([4]byte{203, 0, 113, byte(k)})
		} else {
			e.addr = netip.AddrFrom4([4]byte{198, 18, byte(k >> 8), byte(k)})
		}
		var o *Outcome
		if o = s.g.Entry(e.entry(i), jail.Ref(i)); i%1000 == 0 {
			s.g.Expire(e.at, e.at)
		}
		for k := range o.Bans {
			b := &o.Bans[k]
			for _, a := range innocent {
				if b.Prefix.Contains(netip.MustParseAddr(a)) {
					t.Fatalf("entry %d: %+v", i, b)
				}
			}
		}
		switch i % 50_000 {
		case 10_000, 10_001: // the owner mistypes twice, from home and from a place that is new
			f := event{at: e.at, jail: "alpha", what: "failed", user: "bob", addr: netip.MustParseAddr(innocent[i/50_000%2])}
			if o := s.g.Entry(f.entry(1<<31+i), 0); len(o.Bans) != 0 {
				t.Fatalf("the owner is locked out: %+v", o.Bans)
			}
		case 10_002:
			f := event{at: e.at, jail: "alpha", what: "login", user: "bob", addr: netip.MustParseAddr(innocent[i/50_000%2])}
			s.g.Entry(f.entry(1<<31+i), 0)
		}
	}
	grown := hold() - before
	pairs := 100_000 / detectorShare
	if n := s.g.conns.Len(); n > 2*(1<<14)+2*(1<<12) {
		t.Errorf("%d connections", n)
	}
	if n := s.g.pending.Len(); n > 1<<13 {
		t.Errorf("%d pending attempts", n)
	}
	if _, n := s.g.accounts.Len(); n > pairs {
		t.Errorf("%d pairs of account and address", n)
	}
	for _, n := range s.g.networks {
		if n.Len() > pairs {
			t.Errorf("%d networks", n.Len())
		}
	}
	if n := s.g.logins.Len(); n > 2*pairs {
		t.Errorf("%d logins", n)
	}
	if n, limit, _ := s.g.Tracked(); n > limit*3/2+3*2048 {
		t.Errorf("%d prefixes are tracked", n)
	}
	// Prefixes with their failures at 100 bytes each, bans at some 60, and tables of bounded length.
	if most := int64(100_000*100) + 60*int64(s.g.State().Len())*3 + 12<<20; grown > most {
		t.Errorf("%d bytes more than before, at most %d are allowed", grown, most)
	}
	t.Logf("%d KiB, %d bans", grown>>10, s.g.State().Len())
	runtime.KeepAlive(s)
}

// An attacker who logs in to their own accounts from very many addresses cannot exceed the bounds on what the engine keeps.
func TestLoginsBounded(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Limits.MaxTracked = 100_000 })
	for i := range 100_000 {
		e := event{at: s.now + int64(i), jail: "alpha", what: "login", user: fmt.Sprint("x", i%100), addr: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})}
		s.g.Entry(e.entry(i), 0)
	}
	if n := s.g.logins.Len(); n > 2*(100_000/loginShare) {
		t.Errorf("%d logins", n)
	}
}

// Other people's logins do not displace the colleagues who share an address, so its limits stay raised. What a small or busy host has to
// forget shows in the status.
func TestLoginsOfMany(t *testing.T) {
	office := netip.MustParseAddr("203.0.113.7")
	for _, c := range []struct {
		tracked, others int
		rest            time.Duration // between two logins of one of the others
		displaced       bool
	}{
		{100_000, 2000, 2 * time.Hour, false},
		{1000, 2000, 2 * time.Hour, false},
		{1000, 20_000, 2 * time.Hour, true},
	} {
		s := newSite(t, func(conf *config.Config) { conf.Limits.MaxTracked = c.tracked })
		s.now = start / (86400 * sec) * 86400 * sec // people are counted by day
		n := 0
		login := func(user string, addr netip.Addr) {
			n++
			s.now += us(time.Millisecond)
			s.g.Entry((&event{at: s.now, jail: "alpha", what: "login", user: user, addr: addr}).entry(n), 0)
		}
		people := func() {
			for i := range 20 {
				login(fmt.Sprint("colleague", i), office)
			}
		}
		people()
		for range 3 {
			for i := range c.others {
				login(fmt.Sprint("x", i), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
				if c.displaced && i%1000 == 0 { // their programs ask for mail all day
					people()
				}
			}
			s.now += us(c.rest)
		}
		key := s.g.jails[0].counter.Key(office)
		if got := s.g.logins.People(key, s.g.seed, s.now); got != 20 {
			t.Errorf("%d others with max_tracked %d: %d people, want 20", c.others, c.tracked, got)
		}
		if lost := s.g.Distributed(s.now).Displaced; lost > 0 != c.displaced {
			t.Errorf("%d others with max_tracked %d: %d logins were displaced", c.others, c.tracked, lost)
		}
	}
}
