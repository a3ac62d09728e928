package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bailiff/units/control"
)

// firewalldHost is what a host with firewalld has. netbase: /etc/protocols, without which firewalld 1.3 does not start.
var firewalldHost = []string{"firewalld", "polkitd", "netbase", "iptables"}

// TestFirewalld tries the firewalld backend with the real firewalld of each release: first the contract of all backends, then the daemon
// under attack while others change firewalld.
func TestFirewalld(t *testing.T) {
	suites, tree, load := wanted(t, "bookworm", "trixie", "forky")
	contract := filepath.Join(scratch, "contract")
	var once sync.Once
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			once.Do(func() { command(t, "go", "test", "-c", "-trimpath", "-o", contract, "bailiff/firewall/firewalld") })
			v := boot(t, suite, tree, load, firewalldHost...)
			v.sh(t, `systemctl start firewalld.service`)
			t.Run("command", v.firewallCommand)
			t.Run("contract", func(t *testing.T) { v.contract(t, contract) })
			t.Run("contract-iptables", func(t *testing.T) {
				if suite == "trixie" {
					t.Skip("the oldest and the newest release are enough")
				}
				v.sh(t, `sed -i 's/^FirewallBackend=.*/FirewallBackend=iptables/' /etc/firewalld/firewalld.conf; systemctl restart firewalld.service`)
				v.contract(t, contract, "-test.run=TestContract/drop/(Block|Scopes|Datagrams|Prefixes|Overlap|OverlapEnds|Reban|Damage/reload)|TestWatch|TestMethods|TestRecheck")
				v.sh(t, `sed -i 's/^FirewallBackend=.*/FirewallBackend=nftables/' /etc/firewalld/firewalld.conf; systemctl restart firewalld.service`)
			})
			t.Run("starts", v.startsFirewalld)
			for _, c := range []struct{ name, script string }{
				{"reload", firewalldCall + `reload`},
				{"complete-reload", firewalldCall + `completeReload`},
				{"restart", `systemctl restart firewalld.service`},
				{"kill", `systemctl kill -s KILL firewalld.service; while systemctl -q is-active firewalld.service; do sleep 0.05; done; systemctl start firewalld.service`},
				{"panic", firewalldCall + `enablePanicMode; ` + firewalldCall + `disablePanicMode; timeout 120 sh -c 'until journalctl -q -u bailiff.service -g "panic mode has ended"; do sleep 0.1; done'`},
				{"zone", firewalldCall + `setDefaultZone s trusted; ` + firewalldCall + `setDefaultZone s public`},
				{"flush", `nft flush ruleset`},
				{"entry", eachSet(`if `+firewalldSet+`removeEntry ss $s `+attacker4.String()+` 2>/dev/null; then found=1; fi`) + `; test -n "$found"`},
				{"sets", `rm /etc/firewalld/policies/bailiff.xml /etc/firewalld/ipsets/bailiff*; ` + firewalldCall + `reload`},
				{"policy", `firewall-cmd --permanent --delete-policy=bailiff; firewall-cmd --reload`},
			} {
				t.Run(c.name, func(t *testing.T) {
					v.sh(t, c.script)
					v.shut(t, attacker4, attacker6)
				})
			}
			t.Run("hundred", v.hundredReloads)
			t.Run("hangs", v.firewalldHangs)
			t.Run("leaves", v.firewalldLeaves)
		})
	}
}

// firewalldCall begins commands that do what firewall-cmd does with the method that follows, in a twentieth of its time, and firewalldSet
// those with a method about a set.
const (
	firewalldCall = `busctl --timeout=120 call org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 org.fedoraproject.FirewallD1 `
	firewalldSet  = `busctl --timeout=120 call org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 org.fedoraproject.FirewallD1.ipset `

	// firewalldRuns waits: the unit of firewalld 2.5 counts as started before firewalld is on the bus.
	firewalldRuns = `timeout 120 sh -c 'until busctl get-property org.fedoraproject.FirewallD1 /org/fedoraproject/FirewallD1 org.fedoraproject.FirewallD1 state | grep -q RUNNING; do sleep 0.1; done'; `
)

// eachSet is a script that does something for each of firewalld's sets, $s.
func eachSet(do string) string {
	return `for s in $(` + firewalldSet + `getIPSets | tr -d '"' | cut -d ' ' -f 3-); do ` + do + `; done`
}

