package policy

import (
	"net/netip"
	"strings"
	"testing"

	"bailiff/policy/blocklist"
	"bailiff/policy/config"
	"bailiff/policy/prefix"
)

// doubling is a list of 203.0.113.0/24 and 2001:db8::/32 whose failures count double in a jail.
func doubling(jails ...string) []Double {
	set := new(prefix.Set)
	for _, p := range []string{"203.0.113.0/24", "2001:db8::/32"} {
		set.Add(netip.MustParsePrefix(p))
	}
	return []Double{{blocklist.List{Jails: jails}, set}}
}

// How many lines from such a country lead to a ban, and what still leads to none.
func TestDouble(t *testing.T) {
	few := func(c *config.Config) { c.Jails[0].MaxRetry = 2 }
	for _, c := range []struct {
		name, lines string
		change      func(*config.Config)
		want        string // of the last line; the others must ban nobody
	}{
		{"from there", "alpha failed a 203.0.113.7|alpha failed a 203.0.113.7|alpha failed a 203.0.113.7", nil, "alpha 203.0.113.7/32 failures 3"},
		{"IPv6", "alpha failed a 2001:db8::7|alpha failed a 2001:db8::7|alpha failed a 2001:db8::7", nil, "alpha 2001:db8::/64 failures 3"},
		{"from elsewhere", "alpha failed a 198.51.100.7|alpha failed a 198.51.100.7|alpha failed a 198.51.100.7|alpha failed a 198.51.100.7", nil, ""},
		{"another jail", "beta failed a 203.0.113.7|beta failed a 203.0.113.7|beta failed a 203.0.113.7|beta failed a 203.0.113.7", nil, ""},
		{"one slip, however strict the jail", "alpha failed a 203.0.113.7", few, ""},
		{"one slip, and then the password", "alpha failed a 203.0.113.7|alpha login a 203.0.113.7|alpha failed a 203.0.113.7", few, ""},
		{"a guest who has logged in", "alpha login a 203.0.113.7|alpha failed b 203.0.113.7|alpha failed b 203.0.113.7|alpha failed b 203.0.113.7|alpha failed b 203.0.113.7", nil, ""},
		{"three prompts for a wrong local name", "alpha unknown a 203.0.113.7|alpha unknown a 203.0.113.7|alpha unknown a 203.0.113.7", nil, ""},
		{"many nonexistent names", "alpha unknown a 203.0.113.7|alpha unknown b 203.0.113.7|alpha unknown c 203.0.113.7", nil, "alpha 203.0.113.7/32 failures 3"},
		{"by the pattern", "alpha heavy a 203.0.113.7|alpha failed a 203.0.113.7", nil, "alpha 203.0.113.7/32 failures 2"},
	} {
		s := newSite(t, c.change)
		s.g.SetDouble(doubling("alpha"))
		lines := strings.Split(c.lines, "|")
		for i, l := range lines {
			got, want := strings.Join(names(s.say(l)), "; "), ""
			if i == len(lines)-1 {
				want = c.want
			}
			if got != want {
				t.Errorf("%s: line %d leads to %q, want %q", c.name, i+1, got, want)
			}
		}
	}
}

// The three prompts of a first connection have the normal weight; those of a second one do not.
func TestDoubleConnection(t *testing.T) {
	h := newHost(t)
	h.g.SetDouble(doubling())
	for i := range 4 {
		if o := h.line(100, "Failed password for root from 203.0.113.7 port 1 ssh2"); len(o.Bans) > 0 || o.Failures[0].Count != i+1 {
			t.Errorf("prompt %d: %+v", i+1, o)
		}
	}
	if o := h.line(101, "Failed password for root from 203.0.113.7 port 2 ssh2"); len(o.Bans) != 1 || o.Failures[0].Count != 6 || o.Bans[0].Failures != 5 {
		t.Errorf("%+v", o)
	}
	h.g.SetDouble(nil)
	for range 4 {
		if o := h.fail("203.0.113.8"); len(o.Bans) > 0 {
			t.Errorf("%+v", o)
		}
	}
}
