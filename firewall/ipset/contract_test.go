package ipset

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/contract"
)

func newBackend(t testing.TB, o Options) *Backend {
	t.Helper()
	contract.NeedNetns(t)
	if o.Scopes == nil {
		o.Scopes = contract.Scopes
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wait(t testing.TB, limit time.Duration, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v", limit)
		}
	}
}

func leftover(t testing.TB) string {
	s := ""
	for line := range strings.Lines(contract.Run(t, "ipset", "save")) {
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

func run(name string, args ...string) func(testing.TB) {
	return func(t testing.TB) { t.Helper(); contract.Run(t, name, args...) }
}

func squat(undo []string, name string, args ...string) func(testing.TB) (func(), string) {
	return func(t testing.TB) (func(), string) {
		contract.Run(t, args[0], args[1:]...)
		return func() { contract.Run(t, undo[0], undo[1:]...) }, name
	}
}

func TestContract(t *testing.T) {
	for _, block := range []string{"drop", "reject"} {
		t.Run(block, func(t *testing.T) {
			w := contract.NewWire(t, contract.SSH, contract.Mail, contract.Web, 587)
			blocked := map[string]string{"drop": "silent", "reject": "refused"}[block]
			flushAll := func(t testing.TB) {
				contract.Run(t, "nft", "flush", "ruleset")
				wait(t, 2*time.Second, func() bool { return exec.Command("ipset", "destroy").Run() == nil })
			}
			contract.Test(t, &contract.Host{
				New: func(t testing.TB) firewall.Backend { return newBackend(t, Options{Block: block}) },
				Reaches: func(t testing.TB, port uint16, from []netip.Addr) []bool {
					t.Helper()
					r := make([]bool, len(from))
					for i, s := range w.Connect(t, port, from...) {
						if s != "open" && s != blocked {
							t.Errorf("%v to port %d: %s", from[i], port, s)
						}
						r[i] = s == "open"
					}
					return r
				},
				Now:  time.Now,
				Wait: wait,
				Harm: map[string]func(testing.TB){
					"flush ruleset":  run("nft", "flush", "ruleset"),
					"flush table":    run("nft", "flush", "table", "ip", "bailiff"),
					"delete table":   run("nft", "delete", "table", "ip6", "bailiff"),
					"delete rule":    deleteRule,
					"dormant":        run("nft", "add", "table", "ip", "bailiff", "{ flags dormant; }"),
					"policy":         run("nft", "chain", "ip", "bailiff", "prerouting", "{ policy drop; }"),
					"destroy sets":   flushAll,
					"flush set":      run("ipset", "flush", "bailiff4-sshd"),
					"delete element": run("ipset", "del", "bailiff6", "2001:db8:a:1::7"),
					"add element":    run("ipset", "add", "bailiff4", "192.0.2.8"),
					"swap": func(t testing.TB) {
						contract.Run(t, "ipset", "swap", "bailiff4", "bailiff4-sshd")
						contract.Run(t, "ipset", "flush", "bailiff4")
					},
				},
				Squat: map[string]func(testing.TB) (func(), string){
					"type":        squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:ip", "timeout", "0"),
					"family":      squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:net", "family", "inet6", "timeout", "0"),
					"no timeout":  squat([]string{"ipset", "destroy"}, "bailiff6-sshd", "ipset", "create", "bailiff6-sshd", "hash:net", "family", "inet6"),
					"timeout 600": squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:net", "timeout", "600"),
					"counters":    squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:net", "timeout", "0", "counters"),
					"lookalike":   squat([]string{"ipset", "destroy"}, "bailiff4", "ipset", "create", "bailiff4", "hash:net", "timeout", "0"),
					"chain":       squat([]string{"nft", "delete", "table", "ip", "bailiff"}, "ip bailiff", "nft", "table ip bailiff { chain x { }; }"),
					"hook": squat([]string{"nft", "delete", "table", "ip6", "bailiff"}, "ip6 bailiff",
						"nft", "table ip6 bailiff { chain prerouting { type filter hook input priority 0; }; }"),
					"rule": squat([]string{"nft", "delete", "table", "ip", "bailiff"}, "ip bailiff",
						"nft", `table ip bailiff { chain prerouting { type filter hook prerouting priority -300; ip saddr 192.0.2.99 drop comment "mine"; }; }`),
					"nft set": squat([]string{"nft", "delete", "table", "ip", "bailiff"}, "ip bailiff", "nft", "table ip bailiff { set s { type ipv4_addr; }; }"),
				},
				Leftover: leftover,
			})
		})
	}
}

// deleteRule deletes the first of our rules by its handle.
func deleteRule(t testing.TB) {
	t.Helper()
	out := contract.Run(t, "nft", "-a", "list", "table", "ip6", "bailiff")
	i := strings.LastIndex(out, "# handle ")
	contract.Run(t, "nft", "delete", "rule", "ip6", "bailiff", "prerouting", "handle", strings.Fields(out[i+len("# handle "):])[0])
}