// A hanging firewalld prevents bailiff neither from stopping nor from starting, and no state is lost.
func (v *victim) firewalldHangs(t *testing.T) {
	const banned = "198.18.7.7"
	for _, keep := range []string{"true", "false"} {
		v.put(t, "50-hangs.yaml", "firewall: {keep_on_stop: "+keep+"}\n")
		v.sh(t, `systemctl restart bailiff.service`)
		v.active(t)
		v.sh(t, `systemctl kill -s STOP firewalld.service; bailiff ban `+banned)
		v.sh(t, `systemctl stop bailiff.service`)
		if out := v.sh(t, `systemctl show -P Result bailiff.service`); strings.TrimSpace(out) != "success" {
			t.Errorf("keep_on_stop: %s: stopped with result %s", keep, out)
		}
		v.sh(t, `timeout 30 systemctl start bailiff.service`)
		if out := v.sh(t, `bailiff status || echo status $?`); !strings.Contains(out, "status 4") {
			t.Errorf("status while firewalld hangs: %s", out)
		}
		if out := v.sh(t, `bailiff bans `+banned); !strings.Contains(out, banned) {
			t.Errorf("after a restart: %s", out)
		}
		v.sh(t, `systemctl kill -s CONT firewalld.service`)
		eventually(t, func() error {
			if s := ask[control.Status](v, t, "status"); !s.Firewall.OK || len(s.Problems) > 0 {
				return fmt.Errorf("firewall %+v, problems %q", s.Firewall, s.Problems)
			}
			return nil
		})
		if out := v.sh(t, eachSet(firewalldSet+`getEntries s $s`)); !strings.Contains(out, `"`+banned+`"`) {
			t.Errorf("%s is in none of firewalld's sets:\n%s", banned, out)
		}
		v.sh(t, `bailiff unban `+banned)
	}
	v.sh(t, `rm /etc/bailiff/bailiff.d/50-hangs.yaml; systemctl restart bailiff.service`)
	v.active(t)
}

// contract runs the backend's own tests on the host, as root and without the daemon.
func (v *victim) contract(t *testing.T, file string, args ...string) {
	bin, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	v.place(t, "/opt/e2e/contract", string(bin), 0o755)
	// The contract listens on the port of sshd. Where there is a polkit, firewalld asks it at each of thousands of calls, root's too.
	const polkit, reread = `/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service`,
		`busctl -q call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig`
	v.sh(t, firewalldRuns+`systemctl stop ssh.service; mv `+polkit+` /root/polkit; `+reread+`; systemctl stop polkit.service`)
	out, err := v.Run(t.Context(), append([]string{"env", "BAILIFF_TEST_NETNS=1", "BAILIFF_TEST_FIREWALLD=1", "BAILIFF_BENCH=" + os.Getenv("BAILIFF_BENCH"), "/opt/e2e/contract", "-test.v"}, args...)...)
	t.Log(out)
	if err != nil || !strings.Contains(out, "--- PASS: TestContract") || !strings.Contains(out, "--- PASS: TestWatch") || !strings.Contains(out, "--- PASS: TestMethods") || !strings.Contains(out, "--- PASS: TestRecheck") {
		t.Errorf("not all of it passed: %v", err)
	}
	v.sh(t, `mv /root/polkit `+polkit+`; `+reread+`; systemctl start ssh.service; `+firewalldCall+`setDefaultZone s public`)
}

// With no configuration, firewalld is chosen, and real attackers are kept out by its own sets.
func (v *victim) startsFirewalld(t *testing.T) {
	v.sh(t, firewalldRuns+`systemctl enable -q --now bailiff.service`) // without firewalld another backend is chosen
	v.firewalldBites(t, "runs")
}

