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
	contract := filepath.Join(t.TempDir(), "contract")
	command(t, "go", "test", "-c", "-trimpath", "-o", contract, "bailiff/firewall/firewalld")
	for _, suite := range suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
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
				{"reload", `firewall-cmd --reload`},
				{"complete-reload", `firewall-cmd --complete-reload`},
				{"restart", `systemctl restart firewalld.service`},
				{"kill", `systemctl kill -s KILL firewalld.service; while systemctl -q is-active firewalld.service; do sleep 0.05; done; systemctl start firewalld.service`},
				{"panic", `firewall-cmd --panic-on; firewall-cmd --panic-off; timeout 120 sh -c 'until journalctl -q -u bailiff.service -g "panic mode has ended"; do sleep 0.1; done'`},
				{"zone", `firewall-cmd --set-default-zone=trusted; firewall-cmd --set-default-zone=public`},
				{"flush", `nft flush ruleset`},
				{"entry", `for s in $(firewall-cmd --get-ipsets); do firewall-cmd --ipset=$s --remove-entry=` + attacker4.String() + ` 2>&1; done | grep -q success`},
				{"sets", `firewall-cmd --permanent --delete-policy=bailiff; for s in $(firewall-cmd --get-ipsets); do firewall-cmd --permanent --delete-ipset=$s; done; firewall-cmd --reload`},
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
		v.sh(t, `for s in $(firewall-cmd --get-ipsets); do firewall-cmd --ipset=$s --get-entries; done | grep -F `+banned+`; bailiff unban `+banned)
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
	// The contract listens on ssh's port. The unit of firewalld 2.5 counts as started before firewalld is on the bus.
	v.sh(t, `systemctl stop ssh.service; timeout 120 sh -c 'until firewall-cmd -q --state; do sleep 0.1; done'`)
	out, err := v.Run(t.Context(), append([]string{"env", "BAILIFF_TEST_NETNS=1", "BAILIFF_TEST_FIREWALLD=1", "BAILIFF_BENCH=" + os.Getenv("BAILIFF_BENCH"), "/opt/e2e/contract", "-test.v"}, args...)...)
	if err != nil || !strings.Contains(out, "--- PASS: TestContract") || !strings.Contains(out, "--- PASS: TestWatch") || !strings.Contains(out, "--- PASS: TestMethods") || !strings.Contains(out, "--- PASS: TestRecheck") {
		t.Errorf("%v\n%s", err, out)
	}
	v.sh(t, `systemctl start ssh.service; firewall-cmd --set-default-zone=public`)
}

// With no configuration, firewalld is chosen, and real attackers are kept out by its own sets.
func (v *victim) startsFirewalld(t *testing.T) {
	// The unit of firewalld 2.5 counts as started before firewalld is on the bus; until then another backend is chosen.
	v.sh(t, `timeout 120 sh -c 'until firewall-cmd -q --state; do sleep 0.1; done'; systemctl enable -q --now bailiff.service`)
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
	if out := v.sh(t, `for s in $(firewall-cmd --get-ipsets); do firewall-cmd --ipset=$s --get-entries; done`); !strings.Contains(out, attacker4.String()) {
		t.Errorf("firewall-cmd does not show %s:\n%s", attacker4, out)
	}
	if c, err := v.Dial(friend4, 22, time.Minute); err != nil {
		t.Errorf("%s, who did nothing: %v", friend4, err)
	} else {
		c.Close()
	}
}

// shut waits until addresses are kept out, according to the backend's status and to their packets.
func (v *victim) shut(t *testing.T, addrs ...netip.Addr) {
	t.Helper()
	eventually(t, func() error {
		for _, a := range addrs {
			if conn, err := v.Dial(a, 22, 300*time.Millisecond); !timedOut(err) {
				if err == nil {
					conn.Close()
				}
				return fmt.Errorf("%s: %v; want a timeout. Firewall: %+v", a, err, ask[control.Status](v, t, "status").Firewall)
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
		v.sh(t, `firewall-cmd --reload`)
	}
	if err := <-attack; err != nil {
		t.Error(err)
	}
	v.settled(t)
	v.shut(t, attacker4, attacker6)
	eventually(t, func() error {
		var held []netip.Prefix // a prefix that many of them share includes the others
		for word := range strings.FieldsSeq(v.sh(t, `for s in $(firewall-cmd --get-ipsets); do firewall-cmd --ipset=$s --get-entries; done`)) {
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
			if _, err := v.Dial(attacker4, 22, 300*time.Millisecond); !timedOut(err) {
				return fmt.Errorf("%s: %v; want a timeout", attacker4, err)
			}
			return nil
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
