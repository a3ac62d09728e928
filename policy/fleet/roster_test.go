package fleet

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"strings"
	"testing"
)

func roster(serial uint64, hosts ...string) Roster {
	r := Roster{Fleet: "shop", Serial: serial, Hosts: map[string]string{}}
	for _, h := range hosts {
		r.Hosts[h] = "g-" + h
	}
	return r
}

// TestRoster: the hosts of the latest roster are trusted; the bans of a host end when it is no longer in it.
func TestRoster(t *testing.T) {
	b := New(Rules{Roster: true, Hosts: map[string]string{"h0": "left over"}}, nil)
	ban := func(host, p string) error {
		_, _, err := b.Apply(news(host, p, start, start+hour), start, true)
		return err
	}
	if err := ban("h0", "192.0.2.1"); !errors.Is(err, ErrHost) {
		t.Error("before any roster:", err)
	}
	set := func(r Roster, changes int) {
		t.Helper()
		if l, err := b.SetRoster(r, start); err != nil || len(l) != changes {
			t.Errorf("%v, %v", l, err)
		}
	}
	set(roster(5, "h0", "h1"), 0)
	for i := range 2 {
		if err := ban(fmt.Sprintf("h%d", i), fmt.Sprintf("192.0.2.%d", i)); err != nil {
			t.Error(err)
		}
	}
	set(roster(5, "h0", "h1"), 0)
	set(roster(6, "h1", "h2"), 1) // h0 was revoked
	if err := ban("h0", "192.0.2.1"); !errors.Is(err, ErrHost) {
		t.Error("revoked:", err)
	}
	if b.Group("h0") != "" || b.Group("h2") != "g-h2" {
		t.Error("groups of h0 and h2:", b.Group("h0"), b.Group("h2"))
	}
	if _, err := b.SetRoster(roster(5, "h0", "h1"), start); !errors.Is(err, ErrOldRoster) {
		t.Error("an old one:", err)
	}
	for name, r := range map[string]Roster{
		"host":  {Fleet: "shop", Serial: 9, Hosts: map[string]string{"a.b": "g"}},
		"group": {Fleet: "shop", Serial: 9, Hosts: map[string]string{"a": ""}},
		"fleet": {Serial: 9},
		"allow": {Fleet: "shop", Serial: 9, Allow: []Allowed{{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Until: Forever, By: "ann"}}},
		"size":  {Fleet: "shop", Serial: 9, Hosts: many(MaxHosts + 1)},
	} {
		if _, err := b.SetRoster(r, start); err == nil || b.Roster().Serial != 6 {
			t.Errorf("wrong %s: %v", name, err)
		}
	}
	want := map[netip.Prefix]int64{prefixOf("192.0.2.1"): start + hour}
	if got := inEffect(b, start); !maps.Equal(got, want) {
		t.Error(got)
	}

	// After a restart the roster is in use, and an older one is still rejected. Without the rule it is kept, but not used.
	saved := b.Append(nil)
	again, err := Restore(saved, Rules{Roster: true}, nil, start)
	if err != nil || !maps.Equal(inEffect(again, start), want) || again.Group("h2") != "g-h2" {
		t.Error(inEffect(again, start), err)
	}
	if _, err := again.SetRoster(roster(5, "h0"), start); !errors.Is(err, ErrOldRoster) {
		t.Error("an old one after a restart:", err)
	}
	unused, err := Restore(saved, Rules{Hosts: map[string]string{"h3": "g"}}, nil, start)
	if err != nil || unused.Len() != 0 || unused.Group("h1") != "" || unused.Roster().Serial != 6 {
		t.Error(unused.Hosts(), err)
	}
	unused.Configure(Rules{Roster: true}, nil, start)
	if unused.Group("h1") == "" {
		t.Error("after a change of the configuration the roster is not used")
	}

	// The serial numbers of another fleet start again.
	other := roster(1, "x")
	other.Fleet = "home"
	set(other, 1)
}

