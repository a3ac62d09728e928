package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bailiff/policy/config"
)

// An attempt counts once, however many lines report it, and not at all if it succeeds or is void. The engine is stopped
// and started again after every line.
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

// A process serves one address after another: attempts that waited for the first do not count against the next.
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

// A success clears its account's failures from that prefix in every jail, whatever prefix length the jail counts by, and
// nothing else.
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

// TestSummaryAtTimeout: a connection that fails to log in and then idles until Dovecot closes it, after three minutes, is one attempt,
// whenever its lines come.
func TestSummaryAtTimeout(t *testing.T) {
	for after := 0; after < 400; after++ { // since the first line of another connection, in seconds
		s := newSite(t, nil)
		s.say("gamma join 192.0.2.9")
		s.say(fmt.Sprintf("+%ds gamma step /unix bob 203.0.113.7", after))
		for range 18 {
			s.settle(s.now + 10*sec)
			s.g.Expire(s.now, s.now)
		}
		s.say("+1s gamma final 1 bob 203.0.113.7")
		if n, _ := s.attempts(); n != 1 {
			t.Fatalf("%d s after another line: %d attempts, want 1", after, n)
		}
	}
}
