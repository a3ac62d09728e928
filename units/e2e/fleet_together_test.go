package e2e

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bailiff/policy/fleet"
	"bailiff/units/control"
	"bailiff/units/hub"
)

// together: an address that fails twice on each host is banned on all of them. An address that has logged in on one host is not banned, nor
// is one that tries a single account everywhere.
func (h *house) together(t *testing.T) {
	attacker, innocent, laptop := sourceN(901), sourceN(902), sourceN(903)
	for _, name := range h.names {
		h.members[name].put(t, "70-together.yaml", "fleet: {together: {hosts: 3, failures: 6}}\n")
		h.members[name].sh(t, `bailiff reload`)
	}
	a := h.members["a"]
	users := h.users(t, 2*len(h.names))
	counted := func(m *member, who netip.Addr) *control.FleetCounted {
		w, err := m.client.Why(t.Context(), who.String())
		if err != nil {
			t.Fatal(err)
		}
		if w.Together == nil {
			return &control.FleetCounted{}
		}
		return w.Together
	}
	for i, name := range h.names {
		m := h.members[name]
		for n := range 2 {
			for from, user := range map[netip.Addr]string{attacker: users[2*i+n], innocent: users[2*i+n], laptop: "root"} {
				if err := m.SSH(t.Context(), from, user, "wrong", 1); err == nil {
					t.Fatalf("%s is let in as %s", from, user)
				}
			}
		}
		if name == "a" { // the address that failed there now logs in
			eventually(t, func() error {
				if c := counted(a, innocent); !slices.Equal(c.Hosts, []string{"a"}) || c.Failures != 2 {
					return fmt.Errorf("a has counted %+v", c)
				}
				return nil
			})
			if err := a.SSH(t.Context(), innocent, "bob", "correct-horse", 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range h.names {
		m := h.members[name]
		eventually(t, func() error {
			if c := counted(m, attacker); !c.Banned || !slices.Equal(c.Hosts, []string{"a", "b", "c"}) || c.Failures != 6 {
				return fmt.Errorf("%s: %+v", name, c)
			}
			if c := counted(m, innocent); c.HostsAll != 3 || c.Failures != 6 || !slices.Equal(c.Good, []string{"a"}) {
				return fmt.Errorf("%s: %+v", name, c)
			}
			if c := counted(m, laptop); c.HostsAll != 3 || c.Failures != 6 || c.Accounts != 1 || c.Banned {
				return fmt.Errorf("%s: %+v", name, c)
			}
			return nil
		})
		if !m.inKernel(t, attacker) || m.inKernel(t, innocent) || m.inKernel(t, laptop) {
			t.Errorf("%s: in the kernel are %v, %v, %v; want true, false, false", name, m.inKernel(t, attacker), m.inKernel(t, innocent), m.inKernel(t, laptop))
		}
		if out := m.sh(t, `bailiff why `+attacker.String()); !strings.Contains(out, "is banned\n") || !strings.Contains(out, "for what was counted together: 6 failures on 3 hosts: a b c\n") {
			t.Errorf("%s: why: %s", name, out)
		}
		if out := m.sh(t, `bailiff fleet status`); !strings.Contains(out, "1 ban for them") {
			t.Errorf("%s: status: %s", name, out)
		}
		if l, err := m.client.Bans(t.Context(), control.BanQuery{}); err != nil || l.Total != len(m.mine) {
			t.Errorf("%s: %d own bans, want %d: %v", name, l.Total, len(m.mine), err)
		}
	}
	// The ban is kept over a restart, and an operator on any host ends it on all.
	c := h.members["c"]
	c.sh(t, `systemctl restart bailiff.service`)
	c.active(t)
	if !c.inKernel(t, attacker) {
		t.Error("the restart has lost the ban")
	}
	a.sh(t, `bailiff unban `+attacker.String())
	for _, name := range h.names {
		m := h.members[name]
		eventually(t, func() error {
			if m.inKernel(t, attacker) {
				return fmt.Errorf("%s: still banned: %+v", name, counted(m, attacker))
			}
			return nil
		})
	}
	for _, m := range h.members {
		m.sh(t, `rm /etc/bailiff/bailiff.d/70-together.yaml; bailiff reload`)
	}
	h.allEqual(t, "counting together")
}

// users returns names whose account codes differ: hosts send only five bits of each name.
func (h *house) users(t *testing.T, n int) (l []string) {
	t.Helper()
	name, codes := h.members["a"].status(t).Roster.Fleet, map[uint8]bool{}
	for i := 0; len(l) < n; i++ {
		user := fmt.Sprint("guess", i)
		if code := fleet.AccountCode(name, []byte(user)); !codes[code] {
			codes[code] = true
			l = append(l, user)
		}
	}
	return l
}

// fleetSlow fails a few times on each host. fleetSlip fails on one host only, but the liar reports more.
var fleetSlow, fleetSlip = sourceN(3001), sourceN(3002)

// countTogether: one address fails twice on each host and is banned on all, for as long as the test takes. The other fails on one host.
func (p *fleetProof) countTogether(t *testing.T) {
	for _, m := range p.members {
		m.put(t, "70-together.yaml", "fleet: {together: {hosts: 3, failures: 6}}\n")
		m.sh(t, `bailiff reload`)
	}
	p.lieTogether()
	fail := func(name string, from netip.Addr, user string) {
		if err := p.members[name].SSH(t.Context(), from, user, "wrong", 1); err == nil {
			t.Fatalf("%s is let in as %s", from, user)
		}
	}
	users := p.users(t, 2*len(p.names))
	fail("a", fleetSlip, users[0])
	fail("a", fleetSlip, users[1])
	for i, name := range p.names {
		fail(name, fleetSlow, users[2*i])
		fail(name, fleetSlow, users[2*i+1])
	}
	p.joint = append(p.joint, fleetSlow)
	for _, name := range p.names {
		m := p.members[name]
		eventually(t, func() error {
			w, err := m.client.Why(t.Context(), fleetSlip.String())
			switch {
			case err != nil:
				return err
			case !m.inKernel(t, fleetSlow):
				return fmt.Errorf("%s does not ban %s", name, fleetSlow)
			case w.Together == nil || w.Together.HostsAll != 2 || w.Together.Banned: // a and the liar: its report counts here
				return fmt.Errorf("%s: %+v", name, w.Together)
			}
			return nil
		})
		// A killed daemon loses what it has not yet saved from other hosts, and they do not send it again.
		m.sh(t, `systemctl restart bailiff.service`)
		m.active(t)
	}
}

// lieTogether reports failures on many accounts for the allowed addresses and for one that has failed on one host, in the liar's name and
// in b's.
func (p *fleetProof) lieTogether() {
	at := time.Now().UnixMicro()
	s := &fleet.Summary{At: at}
	for _, a := range append([]netip.Addr{fleetSlip}, fleetAllowed...) {
		x := fleet.Seen{Prefix: fleet.SummaryPrefix(a), Jail: "sshd"}
		for i := range fleet.MaxSeen {
			x.Failures = append(x.Failures, fleet.SeenFailure{At: at - int64(i)*1e6, Account: uint8(i % 32)})
		}
		s.Seen = append(s.Seen, x)
	}
	m := fleet.SignSummary("liar", s.Encode(), p.member.Key.Private())
	for _, subject := range []string{m.Subject, strings.Replace(m.Subject, "liar", "b", 1)} {
		_ = p.nc.PublishMsg(&nats.Msg{Subject: subject, Data: m.Payload, Header: nats.Header{hub.SignatureHeader: {base64.StdEncoding.EncodeToString(m.Signature)}}})
	}
}