// TestLeave: a host that has left its fleet forgets the list of hosts, so that it can join another of the same name. One that comes before the
// configuration has a fleet is kept.
func TestLeave(t *testing.T) {
	b := New(Rules{Roster: true}, nil)
	last := roster(math.MaxUint64, "h0")
	last.Allow = []Allowed{{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Until: Forever, By: "thief"}}
	set := func(r Roster) {
		t.Helper()
		if _, err := b.SetRoster(r, start); err != nil {
			t.Error(err)
		}
	}
	set(last)
	if _, _, err := b.Apply(news("h0", "192.0.2.1", start, start+hour), start, true); err != nil {
		t.Error(err)
	}
	b.Configure(Rules{Hosts: map[string]string{"h1": "g"}}, nil, start)
	if b.Roster().Serial != math.MaxUint64 {
		t.Error("it is forgotten while other hosts are accepted")
	}
	b.Configure(Rules{}, nil, start)
	if r := b.Roster(); r.Fleet != "" || r.Serial != 0 || len(r.Hosts)+len(r.Allow) != 0 || b.Len() != 0 {
		t.Errorf("without a fleet: %+v, %d bans", r, b.Len())
	}
	saved, err := Restore(b.Append(nil), Rules{Roster: true}, nil, start)
	if err != nil || saved.Roster().Serial != 0 {
		t.Errorf("saved without a fleet: %+v, %v", saved.Roster(), err)
	}
	set(roster(1, "h1"))
	b.Configure(Rules{Roster: true}, nil, start)
	if b.Group("h1") == "" || b.Group("h0") != "" {
		t.Errorf("in the new fleet: %+v", b.Hosts())
	}
}

// TestHubAddresses: no host bans the hub. What was accepted before its addresses were known is lifted.
func TestHubAddresses(t *testing.T) {
	b := New(Rules{Roster: true, MinPrefix4: 24}, nil)
	set := func(changes int, hub ...string) {
		t.Helper()
		r := roster(1, "h0")
		for _, a := range hub {
			r.Hub = append(r.Hub, netip.MustParseAddr(a))
		}
		if l, err := b.SetRoster(r, start); err != nil || len(l) != changes {
			t.Errorf("%v, %v", l, err)
		}
	}
	ban := func(p string) error {
		_, _, err := b.Apply(news("h0", p, start, start+hour), start, true)
		return err
	}
	set(0)
	for _, p := range []string{"192.0.2.1", "192.0.2.2", "2001:db8::/64"} {
		if err := ban(p); err != nil {
			t.Error(err)
		}
	}
	set(2, "192.0.2.1", "2001:db8::1")
	want := map[netip.Prefix]int64{prefixOf("192.0.2.2"): start + hour}
	if got := inEffect(b, start); !maps.Equal(got, want) {
		t.Error(got)
	}
	for _, p := range []string{"192.0.2.1", "192.0.2.0/24", "2001:db8::/64"} {
		if err := ban(p); !errors.Is(err, ErrHub) {
			t.Errorf("%s: %v", p, err)
		}
	}
	b.Configure(Rules{Roster: true}, nil, start)
	if err := ban("192.0.2.1"); !errors.Is(err, ErrHub) {
		t.Error("after a change of the configuration:", err)
	}
	set(0, "192.0.2.9") // it has moved
	if err := ban("192.0.2.1"); err != nil {
		t.Error(err)
	}
	many := roster(2, "h0")
	many.Hub = make([]netip.Addr, MaxHub+1)
	if _, err := b.SetRoster(many, start); err == nil {
		t.Error("too many addresses are accepted")
	}
}

// TestOperatorsAllow: what operators allow is kept with the roster, and neither wide nor without a name.
func TestOperatorsAllow(t *testing.T) {
	b := New(Rules{Roster: true}, nil)
	r := roster(1, "h0")
	r.Allow = []Allowed{
		{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Until: Forever, By: "ann", Comment: "customer"},
		{Prefix: netip.MustParsePrefix("2001:db8::/32"), Until: start + hour, By: "bob"},
	}
	if _, err := b.SetRoster(r, start); err != nil {
		t.Fatal(err)
	}
	again, err := Restore(b.Append(nil), Rules{Roster: true}, nil, start)
	if err != nil {
		t.Fatal(err)
	}
	l := again.Roster().Entries()
	if len(l) != 2 || l[0].Origin != "fleet" || l[0].Comment != "operator ann of fleet shop: customer" || !l[0].Until.IsZero() || l[1].Until.UnixMicro() != start+hour || l[1].Prefix != r.Allow[1].Prefix {
		t.Errorf("%+v", l)
	}
	for _, bad := range []Allowed{
		{Until: Forever, By: "ann"},
		{Prefix: netip.MustParsePrefix("192.0.2.7/24"), Until: Forever, By: "ann"},
		{Prefix: netip.MustParsePrefix("192.0.0.0/15"), Until: Forever, By: "ann"},
		{Prefix: netip.MustParsePrefix("2001:d00::/24"), Until: Forever, By: "ann"},
		{Prefix: netip.MustParsePrefix("::ffff:192.0.2.7/128"), Until: Forever, By: "ann"},
		{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Until: Forever, By: "a b"},
		{Prefix: netip.MustParsePrefix("192.0.2.7/32"), By: "ann"},
		{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Until: Forever, By: "ann", Comment: "a\nb"},
	} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func many(n int) map[string]string {
	m := make(map[string]string, n)
	for i := range n {
		m[fmt.Sprint(strings.Repeat("h", 10), i)] = "g"
	}
	return m
}
