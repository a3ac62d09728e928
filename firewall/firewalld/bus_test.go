package firewalld

import (
	"errors"
	"os"
	"testing"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"

	"github.com/godbus/dbus/v5"
)

// TestDenied: where firewalld denies access, nothing of ours can be in it, unless the kernel shows rules that refer to our sets.
func TestDenied(t *testing.T) {
	firewalltest.NeedNetns(t)
	if os.Getenv("BAILIFF_TEST_FIREWALLD") != "" {
		t.Skip("firewalld, which runs here, has the table that this test makes")
	}
	privateBus(t)
	p := newPeer(t)
	deny := func() ([]string, *dbus.Error) {
		return nil, dbus.NewError(busName+".NotAuthorizedException", []any{"Not Authorized: (, {})"})
	}
	for path, methods := range map[dbus.ObjectPath]map[string][]string{
		mainPath:   {busName + ".ipset": {"getIPSets"}},
		configPath: {busName + ".config": {"getIPSetNames", "getPolicyNames"}},
	} {
		for iface, names := range methods {
			table := make(map[string]any)
			for _, n := range names {
				table[n] = deny
			}
			if err := p.ExportMethodTable(table, path, iface); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.own()
	b, err := New(Options{Scopes: []firewall.Scope{{}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, c := range []struct {
		name, ruleset string
		held          bool
	}{
		{"no table", "", false},
		{"rules of others", "table inet firewalld { set mine { type ipv4_addr; }; chain x { ip saddr @mine drop; }; }", false},
		{"our rules", "table inet firewalld { set bailiff4-0 { type ipv4_addr; }; chain x { ip saddr @bailiff4-0 drop; }; }", true},
	} {
		firewalltest.Run(t, "nft", "flush ruleset; "+c.ruleset)
		if err := firewall.Remove(t.Context(), b); (err != nil) != c.held {
			t.Errorf("%s: Remove: %v", c.name, err)
		}
		if found, err := firewall.RemoveLeftovers(t.Context(), b); found || (err != nil) != c.held {
			t.Errorf("%s: RemoveLeftovers: %t, %v", c.name, found, err)
		}
		var lack *firewall.UnsupportedError
		if _, err := b.Reconcile(t.Context(), nil); !errors.As(err, &lack) {
			t.Errorf("%s: Reconcile: %v", c.name, err)
		}
	}
	firewalltest.Run(t, "nft", "flush ruleset")
}
