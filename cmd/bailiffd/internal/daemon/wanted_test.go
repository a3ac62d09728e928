package daemon

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/policy/config"
	"bailiff/policy/fleet"
	"bailiff/policy/state"
)

// TestWanted: bans of the same prefix share an element in each of their scopes, which lasts as long as the longest of them. The end of one
// ban leaves what the others need.
func TestWanted(t *testing.T) {
	at := time.UnixMicro(1_800_000_000_000_000)
	in := func(d time.Duration) int64 { return at.Add(d).UnixMicro() }
	st := state.New()
	one, two := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("192.0.2.2/32")
	for _, b := range []state.Ban{
		{Prefix: one, Jail: "a", Until: in(time.Hour), Scope: "tcp/22"},
		{Prefix: one, Jail: "b", Until: in(2 * time.Hour), Scope: "tcp/22;tcp/80"},
		{Prefix: one, Jail: "c", Until: in(time.Hour)},
		{Prefix: two, Jail: "a", Until: in(time.Hour), Scope: "tcp/22"},
		{Prefix: two, Jail: "c", Scope: "tcp/22"}, // forever
	} {
		b.Since = at.UnixMicro()
		st.Add(b)
	}
	f := &firewallControl{bans: st, others: &otherHosts{bans: fleet.New(fleet.Rules{}, nil)}, clock: &clockGuard{}, memory: &memory{}, scopes: newScopes(&config.Config{}, st, false)}
	names := func(text string) string { return f.scopes.of(text)[0] }
	ssh, web := names("tcp/22"), names("tcp/80")
	if ssh == "" || web == "" || ssh == web {
		t.Fatalf("scopes %q", f.scopes.names)
	}
	want := map[firewall.Key]time.Time{
		{Prefix: one, Scope: ssh}: at.Add(2 * time.Hour),
		{Prefix: one, Scope: web}: at.Add(2 * time.Hour),
		{Prefix: one}:             at.Add(time.Hour),
		{Prefix: two, Scope: ssh}: {},
	}
	check := func() {
		t.Helper()
		got := f.wanted()
		for _, b := range got {
			if until, ok := want[b.Key()]; !ok || !until.Equal(b.Until) {
				t.Errorf("%v until %v, want %v, %v", b.Key(), b.Until, until, ok)
			}
			if e, ok := f.element(b.Key()); !ok || !e.Until.Equal(b.Until) {
				t.Errorf("element %v: until %v, %v; wanted says %v", b.Key(), e.Until, ok, b.Until)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d elements, want %d: %v", len(got), len(want), got)
		}
	}
	check()
	st.Remove(one, "b")
	delete(want, firewall.Key{Prefix: one, Scope: web})
	want[firewall.Key{Prefix: one, Scope: ssh}] = at.Add(time.Hour)
	check()
	if _, ok := f.element(firewall.Key{Prefix: one, Scope: web}); ok {
		t.Error("an element that no ban asks for")
	}
	if l := f.elements(&state.Ban{Prefix: two, Scope: "tcp/22"}); len(l) != 1 || !l[0].Until.IsZero() || !slices.Equal(f.scopes.of(""), []string{""}) {
		t.Errorf("%v", l)
	}
}
