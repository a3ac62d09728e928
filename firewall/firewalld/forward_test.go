package firewalld

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/conn"
	"bailiff/firewall/firewalltest"
)

// TestForwarded: firewalld accepts traffic to a forwarded port before it asks policies and rich rules. As sources of the
// zone drop, our sets block banned addresses there as well; an open connection ends once conntrack forgets it.
func TestForwarded(t *testing.T) {
	needFirewalld(t)
	trust(t)
	const port = 8080
	w := firewalltest.NewWire(t, firewalltest.Web)
	firewalltest.Behind(t)
	banned, near := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	want := []firewall.Ban{{Prefix: netip.PrefixFrom(banned, 32), Until: time.Now().Add(time.Hour)}}
	for via, banneds := range map[string]string{"zone": "silent", "policy": "open"} {
		t.Run(via, func(t *testing.T) {
			b := newBackend(t, Options{Method: via, Scopes: []firewall.Scope{{}}})
			t.Cleanup(func() {
				if err := b.Cleanup(context.Background()); err != nil {
					t.Error(err)
				}
				b.Close()
			})
			if _, err := b.Reconcile(t.Context(), nil); err != nil { // may reload
				t.Fatal(err)
			}
			firewalltest.Run(t, "firewall-cmd", "--zone=trusted", "--add-forward-port=port=8080:proto=tcp:toport=80:toaddr=10.9.0.2")
			look := func(what string, got []string, first, second string) {
				t.Helper()
				if got[0] != first || got[1] != second {
					t.Errorf("%s: banned %s, near %s; want %s, %s", what, got[0], got[1], first, second)
				}
			}
			look("before", w.Hold(t, port, banned, near), "open", "open")
			if err := b.Add(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			look("new connections", w.Connect(t, port, banned, near), banneds, "open")
			look("open ones", w.Echo(t, port, banned, near), "open", "open")
			if n, err := conn.Forget(t.Context(), []netip.Prefix{want[0].Prefix}); n == 0 || err != nil {
				t.Errorf("Forget: %d, %v", n, err)
			}
			if got := w.Echo(t, port, banned, near); via == "zone" && got[0] == "open" || got[1] != "open" {
				t.Errorf("forgotten ones: banned %s, near %s", got[0], got[1])
			}
		})
	}
}
