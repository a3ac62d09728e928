package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"bailiff/units/control"
)

// standing is what firewalld has: its permanent configuration to the byte, and all that it shows at run time.
func (v *victim) standing(t *testing.T) string {
	t.Helper()
	return v.sh(t, `cd /etc/firewalld && find . -type d | sort && find . -type f -exec sha256sum {} + | sort -k 2; `+
		`firewall-cmd --get-ipsets; firewall-cmd --list-all-policies; firewall-cmd --list-all-zones; nft list tables`)
}

// firewallCommand verifies, repairs and removes what the daemon put into firewalld, on a host that has not seen it before.
func (v *victim) firewallCommand(t *testing.T) {
	before := v.standing(t)
	bailiff := func(args string) string {
		t.Helper()
		return v.sh(t, `bailiff firewall `+args+` 2>&1 && echo "status 0" || echo "status $?"`)
	}
	has := func(args string, wants ...string) {
		t.Helper()
		out := bailiff(args)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("bailiff firewall %s:\n%s\nwant %q", args, out, want)
			}
		}
	}
	intact := func() {
		t.Helper()
		eventually(t, func() error {
			out := v.sh(t, `bailiff firewall verify --json || :`)
			var f control.Firewall
			if err := json.Unmarshal([]byte(out), &f); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			if !f.Intact || f.Backend != "firewalld" || f.Bans != 2 || f.Stopped != nil {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
	}
	v.sh(t, `systemctl enable -q --now bailiff.service`)
	v.active(t)
	v.sh(t, `bailiff ban 198.51.100.200 2001:db8:b:99::1`)
	intact()
	has("status", "firewalld (auto: firewalld runs): bans are in effect", "policy bailiff in place: from ANY to HOST, priority -32000", "policy bailiff (permanent) in place", "table inet firewalld in place: in the kernel", "bailiff4-0", "firewalld does not count packets", "status 0")
	has("verify", "firewalld: 2 bans in 16 sets: no differences", "status 0")

	// Changes by others at run time are repaired at once; changes to the permanent configuration need `bailiff firewall repair`.
	for _, harm := range []string{
		firewalldSet + `removeEntry ss bailiff4-0 198.51.100.200`, firewalldSet + `addEntry ss bailiff4-0 192.0.2.66`, firewalldCall + `reload`,
		`nft flush ruleset`, `nft flush table inet firewalld || :`, // only firewalld 2 itself can flush its table
		`firewall-cmd --policy=bailiff --remove-rich-rule='rule family="ipv4" source ipset="bailiff4-0" drop'`,
	} {
		v.sh(t, harm)
		intact()
	}
	for _, c := range []struct{ harm, found string }{
		{`firewall-cmd --permanent --ipset=bailiff4-0 --add-entry=192.0.2.66`, "ipsets (permanent): bailiff4-0 holds 1 entries"},
		{`firewall-cmd --permanent --delete-policy=bailiff`, "policy bailiff (permanent): is gone"},
		{`firewall-cmd --permanent --policy=bailiff --set-priority=-5`, "policy bailiff (permanent): priority is -5, ours -32000"},
		{`firewall-cmd --permanent --delete-ipset=bailiff6-3`, "ipsets (permanent): bailiff6-3 is gone"},
	} {
		v.sh(t, c.harm)
		has("verify", c.found, "hint: bailiff firewall repair removes the differences", "status 1")
		has("repair", "found: "+c.found, "rebuilt: ", "2 bans in place, no differences", "status 0")
		intact()
	}
	v.sh(t, `firewall-cmd --permanent --delete-ipset=bailiff4-3; firewall-cmd --permanent --new-ipset=bailiff4-3 --type=hash:ip`)
	const wrong = "ipsets (permanent): is not ours: bailiff4-3: its description does not begin with"
	has("verify", wrong, "repair --force also removes", "status 1")
	has("repair", "set bailiff4-3: exists, but is not ours", "repair --force removes it", "status 1")
	has("repair --force", "found: "+wrong, "removed by force: set bailiff4-3", "no differences", "status 0")
	intact()
	v.sh(t, `firewall-cmd --permanent --new-policy=early; firewall-cmd --permanent --policy=early --set-priority=-32500; firewall-cmd --permanent --policy=early --add-ingress-zone=ANY;
		firewall-cmd --permanent --policy=early --add-egress-zone=HOST; `+firewalldCall+`reload`)
	eventually(t, func() error {
		if out := bailiff("verify"); !strings.Contains(out, "policy early: has priority -32500, so it is evaluated before bailiff's policy") || strings.Count(out, "\n") != 3 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	v.sh(t, `firewall-cmd --permanent --delete-policy=early; `+firewalldCall+`reload; rm /etc/firewalld/policies/early.xml.old`)
	intact()

	// Removal.
	has("remove", "the daemon is running (bailiff.service) and would put everything back", "bailiff firewall remove --stop", "status 1")
	v.sh(t, `bailiff unban --all; systemctl stop bailiff.socket bailiff.service firewalld.service`)
	has("remove", "left: firewalld: /etc/firewalld/policies/bailiff.xml: firewalld is not running; start it", "status 1")
	v.sh(t, `systemctl start firewalld.service bailiff.service`)
	eventually(t, func() error {
		if s := ask[control.Status](v, t, "status"); !s.Firewall.OK || s.Firewall.Backend != "firewalld" {
			return fmt.Errorf("firewall: %+v", s.Firewall)
		}
		return nil
	})
	has("remove --stop", "removed: firewalld: policy bailiff", "removed: firewalld: set bailiff4-0", "status 0")
	if out := v.sh(t, `systemctl is-active bailiff.service bailiff.socket || :`); strings.Contains(out, "\nactive") || strings.HasPrefix(out, "active") {
		t.Errorf("not stopped: %s", out)
	}
	if after := v.standing(t); after != before {
		t.Errorf("before\n%s\nafter removal\n%s", before, after)
	}
	has("remove", "no firewall holds anything of bailiff's", "status 0")
}
