package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"bailiff/units/control"
	"bailiff/units/e2e/host"
)

// TestFirewalldOnly tries the drop-in that leaves the daemon neither a capability nor a network.
func TestFirewalldOnly(t *testing.T) {
	suites, tree, load := wanted(t)
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			v := boot(t, suite, tree, load, firewalldHost...)
			v.sh(t, `systemctl start firewalld.service
				mkdir -p /etc/systemd/system/bailiff.service.d && ln -s /usr/share/bailiff/firewalld-only.conf /etc/systemd/system/bailiff.service.d/
				systemctl daemon-reload; systemctl enable -q --now bailiff.service`)
			t.Run("bites", func(t *testing.T) { v.firewalldBites(t, "without netlink") })
			t.Run("confined", v.confined)
			t.Run("self", v.confinedSelf)
			t.Run("group", v.confinedGroup)
			t.Run("lists", v.confinedLists)
			t.Run("reload", func(t *testing.T) {
				v.sh(t, firewalldCall+`reload`)
				v.shut(t, attacker4, attacker6)
				v.sh(t, `systemctl restart firewalld.service bailiff.service`)
				v.shut(t, attacker4, attacker6)
			})
			t.Run("refuses", v.confinedRefuses)
			t.Run("alone", v.confinedAlone)
			t.Run("leftovers", v.confinedLeftovers)
			t.Run("left", func(t *testing.T) {
				v.sh(t, `rm /etc/systemd/system/bailiff.service.d/firewalld-only.conf; systemctl daemon-reload; systemctl restart bailiff.service`)
				v.shut(t, attacker4, attacker6)
				if s := ask[control.Status](v, t, "status"); !strings.Contains(s.Firewall.Why, "runs") || len(s.Problems) > 0 {
					t.Errorf("status: %+v, problems %q", s.Firewall, s.Problems)
				}
			})
		})
	}
}

// The units as they run: how systemd judges them, and what the kernel says of the process.
func (v *victim) confined(t *testing.T) {
	v.exposed(t, "bailiff.service", 0.5)
	v.exposed(t, "bailiff-netlink.service", 1.2)
	out := v.sh(t, `p=/proc/$(systemctl show -P MainPID bailiff.service)
		grep -E '^(CapEff|CapBnd|CapAmb|NoNewPrivs):' $p/status | tr '\n\t' '  '
		test $(readlink $p/ns/net) = $(readlink /proc/1/ns/net) && echo "shares the host's network"; :`)
	if want := "CapEff: 0000000000000000 CapBnd: 0000000000000000 CapAmb: 0000000000000000 NoNewPrivs: 1 "; out != want {
		t.Errorf("the process: %q", out)
	}
	// journald vouches for its entries as ever, and why finds the lines.
	if es := v.entries(t, "_SYSTEMD_UNIT=bailiff.service", "BAILIFF_ADDRESS="+attacker4.String(), "MESSAGE_ID="+idBan); len(es) != 1 || es[0]["BAILIFF_BACKEND"] != "firewalld" {
		t.Errorf("audit entries: %v", es)
	}
	if out := v.sh(t, `bailiff why `+attacker4.String()); !strings.Contains(out, "from "+attacker4.String()+" port ") {
		t.Errorf("bailiff why:\n%s", out)
	}
}

// It knows the host's own addresses, and those that come later.
func (v *victim) confinedSelf(t *testing.T) {
	is := func(a netip.Addr) error {
		if w := v.how(t, a); !w.Allowed || w.Entries[0].Source != "self" {
			return fmt.Errorf("bailiff allow why %s: %+v", a, w)
		}
		return nil
	}
	for _, a := range []netip.Addr{host.Victim4, host.Victim6} {
		if err := is(a); err != nil {
			t.Error(err)
		}
	}
	late := netip.MustParseAddr("10.77.0.9")
	if is(late) == nil {
		t.Fatalf("%s is no address of the host yet", late)
	}
	v.sh(t, `ip address add `+late.String()+`/24 dev host0; systemctl reload bailiff.service`)
	eventually(t, func() error { return is(late) })
}

