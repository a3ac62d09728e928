package firewalld

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"bailiff/firewall"
	"bailiff/firewall/firewalltest"
)

// needFirewalld skips tests where there is no firewalld to test with. units/e2e boots a host that has one, and runs them there.
func needFirewalld(t testing.TB) {
	t.Helper()
	if os.Getenv("BAILIFF_TEST_FIREWALLD") == "" {
		t.Skip("changes the host's firewalld: `make e2e` runs this on a host of its own")
	}
	if ok, err := Running(t.Context()); !ok {
		t.Fatal("firewalld does not run", err)
	}
}

// fewSets makes bans spread over a quarter of the sets until t ends, unless BAILIFF_BENCH is set: firewalld takes most of a test's time to
// answer for each of them. The daemon's tests have them all.
func fewSets(t *testing.T) {
	if os.Getenv("BAILIFF_BENCH") != "" {
		return
	}
	all, port := allSets, portSets
	t.Cleanup(func() { allSets, portSets = all, port })
	allSets, portSets = 2, 1
}

func newBackend(t testing.TB, o Options) *Backend {
	t.Helper()
	needFirewalld(t)
	if o.Scopes == nil {
		o.Scopes = firewalltest.Scopes
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// leftover is what firewalld knows of ours, permanent and at run time.
func leftover(t testing.TB) string {
	s := ""
	for _, method := range []string{ipsetIface + "getIPSets", policyIface + "getPolicies", configIface + "getIPSetNames", configIface + "getPolicyNames"} {
		for word := range strings.FieldsSeq(ask(t, method)) {
			if strings.HasPrefix(word, `"bailiff`) {
				s += fmt.Sprintln(method, word)
			}
		}
	}
	return s
}

// ask calls a method of firewalld. busctl takes a twentieth of the time of firewall-cmd.
func ask(t testing.TB, method string, args ...string) string {
	t.Helper()
	path, dot := mainPath, strings.LastIndexByte(method, '.')
	if strings.HasPrefix(method, configIface) {
		path = configPath
	}
	return firewalltest.Run(t, "busctl", append([]string{"--timeout=120", "call", busName, string(path), method[:dot], method[dot+1:]}, args...)...)
}

// does is a method of firewalld that somebody else calls.
func does(method string, args ...string) func(testing.TB) {
	return func(t testing.TB) {
		t.Helper()
		ask(t, method, args...)
	}
}

// trust makes trusted the default zone, so that what is not banned gets in.
func trust(t testing.TB) {
	t.Helper()
	if !strings.Contains(ask(t, busName+".getDefaultZone"), `"trusted"`) {
		ask(t, busName+".setDefaultZone", "s", "trusted")
	}
}

func sh(script string) func(testing.TB) { return firewalltest.Damage("sh", "-ec", script) }

// back waits for a firewalld that was started: from 2.5 on its unit is active before it is on the bus.
const back = "; timeout 120 sh -c 'until busctl get-property org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 org.fedoraproject.FirewallD1 state | grep -q RUNNING; do sleep 0.1; done'"

// reloads ends a script that changes files of firewalld.
const reloads = "; busctl --timeout=120 call " + busName + " " + string(mainPath) + " " + busName + " reload"

func TestContract(t *testing.T) {
	needFirewalld(t)
	fewSets(t)
	trust(t)
	large := 2_000
	if os.Getenv("BAILIFF_BENCH") != "" { // firewalld takes a minute for all that the contract does with these
		large = 10_000
	}
	for _, block := range []string{"drop", "reject"} {
		t.Run(block, func(t *testing.T) {
			w := firewalltest.NewWire(t, firewalltest.SSH, firewalltest.Mail, firewalltest.Web, 587)
			probe := newBackend(t, Options{Block: block})
			set := func(prefix, scope string) string {
				k, err := probe.setOf(firewall.Key{Prefix: netip.MustParsePrefix(prefix), Scope: scope})
				if err != nil {
					t.Fatal(err)
				}
				return probe.setName(k)
			}
			name := set("192.0.2.7/32", "")
			host := &firewalltest.Host{
				New:      func(t testing.TB) firewall.Backend { return newBackend(t, Options{Block: block}) },
				Reaches:  w.Reaches(block),
				Answered: w.Answered(block),
				Rules:    block == "reject",
				Many:     large,
				Endless:  true,
				Damage: map[string]func(testing.TB){
					"reload":      does(busName + ".reload"),
					"remove rule": firewalltest.Damage("firewall-cmd", "--policy=bailiff", "--remove-rich-rule="+probe.richRules()[0]),
				},
				Leftover: leftover,
			}
			if block == "drop" { // the rest is the same whatever a rule does
				maps.Copy(host.Damage, map[string]func(testing.TB){
					"remove entry":    does(ipsetIface+"removeEntry", "ss", name, "192.0.2.7"),
					"add entry":       does(ipsetIface+"addEntry", "ss", name, "192.0.2.8"),
					"remove policy":   sh("rm /etc/firewalld/policies/bailiff.xml" + reloads),
					"remove set":      sh("rm /etc/firewalld/policies/bailiff.xml /etc/firewalld/ipsets/" + name + ".xml" + reloads),
					"restart":         sh("systemctl restart firewalld" + back),
					"complete reload": does(busName + ".completeReload"),
					"kill":            sh("systemctl kill -s KILL firewalld; sleep 0.5; systemctl start firewalld" + back),
				})
				if !strings.Contains(firewalltest.Run(t, "nft", "list", "ruleset"), "flags owner") { // firewalld 2 owns its table: nobody else can
					host.Damage["flush ruleset"] = firewalltest.Damage("nft", "flush", "ruleset")
				}
				host.Squat = map[string]func(testing.TB) (func(), string){
					"set": firewalltest.Squat([]string{"sh", "-ec", "rm /etc/firewalld/ipsets/bailiff4-0.xml" + reloads}, "bailiff4-0",
						"sh", "-ec", `echo '<ipset type="hash:ip"></ipset>' >/etc/firewalld/ipsets/bailiff4-0.xml`+reloads),
				}
			}
			firewalltest.Test(t, host)
		})
	}
}

// TestMethods: sets take effect as sources of the zone drop and as rich rules of named zones as well, are repaired when somebody
// has removed them, and leave every zone as it was.
func TestMethods(t *testing.T) {
	needFirewalld(t)
	fewSets(t)
	trust(t)
	w := firewalltest.NewWire(t, firewalltest.SSH, firewalltest.Mail, firewalltest.Web, 587)
	zones := func() string {
		return firewalltest.Run(t, "firewall-cmd", "--permanent", "--list-all-zones") + firewalltest.Run(t, "firewall-cmd", "--list-all-zones")
	}
	before := zones()
	addr := netip.MustParseAddr
	for _, c := range []struct {
		name   string
		o      Options
		scoped bool // ports alone can be closed
		harm   string
	}{
		{"zone", Options{Method: "zone", Block: "drop", Scopes: []firewall.Scope{{}}}, false, "rm /etc/firewalld/zones/drop.xml" + reloads},
		{"rich drop", Options{Method: "rich", Block: "drop", Zones: []string{"trusted", "public"}}, true, ":" + reloads},
		{"rich reject", Options{Method: "rich", Block: "reject", Zones: []string{"trusted"}}, true, "systemctl restart firewalld" + back},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBackend(t, c.o)
			defer b.Close()
			reaches := w.Reaches(c.o.Block)
			until := time.Now().Add(time.Hour)
			want := []firewall.Ban{
				{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Until: until}, {Prefix: netip.MustParsePrefix("2001:db8:a:1::/64"), Until: until},
				{Prefix: netip.MustParsePrefix("198.51.100.0/28"), Until: until},
			}
			if c.scoped {
				want = append(want, firewall.Ban{Prefix: netip.MustParsePrefix("192.0.2.8/32"), Scope: "mail", Until: until})
			}
			look := func(when string) {
				t.Helper()
				for _, x := range []struct {
					port uint16
					from netip.Addr
					open bool
				}{
					{firewalltest.SSH, addr("192.0.2.7"), false}, {firewalltest.Web, addr("2001:db8:a:1::7"), false}, {firewalltest.SSH, addr("198.51.100.7"), false},
					{firewalltest.SSH, addr("192.0.2.8"), true}, {firewalltest.Mail, addr("192.0.2.8"), !c.scoped}, {firewalltest.Web, addr("2001:db8:b:1::7"), true},
				} {
					if got := reaches(t, x.port, []netip.Addr{x.from})[0]; got != x.open {
						t.Errorf("%s: %s reaches port %d: %t", when, x.from, x.port, got)
					}
				}
			}
			for _, step := range []string{"first", "again"} {
				if _, err := b.Reconcile(t.Context(), want); err != nil {
					t.Fatal(err)
				}
				if err := b.Verify(t.Context()); err != nil {
					t.Error(err)
				}
				look(step)
				if step == "first" {
					firewalltest.Run(t, "sh", "-ec", c.harm)
					if b.Verify(t.Context()) == nil {
						t.Error("Verify is content with what is gone")
					}
				}
			}
			if err := b.Cleanup(t.Context()); err != nil {
				t.Error(err)
			}
			if left := leftover(t); left != "" {
				t.Errorf("left:\n%s", left)
			}
			if after := zones(); after != before {
				t.Errorf("the zones were\n%s\nand are\n%s", before, after)
			}
		})
	}
}

