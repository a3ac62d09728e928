package daemon

import (
	"net/netip"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/policy/state"
)

// TestRecoverSets: firewalld does not know when an element ends. What the audit trail says is no longer in force does not come back, and an
// unknown prefix is not banned forever. The other backends know: no end means forever.
func TestRecoverSets(t *testing.T) {
	now := time.Now()
	prefixes := make(map[string]netip.Prefix)
	for i, name := range []string{"ended", "lifted", "banned", "unknown", "within"} {
		prefixes[name] = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32)
	}
	prefixes["wide"] = netip.MustParsePrefix("198.51.100.0/24")
	prefixes["in wide"] = netip.MustParsePrefix("198.51.100.7/32")
	for backend, want := range map[string]map[string]time.Duration{
		"firewalld": {"banned": time.Hour, "unknown": 48 * time.Hour, "within": 10 * time.Minute, "in wide": 48 * time.Hour},
		"nftables":  {"ended": 0, "lifted": 0, "banned": time.Hour, "unknown": 0, "within": 10 * time.Minute, "wide": 0, "in wide": 0},
	} {
		d, be := restored(t), newTroubled(t, backend)
		for name, until := range map[string]time.Time{"ended": now.Add(-time.Minute), "lifted": now.Add(time.Hour), "banned": now.Add(time.Hour), "wide": now.Add(-time.Hour)} {
			b := state.Ban{Prefix: prefixes[name], Jail: "sshd", Since: now.Add(-2 * time.Hour).UnixMicro(), Until: until.UnixMicro(), Count: 1}
			if d.state.Remember(b); name == "banned" {
				d.state.Add(b)
			}
		}
		var held []firewall.Ban
		for name, p := range prefixes {
			b := firewall.Ban{Prefix: p}
			if name == "within" { // of a backend that knows it
				b.Until = now.Add(10 * time.Minute)
			}
			held = append(held, b)
		}
		if _, err := be.Backend.Reconcile(t.Context(), held); err != nil {
			t.Fatal(err)
		}
		if n, err := d.recoverSets(t.Context(), be, now); n != len(held) || err != nil {
			t.Errorf("%s: %d elements, %v", backend, n, err)
		}
		for name, p := range prefixes {
			long, wanted := want[name]
			found := false
			for b := range d.state.Of(p) {
				found = true
				if end := timeOf(b.Until); (long == 0) != end.IsZero() || long != 0 && end.Sub(now).Round(time.Second) != long {
					t.Errorf("%s: %s is banned until %s, want for %s", backend, name, end, long)
				}
			}
			if found != wanted {
				t.Errorf("%s: %s is banned: %t", backend, name, found)
			}
		}
	}
}
