package client

import (
	"strings"
	"testing"
	"time"

	"bailiff/cmd/bailiff/internal/cli"
	"bailiff/units/control"
)

// lookedAt returns a firewall in which everything is wrong.
func lookedAt() *control.Firewall {
	n, bytes := uint64(7), uint64(420)
	next := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	many := control.Prefixes{Count: 1234}
	for range 100 {
		many.Some = append(many.Some, "192.0.2.9/32")
	}
	return &control.Firewall{
		FirewallStatus: control.FirewallStatus{Backend: "nftables", Why: "as configured", OK: true, Repaired: 3},
		Seconds:        0.0123, Bans: 1240,
		Parts: []control.FirewallPart{
			{Name: "table ip x", Want: "a chain", Present: true},
			{Name: "table ip y", Want: "a chain", Present: true, Foreign: true, Problem: "is not ours: holds set \x1b[31m"},
		},
		Sets: []control.FirewallSet{
			{FirewallPart: control.FirewallPart{Name: "v4-32", Present: true}, Bans: 1240, Held: 7, Forever: 1, Next: &next, Missing: many, Packets: &n, Bytes: &bytes},
			{FirewallPart: control.FirewallPart{Name: "v6-64", Problem: "is gone"}, Scope: "sshd", Bans: 1, Missing: control.Prefixes{Count: 1, Some: []string{"2001:db8::/64"}}},
			{FirewallPart: control.FirewallPart{Name: "v6-128", Present: true}},
		},
	}
}

func said(f func(*cli.Env)) (out, hints string) {
	var o, e strings.Builder
	f(&cli.Env{Out: &o, Err: &e})
	return o.String(), e.String()
}

func TestFirewallInWords(t *testing.T) {
	t.Setenv("TZ", "UTC")
	out, hints := said(func(e *cli.Env) { printFirewall(e, lookedAt()) })
	for _, want := range []string{
		"nftables (as configured): bans are in effect; checked ", " in 12.3 ms; repaired 3 times\n",
		"  table ip x in place: a chain\n", "  ! table ip y is not ours: holds set \\x1b[31m\n",
		"SET    BLOCKS         BANS  HELD  FOREVER  NEXT END ", "PACKETS  BYTES  DIFFERS\n",
		"7        420    1234 missing, 0 unexpected, 0 with another end\n", "v6-64  ports of sshd  1     0     0        -", "is gone\n",
		"1 set without bans\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	if strings.Contains(out, "does not count packets") || !strings.Contains(hints, "bailiff firewall verify lists the differences") {
		t.Errorf("said:\n%s%s", out, hints)
	}

	out, hints = said(func(e *cli.Env) { printVerified(e, lookedAt()) })
	want := "table ip y: is not ours: holds set \\x1b[31m\nset v4-32: 1234 missing:" + strings.Repeat(" 192.0.2.9/32", 10) + " and 1224 more\nset v6-64: is gone\nset v6-64: 1 missing: 2001:db8::/64\n"
	if out != want || !strings.Contains(hints, "repair --force") {
		t.Errorf("said\n%s%s\nwant\n%s", out, hints, want)
	}

	away := &control.Firewall{FirewallStatus: control.FirewallStatus{Backend: "firewalld", Error: "firewalld is not running"}}
	if out, hints := said(func(e *cli.Env) { printVerified(e, away) }); out != "firewalld: firewalld is not running\n" || strings.Contains(hints, "repair") {
		t.Errorf("of one that is away:\n%s%s", out, hints)
	}
	if out, _ := said(func(e *cli.Env) { printFirewall(e, away) }); !strings.Contains(out, "NOT WORKING") || !strings.Contains(out, "firewalld does not count packets") {
		t.Errorf("of one that is away:\n%s", out)
	}

	after := &control.Firewall{FirewallStatus: control.FirewallStatus{Backend: "nftables", OK: true}, Bans: 5, Intact: true}
	out, _ = said(func(e *cli.Env) {
		printRepaired(e, &control.FirewallRepair{Before: lookedAt(), After: after, Added: 2, Removed: 1, Refreshed: 4, Repaired: []string{"table ip y"}, Evicted: []string{"table ip y"}})
	})
	for _, want := range []string{"found: set v6-64: is gone\n", "removed by force: table ip y\nrebuilt: table ip y\n2 bans restored, 1 removed, end of 4 corrected\nnftables: 5 bans in place, no differences\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not said:\n%s", want, out)
		}
	}
	out, _ = said(func(e *cli.Env) { printRepaired(e, &control.FirewallRepair{After: lookedAt()}) })
	if !strings.Contains(out, "still: set v6-64: is gone\n") {
		t.Errorf("what still differs is not said:\n%s", out)
	}
	if s := StoppedText(nil); s != "" {
		t.Error(s)
	}
	if s := StoppedText([]control.Stopped{{Packets: 3, Bytes: 1 << 20}, {Packets: 4, Bytes: 1 << 19}}); !strings.HasPrefix(s, "7 packets from banned addresses dropped (1.5 MiB)") {
		t.Error(s)
	}
}