// Callers are told apart: who may read, who may pass on the bans of other hosts, and who may change something.
func (v *victim) confinedGroup(t *testing.T) {
	v.sh(t, `usermod -aG bailiff bob`)
	if out, err := v.Sh(t.Context(), `runuser -u bob -- bailiff bans 2>&1`); err != nil || !strings.Contains(out, attacker4.String()) {
		t.Errorf("bob, who is in the group, may not look: %v\n%s", err, out)
	}
	for who, command := range map[string]string{"bob": "unban " + attacker4.String(), "mallory": "bans"} {
		if out, err := v.Sh(t.Context(), `runuser -u `+who+` -- bailiff `+command+` 2>&1`); err == nil {
			t.Errorf("%s may %s:\n%s", who, command, out)
		}
	}
	if out := v.sh(t, `bailiff ban 203.0.113.99 && bailiff unban 203.0.113.99`); strings.Contains(out, "nobody") {
		t.Errorf("root is not known:\n%s", out)
	}
	for who, want := range map[string]string{control.FleetUser: "200", "bob": "403"} {
		if out := v.sh(t, `runuser -u `+who+` -G bailiff -- curl -sS --max-time 60 -o /dev/null -w '%{http_code}' --unix-socket /run/bailiff/control \
			-H 'Content-Type: application/json' -d '{"live": false, "news": []}' http://bailiff/v1/fleet`); out != want {
			t.Errorf("%s passes on the bans of other hosts: status %q, not %s", who, out, want)
		}
	}
}

// A backend that needs netlink is rejected, with a hint.
func (v *victim) confinedRefuses(t *testing.T) {
	v.put(t, "20-firewall.yaml", "firewall: {backend: ipset}\n")
	out, err := v.Sh(t.Context(), `systemctl reload bailiff.service`)
	if s := ask[control.Status](v, t, "status"); err == nil || !strings.Contains(s.ConfigErr, "needs netlink") || s.Firewall.Backend != "firewalld" {
		t.Errorf("reload: %v %s, status %q, %+v", err, out, s.ConfigErr, s.Firewall)
	}
	if _, err := v.Sh(t.Context(), `systemctl restart bailiff.service`); err == nil {
		t.Error("it starts")
	}
	if out := v.sh(t, `systemctl show -P ExecMainStatus bailiff.service; systemctl show -P NRestarts bailiff.service`); out != "6\n0\n" {
		t.Errorf("exit status and restarts: %q", out)
	}
	v.sh(t, `rm /etc/bailiff/bailiff.d/20-firewall.yaml; systemctl start bailiff.service`)
	v.shut(t, attacker4, attacker6)
}

// The helper removes what the daemon left in the kernel before it was confined.
func (v *victim) confinedLeftovers(t *testing.T) {
	const drop = "/etc/systemd/system/bailiff.service.d/firewalld-only.conf"
	v.put(t, "20-firewall.yaml", "firewall: {backend: nftables}\n")
	v.sh(t, `rm `+drop+`; systemctl daemon-reload; systemctl restart bailiff.service`)
	v.takesOver(t, "nftables")
	v.sh(t, `nft list table inet bailiff; rm /etc/bailiff/bailiff.d/20-firewall.yaml
		ln -s /usr/share/bailiff/firewalld-only.conf `+drop+`; systemctl daemon-reload; systemctl restart bailiff.service`)
	v.shut(t, attacker4, attacker6)
	eventually(t, func() error {
		if out := v.sh(t, `nft list tables`); strings.Contains(out, "inet bailiff") {
			return fmt.Errorf("left: %s", out)
		}
		return nil
	})
}

// Without the helper bans still come into effect, and status says what is missing.
func (v *victim) confinedAlone(t *testing.T) {
	v.sh(t, `systemctl stop -q bailiff-netlink.service bailiff-netlink.socket; systemctl mask -q bailiff-netlink.socket; systemctl restart bailiff.service`)
	s := ask[control.Status](v, t, "status")
	if text := s.Problems.String(); !strings.Contains(text, "own addresses are unknown") || !strings.Contains(text, "stay open") || len(s.Problems) != 1 {
		t.Errorf("problems %q", s.Problems)
	}
	if es := v.entries(t, "_SYSTEMD_UNIT=bailiff.service", "-b", "-g", "own addresses are unknown"); len(es) != 1 {
		t.Errorf("the journal says %v", es)
	}
	late := netip.MustParseAddr("198.51.100.88")
	open, err := v.Dial(late, 22, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if !speaksSSH(open, time.Minute) {
		t.Fatal("sshd does not greet")
	}
	v.fails(t, late, 5)
	eventually(t, func() error { return v.keptOut(late, 22) })
	// Open connections continue, as the man page says; so it is the helper that closes them otherwise.
	if _, err := open.Write([]byte("SSH-2.0-e2e\r\n")); err != nil || !answers(open, time.Minute) {
		t.Errorf("the connection that was open before the ban: %v", err)
	}
	v.sh(t, `systemctl unmask -q bailiff-netlink.socket; systemctl start bailiff-netlink.socket; systemctl reload bailiff.service`)
	eventually(t, func() error {
		if s := ask[control.Status](v, t, "status"); len(s.Problems) > 0 {
			return fmt.Errorf("problems %q", s.Problems)
		}
		return nil
	})
}