// firewalldBites attacks a daemon that has chosen firewalld for the reason why, from two addresses that hold connections open.
func (v *victim) firewalldBites(t *testing.T, why string) {
	t.Helper()
	v.active(t)
	var s control.Status
	eventually(t, func() error {
		if s = ask[control.Status](v, t, "status"); !s.Firewall.OK {
			return fmt.Errorf("firewall: %+v", s.Firewall)
		}
		return nil
	})
	if s.Firewall.Backend != "firewalld" || !strings.Contains(s.Firewall.Why, why) || len(s.Problems) > 0 {
		t.Errorf("status: %+v, problems %q", s.Firewall, s.Problems)
	}
	for _, a := range []netip.Addr{attacker4, attacker6} {
		open, err := v.Dial(a, 22, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close()
		if !speaksSSH(open, time.Minute) {
			t.Fatal("sshd does not greet")
		}
		v.fails(t, a, 5)
		v.shut(t, a)
		// firewalld accepts established connections: this one must have been closed.
		if _, err := open.Write([]byte("SSH-2.0-e2e\r\n")); err == nil && answers(open, 2*time.Second) {
			t.Errorf("%s: a connection that was open before the ban still works", a)
		}
	}
	if out := v.sh(t, eachSet(firewalldSet+`getEntries s $s`)); !strings.Contains(out, `"`+attacker4.String()+`"`) {
		t.Errorf("firewalld does not have %s:\n%s", attacker4, out)
	}
	if err := v.letIn(friend4, 22); err != nil {
		t.Errorf("it did nothing: %v", err)
	}
}

// shut waits until addresses are kept out, according to the backend's status and to their packets.
func (v *victim) shut(t *testing.T, addrs ...netip.Addr) {
	t.Helper()
	eventually(t, func() error {
		for _, a := range addrs {
			if err := v.keptOut(a, 22); err != nil {
				return fmt.Errorf("%w. Firewall: %+v", err, ask[control.Status](v, t, "status").Firewall)
			}
		}
		if s := ask[control.Status](v, t, "status"); !s.Firewall.OK || s.Firewall.Backend != "firewalld" {
			return fmt.Errorf("firewall: %+v", s.Firewall)
		}
		return nil
	})
}

// hundredReloads reloads firewalld during an attack, a hundred times if BAILIFF_BENCH is set, otherwise ten. In the end every ban is in
// effect. It prints how long a banned address got through after firewalld's signal.
func (v *victim) hundredReloads(t *testing.T) {
	reloads := 100
	if os.Getenv("BAILIFF_BENCH") == "" {
		reloads = 10
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	monitor := v.Command(ctx, "dbus-monitor", "--system", "--profile", "type='signal',interface='org.fedoraproject.FirewallD1',member='Reloaded'")
	pipe, err := monitor.StdoutPipe()
	if err == nil {
		err = monitor.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var signals, through []time.Time
	var wg sync.WaitGroup
	wg.Add(2)
	go func() {
		defer wg.Done()
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == "sig" && strings.Contains(lines.Text(), "Reloaded") {
				if at, err := strconv.ParseFloat(f[1], 64); err == nil {
					mu.Lock()
					signals = append(signals, time.UnixMicro(int64(at*1e6)))
					mu.Unlock()
				}
			}
		}
	}()
	go func() { // a packet of a banned address every ten milliseconds or so
		defer wg.Done()
		var tries sync.WaitGroup
		defer tries.Wait()
		for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			tries.Add(1)
			go func() {
				defer tries.Done()
				sent := time.Now() // an answer means that this packet got through: nothing is sent again within the time-out
				if c, err := v.Dial(attacker4, 22, 150*time.Millisecond); err == nil {
					mu.Lock()
					through = append(through, sent)
					mu.Unlock()
					c.Close()
				}
			}()
		}
	}()
	const attackers = 40
	attack := make(chan error, 1)
	go func() {
		_, err := v.load(t, fmt.Sprintf("-addresses %d -lines %d -rate 20 -base 7000", attackers, attackers*5))
		attack <- err
	}()
	for range reloads {
		v.sh(t, firewalldCall+`reload`)
	}
	if err := <-attack; err != nil {
		t.Error(err)
	}
	v.settled(t)
	v.shut(t, attacker4, attacker6)
	eventually(t, func() error {
		var held []netip.Prefix // a prefix that many of them share includes the others
		for word := range strings.FieldsSeq(v.sh(t, eachSet(firewalldSet+`getEntries s $s | tr -d '"'`))) {
			if a, err := netip.ParseAddr(word); err == nil {
				held = append(held, netip.PrefixFrom(a, a.BitLen()))
			} else if p, err := netip.ParsePrefix(word); err == nil {
				held = append(held, p)
			}
		}
		for i := range attackers {
			a := sourceN(7000 + i)
			if !slices.ContainsFunc(held, func(p netip.Prefix) bool { return p.Contains(a) }) {
				return fmt.Errorf("%s is in none of firewalld's sets", a)
			}
		}
		return nil
	})
	stop()
	monitor.Wait()
	wg.Wait()
	var gaps []float64
	slices.SortFunc(through, time.Time.Compare)
	for _, s := range signals {
		// Packets that come through after a pause do so because the next reload has emptied the sets again. That reload has a signal of its
		// own.
		last := s
		for _, p := range through {
			if p.After(last) && p.Sub(last) < 60*time.Millisecond {
				last = p
			}
		}
		gaps = append(gaps, float64(last.Sub(s).Microseconds())/1e3)
	}
	slices.Sort(gaps)
	if len(gaps) < reloads {
		t.Fatalf("%d signals of %d reloads were seen", len(gaps), reloads)
	}
	t.Logf("%s: %d reloads, %d bans: a banned address got through %d times; after the signal for a median of %.0f ms, at most %.0f ms",
		v.suite, reloads, attackers+2, len(through), gaps[len(gaps)/2], gaps[len(gaps)-1])
}

// firewalld is stopped, and another backend takes over; it is started, and has the bans again. Then it is left for good.
func (v *victim) firewalldLeaves(t *testing.T) {
	is := func(want string) {
		t.Helper()
		eventually(t, func() error {
			s := ask[control.Status](v, t, "status")
			if s.Firewall.Backend != want || !s.Firewall.OK {
				return fmt.Errorf("want %s; firewall: %+v", want, s.Firewall)
			}
			return v.keptOut(attacker4, 22)
		})
	}
	v.sh(t, `systemctl stop firewalld.service`)
	is("ipset")
	v.sh(t, `systemctl start firewalld.service`)
	is("firewalld")
	v.put(t, "20-firewall.yaml", "firewall: {backend: ipset}\n")
	v.sh(t, `systemctl reload bailiff.service`)
	is("ipset")
	eventually(t, func() error {
		out := v.sh(t, `firewall-cmd --permanent --get-ipsets; firewall-cmd --permanent --get-policies; firewall-cmd --get-ipsets; firewall-cmd --get-policies`)
		if strings.Contains(out, "bailiff") {
			return fmt.Errorf("left in firewalld:\n%s", out)
		}
		return nil
	})
}
