package ipset

import (
	"os/exec"
	"strings"
	"testing"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
)

func newBackend(t testing.TB, o Options) *Backend {
	t.Helper()
	firewalltest.NeedNetns(t)
	if o.Scopes == nil {
		o.Scopes = firewalltest.Scopes
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func leftover(t testing.TB) string {
	s := ""
	for line := range strings.Lines(firewalltest.Run(t, "ipset", "save")) {
		if strings.HasPrefix(line, "create bailiff") {
			s += line
		}
	}
	tables, _ := exec.Command("nft", "list", "tables").Output() // warns of xt rules, and says so in its status on some versions
	for line := range strings.Lines(string(tables)) {
		if strings.Contains(line, "bailiff") {
			s += line
		}
	}
	return s
}

func TestContract(t *testing.T) {
	for _, block := range []string{"drop", "reject"} {
		t.Run(block, func(t *testing.T) {
			w := firewalltest.NewWire(t, firewalltest.SSH, firewalltest.Mail, firewalltest.Web, 587)
			flushAll := func(t testing.TB) {
				firewalltest.Run(t, "nft", "flush", "ruleset")
				firewalltest.Wait(t, func() bool { return exec.Command("ipset", "destroy").Run() == nil })
			}
			firewalltest.Test(t, &firewalltest.Host{
				New:      func(t testing.TB) firewall.Backend { return newBackend(t, Options{Block: block}) },
				Reaches:  w.Reaches(block),
				Answered: w.Answered(block),
				Counts:   true,
				Steady:   true,
				Rules:    block == "reject",
				Damage: map[string]func(testing.TB){
					"flush ruleset":  firewalltest.Damage("nft", "flush", "ruleset"),
					"flush table":    firewalltest.Damage("nft", "flush", "table", "ip", "bailiff"),
					"delete table":   firewalltest.Damage("nft", "delete", "table", "ip6", "bailiff"),
					"delete rule":    deleteRule,
					"dormant":        firewalltest.Damage("nft", "add", "table", "ip", "bailiff", "{ flags dormant; }"),
					"policy":         firewalltest.Damage("nft", "chain", "ip", "bailiff", "prerouting", "{ policy drop; }"),
					"destroy sets":   flushAll,
					"flush set":      firewalltest.Damage("ipset", "flush", "bailiff4-sshd"),
					"delete element": firewalltest.Damage("ipset", "del", "bailiff6", "2001:db8:a:1::7"),
					"add element":    firewalltest.Damage("ipset", "add", "bailiff4", "192.0.2.8"),
					"swap": func(t testing.TB) {
						firewalltest.Run(t, "ipset", "swap", "bailiff4", "bailiff4-sshd")
						firewalltest.Run(t, "ipset", "flush", "bailiff4")
					},
				},
				Squat: map[string]func(testing.TB) (func(), string){
					"type":        firewalltest.Squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:ip", "timeout", "0"),
					"family":      firewalltest.Squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:net", "family", "inet6", "timeout", "0"),
					"no timeout":  firewalltest.Squat([]string{"ipset", "destroy"}, "bailiff6-sshd", "ipset", "create", "bailiff6-sshd", "hash:net", "family", "inet6"),
					"timeout 600": firewalltest.Squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:net", "timeout", "600"),
					"counters":    firewalltest.Squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:net", "timeout", "0", "counters"),
					"chain":       firewalltest.Squat([]string{"nft", "delete", "table", "ip", "bailiff"}, "ip bailiff", "nft", "table ip bailiff { chain x { }; }"),
					"hook": firewalltest.Squat([]string{"nft", "delete", "table", "ip6", "bailiff"}, "ip6 bailiff",
						"nft", "table ip6 bailiff { chain prerouting { type filter hook input priority 0; }; }"),
					"rule": firewalltest.Squat([]string{"nft", "delete", "table", "ip", "bailiff"}, "ip bailiff",
						"nft", `table ip bailiff { chain prerouting { type filter hook prerouting priority -300; ip saddr 192.0.2.99 drop comment "mine"; }; }`),
					"nft set": firewalltest.Squat([]string{"nft", "delete", "table", "ip", "bailiff"}, "ip bailiff", "nft", "table ip bailiff { set s { type ipv4_addr; }; }"),
				},
				Leftover: leftover,
			})
		})
	}
}

// deleteRule deletes the first of our rules by its handle.
func deleteRule(t testing.TB) {
	t.Helper()
	out := firewalltest.Run(t, "nft", "-a", "list", "table", "ip6", "bailiff")
	i := strings.LastIndex(out, "# handle ")
	firewalltest.Run(t, "nft", "delete", "rule", "ip6", "bailiff", "prerouting", "handle", strings.Fields(out[i+len("# handle "):])[0])
}
