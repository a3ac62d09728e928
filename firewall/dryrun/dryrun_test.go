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

// A restart means that New gives the same backend again: there is no kernel that would keep the bans.
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
				r[i] = !b.Blocked(a, proto, port)
			}
			return r
		}
	}
	firewalltest.Test(t, &firewalltest.Host{
		New:      func(testing.TB) firewall.Backend { return b },
		Reaches:  through("tcp"),
		Answered: through("udp"),
		Now:      func() time.Time { return now },
		Wait: func(t testing.TB, limit time.Duration, cond func() bool) {
			for end := now.Add(limit); !cond(); now = now.Add(time.Second) {
				if now.After(end) {
					t.Fatalf("not within %v", limit)
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
