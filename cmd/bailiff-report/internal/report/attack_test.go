package report

import (
	"maps"
	"slices"
	"testing"

	"bailiff/policy/filter"
)

// Every built-in filter has an entry that the recipients accept, and there are no others.
func TestAttacks(t *testing.T) {
	if have, want := slices.Sorted(maps.Keys(Attacks)), slices.Sorted(slices.Values(filter.Builtin())); !slices.Equal(have, want) {
		t.Errorf("attacks are for\n%v\nfilters are\n%v", have, want)
	}
	unlisted := []string{"murmur", "named-refused", "nsd", "openvpn", "pam-generic", "slapd", "squid", "xrdp", "znc"}
	for name, a := range Attacks {
		if c := a.AbuseIPDB; slices.Contains(c, catSSH) && !slices.Contains(c, catBruteForce) || !slices.IsSorted(c) {
			t.Errorf("%s: categories %v", name, c)
		}
		if (a.Blocklist == "") != slices.Contains(unlisted, name) {
			t.Errorf("%s: has blocklist.de the service %q?", name, a.Blocklist)
		}
		if (a.XARF == "") != (a.Service == "") {
			t.Errorf("%s: %s of the service %q", name, a.XARF, a.Service)
		}
	}
}
