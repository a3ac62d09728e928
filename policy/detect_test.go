package policy

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bailiff/policy/allow"
	"bailiff/policy/config"
	"bailiff/policy/jail"
	"bailiff/policy/ledger"
)

// site feeds an engine with lines of plain services, with the built-in values but for networks.
type site struct {
	t    testing.TB
	c    *config.Config
	g    *Engine
	now  int64
	seen []event

	failures []Failure // of all
}

func newSite(t testing.TB, change func(*config.Config)) *site {
	t.Helper()
	c := plainConfig(t, "alpha", "beta", ":gamma")
	c.Neighbours.Net4, c.Neighbours.Net6 = 10, config.Net6{Bits64: 10, Bits56: 10, Bits48: 40}
	if change != nil {
		change(c)
	}
	return &site{t: t, c: c, g: newEngine(t, c), now: start}
}

// say judges a line such as "alpha failed bob 203.0.113.7", ten seconds after the one before, or after what stands
// before it as in "+1h alpha failed …" (or -1h: read late). #7 is the process id, /x the source, and a number what the line
// sums up.
func (s *site) say(line string) []Ban {
	s.t.Helper()
	e := s.event(line)
	s.seen = append(s.seen, e)
	o := s.g.Entry(e.entry(len(s.seen)-1), jail.Ref(len(s.seen)-1))
	if o.Hits != 1 {
		s.t.Fatalf("%q is no line", line)
	}
	s.failures = append(s.failures, o.Failures...)
	return slices.Clone(o.Bans)
}

// settle has time pass.
func (s *site) settle(at int64) []Ban {
	s.now = at
	o := s.g.Settle(at)
	s.failures = append(s.failures, o.Failures...)
	return slices.Clone(o.Bans)
}

func (s *site) event(line string) event {
	s.t.Helper()
	f := strings.Fields(line)
	step := 10 * time.Second
	if f[0][0] == '+' || f[0][0] == '-' {
		var err error
		if step, err = time.ParseDuration(f[0]); err != nil {
			s.t.Fatal(err)
		}
		f = f[1:]
	}
	s.now += us(step)
	e := event{at: s.now, jail: f[0], what: f[1]}
	for _, w := range f[2:] {
		switch n, err := strconv.Atoi(strings.TrimPrefix(w, "#")); {
		case err == nil && w[0] == '#':
			e.pid = uint32(n)
		case err == nil:
			e.n = n
		case strings.ContainsAny(w, ".:"):
			e.addr = netip.MustParseAddr(w)
		case strings.HasPrefix(w, "/"):
			e.source = w[1:]
		default:
			e.user = w
		}
	}
	return e
}

// restart ends the engine and begins anew with what it saved.
func (s *site) restart() {
	s.t.Helper()
	led, err := ledger.Decode(s.g.Snapshot(nil))
	if err != nil {
		s.t.Fatal(err)
	}
	old := s.g.Allow()
	if s.g, err = New(s.c, led); err != nil || s.g.Lost() != nil {
		s.t.Fatal(err, s.g.Lost())
	}
	s.g.SetAllow(old, s.now)
	s.g.Rebuild(true)
	for i, e := range s.seen {
		if near(s.now, e.at, s.g.Window()) {
			s.g.Entry(e.entry(i), jail.Ref(i))
		}
	}
	s.g.Rebuild(false)
}

func names(bans []Ban) (l []string) {
	for _, b := range bans {
		l = append(l, fmt.Sprintf("%s %s %s %d", b.Jail, b.Prefix, b.Reason, b.Failures))
	}
	slices.Sort(l)
	return l
}

// What fail2ban needs its recidive jail for, which reads fail2ban's own log: bans of different jails escalate together,
// by a count that is kept with the ledger.
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

