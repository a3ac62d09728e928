package daemon

import (
	"context"
	"testing"

	"bailiff/journal/audit"
	"bailiff/units/control"
)

// TestOneIncident: two jails with different ports see the same attempts. The result is one ban, which blocks the ports of both, and one
// report. Disabling one of the jails lifts the ban; the other one then makes a ban of its own.
func TestOneIncident(t *testing.T) {
	b := newBench(t)
	b.configure("jails: {sshd: {ports: [ssh]}, admin: {filter: sshd, ports: [2222, 2200-2210]}}\n")
	b.start()
	b.fail("203.0.113.7", 5)
	first, more := b.told(audit.KindBan), b.told(audit.KindExtend)
	if first["BAILIFF_BAN_ID"] != more["BAILIFF_BAN_ID"] || first["BAILIFF_SCOPE"] != "2200-2210,2222" || more["BAILIFF_SCOPE"] != "22;2200-2210,2222" {
		t.Errorf("ban %v\nextended %v", first, more)
	}
	if first["BAILIFF_FAILURES"] != "5" || more["BAILIFF_BAN_COUNT"] != "1" || more["BAILIFF_UNREPORTED"] != "1" {
		t.Errorf("ban %v\nextended %v", first, more)
	}
	held := func(want int) {
		t.Helper()
		b.until("the firewall holds the bans", func(ctx context.Context) bool {
			f, err := b.client.Firewall(ctx)
			if err != nil {
				return false
			}
			n := 0
			for _, s := range f.Sets {
				n += s.Held
			}
			return n == want && f.Intact
		})
	}
	held(2)
	// A restart and other ports of the jails do not change a ban that is in force.
	b.stop()
	b.configure("jails: {sshd: {}, admin: {filter: sshd, ports: [2223]}}\n")
	b.start()
	held(2)
	l, err := b.client.Bans(t.Context(), control.BanQuery{})
	if err != nil || len(l.Bans) != 1 || l.Bans[0].Ports != "22,2200-2210,2222" {
		t.Fatalf("%+v, %v", l, err)
	}
	b.reload("jails: {sshd: {}, admin: {filter: sshd, enabled: false}}\n")
	if m := b.told(audit.KindUnban); m["BAILIFF_BAN_ID"] != first["BAILIFF_BAN_ID"] {
		t.Errorf("%v", m)
	}
	held(0)
}

// TestObserve: a jail that only observes reports its decisions and blocks nothing. They survive a restart, and are dropped when the
// jail may block.
func TestObserve(t *testing.T) {
	b := newBench(t)
	b.configure("defaults: {observe: true}\njails: {sshd: {}}\n")
	b.start()
	b.fail("203.0.113.7", 12)
	if m := b.told(audit.KindObserved); m["BAILIFF_PREFIX"] != "203.0.113.7/32" || m["BAILIFF_FAILURES"] != "5" {
		t.Errorf("%v", m)
	}
	b.stop()
	b.start()
	count := func(observed bool) int {
		t.Helper()
		l, err := b.client.Bans(t.Context(), control.BanQuery{Observed: observed})
		if err != nil {
			t.Fatal(err)
		}
		return l.Total
	}
	if n, seen := count(false), count(true); n != 0 || seen != 1 {
		t.Errorf("%d bans, %d observed", n, seen)
	}
	b.reload("jails: {sshd: {}}\n")
	if n, seen := count(false), count(true); n != 0 || seen != 0 {
		t.Errorf("after switching on: %d bans, %d observed", n, seen)
	}
	b.fail("203.0.113.7", 5)
	if m := b.told(audit.KindBan); m["BAILIFF_BAN_COUNT"] != "1" {
		t.Errorf("%v", m)
	}
}
