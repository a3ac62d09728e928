package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"bailiff/units/control"
)

var (
	blocked  = netip.MustParseAddr("198.51.100.82") // on a block list
	passing  = netip.MustParseAddr("198.51.100.83") // on the list, too, but allowed
	stranger = netip.MustParseAddr("198.51.100.90") // on no list
)

// countries is a database of countries, packed: geotest.Write made it. 198.51.100.80/29, where blocked is, is in FR, and the next eight
// addresses are in DE.
const countries = "H4sIAAAAAAACA23P2VITQRTG8UNExH1X3PddUHHBfWELJEQRdwHbzkwTGpPpoWeCBOURfAm89DW89R3k0itfwdRfp7Qop6Z+9dV3qk6dFmkRWRTJ4SpsxdXY" +
	"hmuwHdfiOlyPG3AjbsLNuAW34jbcjjtwJ+7C3diBe3Av7sP9eAAP4iE8jEfwKB7D43gCT+IpPI1n8Cyew/PYiV14AS/iJezGy3gFr+I17MHreANv4i28jXfw" +
	"Lt7D+/gAe7EP+3EABzGPQziMBSziCJbwIT7CUXyMY/gEn+IzfI4v8CW+wtc4jhM4iW9Q4Vts/hrLIgEhRJNNp7AiMk2wOJNN32FVpEaIst5hLDKbNR4TkZRQ" +
	"z/o5kfeEeWxk/YLIhyx/FPkk8llWfMv5wNWj1DeWh2ziVOBC0zs49r+2f+DLt58lPV+yUdgVuNqP8bKNtG+oKedrOlU1PeO8mjM+sS5aktzKsY3+HUuxXLfV" +
	"UJnYBdPtuT/XtJRCneqyToxKG7EZzRs3YlPT3dn3+5xiaJLA2zht7vhesPHffW3DVR1V6rpiEmktRM2DFU/42ty6WPQmcD5UiV0wS9LxCzf5m8nyAwAA"