// How long a ban lasts cannot be foretold, and is the same in every replay.
func TestSpread(t *testing.T) {
	lengths := map[int64]bool{}
	var first []string
	for round := range 2 {
		s := newSite(t, func(c *config.Config) { c.Escalate.Spread = time.Hour })
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
		c.Escalate = config.Escalate{Factor: 10, Max: 72 * time.Hour, Forget: config.Forever, Spread: time.Hour}
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

// How many lines lead to a ban, and for what: Failures of a ban are attempts, whatever they weigh.
func TestWeights(t *testing.T) {
	times := func(n int, line string) string { return strings.TrimSuffix(strings.Repeat(line+"|", n), "|") }
	spelled := func(c *config.Config) { c.Jails[0].Weights.Account = 1 }
	for _, c := range []struct {
		name, lines string
		change      func(*config.Config)
		want        string // of the last line; the others must ban nobody
	}{
		{"five on one account", times(5, "failed a"), nil, "failures 5"},
		{"three prompts for a wrong local name, then the right one", "unknown bbo|unknown bbo|unknown bbo|failed bob|failed bob|login bob", nil, ""},
		{"twice three prompts", times(6, "unknown a"), nil, ""},
		{"one unknown account again and again", times(7, "unknown a"), nil, "failures 7"},
		{"unknown, without that weight", times(5, "unknown a"), func(c *config.Config) { c.Jails[0].Weights.Unknown = 1 }, "failures 5"},
		{"two unknown accounts", "unknown a|unknown a|unknown a|unknown b|unknown b|unknown b|unknown b", nil, "failures 7"},
		{"unknown accounts, the fourth and further ones twice", "unknown a|unknown b|unknown c|unknown d", nil, "failures 4"},
		{"the same after the fourth", "unknown a|unknown b|unknown c|failed d|unknown a", nil, "failures 5"},
		{"another account each time", "failed a|failed b|failed c|failed d|failed e", nil, "failures 5"},
		{"another account each time, with a weight", "failed a|failed b|failed c", spelled, "failures 3"},
		{"two accounts in turn, with a weight", "failed a|failed b|failed a|failed b", spelled, "failures 4"},
		{"two slips of a name, then the password", "unknown bbo|unknown bobb|login bob", nil, ""},
		{"by the pattern", "heavy a|heavy a", nil, "failures 2"},
		{"several attempts in a line", "final 4 a|failed a", nil, "failures 5"},
		{"all attempts in a line", "final 7 a", nil, "failures 7"},
		{"one line is enough", "exploit", nil, "failures 1"},
		{"two lines are enough", "twice|twice", nil, "failures 2"},
		// Several people behind one address, who have all logged in from there lately, mistype at once.
		{"an office", "login a|login b|login c|login d|" + times(3, "failed a|failed b|failed c|failed d"), nil, ""},
		{"an office with a thief", "login a|login b|" + times(9, "failed a") + "|failed v|failed w|failed x|failed y|failed z", nil, "failures 5"},
		// His own account does not help him.
		{"an insider", "login eve|failed a|login eve|failed b|login eve|failed c|login eve|failed d|login eve|failed e", nil, "failures 5"},
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

// attempts sums up what the engine has counted.
func (s *site) attempts() (counted, excused int) {
	for _, f := range s.failures {
		if f.Excused {
			excused += f.Attempts
		} else {
			counted += f.Attempts
		}
	}
	return counted, excused
}

// One attempt is one, however many lines tell of it, and none when it succeeds or is void. The engine is stopped and started
// again after every line.
func TestAttempts(t *testing.T) {
	for _, c := range []struct {
		name, lines string
		want        int
	}{
		{"a step and the end", "step #7 /x bob|final #7 1 bob", 1},
		{"three at once, two modules", "step #7 /x bob|step #7 /x bob|step #7 /y bob|step #7 /x bob|step #7 /y bob|final #7 1 bob|step #7 /y bob|final #7 2 bob", 3},
		{"the end sums up what its steps told", "step #7 /x bob|final #7 1 bob|step #7 /x bob|final #7 1 bob|end #7 2", 2},
		{"two ends", "final #7 1 bob|end #7 1", 1},
		{"steps without an end", "step #7 /x bob|step #7 /y bob|+29s beta mail|+2s beta mail", 1},
		{"the end comes after its time", "step #7 /x bob|+31s alpha final #7 1 bob", 1},
		{"a step of a login", "step #7 /x bob|login #7 bob|+1m beta mail", 0},
		{"a step of a login under another name", "step #7 /x bbo|login #7 bob|+1m beta mail", 0},
		{"a step of a login that another daemon logs", "step #7 /x bob|beta login #8 bob|+1m beta mail", 0},
		{"another account's login", "step #7 /x bob|beta login #8 eve|+1m beta mail", 1},
		{"a void attempt", "step #7 /x bob|void #7 bob|final #7 1 bob|+1m beta mail", 0},
		{"a void attempt, and one more", "step #7 /x bob|void #7 bob|step #7 /x bob|final #7 1 bob|final #7 1 bob", 1},
		{"void before any step", "void #7 bob|final #7 1 bob|final #7 1 bob", 1},
		{"void before the address is known", "lone #7 bob|void #7 bob|join #7|+1m beta mail", 0},
		{"the address comes later", "lone #7 bob|lone #7 bob|join #7|+1m beta mail", 2},
		{"one process after another", "step #7 /x bob|final #7 1 bob|step #8 /x bob|final #8 1 bob", 2},
		{"an end of fewer than its step", "step #7 /x bob|step #7 /x bob|final #7 1 bob|+1m beta mail", 2},
		{"on two accounts", "step #7 /x bob|step #7 /x eve|final #7 2 bob", 2},
		{"joined by address", "gamma step #7 /x bob|gamma step #8 /y bob|gamma final #9 1 bob", 1},
		{"joined by address, in turn", "gamma step #7 /x bob|gamma final #9 1 bob|gamma step #8 /x bob|gamma final #9 1 bob", 2},
		{"joined by address, a login of another", "gamma step #7 /x bob|gamma login #8 eve|+1m beta mail", 1},
		{"joined by address, the own login", "gamma step #7 /x bob|gamma login #8 bob|+1m beta mail", 0},
	} {
		for _, stop := range []bool{false, true} {
			s := newSite(t, nil)
			for _, l := range strings.Split(c.lines, "|") {
				if f := strings.Fields(l); !slices.Contains([]string{"beta", "gamma"}, f[0]) && f[0][0] != '+' {
					l = "+1s alpha " + l
				} else if f[0][0] != '+' {
					l = "+1s " + l
				}
				if !strings.Contains(l, "lone") {
					l += " 203.0.113.7"
				}
				if s.say(l); stop {
					s.restart()
				}
			}
			s.settle(s.now + 60*sec)
			if got, _ := s.attempts(); got != c.want {
				t.Errorf("%s: %d attempts, want %d (with restarts: %v)", c.name, got, c.want, stop)
			}
		}
	}
}

// A process serves one address after another: what waited for the one says nothing of the other.
func TestAttemptsOfOneProcess(t *testing.T) {
	s := newSite(t, nil)
	s.say("alpha step #7 /x bob 203.0.113.7")
	s.say("+25s alpha step #7 /x eve 203.0.113.8")
	s.say("+6s alpha final #7 1 eve 203.0.113.8") // bob's has waited long enough
	if got, _ := s.attempts(); got != 2 {
		t.Errorf("%d attempts, want 2", got)
	}
}

// Finish counts what is pending.
func TestFinish(t *testing.T) {
	s := newSite(t, nil)
	for range 4 {
		s.say("alpha failed bob 203.0.113.7")
	}
	s.say("alpha step /x bob 203.0.113.7")
	if o := s.g.Finish(); len(o.Bans) != 1 || o.Bans[0].Failures != 5 || o.Bans[0].Since != s.now {
		t.Errorf("%+v", o)
	}
}

// A success takes back what its account failed from that prefix in every jail, whatever each of them counts as one prefix,
// and nothing else.
func TestSuccessEverywhere(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Jails[0].Prefix6 = 128 })
	const addr = "2001:db8::7"
	for range 2 {
		s.say("alpha failed bob " + addr)
		s.say("alpha failed eve " + addr)
		s.say("beta failed bob " + addr)
		s.say("beta failed eve " + addr)
	}
	s.say("alpha login bob " + addr)
	for _, c := range s.g.Counted(netip.MustParseAddr(addr), s.now) {
		if c.Window == WindowNormal && c.Attempts != 2 {
			t.Errorf("%d attempts are left in %s", c.Attempts, c.Jail)
		}
	}
	for _, j := range []string{"alpha", "beta"} { // the login is known to each
		s.say(j + " failed bob " + addr)
	}
	if _, excused := s.attempts(); excused != 2 {
		t.Errorf("%d attempts are excused, want 2", excused)
	}
}

// A device with an old password, from where its owner logged in: so many times a day, and no more.
func TestDevice(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Jails[0].Slow.MaxRetry, c.Accounts.Addresses = 0, 0 })
	s.now = start / (86400 * sec) * 86400 * sec // the days are of UTC
	s.say("alpha login bob 203.0.113.7")
	for i := range deviceFailures {
		if b := s.say("+60s alpha failed bob 203.0.113.7"); len(b) > 0 {
			t.Fatalf("failure %d: %+v", i+1, b)
		}
		if i == 400 {
			s.restart()
		}
	}
	var bans []Ban
	for range 5 {
		bans = append(bans, s.say("+60s alpha failed bob 203.0.113.7")...)
	}
	if len(bans) != 1 {
		t.Errorf("%d bans after %d failures", len(bans), deviceFailures)
	}
	s.g.Ledger().Remove(netip.MustParsePrefix("203.0.113.7/32"), "alpha")
	for range 10 {
		if b := s.say("+24h alpha failed bob 203.0.113.7"); s.now < start+7*86400*sec && len(b) > 0 {
			t.Errorf("a day later: %+v", b)
		}
	}
	if f := s.failures[len(s.failures)-1]; f.Excused {
		t.Error("excused ten days after the login")
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
				if b.Reason != ledger.Slow || got == n && b.Failures > n {
					t.Errorf("%s: %+v", c.name, b)
				}
			}
		}
		if got != c.want {
			t.Errorf("%s: banned at attempt %d, want %d", c.name, got, c.want)
		}
	}
	// A success takes back what its user has in the slow window, and leaves what he has on others' accounts.
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
	off := func(c *config.Config) { c.Neighbours.Net4 = 0 }
	s := newSite(t, off)
	if b := spray(s, 9, 3, "root"); len(b) > 0 { // nine are too few
		t.Fatalf("%+v", b)
	}
	// However many they are, nobody is banned for two.
	for _, c := range []struct{ addrs, each, bans int }{{10, 2, 0}, {10, 4, 10}, {40, 2, 0}, {200, 2, 0}, {200, 3, 200}} {
		bans := spray(newSite(t, off), c.addrs, c.each, "root")
		if len(bans) != c.bans || c.bans > 0 && bans[0].Failures != 3 {
			t.Errorf("%+v: %d bans, %+v", c, len(bans), bans[:min(1, len(bans))])
		}
	}
	// Not even with accounts.max_retry below three.
	if bans := spray(newSite(t, func(c *config.Config) { off(c); c.Accounts.MaxRetry = 1 }), 20, 2, "root"); len(bans) > 0 {
		t.Errorf("%+v", bans[0])
	}
	// What they did before the account came under attack bans them when they fail again, and not before.
	s = newSite(t, off)
	spray(s, 9, 4, "root")
	if b := s.say("+11m alpha failed root 192.0.2.9"); len(b) > 0 {
		t.Errorf("the tenth bans %+v", b)
	}
	if b := s.say("alpha failed other 198.51.0.1"); len(b) > 0 {
		t.Errorf("a failure on another account bans %+v", b)
	}
	if b := s.say("alpha failed root 198.51.0.1"); len(b) != 1 || b[0].Prefix.String() != "198.51.0.1/32" || b[0].Failures != 5 || b[0].Reason != ledger.Account {
		t.Errorf("%+v", b)
	}
	// IPv6 addresses of one /48 are one, however many lie in it.
	s = newSite(t, func(c *config.Config) { c.Neighbours.Net6 = config.Net6{} })
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
		if b.Reason != ledger.Account || b.Failures != 3 || len(b.Evidence) != 3 {
			t.Fatalf("%+v", b)
		}
		for _, f := range b.Evidence { // each for what it did itself
			if e := s.seen[f.Ref]; e.addr != b.Addr || e.user != "root" {
				t.Fatalf("%s is banned for %+v", b.Addr, e)
			}
		}
	}
	// An address that logged in to the account lately neither counts nor is banned, however often others fail; somebody
	// new may mistype twice: nobody locks an account's owner out.
	s = newSite(t, off)
	s.say("alpha login bob 203.0.113.7")
	spray(s, 15, 3, "bob")
	for _, l := range []string{"alpha failed bob 203.0.113.7", "alpha failed bob 203.0.113.7", "alpha failed bob 203.0.113.7", "alpha failed bob 203.0.113.7", "alpha failed bob 192.0.2.9", "alpha failed bob 192.0.2.9", "alpha login bob 192.0.2.9"} {
		if b := s.say(l); len(b) > 0 {
			t.Fatalf("%s: %+v", l, b)
		}
	}
	// What he did before his login is taken back, in the account's window, too.
	s.now += us(time.Hour)
	for i := range 4 {
		if b := s.say("+4h alpha failed bob 192.0.2.9"); len(b) > 0 {
			t.Fatalf("failure %d after the login: %+v", i+1, b)
		}
	}
	// An allowed address is not banned, and does not count.
	s = newSite(t, off)
	s.g.SetAllow(allow.NewList([]allow.Entry{{Prefix: netip.MustParsePrefix("198.51.0.0/27")}}), s.now)
	for _, b := range spray(s, 40, 3, "bob") {
		if netip.MustParsePrefix("198.51.0.0/27").Contains(b.Addr) {
			t.Fatalf("%+v", b)
		}
	}
	// Over jails, and for who fails in a jail of its own.
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
	s := newSite(t, func(c *config.Config) { c.Neighbours.Net4 = 0 })
	for k := range 3 {
		for i := range 15 {
			var bans []Ban
			for _, j := range []string{"alpha", "beta"} {
				bans = append(bans, s.say(fmt.Sprintf("%s failed info 198.51.100.%d", j, i))...)
			}
			if want := map[bool]int{true: 1}[k == 2]; len(bans) != want || want > 0 && (bans[0].Failures != 3 || bans[0].Reason != ledger.Account || len(bans[0].Evidence) != 3) {
				t.Fatalf("attempt %d of address %d: %+v", k+1, i, bans)
			}
		}
	}
}

