package nftables

import (
	"os/exec"
	"strings"
	"testing"
	"time"

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

// leftover returns our table without its elements, whose timeouts change all the time.
func leftover(t testing.TB) string {
	if !strings.Contains(firewalltest.Run(t, "nft", "list", "tables"), "table inet bailiff") {
		return ""
	}
	return firewalltest.Run(t, "nft", "-t", "list", "table", "inet", "bailiff")
}

func TestContract(t *testing.T) {
	squat := func(text string) func(testing.TB) (func(), string) {
		return firewalltest.Squat([]string{"nft", "delete", "table", "inet", "bailiff"}, "inet bailiff", "nft", "table inet bailiff { "+text+" }")
	}
	const based = "chain prerouting { type filter hook prerouting priority -300; "
	for _, block := range []string{"drop", "reject"} {
		t.Run(block, func(t *testing.T) {
			w := firewalltest.NewWire(t, firewalltest.SSH, firewalltest.Mail, firewalltest.Web, 587)
			firewalltest.Test(t, &firewalltest.Host{
				New:      func(t testing.TB) firewall.Backend { return newBackend(t, Options{Block: block}) },
				Reaches:  w.Reaches(block),
				Answered: w.Answered(block),
				Counts:   true,
				Steady:   true,
				Rules:    block == "reject",
				Damage: map[string]func(testing.TB){
					"flush ruleset":   firewalltest.Damage("nft", "flush", "ruleset"),
					"flush table":     firewalltest.Damage("nft", "flush", "table", "inet", "bailiff"),
					"delete table":    firewalltest.Damage("nft", "delete", "table", "inet", "bailiff"),
					"delete rule":     deleteRule,
					"dormant":         firewalltest.Damage("nft", "add", "table", "inet", "bailiff", "{ flags dormant; }"),
					"policy":          firewalltest.Damage("nft", "chain", "inet", "bailiff", "prerouting", "{ policy drop; }"),
					"flush set":       firewalltest.Damage("nft", "flush", "set", "inet", "bailiff", "v4-32-sshd"),
					"delete element":  firewalltest.Damage("nft", "delete", "element", "inet", "bailiff", "v6-128", "{ 2001:db8:a:1::7 }"),
					"add element":     firewalltest.Damage("nft", "add", "element", "inet", "bailiff", "v4-32", "{ 192.0.2.8 }"),
					"replace element": firewalltest.Damage("nft", "delete element inet bailiff v4-32 { 192.0.2.7 }; add element inet bailiff v4-32 { 192.0.2.8 }"),
					"add set":         firewalltest.Damage("nft", "add", "set", "inet", "bailiff", "v4-24", "{ type ipv4_addr; flags timeout; }"),
					"replace chain": firewalltest.Damage("nft", "flush chain inet bailiff prerouting; delete chain inet bailiff prerouting; "+
						"add chain inet bailiff prerouting { type filter hook prerouting priority -300; }"),
				},
				Squat: map[string]func(testing.TB) (func(), string){
					"chain":      squat("chain x { };"),
					"hook":       squat("chain prerouting { type filter hook input priority 0; };"),
					"policy":     squat("chain prerouting { type filter hook prerouting priority -300; policy drop; };"),
					"rule":       squat(based + `ip saddr 192.0.2.99 drop comment "mine"; };`),
					"set":        squat("set mine { type ipv4_addr; };"),
					"type":       squat("set v4-32 { type ipv6_addr; flags timeout; };"),
					"interval":   squat("set v4-32 { type ipv4_addr; flags timeout, interval; };"),
					"no timeout": squat("set v4-32 { type ipv4_addr; };"),
					"timeout":    squat("set v4-32 { type ipv4_addr; flags timeout; timeout 10m; };"),
					"map":        squat("map v4-32 { type ipv4_addr : verdict; flags timeout; };"),
					"object":     squat("counter mine { };"),
				},
				Leftover: leftover,
			})
		})
	}
}

// deleteRule deletes the last of our rules by its handle.
func deleteRule(t testing.TB) {
	t.Helper()
	out := firewalltest.Run(t, "nft", "-a", "list", "chain", "inet", "bailiff", "prerouting")
	for line := range strings.Lines(out) {
		if i := strings.Index(line, "# handle "); i >= 0 && strings.Contains(line, "@v4-32 ") {
			firewalltest.Run(t, "nft", "delete", "rule", "inet", "bailiff", "prerouting", "handle", strings.TrimSpace(line[i+len("# handle "):]))
			return
		}
	}
	t.Fatalf("no rule of v4-32 in\n%s", out)
}

// Nothing of others is touched, and counters continue when a rule is added.
func TestNeighbours(t *testing.T) {
	w := firewalltest.NewWire(t, firewalltest.Web)
	b := newBackend(t, Options{})
	t.Cleanup(func() { exec.Command("nft", "flush", "ruleset").Run() })
	firewalltest.Run(t, "nft", `table inet filter { set s { type ipv4_addr; elements = { 192.0.2.1 } }; chain input { type filter hook input priority 0; ip saddr @s accept; }; }; table ip bailiff { }`)
	before := firewalltest.Run(t, "nft", "list", "table", "inet", "filter") + firewalltest.Run(t, "nft", "list", "table", "ip", "bailiff")

	banned := []firewall.Ban{{Prefix: firewalltest.Remotes[0], Until: time.Now().Add(time.Hour)}}
	if _, err := b.Reconcile(t.Context(), banned); err != nil {
		t.Fatal(err)
	}
	if s := w.Connect(t, firewalltest.Web, firewalltest.Remotes[0].Addr().Next())[0]; s != "silent" {
		t.Fatalf("banned, and %s", s)
	}
	counted := func() uint64 {
		t.Helper()
		l, err := b.DropCounters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range l {
			if s.Set == "v4-24" {
				return s.Packets
			}
		}
		return 0
	}
	n := counted()
	if n == 0 {
		t.Fatal("the rule counted nothing")
	}
	if err := b.Add(t.Context(), []firewall.Ban{{Prefix: firewalltest.Remotes[2], Until: time.Now().Add(time.Hour)}}); err != nil { // a set of its own
		t.Fatal(err)
	}
	if m := counted(); m < n {
		t.Errorf("%d packets were counted, and %d after a rule was added", n, m)
	}
	if err := b.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := firewalltest.Run(t, "nft", "list", "table", "inet", "filter") + firewalltest.Run(t, "nft", "list", "table", "ip", "bailiff"); after != before {
		t.Errorf("others' tables, before\n%safter\n%s", before, after)
	}
}