// blockLists: a list is fetched in a sandbox by a user of its own, and the daemon loads it without a reload. Packets from its addresses are
// dropped and counted, allowed addresses pass, and nobody is banned. A list that has become too wide is rejected. Without the section
// everything is as before.
func (v *victim) blockLists(t *testing.T) {
	v.place(t, "/srv/web.pl", webServer, 0o644)
	v.sh(t, `mkdir -p /srv/lists && printf '# bad\n198.51.100.80/29 ; SBL1\n10.0.0.0/8\n' >/srv/lists/http
		systemd-run -q --unit=e2e-blocks perl /srv/web.pl; until curl -sf http://localhost:8077/ >/dev/null; do sleep 0.05; done`)
	defer v.sh(t, `systemctl stop e2e-blocks.service`)
	bans := len(ask[[]control.Ban](v, t, "bans"))
	v.put(t, "41-blocks.yaml", `allow: {addresses: [198.51.100.83]}
lists:
  bad: {url: "http://localhost:8077/", insecure: true}
`)
	v.sh(t, `systemctl reload bailiff.service; systemctl start bailiff-lists-refresh.service || { journalctl -q -u bailiff-lists-refresh.service >&2; exit 1; }`)
	list := func(wrong func(control.BlockList) bool) {
		t.Helper()
		eventually(t, func() error {
			b := ask[control.BlockLists](v, t, "lists")
			if len(b.Lists) != 1 || wrong(b.Lists[0]) {
				x, _ := json.Marshal(b)
				return errors.New(string(x))
			}
			return nil
		})
	}
	list(func(l control.BlockList) bool { return l.Entries != 1 || l.Allowed != 1 || l.LeftOut != 1 })
	if err := errors.Join(v.keptOut(blocked, 22), v.letIn(passing, 22), v.letIn(stranger, 22)); err != nil {
		t.Errorf("%v\n%s", err, v.sh(t, `nft list table inet bailiff-lists`))
	}
	list(func(l control.BlockList) bool { return l.Packets == nil || *l.Packets == 0 })
	if out := v.sh(t, `bailiff status; bailiff lists`); !strings.Contains(out, "list bad: 1 entry, ") || !strings.Contains(out, "1 private entry left out") {
		t.Errorf("%s", out)
	}
	if n := len(ask[[]control.Ban](v, t, "bans")); n != bans {
		t.Errorf("%d bans, %d before", n, bans)
	}
	if out := v.sh(t, `stat -c '%U %a' /var/lib/bailiff-lists /var/lib/bailiff-lists/bad.list; bailiff firewall verify >/dev/null && echo intact`); out != "bailiff-lists 755\nbailiff-lists 644\nintact\n" {
		t.Errorf("%s", out)
	}

	v.sh(t, `printf '0.0.0.0/0\n' >/srv/lists/http; sed -i 's/checked":"20/checked":"19/' /var/lib/bailiff-lists/*.json; ! systemctl start bailiff-lists-refresh.service`)
	list(func(l control.BlockList) bool {
		return !strings.Contains(l.Refused, "has 0.0.0.0/0, which is wider than /8") || l.Entries != 1
	})
	if err := errors.Join(v.keptOut(blocked, 22), v.letIn(stranger, 22)); err != nil {
		t.Errorf("the last good list is gone, or the bad one came: %v", err)
	}

	// Only one country of a database may reach sshd. The sandbox reads the database in place.
	v.sh(t, fmt.Sprintf(`printf %%s %s | base64 -d | gunzip >/srv/lists/countries.mmdb`, countries))
	v.put(t, "41-blocks.yaml", `lists:
  only: {url: "file:///srv/lists/countries.mmdb", countries: [DE], others: true, jails: [sshd]}
`)
	v.sh(t, `systemctl reload bailiff.service; systemctl start bailiff-lists-refresh.service || { journalctl -q -u bailiff-lists-refresh.service >&2; exit 1; }`)
	list(func(l control.BlockList) bool { return l.Entries != 1 || l.Holds != "all but countries DE" })
	if err := errors.Join(v.keptOut(blocked, 22), v.letIn(stranger, 22)); err != nil {
		t.Errorf("%v\n%s", err, v.sh(t, `nft list table inet bailiff-lists`))
	}
	if out := v.sh(t, `bailiff why `+blocked.String()+`; bailiff lists`); !strings.Contains(out, "on the block list only, all but countries DE as 198.51.100.80/29: blocked, at the ports of sshd") {
		t.Errorf("%s", out)
	}

	v.sh(t, `rm /etc/bailiff/bailiff.d/41-blocks.yaml && systemctl reload bailiff.service`)
	eventually(t, func() error {
		if out := v.sh(t, `nft list tables | grep bailiff-lists || :`); out != "" {
			return errors.New(out)
		}
		return nil
	})
	if err := v.letIn(blocked, 22); err != nil {
		t.Errorf("blocked without a list: %v", err)
	}
}

// Without netlink, firewalld holds the list in a set of its own, provided that it is short.
func (v *victim) confinedLists(t *testing.T) {
	v.sh(t, `mkdir -p /srv/lists && printf '198.51.100.80/29\n' >/srv/lists/file; seq -f '11.0.%.0f.0/24' 0 255 >/srv/lists/other`)
	v.put(t, "41-blocks.yaml", `allow: {addresses: [198.51.100.90]}
lists:
  bad: {url: "file:///srv/lists/file"}
  other: {url: "file:///srv/lists/other", mode: log}
`)
	v.sh(t, `systemctl reload bailiff.service; systemctl start bailiff-lists-refresh.service || { journalctl -q -u bailiff-lists-refresh.service >&2; exit 1; }`)
	eventually(t, func() error {
		if err := v.keptOut(blocked, 22); err != nil {
			return fmt.Errorf("%w\n%s", err, v.sh(t, `bailiff lists; bailiff firewall status`))
		}
		return nil
	})
	if err := v.letIn(stranger, 22); err != nil {
		t.Errorf("a stranger is blocked: %v", err)
	}
	if out := v.sh(t, `bailiff lists; bailiff firewall verify >/dev/null && echo intact`); !strings.Contains(out, "not loaded: firewalld cannot count") || !strings.Contains(out, "intact") {
		t.Errorf("%s", out)
	}
	v.sh(t, `rm /etc/bailiff/bailiff.d/41-blocks.yaml && systemctl reload bailiff.service`)
	eventually(t, func() error {
		if err := v.letIn(blocked, 22); err != nil {
			return fmt.Errorf("%w\n%s", err, v.sh(t, `bailiff firewall status`))
		}
		return nil
	})
}
