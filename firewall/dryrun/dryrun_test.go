package dryrun

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
)

// At a restart New returns the same backend again: there is no kernel that would keep the bans.
func TestContract(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b, err := New(firewalltest.Scopes, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	through := func(proto string) func(testing.TB, uint16, []netip.Addr) []bool {
		return func(_ testing.TB, port uint16, from []netip.Addr) []bool {
			r := make([]bool, len(from))
			for i, a := range from {
				r[i] = !blocked(b, a, proto, port)
			}
			return r
		}
	}
	firewalltest.Test(t, &firewalltest.Host{
		New:      func(testing.TB) firewall.Backend { return b },
		Reaches:  through("tcp"),
		Answered: through("udp"),
		Now:      func() time.Time { return now },
		Wait: func(t testing.TB, cond func() bool) {
			for end := now.Add(time.Minute); !cond(); now = now.Add(time.Second) {
				if now.After(end) {
					t.Fatal("not within a minute")
				}
			}
		},
		Leftover: func(testing.TB) string {
			var l []string
			for k := range b.bans {
				l = append(l, k.Prefix.String()+" "+k.Scope+"\n")
			}
			slices.Sort(l)
			return strings.Join(l, "")
		},
	})
}

// blocked reports whether a packet from addr to a port would be blocked.
func blocked(b *Backend, addr netip.Addr, proto string, port uint16) bool {
	for k, until := range b.bans {
		if (firewall.Ban{Until: until}).Over(b.now()) || !k.Prefix.Contains(addr) {
			continue
		}
		scope := b.scopes[slices.IndexFunc(b.scopes, func(s firewall.Scope) bool { return s.Name == k.Scope })]
		if len(scope.Ports) == 0 || slices.ContainsFunc(scope.Ports, func(p firewall.Port) bool {
			return p.Proto == proto && p.From <= port && port <= p.To
		}) {
			return true
		}
	}
	return false
}

func TestScopes(t *testing.T) {
	for _, s := range [][]firewall.Scope{
		{{Name: "seventeen-letters"}},
		{{Name: "Sshd"}},
		{{Name: "sshd"}, {Name: "sshd"}},
		{{Name: "", Ports: []firewall.Port{{Proto: "tcp", From: 1, To: 1}}}},
		{{Name: "a", Ports: []firewall.Port{{Proto: "sctp", From: 1, To: 1}}}},
		{{Name: "a", Ports: []firewall.Port{{Proto: "tcp", From: 2, To: 1}}}},
		{{Name: "a", Ports: []firewall.Port{{Proto: "tcp"}}}},
	} {
		if _, err := New(s, time.Now); err == nil {
			t.Errorf("%+v was taken", s)
		} else {
			t.Log(err)
		}
	}
}
