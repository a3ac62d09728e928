package e2e

import (
	"strings"
	"testing"

	"bailiff/units/e2e/host"
)

// evidence: `bailiff why` on one host shows the lines of another host's ban, without the account; a host that is away is named.
func (h *house) evidence(t *testing.T) {
	a, b := h.members["a"], h.members["b"]
	attacker := sourceN(910)
	a.failsAs(t, "bob", attacker, 5)
	a.bansInKernel(t, attacker)
	a.mine = append(a.mine, attacker.String()+"/32")
	b.has(t, h.others("b"))
	out := b.sh(t, `bailiff why `+attacker.String())
	for _, want := range []string{"by host a (group a), its jail sshd", "  host a says, without names:\n", "Failed password for <user> from " + attacker.String() + " port "} {
		if !strings.Contains(out, want) {
			t.Errorf("why does not say %q: %s", want, out)
		}
	}
	if strings.Contains(out, "bob") || strings.Contains(out, host.Victim4.String()) {
		t.Errorf("why tells a name or an address of the host: %s", out)
	}
	a.sh(t, `systemctl stop bailiff-fleet.service`)
	if out := b.sh(t, `bailiff why `+attacker.String()); !strings.Contains(out, "its lines are not here: the host has not answered within 5 seconds") {
		t.Errorf("why: %s", out)
	}
	a.sh(t, `systemctl start bailiff-fleet.service; bailiff unban `+attacker.String())
	a.mine = a.mine[:len(a.mine)-1]
	h.allEqual(t, "a question")
}