// TestWatch: changes by others are noticed at once, our own are not reported, and Verify relies on that.
func TestWatch(t *testing.T) {
	fewSets(t)
	b := newBackend(t, Options{})
	t.Cleanup(func() {
		if err := b.Cleanup(context.Background()); err != nil {
			t.Error(err)
		}
		b.Close()
	})
	ban := firewall.Ban{Prefix: netip.MustParsePrefix("192.0.2.7/32"), Until: time.Now().Add(time.Hour)}
	if _, err := b.Reconcile(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan struct{}, 1024)
	end := make(chan error)
	go func() { end <- b.Watch(ctx, func() { told <- struct{}{} }) }()
	<-told // it listens
	if err := b.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), []firewall.Ban{ban}); err != nil {
		t.Fatal(err)
	}
	at, _ := b.setOf(ban.Key())
	for _, harm := range [][]string{{ipsetIface + "removeEntry", "ss", b.setName(at), "192.0.2.7"}, {busName + ".reload"}} {
		for len(told) > 0 {
			<-told
		}
		begin := time.Now()
		ask(t, harm[0], harm[1:]...)
		select {
		case <-told:
			t.Logf("%q: heard %v after the call began", harm, time.Since(begin).Round(time.Millisecond))
		case <-time.After(5 * time.Second):
			t.Fatalf("%q: nothing was heard", harm)
		}
		if err := b.Verify(t.Context()); err == nil {
			t.Errorf("%q: Verify is content", harm)
		}
		if _, err := b.Reconcile(t.Context(), []firewall.Ban{ban}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	<-end
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{
		{Block: "tarpit"}, {Method: "direct"}, {Method: "rich"}, {Method: "zone", Block: "reject"}, {Method: "zone", Scopes: firewalltest.Scopes},
		{Scopes: []firewall.Scope{{Name: "a_b"}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestEntries(t *testing.T) {
	for _, p := range []string{"192.0.2.7/32", "192.0.2.0/24", "2001:db8::1/128", "2001:db8::/64"} {
		want := netip.MustParsePrefix(p)
		if got, ok := parseEntry(entry(want)); !ok || got != want {
			t.Errorf("%s became %s and then %v", p, entry(want), got)
		}
	}
	for _, s := range []string{"", "x", "192.0.2.7,22", "fe80::1%eth0", "192.0.2.0-192.0.2.9"} {
		if p, ok := parseEntry(s); ok {
			t.Errorf("%q is taken for %v", s, p)
		}
	}
}

// TestAtOnce: a few entries never empty a full set, many do not wait for each other.
func TestAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		held, changes int
		want          bool
	}{
		"one into nothing":              {0, 1, false},
		"many into nothing":             {0, 40, true},
		"one into a full set":           {10_000, 1, false},
		"some into full sets":           {10_000, 80, false},
		"a flood":                       {10_000, 500, true},
		"the only one ends":             {1, 1, false},
		"a wide one for two":            {2, 3, false},
		"most end":                      {1250, 1000, true},
		"as many as there are, but few": {42, 4, false},
		"as many as there are":          {42, 40, true},
	} {
		if got := atOnce(c.held, c.changes); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
