package nfrule_test

import (
	"maps"
	"os"
	"testing"

	"bailiff/firewall/firewalltest"
	"bailiff/firewall/internal/nfrule"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(firewalltest.Main(m)) }

// TestLookups: lookups in one table are counted by set, in any chain; those in other tables are not.
func TestLookups(t *testing.T) {
	firewalltest.NeedNetns(t)
	firewalltest.Run(t, "nft", `table inet a { set s { type ipv4_addr; }; set t { type ipv4_addr; flags interval; }; set u { type ipv4_addr; };
		chain x { ip saddr @s drop; ip saddr @t ip daddr @s drop; }; chain y { type filter hook input priority 0; ip saddr @s counter; }; };
		table ip a { set u { type ipv4_addr; }; chain x { ip saddr @u drop; }; }; table inet b { set u { type ipv4_addr; }; chain x { ip saddr @u drop; }; }`)
	got, err := nfrule.Lookups(t.Context(), unix.NFPROTO_INET, "a")
	if want := map[string]int{"s": 3, "t": 1}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	firewalltest.Run(t, "nft", "flush", "ruleset")
	if got, err := nfrule.Lookups(t.Context(), unix.NFPROTO_INET, "a"); err != nil || len(got) != 0 {
		t.Errorf("of no table: %v, %v", got, err)
	}
}