// A flood of invented names takes no more memory than it may, and does not hide the attack on a name that counts.
func TestAccountFlood(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Limits.Tracked, c.Neighbours.Net4 = 100_000, 0 })
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
	sp := s.g.Spreading(s.now)
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
			if b.Reason == ledger.Neighbours {
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
			s.g.SetAllow(allow.NewList([]allow.Entry{{Prefix: netip.MustParsePrefix(c.allow)}}), s.now)
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
			if b.Reason != ledger.Neighbours {
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
	if got := wide(attack(s, "failed", 1, list(10, "2001:db8::%x")...)); !slices.Equal(got, []string{"2001:db8::/64"}) {
		t.Errorf("%q", got)
	}
	// A login clears the /64 that it comes from.
	s = newSite(t, nil)
	for i := range 30 {
		s.say(fmt.Sprintf("alpha failed u%d 2001:db8:0:%x::1", i, i))
		if b := s.say(fmt.Sprintf("alpha login u%d 2001:db8:0:%x::1", i, i)); len(b) > 0 {
			t.Fatal(b)
		}
	}
	s.now += us(8 * 24 * time.Hour) // nobody is spared any more
	if got := wide(attack(s, "failed", 1, list(9, "2001:db8:0:%x::1")...)); got != nil {
		t.Errorf("%q", got)
	}
}

// A ban that was over before anybody read of it still holds what was logged while it lasted.
func TestLapse(t *testing.T) {
	s := newSite(t, func(c *config.Config) { c.Jails[0].BanTime = time.Hour })
	var b Ban
	for range 5 {
		for _, b = range s.say("alpha failed bob 203.0.113.7") {
		}
	}
	s.g.Lapse(b.Ban)
	if s.g.Ledger().Len() != 0 {
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

// A ledger of a version before has no counts: the windows are filled from the journal.
func TestOldLedger(t *testing.T) {
	s := newSite(t, nil)
	for range 4 {
		s.say("alpha failed bob 203.0.113.7")
	}
	led, err := ledger.Decode(s.g.Ledger().AppendSnapshot(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if s.g, err = New(s.c, led); err != nil {
		t.Fatal(err)
	}
	s.g.Rebuild(true)
	for i, e := range s.seen {
		s.g.Entry(e.entry(i), jail.Ref(i))
	}
	if led, err = ledger.Decode(s.g.Snapshot(nil)); err != nil || led.TakeCounts() != nil {
		t.Error("half of what was counted is saved", err)
	}
	s.g.Rebuild(false)
	if b := s.say("alpha failed bob 203.0.113.7"); len(b) != 1 || b[0].Failures != 5 {
		t.Errorf("%+v", b)
	}
}

// Whatever the saved counts are, they are taken over as a whole or not at all.
func TestDamagedCounts(t *testing.T) {
	s := newSite(t, nil)
	r := rand.New(rand.NewPCG(5, 6))
	for _, e := range stream(r, 400, 5, []string{"alpha", "beta"}, 0) {
		s.g.Entry(e.entry(1), 1)
	}
	led, err := ledger.Decode(s.g.Snapshot(nil))
	if err != nil {
		t.Fatal(err)
	}
	counts := led.TakeCounts()
	refused := 0
	for i := range 900 {
		bad := slices.Clone(counts)
		switch i % 3 {
		case 0:
			bad = bad[:r.IntN(len(bad))]
		case 1:
			bad[r.IntN(len(bad))] ^= byte(1 << r.IntN(8))
		default:
			k := r.IntN(len(bad) - 8)
			binary.LittleEndian.PutUint64(bad[k:], r.Uint64())
		}
		if len(bad) == 0 {
			continue
		}
		led, err := ledger.Decode(ledger.New().AppendSnapshot(nil, func(b []byte) []byte { return append(b, bad...) }))
		if err != nil {
			t.Fatal(err)
		}
		g, err := New(s.c, led)
		if err != nil {
			t.Fatal(err)
		}
		if g.Lost() != nil {
			refused++
			if n, _, _ := g.Tracked(); n != 0 || g.budget.Used() != 0 {
				t.Fatalf("refused (%v), but %d are tracked, %d in the budget", g.Lost(), n, g.budget.Used())
			}
		}
		for k, e := range stream(rand.New(rand.NewPCG(uint64(i), 1)), 20, 5, []string{"alpha", "beta"}, 0) {
			g.Entry(e.entry(k), jail.Ref(k))
		}
		g.Counted(netip.MustParseAddr("198.51.100.1"), start)
		g.Expire(start, start)
	}
	if refused < 300 {
		t.Errorf("%d of 900 damaged ones are refused", refused)
	}
	// Unharmed ones come out as they went in.
	led, err = ledger.Decode(s.g.Snapshot(nil))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(s.c, led)
	if err != nil || g.Lost() != nil {
		t.Fatal(err, g.Lost())
	}
	if a, b := s.g.Snapshot(nil), g.Snapshot(nil); !bytes.Equal(a, b) {
		t.Errorf("%d bytes are saved, %d after they were read", len(a), len(b))
	}
}
